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
}

// entriesPage is how many entries one call asks for.
const entriesPage = 200

// JournalError says which entry of a journal does not verify: number 0 is the signed head.
type JournalError struct {
	// Entry is the entry's number.
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
	return a.c.journal(ctx, a.who, a.wallet)
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
		err = refusal("entry", "previous", "is not the hash of the entry before")
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
	case m.GetWallet() != c.wallet:
		err = refusal("journal-head", "wallet", "is another wallet")
	case m.GetEntry() != c.number:
		err = refusal("journal-head", "entry", "is not the number of the last entry")
	case !bytes.Equal(c.previous, m.GetEntryHash()):
		err = refusal("journal-head", "entry_hash", "is not the hash of the last entry")
	}
	if err != nil {
		return &JournalError{Err: err}
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
	_, err := VerifyJournal(i, j.Wallet, j.Entries, j.Head, earlier...)
	return err
}
