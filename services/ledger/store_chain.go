package ledger

import (
	"bytes"
	"cmp"
	"context"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/halfkey/halfkey/internal/chain/solana"
	"github.com/halfkey/halfkey/internal/chain/solanarpc"
	"github.com/halfkey/halfkey/internal/evidence"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// The rows of accounts and messages on a chain.

// loadMessages loads messages by their digests, and returns the payments that they are of.
func (t *sqlTransaction) loadMessages(ctx context.Context, s *state, wanted []messageKey) (payments []paymentKey, err error) {
	var keys []any
	for _, k := range wanted {
		s.messages.loaded(k)
		keys = append(keys, []any{k.wallet, hex.EncodeToString(k.digest[:])})
	}
	err = t.rows(ctx, t.db.dialect.loadMessages, keys, func(r scanner) error {
		k, m, err := scanMessage(r)
		if err != nil {
			return err
		}
		s.messages.found(k, m)
		payments = append(payments, paymentKey{k.wallet, m.id})
		return nil
	})
	return payments, err
}

// loadPinned loads the messages of payments that wait for the chain.
func (t *sqlTransaction) loadPinned(ctx context.Context, s *state, _ needs) error {
	_, err := t.loadMessages(ctx, s, s.pinned())
	return err
}

func (t *sqlTransaction) loadCursors(ctx context.Context, s *state, n needs) error {
	var keys []any
	for _, k := range n.cursors {
		s.cursors.loaded(k)
		keys = append(keys, []any{k.account, k.asset})
	}
	return t.rows(ctx, t.db.dialect.loadCursors, keys, func(r scanner) error {
		k, c, err := scanCursor(r)
		if err == nil {
			s.cursors.found(k, c)
		}
		return err
	})
}

// putChain stores what changed of accounts and messages on a chain.
func (t *sqlTransaction) putChain(s *state, exec func(string, ...any) error) error {
	d := t.db.dialect
	for _, k := range dirty(s.messages, compareMessage) {
		m := s.messages.rows[k]
		var signature any
		if m.signature != nil {
			signature = m.signature
		}
		err := exec(d.putMessage, k.wallet, k.digest[:], m.id, m.message, m.slot, m.lastValidHeight, signature, m.seen, int(m.state))
		if err != nil {
			return fmt.Errorf("store message: %w", err)
		}
	}
	for _, k := range dirty(s.cursors, compareBalance) {
		c := s.cursors.rows[k]
		if err := exec(d.putCursor, k.account, k.asset, c.Signature[:], int64(c.Slot), c.Units); err != nil {
			return fmt.Errorf("store account on a chain: %w", err)
		}
	}
	return nil
}

func compareMessage(a, b messageKey) int {
	return cmp.Or(cmp.Compare(a.wallet, b.wallet), bytes.Compare(a.digest[:], b.digest[:]))
}

func scanMessage(r scanner) (k messageKey, m chainMessage, err error) {
	var digest []byte
	if err := r.Scan(&k.wallet, &digest, &m.id, &m.message, &m.slot, &m.lastValidHeight, &m.signature, &m.seen, &m.state); err != nil {
		return messageKey{}, chainMessage{}, err
	}
	k.digest = evidence.Digest(digest)
	return k, m, nil
}

func scanCursor(r scanner) (k balanceKey, c solanarpc.Cursor, err error) {
	var signature []byte
	var slot int64
	if err := r.Scan(&k.account, &k.asset, &signature, &slot, &c.Units); err != nil {
		return balanceKey{}, solanarpc.Cursor{}, err
	}
	c.Signature, c.Slot = solana.Signature(signature), uint64(slot)
	return k, c, nil
}

// liveMessages calls each for messages of which nothing is proven yet, at most size of those after a key, in the order of keys.
func (v *view) liveMessages(ctx context.Context, after messageKey, size int, each func(messageKey, chainMessage)) error {
	return v.each(ctx, v.store.dialect.readLiveMessages, func(r scanner) error {
		k, m, err := scanMessage(r)
		if err == nil {
			each(k, m)
		}
		return err
	}, after.wallet, after.digest[:], size)
}

// unresolvedMax bounds the payments in the answer to a freeze.
const unresolvedMax = 1000

// unresolved names the payments of a wallet, an owner or the installation whose messages may still land on a chain.
func (v *view) unresolved(ctx context.Context, sub subject) (names []string, err error) {
	d := v.store.dialect
	text := d.readUnresolved
	switch sub.scope {
	case typev1.Scope_SCOPE_INSTALLATION:
		err = v.liveMessages(ctx, messageKey{}, unresolvedMax, func(k messageKey, m chainMessage) {
			names = append(names, paymentKey{k.wallet, m.id}.name())
		})
		return names, err
	case typev1.Scope_SCOPE_OWNER:
		text = d.readOwnerUnresolved
	}
	err = v.each(ctx, text, func(r scanner) error {
		var k paymentKey
		err := r.Scan(&k.wallet, &k.id)
		names = append(names, k.name())
		return err
	}, sub.name, unresolvedMax)
	return names, err
}

// cursor is up to where an account's history was taken in; ok says whether the account is looked after.
func (v *view) cursor(ctx context.Context, k balanceKey) (c solanarpc.Cursor, ok bool, err error) {
	_, c, err = scanCursor(v.row(ctx, v.store.dialect.readCursor, k.account, k.asset))
	if errors.Is(err, sql.ErrNoRows) {
		return solanarpc.Cursor{}, false, nil
	}
	return c, err == nil, err
}

// cursors calls each for accounts on a chain, at most size of those after a key, in the order of keys.
func (v *view) cursors(ctx context.Context, after balanceKey, size int, each func(balanceKey, solanarpc.Cursor)) error {
	return v.each(ctx, v.store.dialect.readCursors, func(r scanner) error {
		k, c, err := scanCursor(r)
		if err == nil {
			each(k, c)
		}
		return err
	}, after.account, after.asset, size)
}
