package ledger

import (
	"cmp"
	"context"
	"crypto"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/halfkey/halfkey/internal/evidence"
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
	reserve      *reserve
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
		d.loadChains, d.loadHashes, d.loadBalances, d.loadSupply, d.loadSums, d.loadFreezes, d.loadOwnerKeys,
		d.loadLosses, d.loadDeposits, d.loadRedemptions, d.loadSetTimes, d.loadPaid,
		d.loadShadow, d.loadShadowDay, d.loadShadowSum, d.loadShadowPrice, d.loadShadowRecipient, d.putShadow, d.dropShadows,
		d.putWallet, d.putVersion, d.dropOwnerKeys, d.putOwnerKey, d.putChain, d.putEntry, d.putBalance, d.putSupply, d.putSum,
		d.loadMessages, d.loadCursors, d.putMessage, d.putCursor,
		d.putPayment, d.putChange, d.putFreeze, d.putUnfreeze, d.putLoss, d.putDeposit, d.putRedemption, d.putSetTime, d.putPaid,
	} {
		stmt, err := s.writer.PrepareContext(ctx, text) //nolint:sqlclosecheck // Kept; unprepare closes it.
		if err != nil {
			return fmt.Errorf("prepare %.40q: %w", text, err)
		}
		s.writing[text] = stmt
	}
	for _, text := range []string{
		d.readPayment, d.readPayments, d.readOwnerPayments, d.readIncoming, d.readOwnerIncoming, d.readReviews,
		d.readSums, d.readFirstSum, d.readSpent, d.readOwnerSpent,
		d.readChanges, d.readOwnerChanges, d.readChangeHash, d.readLastChange,
		d.readEntryHash, d.readEntry, d.readEntries, d.readTip, d.readVersionsFrom,
		d.readBalances, d.readPin, d.readListedFreezes, d.readEnds, d.readVersion, d.readDue, d.readShadows, d.readOwnerShadows,
		d.readLiveMessages, d.readCursor, d.readCursors, d.readUnresolved, d.readOwnerUnresolved, d.readWallets,
	} {
		stmt, err := s.reader.PrepareContext(ctx, text) //nolint:sqlclosecheck // Kept; unprepare closes it.
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
		if err := exec(d.putBalance, k.account, k.asset, b.available, b.held, b.deficit); err != nil {
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
	for _, k := range dirty(s.paid, comparePaid) {
		row := s.paid.rows[k]
		if err := exec(d.putPaid, k.wallet, k.what, row.recipient[:], row.unit, row.units); err != nil {
			return fmt.Errorf("store what was paid for: %w", err)
		}
	}
	for _, c := range s.changes {
		err := exec(d.putChange, c.owner, c.wallet, c.entry, c.payment.wallet, c.payment.id, int(c.state), c.judgedEntry, c.incoming)
		if err != nil {
			return fmt.Errorf("store change: %w", err)
		}
	}
	if err := t.putChain(s, exec); err != nil {
		return err
	}
	if err := t.putShadows(s, exec); err != nil {
		return err
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
	return exec(d.putPayment, p.id, p.wallet, int(p.state), p.intent, p.message, int(p.rail), p.asset, p.unit, p.units, p.recipient[:],
		p.payee, p.deadlineMillis, p.expiryMillis, optional(p.quarter, p.counted()), review, int(p.light), p.judgedEntry, string(dead),
		optional(p.settledEntry, p.settledEntry > 0), optional(p.incomingEntry, p.incomingEntry > 0),
		p.createdEntry, p.createdMillis, p.updatedMillis, p.owner, p.payeeOwner, optional(p.dueMillis(), p.open()))
}

func (t *sqlTransaction) putOnce(s *state, exec func(string, ...any) error) error {
	d := t.db.dialect
	for _, f := range s.newFreezes {
		var revocation []byte
		if f.revocation != nil {
			var err error
			if revocation, err = proto.Marshal(f.revocation); err != nil {
				return err
			}
		}
		if err := exec(d.putFreeze, int(f.subject.scope), f.subject.name, f.id, f.caller, f.createdMillis, revocation); err != nil {
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
func (s *state) changed() bool {
	return len(s.entries) > 0 || len(s.wallets.dirty) > 0 || len(s.newShadows) > 0 || len(s.messages.dirty) > 0 || len(s.cursors.dirty) > 0
}

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
