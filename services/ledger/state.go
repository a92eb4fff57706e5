package ledger

import (
	"bytes"
	"fmt"
	"math"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/halfkey/halfkey/internal/chain/solanarpc"
	"github.com/halfkey/halfkey/internal/evidence"
	"github.com/halfkey/halfkey/internal/guardrails"
	"github.com/halfkey/halfkey/internal/resource"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// state is the rows of one batch: loaded before its operations are decided, changed by them in order, stored after them.
// It is values; it knows neither the database nor the callers.
type state struct {
	installation *evidence.Installation
	// nowMillis is the one clock reading of the batch.
	nowMillis int64

	wallets     table[string, wallet]
	byKey       table[[32]byte, string]
	byHandle    table[string, string]
	versions    table[versionKey, int64]
	chains      table[string, chain]
	payments    table[paymentKey, payment]
	balances    table[balanceKey, balance]
	supply      table[string, int64]
	freezes     table[subject, freezes]
	ownerKeys   table[ownerKey, bool]
	hashes      table[entryKey, evidence.Digest]
	losses      table[lossKey, bool]
	deposits    table[string, deposit]
	redemptions table[string, redeemed]
	setTimes    table[setTimeKey, evidence.Digest]
	paid        table[paidKey, paid]
	messages    table[messageKey, chainMessage]
	cursors     table[balanceKey, solanarpc.Cursor]
	authorized  map[string][]paymentKey // A wallet's AUTHORIZED payments, where an operation asked for all.

	sums    table[sumKey, guardrails.Sum]
	covered map[sumRange]bool

	entries      []*draft
	changes      []paymentChange
	newFreezes   []newFreeze
	newUnfreezes []newUnfreeze

	// shadows is the history of each report of the batch; newShadows are recorded, and toldShadows what their callers are told.
	shadows     map[*shadowReport]shadowHistory
	newShadows  []shadowPayment
	toldShadows []*typev1.ShadowPayment

	undo []func()
}

func newState(i *evidence.Installation, now time.Time) *state {
	return &state{
		installation: i,
		nowMillis:    now.UnixMilli(),
		authorized:   make(map[string][]paymentKey),
		covered:      make(map[sumRange]bool),
		shadows:      make(map[*shadowReport]shadowHistory),
	}
}

// table holds rows of one kind. A row that was not loaded is a defect of the operation's needs, and reading it as absent
// could open a limit: so it panics, and the operation fails alone, with nothing moved.
type table[K comparable, V any] struct {
	rows  map[K]V
	known map[K]bool
	dirty map[K]bool
}

// loaded notes that a row was looked for.
func (t *table[K, V]) loaded(k K) {
	if t.known == nil {
		t.known = make(map[K]bool)
	}
	t.known[k] = true
}

// found notes what a row holds.
func (t *table[K, V]) found(k K, v V) {
	t.loaded(k)
	if t.rows == nil {
		t.rows = make(map[K]V)
	}
	t.rows[k] = v
}

func (t *table[K, V]) get(k K) (V, bool) {
	if !t.known[k] {
		panic(fmt.Sprintf("ledger: %T was not loaded", k))
	}
	v, ok := t.rows[k]
	return v, ok
}

// value is get where a row that does not exist is as good as its zero.
func (t *table[K, V]) value(k K) V {
	v, _ := t.get(k)
	return v
}

func (t *table[K, V]) put(s *state, k K, v V) {
	old, had := t.get(k)
	wasDirty := t.dirty[k]
	s.undo = append(s.undo, func() {
		if had {
			t.rows[k] = old
		} else {
			delete(t.rows, k)
		}
		if !wasDirty {
			delete(t.dirty, k)
		}
	})
	if t.rows == nil {
		t.rows = make(map[K]V)
	}
	if t.dirty == nil {
		t.dirty = make(map[K]bool)
	}
	t.rows[k], t.dirty[k] = v, true
}

// keep makes what an operation has changed so far stand, also if it is refused afterwards: what ends by the ledger's time
// ends whatever the call that noticed it wants.
func (s *state) keep() { s.undo = s.undo[:0] }

// rollback takes back what was changed since the last keep.
func (s *state) rollback() {
	for _, u := range slices.Backward(s.undo) {
		u()
	}
	s.undo = s.undo[:0]
}

// time is a wallet's time: it only moves forward. behind says that the clock is so far behind the wallet's row that nothing
// but a freeze is decided.
func (s *state) time(chainName string) (millis int64, behind bool) {
	row := s.chains.value(chainName).clockMillis
	return max(row, s.nowMillis), row-s.nowMillis > evidence.Tolerance.Milliseconds()
}

// draft is an entry to be appended. Its number is known at once; its predecessor's hash, the ledger's own statement in it
// and its own hash are filled in when the whole batch is decided (seal).
type draft struct {
	chain string
	entry *typev1.Entry
	// own is the ledger's statement that the entry holds, if any.
	own proto.Message
	// same is an entry whose statement this one holds too.
	same *draft

	bytes []byte
	hash  evidence.Digest
}

// number is the entry's.
func (d *draft) number() int64 { return int64(d.entry.GetNumber()) }

// statement is the ledger's own statement in the entry, after the batch was sealed.
func (d *draft) statement() *typev1.Envelope {
	if d.own == nil || len(d.entry.GetStatements()) == 0 {
		return nil
	}
	return d.entry.GetStatements()[0]
}

// append adds an entry to a journal at a time and moves the journal's time to it.
func (s *state) append(d *draft, at int64) *draft {
	c := s.chains.value(d.chain)
	c.number++
	c.clockMillis = max(c.clockMillis, at)
	d.entry.Installation = s.installation.ID()
	d.entry.Wallet = d.chain
	d.entry.Number = uint64(c.number)
	d.entry.TimeMillis = c.clockMillis
	if asset := d.entry.GetAsset(); asset != "" {
		b := s.balances.value(balanceKey{d.chain, asset})
		d.entry.Available, d.entry.Held = resource.FormatUnits(b.available), resource.FormatUnits(b.held)
	}
	s.chains.put(s, d.chain, c)
	n := len(s.entries)
	s.entries = append(s.entries, d)
	s.undo = append(s.undo, func() { s.entries = s.entries[:n] })
	return d
}

// note records that a payment's state changed, with the entry that says so.
func (s *state) note(p payment, d *draft) {
	s.addChange(paymentChange{p.owner, p.wallet, d.number(), p.key(), p.state, p.judgedEntry, false})
}

// noteIncoming records that a payment has settled to its payee, with the entry in the payee's journal.
func (s *state) noteIncoming(p payment, d *draft) {
	s.addChange(paymentChange{p.payeeOwner, p.payee, d.number(), p.key(), p.state, p.judgedEntry, true})
}

func (s *state) addChange(c paymentChange) {
	n := len(s.changes)
	s.changes = append(s.changes, c)
	s.undo = append(s.undo, func() { s.changes = s.changes[:n] })
}

// addOpen counts a wallet's payments that have not ended.
func (s *state) addOpen(walletName string, n int64) {
	c := s.chains.value(walletName)
	c.open += n
	s.chains.put(s, walletName, c)
}

// Windows. The ledger keeps sums by quarter hour, by day of 96 of them, and ever, so that a year's window is a few hundred
// rows and not 35,000.

const (
	spanQuarter = 0
	spanDay     = 1
	spanEver    = 2
	// dayQuarters is how many quarter hours a UTC day has.
	dayQuarters = 96
)

type sumKey struct {
	wallet, unit string
	span         uint8
	slot         int64
}

// sumRange is the slots from lo to before hi.
type sumRange struct {
	wallet, unit string
	span         uint8
	lo, hi       int64
}

// slots are the three rows that a payment counted in a quarter hour stands in.
func slots(walletName, unit string, quarter int64) [3]sumKey {
	return [3]sumKey{
		{walletName, unit, spanQuarter, quarter},
		{walletName, unit, spanDay, floorDiv(quarter, dayQuarters)},
		{walletName, unit, spanEver, 0},
	}
}

// ranges are the rows whose sum a window is: whole days where it has them, quarter hours at its ends.
func ranges(walletName, unit string, w guardrails.Span) []sumRange {
	if w.From.IsZero() {
		return []sumRange{{walletName, unit, spanEver, 0, 1}}
	}
	from, to := guardrails.Quarter(w.From), guardrails.Quarter(w.To)
	first, last := -floorDiv(-from, dayQuarters), floorDiv(to, dayQuarters)
	if first > last {
		return []sumRange{{walletName, unit, spanQuarter, from, to}}
	}
	var out []sumRange
	for _, r := range []sumRange{
		{walletName, unit, spanQuarter, from, first * dayQuarters},
		{walletName, unit, spanDay, first, last},
		{walletName, unit, spanQuarter, last * dayQuarters, to},
	} {
		if r.lo < r.hi {
			out = append(out, r)
		}
	}
	return out
}

func floorDiv(a, b int64) int64 {
	q := a / b
	if a%b != 0 && (a < 0) != (b < 0) {
		q--
	}
	return q
}

// sum adds up a window without one payment, if that is counted already. What does not fit stays at the largest number, which
// every limit but none finds crossed.
func (s *state) sum(walletName, unit string, w guardrails.Span, without *payment) guardrails.Sum {
	var total guardrails.Sum
	for _, r := range ranges(walletName, unit, w) {
		if !s.covered[r] {
			panic("ledger: a window was not loaded")
		}
		for slot := r.lo; slot < r.hi; slot++ {
			row := s.sums.rows[sumKey{r.wallet, r.unit, r.span, slot}]
			total.Units = saturated(total.Units, row.Units)
			total.Count = saturated(total.Count, row.Count)
		}
		if without != nil && without.counted() && without.unit == unit && r.holds(without.quarter) {
			total.Units -= without.units
			total.Count--
		}
	}
	return total
}

// holds reports whether a payment of this quarter hour is counted in the range.
func (r sumRange) holds(quarter int64) bool {
	for _, k := range slots(r.wallet, r.unit, quarter) {
		if k.span == r.span {
			return k.slot >= r.lo && k.slot < r.hi
		}
	}
	return false
}

// count adds a payment to the windows (sign 1) or takes it out again (sign -1), in the quarter hour that it names. It
// reports whether the sums still fit their numbers.
func (s *state) count(p payment, sign int64) bool {
	for _, k := range slots(p.wallet, p.unit, p.quarter) {
		row := s.sums.value(k)
		units, ok := added(row.Units, sign*p.units)
		if !ok || units < 0 || row.Count+sign < 0 {
			return false
		}
		s.sums.put(s, k, guardrails.Sum{Units: units, Count: row.Count + sign})
	}
	return true
}

// move changes a balance. What becomes available makes good a deficit first. It reports whether the numbers stay from 0 to 2^63-1.
func (s *state) move(k balanceKey, available, held int64) bool {
	b := s.balances.value(k)
	owed := max(0, min(b.deficit, available))
	b.deficit -= owed
	a, aOK := added(b.available, available-owed)
	h, hOK := added(b.held, held)
	if !aOK || !hOK || a < 0 || h < 0 {
		return false
	}
	b.available, b.held = a, h
	s.balances.put(s, k, b)
	return true
}

// leave takes units out of a balance that have left it on a chain past the ledger. What was not available is a deficit. It reports
// whether the numbers stay from 0 to 2^63-1.
func (s *state) leave(k balanceKey, units int64) bool {
	b := s.balances.value(k)
	missing := max(0, units-b.available)
	deficit, ok := added(b.deficit, missing)
	if !ok && missing != 0 || units < 0 {
		return false
	}
	b.available, b.deficit = b.available-(units-missing), deficit
	s.balances.put(s, k, b)
	return true
}

func added(a, b int64) (sum int64, ok bool) {
	sum = a + b
	return sum, (sum > a) == (b > 0)
}

func saturated(a, b int64) int64 {
	if sum, ok := added(a, b); ok {
		return sum
	}
	return math.MaxInt64
}

// frozen says which freeze stops a wallet, if any: the installation's, its owner's, or its own. The end of its owner's
// freeze counts only under the owner keys of its own head; who signed the end of the others was checked when it came.
func (s *state) frozen(w wallet) (by subject, id string, is bool) {
	installation, own := subject{typev1.Scope_SCOPE_INSTALLATION, ""}, subject{typev1.Scope_SCOPE_WALLET, w.name}
	owners := subject{typev1.Scope_SCOPE_OWNER, w.owner}
	if id, is := s.freezes.value(installation).inForce(freeze.ended); is {
		return installation, id, true
	}
	keys := w.head.Document.GetOwnerKeys()
	if id, is := s.freezes.value(owners).inForce(func(f freeze) bool { return f.endedUnder(keys) }); is {
		return owners, id, true
	}
	if id, is := s.freezes.value(own).inForce(freeze.ended); is {
		return own, id, true
	}
	return subject{}, "", false
}

// checkTakes refuses what would bring money to a wallet whose agent was revoked: nobody can pay it out again before the wallet
// was taken over, and after it was given up nobody ever can.
func (s *state) checkTakes(account string) *refusal {
	if account == redemption {
		return nil
	}
	own := s.freezes.value(subject{typev1.Scope_SCOPE_WALLET, account})
	if id, is := own.inForce(func(f freeze) bool { return f.revocation == nil || f.ended() }); is {
		return refuseRevoked(account, id)
	}
	return nil
}

// checkSigner refuses what an agent signed that was revoked since, also when its revocation has ended. Whoever took the wallet over
// may repeat the payment: that authorizes it after the revocation. A revocation from the future is one from before the wallet's time
// was set back, which left no authorized payment of the book.
func (s *state) checkSigner(p payment, at int64) *refusal {
	for id, f := range s.freezes.value(subject{typev1.Scope_SCOPE_WALLET, p.wallet}) {
		if f.revocation != nil && p.updatedMillis < f.createdMillis && f.createdMillis <= at {
			return refuse(typev1.Reason_REASON_REVOKED, "the agent was revoked after it signed this", "wallet", p.wallet, "freeze_id", id)
		}
	}
	return nil
}

// inForce says which freeze has not ended, the first by id.
func (f freezes) inForce(ended func(freeze) bool) (id string, is bool) {
	for candidate, row := range f {
		if row.held && !ended(row) && (!is || candidate < id) {
			id, is = candidate, true
		}
	}
	return id, is
}

// ended reports whether the freeze has an end, whoever signed it.
func (f freeze) ended() bool { return len(f.signers) > 0 }

// endedUnder reports whether the freeze has an end under one of keys.
func (f freeze) endedUnder(keys [][]byte) bool {
	return slices.ContainsFunc(f.signers, func(signer []byte) bool {
		return slices.ContainsFunc(keys, func(k []byte) bool { return bytes.Equal(k, signer) })
	})
}
