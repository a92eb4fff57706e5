package ledger

import (
	"context"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/halfkey/halfkey/internal/evidence"
	"github.com/halfkey/halfkey/internal/guardrails"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// load reads a batch's rows. What follows from rows is read after them: wallets after payments, windows after heads.
func (t *sqlTransaction) load(ctx context.Context, n needs) error {
	s := t.values
	// A message leads to its payment, which is loaded like one that was asked for.
	found, err := t.loadMessages(ctx, s, n.messages)
	if err != nil {
		return err
	}
	n.payments = slices.Concat(n.payments, found)
	for _, step := range []func(context.Context, *state, needs) error{
		t.loadPayments, t.loadPinned, t.loadWallets, t.loadChains, t.loadBalances, t.loadCursors,
		t.loadWindows, t.loadPaid, t.loadShadows, t.loadFreezes, t.loadOnce,
	} {
		if err := step(ctx, s, n); err != nil {
			return err
		}
	}
	return nil
}

// rows runs a load for keys, if there are any.
func (t *sqlTransaction) rows(ctx context.Context, text string, keys []any, scan func(scanner) error) error {
	if len(keys) == 0 {
		return nil
	}
	b, err := json.Marshal(keys)
	if err != nil {
		return err
	}
	rows, err := t.db.writing[text].QueryContext(ctx, string(b))
	if err != nil {
		return err
	}
	return each(rows, scan)
}

// scanner is a row.
type scanner interface{ Scan(...any) error }

func each(rows *sql.Rows, scan func(scanner) error) error {
	defer rows.Close()
	for rows.Next() {
		if err := scan(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}

func (t *sqlTransaction) loadPayments(ctx context.Context, s *state, n needs) error {
	var keys, wallets []any
	for _, k := range n.payments {
		s.payments.loaded(k)
		keys = append(keys, []any{k.wallet, k.id})
	}
	for _, w := range n.authorized {
		wallets = append(wallets, w)
	}
	err := t.rows(ctx, t.db.dialect.loadPayments, keys, func(r scanner) error {
		p, err := scanPayment(r)
		s.payments.found(p.key(), p)
		return err
	})
	if err != nil {
		return err
	}
	return t.rows(ctx, t.db.dialect.loadAuthorized, wallets, func(r scanner) error {
		p, err := scanPayment(r)
		s.payments.found(p.key(), p)
		s.authorized[p.wallet] = append(s.authorized[p.wallet], p.key())
		return err
	})
}

func (t *sqlTransaction) loadWallets(ctx context.Context, s *state, n needs) error {
	d := t.db.dialect
	var keys, handles []any
	for _, k := range n.keys {
		s.byKey.loaded(k)
		keys = append(keys, hex.EncodeToString(k[:]))
	}
	for _, h := range n.handles {
		s.byHandle.loaded(h)
		handles = append(handles, h)
	}
	err := t.rows(ctx, d.loadWalletsByKey, keys, func(r scanner) error {
		var key []byte
		var name string
		if err := r.Scan(&key, &name); err != nil {
			return err
		}
		s.byKey.found([32]byte(key), name)
		return nil
	})
	if err != nil {
		return err
	}
	err = t.rows(ctx, d.loadWalletsByHandle, handles, func(r scanner) error {
		var handle, name string
		err := r.Scan(&handle, &name)
		s.byHandle.found(handle, name)
		return err
	})
	if err != nil {
		return err
	}
	var names []any
	for _, w := range s.accounts(n) {
		s.wallets.loaded(w)
		names = append(names, w)
	}
	type pointer struct {
		number int64
		digest evidence.Digest
	}
	heads := make(map[string]pointer)
	err = t.rows(ctx, d.loadWallets, names, func(r scanner) error {
		w, number, digest, err := scanWallet(r)
		if err != nil {
			return err
		}
		heads[w.name] = pointer{number, digest}
		s.wallets.found(w.name, w)
		return nil
	})
	if err != nil {
		return err
	}
	var missing []any
	for name, h := range heads {
		if head := t.db.heads.get(h.digest); head != nil {
			w := s.wallets.rows[name]
			w.head = head
			s.wallets.rows[name] = w
			continue
		}
		missing = append(missing, []any{name, h.number})
	}
	return t.rows(ctx, d.loadHeads, missing, func(r scanner) error {
		var name string
		var envelope []byte
		if err := r.Scan(&name, &envelope); err != nil {
			return err
		}
		head, err := t.db.heads.decode(envelope)
		if err != nil {
			return err
		}
		w := s.wallets.rows[name]
		if head.Digest != heads[name].digest {
			return fmt.Errorf("%s: the head is not the one that the wallet names", name)
		}
		w.head = head
		s.wallets.rows[name] = w
		return nil
	})
}

func (t *sqlTransaction) loadChains(ctx context.Context, s *state, n needs) error {
	d := t.db.dialect
	names := []any{installationChain}
	s.chains.loaded(installationChain)
	for _, w := range s.accounts(n) {
		s.chains.loaded(w)
		names = append(names, w)
	}
	err := t.rows(ctx, d.loadChains, names, func(r scanner) error {
		var name string
		var c chain
		err := r.Scan(&name, &c.number, &c.hash, &c.clockMillis, &c.open)
		s.chains.found(name, c)
		return err
	})
	if err != nil {
		return err
	}
	var keys []any
	for _, k := range n.hashes {
		s.hashes.loaded(k)
		if c := s.chains.rows[k.chain]; c.number == k.number && len(c.hash) == len(evidence.Digest{}) {
			s.hashes.found(k, evidence.Digest(c.hash)) // Nearly always: the agent has seen the newest.
			continue
		}
		keys = append(keys, []any{k.chain, k.number})
	}
	return t.rows(ctx, d.loadHashes, keys, func(r scanner) error {
		var k entryKey
		var hash []byte
		if err := r.Scan(&k.chain, &k.number, &hash); err != nil {
			return err
		}
		s.hashes.found(k, evidence.Digest(hash))
		return nil
	})
}

func (t *sqlTransaction) loadBalances(ctx context.Context, s *state, n needs) error {
	names := []any{redemption}
	for _, k := range s.assets(n) {
		s.balances.loaded(k)
	}
	for _, w := range s.accounts(n) {
		names = append(names, w)
	}
	err := t.rows(ctx, t.db.dialect.loadBalances, names, func(r scanner) error {
		var k balanceKey
		var b balance
		err := r.Scan(&k.account, &k.asset, &b.available, &b.held, &b.deficit)
		s.balances.found(k, b)
		return err
	})
	if err != nil {
		return err
	}
	var assets []any
	for _, a := range n.supply {
		s.supply.loaded(a)
		assets = append(assets, a)
	}
	return t.rows(ctx, t.db.dialect.loadSupply, assets, func(r scanner) error {
		var asset string
		var units int64
		err := r.Scan(&asset, &units)
		s.supply.found(asset, units)
		return err
	})
}

func (t *sqlTransaction) loadWindows(ctx context.Context, s *state, n needs) error {
	whole, single := s.windows(n)
	var ranges []any
	for _, r := range whole {
		s.covered[r] = true
		ranges = append(ranges, []any{r.wallet, r.unit, r.span, r.lo, r.hi})
	}
	for _, k := range single {
		s.sums.loaded(k)
		ranges = append(ranges, []any{k.wallet, k.unit, k.span, k.slot, k.slot + 1})
	}
	return t.rows(ctx, t.db.dialect.loadSums, ranges, func(r scanner) error {
		var k sumKey
		var sum guardrails.Sum
		err := r.Scan(&k.wallet, &k.unit, &k.span, &k.slot, &sum.Units, &sum.Count)
		s.sums.found(k, sum)
		return err
	})
}

func (t *sqlTransaction) loadFreezes(ctx context.Context, s *state, n needs) error {
	var keys []any
	sets := make(map[subject]freezes)
	for _, sub := range s.subjects(n) {
		sets[sub] = make(freezes)
		keys = append(keys, []any{int(sub.scope), sub.name})
	}
	err := t.rows(ctx, t.db.dialect.loadFreezes, keys, func(r scanner) error {
		var sub subject
		var id, caller string
		var createdMillis int64
		var envelope, signer []byte
		if err := r.Scan(&sub.scope, &sub.name, &id, &caller, &createdMillis, &envelope, &signer); err != nil {
			return err
		}
		row := sets[sub][id]
		if signer != nil { // An end, whether or not its freeze has arrived.
			row.signers = append(row.signers, signer)
			sets[sub][id] = row
			return nil
		}
		row.held, row.caller, row.createdMillis = true, caller, createdMillis
		var err error
		if envelope != nil {
			row.revocation, _, err = decodeRevocation(envelope)
		}
		sets[sub][id] = row
		return err
	})
	for sub, set := range sets {
		s.freezes.found(sub, set)
	}
	return err
}

// loadOnce loads what counts once, and whom an owner's keys are.
func (t *sqlTransaction) loadOnce(ctx context.Context, s *state, n needs) error {
	d := t.db.dialect
	var versions, keys, losses, deposits, redemptions, setTimes []any
	for _, k := range n.versions {
		s.versions.loaded(k)
		versions = append(versions, []any{k.wallet, k.digest.String()})
	}
	for _, k := range n.ownerKeys {
		s.ownerKeys.loaded(k)
		keys = append(keys, []any{k.owner, hex.EncodeToString(k.key[:])})
	}
	for _, k := range n.losses {
		if hash, ok := s.hashes.rows[entryKey{k.wallet, k.number}]; ok && hash == k.hash {
			continue // Nearly always: the ledger has what the agent has seen, so nobody asks whether its loss was accepted.
		}
		s.losses.loaded(k)
		losses = append(losses, []any{k.wallet, k.number, k.hash.String()})
	}
	for _, k := range n.deposits {
		s.deposits.loaded(k)
		deposits = append(deposits, k)
	}
	for _, k := range n.redemptions {
		s.redemptions.loaded(k)
		redemptions = append(redemptions, k)
	}
	for _, k := range n.setTimes {
		s.setTimes.loaded(k)
		setTimes = append(setTimes, []any{k.wallet, k.id})
	}
	return errors.Join(
		t.rows(ctx, d.loadVersions, versions, func(r scanner) error {
			var k versionKey
			var digest []byte
			var number int64
			if err := r.Scan(&k.wallet, &digest, &number); err != nil {
				return err
			}
			k.digest = evidence.Digest(digest)
			s.versions.found(k, number)
			return nil
		}),
		t.rows(ctx, d.loadOwnerKeys, keys, func(r scanner) error {
			var k ownerKey
			var key []byte
			if err := r.Scan(&k.owner, &key); err != nil {
				return err
			}
			k.key = [32]byte(key)
			s.ownerKeys.found(k, true)
			return nil
		}),
		t.rows(ctx, d.loadLosses, losses, func(r scanner) error {
			var k lossKey
			var hash []byte
			if err := r.Scan(&k.wallet, &k.number, &hash); err != nil {
				return err
			}
			k.hash = evidence.Digest(hash)
			s.losses.found(k, true)
			return nil
		}),
		t.rows(ctx, d.loadDeposits, deposits, func(r scanner) error {
			var id string
			var digest []byte
			var row deposit
			if err := r.Scan(&id, &digest, &row.wallet, &row.asset, &row.units); err != nil {
				return err
			}
			row.digest = evidence.Digest(digest)
			s.deposits.found(id, row)
			return nil
		}),
		t.rows(ctx, d.loadRedemptions, redemptions, func(r scanner) error {
			var name string
			var digest []byte
			var row redeemed
			if err := r.Scan(&name, &digest, &row.asset, &row.units); err != nil {
				return err
			}
			row.digest = evidence.Digest(digest)
			s.redemptions.found(name, row)
			return nil
		}),
		t.rows(ctx, d.loadSetTimes, setTimes, func(r scanner) error {
			var k setTimeKey
			var digest []byte
			if err := r.Scan(&k.wallet, &k.id, &digest); err != nil {
				return err
			}
			s.setTimes.found(k, evidence.Digest(digest))
			return nil
		}),
	)
}

func scanPayment(r scanner) (payment, error) {
	var p payment
	var recipient, review []byte
	var quarter, settledEntry, incoming sql.NullInt64
	var dead string
	err := r.Scan(&p.id, &p.wallet, &p.state, &p.intent, &p.message, &p.rail, &p.asset, &p.unit, &p.units, &recipient, &p.payee,
		&p.deadlineMillis, &p.expiryMillis, &quarter, &review, &p.light, &p.judgedEntry, &dead, &settledEntry, &incoming,
		&p.createdEntry, &p.createdMillis, &p.updatedMillis, &p.owner, &p.payeeOwner)
	if err != nil {
		return payment{}, err
	}
	p.recipient = [32]byte(recipient)
	p.quarter, p.settledEntry, p.incomingEntry = quarter.Int64, settledEntry.Int64, incoming.Int64
	if review != nil {
		p.review = new(typev1.Envelope)
		if err := proto.Unmarshal(review, p.review); err != nil {
			return payment{}, err
		}
	}
	if err := json.Unmarshal([]byte(dead), &p.deadEntries); err != nil {
		return payment{}, err
	}
	return p, nil
}

func scanWallet(r scanner, more ...any) (w wallet, number int64, digest evidence.Digest, err error) {
	var key, registration, record, head []byte
	if err := r.Scan(append([]any{&w.name, &w.handle, &key, &w.owner, &registration, &record, &number, &head}, more...)...); err != nil {
		return wallet{}, 0, digest, err
	}
	w.groupKey = [32]byte(key)
	w.registration, w.record = new(typev1.Envelope), new(typev1.Envelope)
	if err := proto.Unmarshal(registration, w.registration); err != nil {
		return wallet{}, 0, digest, err
	}
	if err := proto.Unmarshal(record, w.record); err != nil {
		return wallet{}, 0, digest, err
	}
	return w, number, evidence.Digest(head), nil
}
