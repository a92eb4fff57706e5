package client

import (
	"bytes"
	"context"
	"fmt"

	"github.com/halfkey/halfkey/internal/evidence"
	gatewayv1 "github.com/halfkey/halfkey/proto/gen/halfkey/gateway/v1"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// Journal is a wallet's journal as the ledger handed it out: nothing of it is verified before Verify.
type Journal struct {
	// Wallet is `wallets/{wallet}`.
	Wallet string
	// Entries are the encoded entries from number 1.
	Entries [][]byte
	// Head is the ledger's signed statement of the newest one.
	Head *typev1.Envelope
	// Seen is the newest entry that the agent's store had seen before these were asked for, and SeenHash its hash: a journal
	// that lacks it was cut short or written anew, whoever has signed it. Zero for an owner, whose store notes none.
	Seen     uint64
	SeenHash []byte
}

// entriesPage is how many entries one call asks for.
const entriesPage = 200

// JournalError says which entry of a journal does not verify.
type JournalError struct {
	// Entry is the number of the first entry that is not to be believed, or that is missing; 0 is the signed head. Where an entry
	// does not follow from the one before, it is the one before: one of the two was changed.
	Entry uint64
	// Err is why.
	Err error
}

// Error names the entry.
func (e *JournalError) Error() string {
	if e.Entry == 0 {
		return fmt.Sprintf("halfkey: journal head: %v", e.Err)
	}
	return fmt.Sprintf("halfkey: journal entry %d: %v", e.Entry, e.Err)
}

// Unwrap returns why.
func (e *JournalError) Unwrap() error { return e.Err }

// Journal returns this wallet's journal.
func (a *Agent) Journal(ctx context.Context) (*Journal, error) {
	seen, hash, err := a.c.payments.Seen(a.wallet)
	if err != nil {
		return nil, wrap("list entries", err, notMoved)
	}
	j, err := a.c.journal(ctx, a.who, a.wallet)
	if err != nil {
		return nil, err
	}
	j.Seen, j.SeenHash = seen, hash
	return j, nil
}

// Journal returns a wallet's journal.
func (o *Owner) Journal(ctx context.Context, wallet string) (*Journal, error) {
	return o.c.journal(ctx, o.who, wallet)
}

func (c *Client) journal(ctx context.Context, who *caller, wallet string) (*Journal, error) {
	j := &Journal{Wallet: wallet}
	head, err := c.entries(ctx, who, wallet, func(b []byte) error {
		j.Entries = append(j.Entries, b)
		return nil
	})
	if err != nil {
		return nil, err
	}
	j.Head = head
	return j, nil
}

// entries hands a wallet's entries to each, page by page from number 1, and returns the head that they end at. Entries that
// were appended while the pages were read are among them; what is beyond the last head is not signed, and is left out.
func (c *Client) entries(ctx context.Context, who *caller, wallet string, each func([]byte) error) (*typev1.Envelope, error) {
	const op = "list entries"
	for number := uint64(0); ; {
		resp, err := invoke(ctx, c, rpc{op: op, method: gatewayv1.GatewayService_ListEntries_FullMethodName, who: who, about: wallet},
			&gatewayv1.ListEntriesRequest{Parent: wallet, FromNumber: number + 1, PageSize: entriesPage},
			gatewayv1.GatewayServiceClient.ListEntries)
		if err != nil {
			return nil, err
		}
		head := new(typev1.JournalHead)
		if err := evidence.Peek(resp.GetHead(), head); err != nil {
			return nil, distrust(op, notMoved, "the journal's head does not decode", err)
		}
		for _, b := range resp.GetEntries() {
			if number == head.GetEntry() {
				break
			}
			number++
			if err := each(b); err != nil {
				return nil, err
			}
		}
		switch {
		case number == head.GetEntry():
			return resp.GetHead(), nil
		case number > head.GetEntry():
			return nil, distrust(op, notMoved, "the journal's head went back while its entries were read", nil)
		case len(resp.GetEntries()) == 0:
			return nil, distrust(op, notMoved, "the journal ends before its head", nil)
		}
	}
}

// chain follows a wallet's entries by their hashes. What they say is an audit's.
type chain struct {
	i        *evidence.Installation
	wallet   string
	number   uint64 // Of the entry before.
	previous []byte // Its hash.
}

func (c *chain) entry(b []byte) (*typev1.Entry, error) {
	e := new(typev1.Entry)
	err := evidence.Unmarshal(b, e)
	switch {
	case err != nil:
	case e.GetInstallation() != c.i.ID():
		err = refusal("entry", "installation", "is another installation")
	case e.GetWallet() != c.wallet:
		err = refusal("entry", "wallet", "is another wallet")
	case e.GetNumber() != c.number+1:
		err = refusal("entry", "number", "is not the next one")
	case !bytes.Equal(e.GetPrevious(), c.previous):
		return nil, &JournalError{max(c.number, 1), refusal("entry", "previous",
			fmt.Sprintf("of entry %d is not the hash of the entry before: one of the two was changed", c.number+1))}
	}
	if err != nil {
		return nil, &JournalError{c.number + 1, err}
	}
	c.number, c.previous = c.number+1, evidence.EntryHash(b).Bytes()
	return e, nil
}

// head verifies that the ledger has signed that the chain ends here.
func (c *chain) head(e *typev1.Envelope) error {
	m, err := evidence.CheckJournalHead(c.i, e)
	switch {
	case err != nil:
		return &JournalError{Err: err}
	case m.GetWallet() != c.wallet:
		return &JournalError{Err: refusal("journal-head", "wallet", "is another wallet")}
	case m.GetEntry() > c.number:
		return &JournalError{c.number + 1, refusal("entry", "", fmt.Sprintf("is missing: the ledger has signed for %d entries", m.GetEntry()))}
	case m.GetEntry() < c.number:
		return &JournalError{m.GetEntry() + 1, refusal("entry", "", fmt.Sprintf("is not the ledger's: it has signed for %d entries", m.GetEntry()))}
	case !bytes.Equal(c.previous, m.GetEntryHash()):
		return &JournalError{c.number, refusal("entry", "", "is not the last one that the ledger has signed for")}
	}
	return nil
}

// signedEntries hands a wallet's entries to each, their hash chain and its signed end verified; what they say is not.
func (c *Client) signedEntries(ctx context.Context, who *caller, wallet string, each func(*typev1.Entry)) error {
	links := &chain{i: c.Installation(), wallet: wallet}
	head, err := c.entries(ctx, who, wallet, func(b []byte) error {
		e, err := links.entry(b)
		if err == nil {
			each(e)
		}
		return err
	})
	if err != nil {
		return err
	}
	return links.head(head)
}

// Verify is VerifyJournal without its report.
func (j *Journal) Verify(i *evidence.Installation, earlier ...*evidence.Installation) error {
	_, err := j.Report(i, earlier...)
	return err
}

// Report is VerifyJournal of this journal, which must also hold the entry that the agent's store has seen. A ledger that was put
// back to an older copy, or that writes its history anew and signs it, shows there. An operator's statement in the journal that
// accepts the loss of that entry makes it good.
func (j *Journal) Report(i *evidence.Installation, earlier ...*evidence.Installation) (*JournalReport, error) {
	v, err := NewJournalVerifier(i, j.Wallet, earlier...)
	if err != nil {
		return nil, err
	}
	v.Seen(j.Seen, j.SeenHash)
	for _, b := range j.Entries {
		if _, err := v.Entry(b); err != nil {
			return nil, err
		}
	}
	return v.Head(j.Head)
}
