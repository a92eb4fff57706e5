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
	const op = "list entries"
	j := &Journal{Wallet: wallet}
	for range pagesMax {
		resp, err := invoke(ctx, c, rpc{op: op, method: gatewayv1.GatewayService_ListEntries_FullMethodName, who: who, about: wallet},
			&gatewayv1.ListEntriesRequest{Parent: wallet, FromNumber: uint64(len(j.Entries)) + 1, PageSize: entriesPage},
			gatewayv1.GatewayServiceClient.ListEntries)
		if err != nil {
			return nil, err
		}
		j.Entries = append(j.Entries, resp.GetEntries()...)
		j.Head = resp.GetHead()
		head := new(typev1.JournalHead)
		if err := evidence.Peek(j.Head, head); err != nil {
			return nil, distrust(op, notMoved, "the journal's head does not decode", err)
		}
		// Entries that were appended while the pages were read are asked for as well; what is beyond the head is not signed.
		if n := head.GetEntry(); n <= uint64(len(j.Entries)) {
			j.Entries = j.Entries[:n]
			return j, nil
		}
		if len(resp.GetEntries()) == 0 {
			return nil, distrust(op, notMoved, "the journal ends before its head", nil)
		}
	}
	return nil, tooLong(op)
}

// chain verifies the hash chain and the head's signature, and returns the decoded entries. What they say is Verify's.
func (j *Journal) chain(i *evidence.Installation) ([]*typev1.Entry, error) {
	head, err := evidence.CheckJournalHead(i, j.Head)
	if err != nil {
		return nil, &JournalError{Err: err}
	}
	switch {
	case head.GetWallet() != j.Wallet:
		return nil, &JournalError{Err: refusal("journal-head", "wallet", "is another wallet")}
	case head.GetEntry() != uint64(len(j.Entries)):
		return nil, &JournalError{Err: refusal("journal-head", "entry", "is not the number of the last entry")}
	}
	entries := make([]*typev1.Entry, 0, len(j.Entries))
	var previous []byte
	for n, b := range j.Entries {
		e := new(typev1.Entry)
		if err := evidence.Unmarshal(b, e); err != nil {
			return nil, &JournalError{uint64(n) + 1, err}
		}
		if err := checkLink(i, j.Wallet, uint64(n)+1, previous, e); err != nil {
			return nil, &JournalError{uint64(n) + 1, err}
		}
		previous = evidence.EntryHash(b).Bytes()
		entries = append(entries, e)
	}
	if !bytes.Equal(previous, head.GetEntryHash()) {
		return nil, &JournalError{Err: refusal("journal-head", "entry_hash", "is not the hash of the last entry")}
	}
	return entries, nil
}

func checkLink(i *evidence.Installation, wallet string, number uint64, previous []byte, e *typev1.Entry) error {
	switch {
	case e.GetInstallation() != i.ID():
		return refusal("entry", "installation", "is another installation")
	case e.GetWallet() != wallet:
		return refusal("entry", "wallet", "is another wallet")
	case e.GetNumber() != number:
		return refusal("entry", "number", "is not the next one")
	case !bytes.Equal(e.GetPrevious(), previous):
		return refusal("entry", "previous", "is not the hash of the entry before")
	}
	return nil
}

// Verify is VerifyJournal without its report.
func (j *Journal) Verify(i *evidence.Installation, earlier ...*evidence.Installation) error {
	_, err := VerifyJournal(i, j.Wallet, j.Entries, j.Head, earlier...)
	return err
}
