package client

import (
	"bytes"
	"context"

	"google.golang.org/protobuf/proto"

	"github.com/halfkey/halfkey/internal/evidence"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// ledgerWord verifies the ledger's statements about one wallet: under its current key, or under a retired one if the wallet's
// journal, under a head signed by the current key, holds the statement. A retired key that was stolen makes nothing new.
type ledgerWord struct {
	c      *Client
	who    *caller
	wallet string
	held   map[evidence.Digest]bool // What the journal holds; nil until it was asked for.
}

func (c *Client) ledgerWord(who *caller, wallet string) *ledgerWord {
	return &ledgerWord{c: c, who: who, wallet: wallet}
}

// settlement verifies a settlement.
func (w *ledgerWord) settlement(ctx context.Context, e *typev1.Envelope) (*typev1.Settlement, error) {
	i := w.c.Installation()
	s, err := evidence.CheckSettlement(i, e)
	if err == nil {
		return s, nil
	}
	s = new(typev1.Settlement)
	if err := w.retired(ctx, i, e, s, err); err != nil {
		return nil, err
	}
	return s, nil
}

// dead verifies the statement that a message is dead.
func (w *ledgerWord) dead(ctx context.Context, e *typev1.Envelope) (*typev1.DeadMessage, error) {
	i := w.c.Installation()
	d, err := evidence.CheckDeadMessage(i, e)
	if err == nil {
		return d, nil
	}
	d = new(typev1.DeadMessage)
	if err := w.retired(ctx, i, e, d, err); err != nil {
		return nil, err
	}
	return d, nil
}

// retired verifies a statement under a retired key, by the journal; refused is why it does not verify under the current one.
func (w *ledgerWord) retired(ctx context.Context, i *evidence.Installation, e *typev1.Envelope, m interface {
	proto.Message
	GetInstallation() string
}, refused error,
) error {
	signer, err := evidence.Open(e, m, i.EveryKey(typev1.Purpose_PURPOSE_LEDGER)...)
	if err != nil || m.GetInstallation() != i.ID() || bytes.Equal(signer, i.Key(typev1.Purpose_PURPOSE_LEDGER)) {
		return refused
	}
	if w.held == nil {
		if err := w.read(ctx); err != nil {
			return err
		}
	}
	if !w.held[evidence.EnvelopeDigest(e)] {
		return refused
	}
	return nil
}

// read notes every statement of the wallet's journal.
func (w *ledgerWord) read(ctx context.Context) error {
	held := make(map[evidence.Digest]bool)
	err := w.c.signedEntries(ctx, w.who, w.wallet, func(e *typev1.Entry) {
		for _, s := range e.GetStatements() {
			held[evidence.EnvelopeDigest(s)] = true
		}
	})
	if err != nil {
		return err
	}
	w.held = held
	return nil
}
