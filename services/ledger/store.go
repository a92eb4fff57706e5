package ledger

import (
	"cmp"
	"context"
	"crypto"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/halfkey/halfkey/internal/evidence"
	"github.com/halfkey/halfkey/internal/guardrails"
	"github.com/halfkey/halfkey/internal/resource"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// store is the database: one writing connection, and a pool of reading ones.
type store struct {
	dialect      dialect
	installation *evidence.Installation
	key          crypto.Signer
	clock        func() time.Time
	constraint   func(error) bool // Whether an error is a constraint's.
	close        func() error

	writer  *sql.Conn
	writing map[string]*sql.Stmt // Prepared on writer; only the combiner uses it.
	reader  *sql.DB
	reading map[string]*sql.Stmt
	heads   heads
}

// prepare prepares every statement once.
func (s *store) prepare(ctx context.Context) error {
	d := s.dialect
	s.writing, s.reading = make(map[string]*sql.Stmt), make(map[string]*sql.Stmt)
	for _, text := range []string{
		d.loadPayments, d.loadAuthorized, d.loadWallets, d.loadWalletsByKey, d.loadWalletsByHandle, d.loadHeads, d.loadVersions,
		d.loadChains, d.loadHashes, d.loadBalances, d.loadSupply, d.loadSums, d.loadSlots, d.loadFreezes, d.loadUnfreezes, d.loadOwnerKeys,
		d.loadLosses, d.loadDeposits, d.loadRedemptions, d.loadSetTimes,
		d.putWallet, d.putVersion, d.dropOwnerKeys, d.putOwnerKey, d.putChain, d.putEntry, d.putBalance, d.putSupply, d.putSum,
		d.putPayment, d.putFreeze, d.putUnfreeze, d.putLoss, d.putDeposit, d.putRedemption, d.putSetTime,
	} {
		stmt, err := s.writer.PrepareContext(ctx, text)
		if err != nil {
			return fmt.Errorf("prepare %.40q: %w", text, err)
		}
		s.writing[text] = stmt
	}
	for _, text := range []string{
		d.readPayment, d.readPayments, d.readIncoming, d.readReviews, d.readEntry, d.readEntries, d.readTip, d.readVersionsFrom,
		d.readBalances, d.readPin, d.readListedFreezes, d.readEnds, d.readVersion, d.readDue,
	} {
		stmt, err := s.reader.PrepareContext(ctx, text)
		if err != nil {
			return fmt.Errorf("prepare %.40q: %w", text, err)
		}
		s.reading[text] = stmt
	}
	return nil
}

// unprepare closes every statement.
func (s *store) unprepare() error {
	var errs []error
	for _, statements := range []map[string]*sql.Stmt{s.writing, s.reading} {
		for _, stmt := range statements {
			errs = append(errs, stmt.Close())
		}
	}
	return errors.Join(errs...)
}

// begin starts a transaction and loads a batch's rows, in one order: payments, wallets, heads, chains, balances, windows,
// freezes, the rest.
func (s *store) begin(ctx context.Context, n needs) (transaction, error) {
	if _, err := s.writer.ExecContext(ctx, s.dialect.begin); err != nil {
		return nil, fmt.Errorf("begin: %w", err)
	}
	tx := &sqlTransaction{db: s, values: newState(s.installation, s.clock())}
	if err := tx.load(ctx, n); err != nil {
		tx.rollback()
		return nil, fmt.Errorf("load: %w", err)
	}
	return tx, nil
}

type sqlTransaction struct {
	db     *store
	values *state
	ended  bool
}

func (t *sqlTransaction) state() *state { return t.values }

func (t *sqlTransaction) commit(ctx context.Context) error {
	_, err := t.db.writer.ExecContext(ctx, "COMMIT")
	if err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	t.ended = true
	return nil
}

func (t *sqlTransaction) rollback() {
	if t.ended {
		return
	}
	t.ended = true
	// A failure means that the engine has rolled back by itself; either way nothing of it is stored.
	_, _ = t.db.writer.ExecContext(context.Background(), "ROLLBACK")
}

func (t *sqlTransaction) load(ctx context.Context, n needs) error {
	s := t.values
	for _, step := range []func(context.Context, *state, needs) error{
		t.loadPayments, t.loadWallets, t.loadChains, t.loadBalances, t.loadWindows, t.loadFreezes, t.loadOnce,
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
	asset := s.installation.BookUSD()
	names := []any{redemption}
	s.balances.loaded(balanceKey{redemption, asset})
	for _, w := range s.accounts(n) {
		s.balances.loaded(balanceKey{w, asset})
		names = append(names, w)
	}
	err := t.rows(ctx, t.db.dialect.loadBalances, names, func(r scanner) error {
		var k balanceKey
		var b balance
		err := r.Scan(&k.account, &k.asset, &b.available, &b.held)
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
	var ranges, slots []any
	for _, r := range whole {
		s.covered[r] = true
		ranges = append(ranges, []any{r.wallet, r.unit, r.span, r.lo, r.hi})
	}
	for _, k := range single {
		s.sums.loaded(k)
		slots = append(slots, []any{k.wallet, k.unit, k.span, k.slot})
	}
	scan := func(r scanner) error {
		var k sumKey
		var sum guardrails.Sum
		err := r.Scan(&k.wallet, &k.unit, &k.span, &k.slot, &sum.Units, &sum.Count)
		s.sums.found(k, sum)
		return err
	}
	if err := t.rows(ctx, t.db.dialect.loadSums, ranges, scan); err != nil {
		return err
	}
	return t.rows(ctx, t.db.dialect.loadSlots, slots, scan)
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
		var id string
		row := freeze{held: true}
		if err := r.Scan(&sub.scope, &sub.name, &id, &row.caller, &row.createdMillis); err != nil {
			return err
		}
		sets[sub][id] = row
		return nil
	})
	if err != nil {
		return err
	}
	err = t.rows(ctx, t.db.dialect.loadUnfreezes, keys, func(r scanner) error {
		var sub subject
		var id string
		var signer []byte
		if err := r.Scan(&sub.scope, &sub.name, &id, &signer); err != nil {
			return err
		}
		row := sets[sub][id]
		row.signers = append(row.signers, signer)
		sets[sub][id] = row
		return nil
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
		&p.createdEntry, &p.createdMillis, &p.updatedMillis)
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

// store writes what a batch changed, in one order.
func (t *sqlTransaction) store(ctx context.Context) error {
	err := t.values.seal(t.db.key)
	if err == nil {
		err = t.put(ctx)
	}
	if err != nil && t.db.constraint(err) {
		return &batchError{splits: true, err: err}
	}
	return err
}

func (t *sqlTransaction) put(ctx context.Context) error {
	s, d := t.values, t.db.dialect
	exec := func(text string, args ...any) error {
		_, err := t.db.writing[text].ExecContext(ctx, args...)
		return err
	}
	for _, name := range dirty(s.wallets, cmp.Compare[string]) {
		if err := t.putWallet(s, s.wallets.rows[name], exec); err != nil {
			return fmt.Errorf("store wallet: %w", err)
		}
	}
	for _, name := range dirty(s.chains, cmp.Compare[string]) {
		c := s.chains.rows[name]
		if err := exec(d.putChain, name, c.number, c.hash, c.clockMillis, c.open); err != nil {
			return fmt.Errorf("store chain: %w", err)
		}
	}
	for _, e := range s.entries {
		if err := exec(d.putEntry, e.chain, e.number(), e.hash[:], e.bytes); err != nil {
			return fmt.Errorf("store entry: %w", err)
		}
	}
	for _, k := range dirty(s.balances, compareBalance) {
		b := s.balances.rows[k]
		if err := exec(d.putBalance, k.account, k.asset, b.available, b.held); err != nil {
			return fmt.Errorf("store balance: %w", err)
		}
	}
	for _, asset := range dirty(s.supply, cmp.Compare[string]) {
		if err := exec(d.putSupply, asset, s.supply.rows[asset]); err != nil {
			return fmt.Errorf("store supply: %w", err)
		}
	}
	for _, k := range dirty(s.sums, compareSum) {
		sum := s.sums.rows[k]
		if err := exec(d.putSum, k.wallet, k.unit, k.span, k.slot, sum.Units, sum.Count); err != nil {
			return fmt.Errorf("store window: %w", err)
		}
	}
	for _, k := range dirty(s.payments, comparePayment) {
		if err := putPayment(d, s.payments.rows[k], exec); err != nil {
			return fmt.Errorf("store payment: %w", err)
		}
	}
	return t.putOnce(s, exec)
}

func (t *sqlTransaction) putWallet(s *state, w wallet, exec func(string, ...any) error) error {
	d := t.db.dialect
	registration, err := proto.Marshal(w.registration)
	if err != nil {
		return err
	}
	record, err := proto.Marshal(w.record)
	if err != nil {
		return err
	}
	number := int64(w.head.Document.GetNumber())
	if err := exec(d.putWallet, w.name, w.handle, w.groupKey[:], w.owner, registration, record, number, w.head.Digest[:]); err != nil {
		return err
	}
	if !s.versions.dirty[versionKey{w.name, w.head.Digest}] {
		return nil
	}
	envelope, err := proto.Marshal(w.head.Envelope)
	if err != nil {
		return err
	}
	if err := exec(d.putVersion, w.name, number, w.head.Digest[:], envelope); err != nil {
		return err
	}
	if err := exec(d.dropOwnerKeys, w.name); err != nil {
		return err
	}
	for _, k := range w.head.Document.GetOwnerKeys() {
		if err := exec(d.putOwnerKey, w.name, k, w.owner); err != nil {
			return err
		}
	}
	return nil
}

func putPayment(d dialect, p payment, exec func(string, ...any) error) error {
	var review []byte
	if p.review != nil {
		var err error
		if review, err = proto.Marshal(p.review); err != nil {
			return err
		}
	}
	dead, err := json.Marshal(p.deadEntries)
	if err != nil {
		return err
	}
	optional := func(v int64, is bool) any {
		if !is {
			return nil
		}
		return v
	}
	return exec(d.putPayment, p.id, p.wallet, int(p.state), p.intent, p.message, int(p.rail), p.asset, p.unit, p.units, p.recipient[:], p.payee,
		p.deadlineMillis, p.expiryMillis, optional(p.quarter, p.counted()), review, int(p.light), p.judgedEntry, string(dead),
		optional(p.settledEntry, p.settledEntry > 0), optional(p.incomingEntry, p.incomingEntry > 0),
		p.createdEntry, p.createdMillis, p.updatedMillis, optional(p.dueMillis(), p.open()))
}

func (t *sqlTransaction) putOnce(s *state, exec func(string, ...any) error) error {
	d := t.db.dialect
	for _, f := range s.newFreezes {
		if err := exec(d.putFreeze, int(f.subject.scope), f.subject.name, f.id, f.caller, f.createdMillis); err != nil {
			return fmt.Errorf("store freeze: %w", err)
		}
	}
	for _, u := range s.newUnfreezes {
		envelope, err := proto.Marshal(u.envelope)
		if err != nil {
			return err
		}
		if err := exec(d.putUnfreeze, int(u.subject.scope), u.subject.name, u.id, u.signer, envelope); err != nil {
			return fmt.Errorf("store unfreeze: %w", err)
		}
	}
	for k := range s.losses.dirty {
		if err := exec(d.putLoss, k.wallet, k.number, k.hash[:]); err != nil {
			return fmt.Errorf("store loss: %w", err)
		}
	}
	for id := range s.deposits.dirty {
		r := s.deposits.rows[id]
		if err := exec(d.putDeposit, id, r.digest[:], r.wallet, r.asset, r.units); err != nil {
			return fmt.Errorf("store deposit: %w", err)
		}
	}
	for name := range s.redemptions.dirty {
		r := s.redemptions.rows[name]
		if err := exec(d.putRedemption, name, r.digest[:], r.asset, r.units); err != nil {
			return fmt.Errorf("store redemption: %w", err)
		}
	}
	for k := range s.setTimes.dirty {
		digest := s.setTimes.rows[k]
		if err := exec(d.putSetTime, k.wallet, k.id, digest[:]); err != nil {
			return fmt.Errorf("store time: %w", err)
		}
	}
	return nil
}

// dirty lists a table's changed rows in one order, so that a batch's writes are the same each time it is run.
func dirty[K comparable, V any](t table[K, V], compare func(a, b K) int) []K {
	return slices.SortedFunc(maps.Keys(t.dirty), compare)
}

func compareBalance(a, b balanceKey) int {
	return cmp.Or(cmp.Compare(a.account, b.account), cmp.Compare(a.asset, b.asset))
}

func compareSum(a, b sumKey) int {
	return cmp.Or(cmp.Compare(a.wallet, b.wallet), cmp.Compare(a.unit, b.unit), cmp.Compare(a.span, b.span), cmp.Compare(a.slot, b.slot))
}

func comparePayment(a, b paymentKey) int {
	return cmp.Or(cmp.Compare(a.id, b.id), cmp.Compare(a.wallet, b.wallet))
}

// changed reports whether there is anything to store.
func (s *state) changed() bool { return len(s.entries) > 0 || len(s.wallets.dirty) > 0 }

// headsMax bounds decoded documents in memory; beyond it the memory is dropped whole.
const headsMax = 4096

// heads keeps decoded guard rails by their digest, which names exactly one content.
type heads struct {
	mu       sync.Mutex
	byDigest map[evidence.Digest]*evidence.Head
}

func (h *heads) get(d evidence.Digest) *evidence.Head {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.byDigest[d]
}

func (h *heads) decode(envelope []byte) (*evidence.Head, error) {
	e := new(typev1.Envelope)
	if err := proto.Unmarshal(envelope, e); err != nil {
		return nil, err
	}
	head, err := evidence.NewHead(e)
	if err != nil {
		return nil, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.byDigest == nil || len(h.byDigest) >= headsMax {
		h.byDigest = make(map[evidence.Digest]*evidence.Head)
	}
	h.byDigest[head.Digest] = head
	return head, nil
}

// unitOf is the unit of account of an asset.
func unitOf(i *evidence.Installation, asset string) string {
	unit, _, _ := resource.UnitOf(asset, i.ID())
	return unit
}
