package client

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/halfkey/halfkey/internal/evidence"
	"github.com/halfkey/halfkey/internal/guardrails"
	"github.com/halfkey/halfkey/internal/resource"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// JournalReport is what a verified journal proves.
type JournalReport struct {
	// Wallet is `wallets/{wallet}`, Handle the agent's handle, GroupKey the wallet's key.
	Wallet, Handle string
	GroupKey       [32]byte
	// Entries is how many entries were verified.
	Entries uint64
	// Payments is how many payments of the wallet it holds, by their last state.
	Payments map[typev1.PaymentState]int
	// Incoming is how many payments came in.
	Incoming int
	// Balances are by asset, replayed from the first entry.
	Balances map[string]Balance
	// Outflows are what left on a chain without a payment of the ledger's, in the order of their entries. The journal is none the worse
	// for them: it says so. Their owner has to know whose doing they are.
	Outflows []Outflow
	// GuardRails is the number of the version in force.
	GuardRails uint64
	// Frozen are the ids of the wallet's own freezes that have not ended. An owner's and the installation's are in the
	// installation's journal.
	Frozen []string
}

// VerifyJournal verifies a wallet's journal from its first entry on: the hash chain and the ledger's signed head; that each
// version of the guard rails follows from the one before; the signature of every statement under the keys in force at its
// entry; every judgement, judged again from the guard rails and the windows that the journal itself adds up to; that each
// payment took only the steps it may take, and settled by the group key's signature over its pinned message, on a chain by the
// transaction that carries it; and the balances, replayed. It names the first entry that does not verify.
//
// Statements under a service's retired key count, because the head that holds them is signed under the current one. earlier
// are the installation files before i, newest last, each named by its successor: their operator keys count as well.
//
// What it cannot see: freezes of an owner or of the installation, and whether anything happened that the ledger never wrote
// down. Nor does it ask a chain: that tokens came in there, and that a message never landed, is the ledger's word. An agent's store
// notes the newest entry that it was shown: Journal.Report holds a journal to that too.
func VerifyJournal(i *evidence.Installation, wallet string, entries [][]byte, head *typev1.Envelope, earlier ...*evidence.Installation) (*JournalReport, error) {
	return (&Journal{Wallet: wallet, Entries: entries, Head: head}).Report(i, earlier...)
}

// JournalVerifier is VerifyJournal entry by entry, so that nobody has to hold a long journal: it keeps what the payments and
// windows so far add up to.
type JournalVerifier struct {
	links chain
	a     *audit
	err   error

	seen     uint64
	seenHash []byte
	held     bool // The entry that was seen is in the journal, or its loss accepted.
}

// NewJournalVerifier begins before a wallet's first entry.
func NewJournalVerifier(i *evidence.Installation, wallet string, earlier ...*evidence.Installation) (*JournalVerifier, error) {
	operators, err := operatorKeys(i, earlier)
	if err != nil {
		return nil, &JournalError{Err: err}
	}
	return &JournalVerifier{held: true, links: chain{i: i, wallet: wallet}, a: &audit{
		i: i, wallet: wallet, operators: operators, payments: make(map[string]*auditedPayment), incoming: make(map[string]bool),
		balances: make(map[string]Balance), deposits: make(map[string]bool), windows: make(map[string]*counted),
		paid: make(map[string]guardrails.Paid), freezes: make(map[string]bool), revoked: make(map[string]*typev1.Revocation),
		pinned: make(map[evidence.Digest]bool), landed: make(map[landing]bool),
	}}, nil
}

// Entry verifies the next entry and returns it. After an error there is no next one.
func (v *JournalVerifier) Entry(b []byte) (*typev1.Entry, error) {
	if v.err != nil {
		return nil, v.err
	}
	e, err := v.links.entry(b)
	if err == nil {
		if refused := v.a.entry(e); refused != nil {
			err = &JournalError{e.GetNumber(), refused}
		}
	}
	v.err = err
	if err == nil {
		v.held = v.held || e.GetNumber() == v.seen && bytes.Equal(v.links.previous, v.seenHash) || v.accepts(e)
	}
	return e, err
}

// Seen holds the journal to an entry that a store has seen, before the first Entry. 0 is none.
func (v *JournalVerifier) Seen(entry uint64, hash []byte) {
	v.seen, v.seenHash, v.held = entry, hash, entry == 0
}

// accepts says whether an entry, which was verified, accepts the loss of the one that was seen.
func (v *JournalVerifier) accepts(e *typev1.Entry) bool {
	if e.GetKind() != typev1.EntryKind_ENTRY_KIND_ACCEPT_LOSS || v.seen == 0 {
		return false
	}
	loss := new(typev1.AcceptLoss)
	return evidence.Peek(e.GetStatements()[0], loss) == nil && loss.GetLostEntry() == v.seen && bytes.Equal(loss.GetLostHash(), v.seenHash)
}

// Head verifies that the ledger has signed that the journal ends here, and reports what it proves.
func (v *JournalVerifier) Head(e *typev1.Envelope) (*JournalReport, error) {
	if v.err != nil {
		return nil, v.err
	}
	if err := v.links.head(e); err != nil {
		return nil, err
	}
	if !v.held {
		return nil, &JournalError{min(v.seen, v.links.number+1), local("verify journal", typev1.Reason_REASON_LEDGER_BEHIND,
			fmt.Sprintf("the ledger has signed for a journal that lacks entry %d as this client has seen it", v.seen))}
	}
	return v.a.report(v.links.number), nil
}

// operatorKeys are the operator keys of an installation file and of the ones before it, back as far as they are given.
func operatorKeys(i *evidence.Installation, earlier []*evidence.Installation) ([][]byte, error) {
	keys := i.Operators()
	next := i
	for n := len(earlier) - 1; n >= 0; n-- {
		if !earlier[n].Digest().Is(next.Content().GetPredecessor()) {
			return nil, refusal("installation", "predecessor", "is another file than the one given")
		}
		keys = append(keys, earlier[n].Operators()...)
		next = earlier[n]
	}
	return keys, nil
}

// audit replays one wallet's journal.
type audit struct {
	i         *evidence.Installation
	wallet    string
	operators [][]byte

	head     *evidence.Head
	handle   string
	groupKey [32]byte
	payments map[string]*auditedPayment
	incoming map[string]bool
	balances map[string]Balance
	deposits map[string]bool
	windows  map[string]*counted           // By unit of account.
	paid     map[string]guardrails.Paid    // By what was paid for: a host, or a request.
	freezes  map[string]bool               // Ids of the wallet's own freezes; true while in force.
	revoked  map[string]*typev1.Revocation // Those of them that are revocations.
	last     int64                         // Time of the entry before.
	setBack  bool                          // The entry before set the time back, or ended a payment for that reason.
	pinned   map[evidence.Digest]bool      // Messages on a chain, each once.
	landed   map[landing]bool              // Transactions on a chain, each once.
	outflows []Outflow
	overflow bool // A sum did not fit its number.
}

// auditedPayment is one payment as its entries have left it.
type auditedPayment struct {
	state     typev1.PaymentState
	intent    *typev1.Intent
	digest    evidence.Digest
	units     int64
	message   []byte // The pinned one, while AUTHORIZED and after.
	expiry    int64
	quarter   int64 // When it was counted, while it is.
	counted   bool
	redeemed  bool
	recipient [32]byte
	unit      string

	onWire     pinnedMessage   // The pinned message on a chain.
	calledDead []pinnedMessage // Those before it, which the ledger has called dead.
}

func (a *audit) entry(e *typev1.Entry) error {
	wasSetBack := a.setBack
	a.setBack = e.GetKind() == typev1.EntryKind_ENTRY_KIND_SET_TIME
	if e.GetTimeMillis() < a.last && !a.setBack {
		return refusal("entry", "time_millis", "is before the entry before")
	}
	a.last = e.GetTimeMillis()
	first := e.GetNumber() == 1
	if first != (e.GetKind() == typev1.EntryKind_ENTRY_KIND_ACCOUNT) {
		return refusal("entry", "kind", "is not what the first entry, and only that, is")
	}
	if err := a.kind(e, wasSetBack); err != nil {
		return err
	}
	return a.balance(e)
}

// kind applies what an entry records.
func (a *audit) kind(e *typev1.Entry, wasSetBack bool) error {
	switch e.GetKind() {
	case typev1.EntryKind_ENTRY_KIND_ACCOUNT:
		return a.account(e)
	case typev1.EntryKind_ENTRY_KIND_GUARD_RAILS:
		return a.guardRails(e)
	case typev1.EntryKind_ENTRY_KIND_PAYMENT:
		return a.payment(e, wasSetBack)
	case typev1.EntryKind_ENTRY_KIND_RENEWAL:
		return a.renewal(e)
	case typev1.EntryKind_ENTRY_KIND_REVIEW:
		return a.reviewed(e)
	case typev1.EntryKind_ENTRY_KIND_FREEZE:
		return a.freeze(e)
	case typev1.EntryKind_ENTRY_KIND_REVOCATION:
		return a.revoke(e)
	case typev1.EntryKind_ENTRY_KIND_UNFREEZE:
		return a.unfreeze(e)
	case typev1.EntryKind_ENTRY_KIND_INCOMING:
		return a.income(e)
	case typev1.EntryKind_ENTRY_KIND_DEPOSIT, typev1.EntryKind_ENTRY_KIND_REDEMPTION,
		typev1.EntryKind_ENTRY_KIND_ACCEPT_LOSS, typev1.EntryKind_ENTRY_KIND_SET_TIME:
		return a.operator(e)
	case typev1.EntryKind_ENTRY_KIND_CHAIN_DEPOSIT, typev1.EntryKind_ENTRY_KIND_CHAIN_OUTFLOW:
		return a.chainTransfer(e)
	default:
		return refusal("entry", "kind", "is one that this client cannot verify")
	}
}

// balance checks the balances that an entry states against the ones replayed.
func (a *audit) balance(e *typev1.Entry) error {
	if e.GetAsset() == "" {
		return nil
	}
	b := stated(e.GetAsset(), a.balances[e.GetAsset()])
	switch {
	case a.overflow:
		return refusal("entry", "units", "add up to more than fits their number")
	case b.Available < 0 || b.Held < 0:
		return refusal("entry", "units", "are more than the wallet had")
	case e.GetAvailable() != resource.FormatUnits(b.Available):
		return refusal("entry", "available", "is not what the entries before add up to")
	case e.GetHeld() != resource.FormatUnits(b.Held):
		return refusal("entry", "held", "is not what the entries before add up to")
	}
	return nil
}

// move changes a balance. On a chain what is available goes below zero, by what has left that was held or spent.
func (a *audit) move(asset string, available, held int64) {
	b := a.balances[asset]
	var availableFits, heldFits bool
	b.Asset = asset
	b.Available, availableFits = plus(b.Available, available)
	b.Held, heldFits = plus(b.Held, held)
	a.overflow = a.overflow || !availableFits || !heldFits
	a.balances[asset] = b
}

// statement opens the n-th statement of an entry under one of keys.
func (a *audit) statement(e *typev1.Entry, n int, m proto.Message, keys ...[]byte) ([]byte, error) {
	if n >= len(e.GetStatements()) {
		return nil, refusal("entry", "statements", "lack one that its kind has")
	}
	return evidence.Open(e.GetStatements()[n], m, keys...)
}

// exactly checks how many statements an entry has: one more than its kind has is one that nobody verified.
func exactly(e *typev1.Entry, n int) error {
	if len(e.GetStatements()) != n {
		return refusal("entry", "statements", "are not the ones that its kind has")
	}
	return nil
}

func (a *audit) account(e *typev1.Entry) error {
	if err := exactly(e, 3); err != nil {
		return err
	}
	s := e.GetStatements()
	registration, claim, err := evidence.CheckClaim(a.i, s[0], s[2])
	if err != nil {
		return err
	}
	record := new(typev1.WalletRecord)
	if _, err := evidence.Open(s[1], record, a.i.EveryKey(typev1.Purpose_PURPOSE_COSIGNER)...); err != nil {
		return err
	}
	const piece = "wallet-record"
	switch {
	case registration.GetWallet() != a.wallet:
		return refusal("registration", "wallet", "is another wallet")
	case record.GetInstallation() != a.i.ID() || record.GetWallet() != a.wallet:
		return refusal(piece, "wallet", "is another wallet")
	case record.GetHandle() != registration.GetHandle():
		return refusal(piece, "handle", "is not the registration's")
	case !bytes.Equal(record.GetGroupKey(), registration.GetGroupKey()):
		return refusal(piece, "group_key", "is not the registration's")
	case !evidence.EnvelopeDigest(s[0]).Is(record.GetRegistrationDigest()):
		return refusal(piece, "registration_digest", "is another registration")
	case !claim.Digest.Is(record.GetGuardRailsDigest()):
		return refusal(piece, "guard_rails_digest", "is another claim")
	}
	a.head, a.handle, a.groupKey = claim, record.GetHandle(), [32]byte(record.GetGroupKey())
	return nil
}

func (a *audit) guardRails(e *typev1.Entry) error {
	if err := exactly(e, 1); err != nil {
		return err
	}
	next, err := evidence.Accept(a.i, a.head, e.GetStatements()[0])
	if err != nil {
		return err
	}
	if next.Digest == a.head.Digest {
		return refusal("guard-rails", "", "are the head already")
	}
	a.head = next
	return nil
}

func (a *audit) reviewed(e *typev1.Entry) error {
	if err := exactly(e, 1); err != nil {
		return err
	}
	p := a.payments[e.GetPayment()]
	if p == nil || p.state != pendingReview && p.state != ready {
		return refusal("entry", "payment", "does not wait for a person or a message")
	}
	r, err := evidence.CheckReview(a.i, a.head, e.GetStatements()[0], p.digest, e.GetPayment())
	if err != nil {
		return err
	}
	want := typev1.PaymentState_PAYMENT_STATE_DENIED
	if r.GetAnswer() == typev1.Answer_ANSWER_APPROVE {
		want = ready
	}
	if e.GetPaymentState() != want {
		return refusal("entry", "payment_state", "is not what the answer says")
	}
	p.state = want
	return nil
}

func (a *audit) freeze(e *typev1.Entry) error {
	if err := exactly(e, 0); err != nil {
		return err
	}
	if e.GetScope() != typev1.Scope_SCOPE_WALLET || e.GetFreezeId() == "" {
		return refusal("entry", "scope", "is not a wallet's freeze")
	}
	if _, used := a.freezes[e.GetFreezeId()]; used {
		return refusal("entry", "freeze_id", "was used before")
	}
	a.freezes[e.GetFreezeId()] = true
	return nil
}

// revoke takes an owner's revocation, under the guard rails of its time.
func (a *audit) revoke(e *typev1.Entry) error {
	if err := exactly(e, 1); err != nil {
		return err
	}
	m, err := evidence.CheckRevocation(a.i, a.head, e.GetStatements()[0])
	if err != nil {
		return err
	}
	if e.GetScope() != typev1.Scope_SCOPE_WALLET || e.GetFreezeId() != m.GetFreezeId() {
		return refusal("revocation", "freeze_id", "is another freeze than the entry's")
	}
	if _, used := a.freezes[e.GetFreezeId()]; used {
		return refusal("entry", "freeze_id", "was used before")
	}
	a.freezes[e.GetFreezeId()], a.revoked[e.GetFreezeId()] = true, m
	return nil
}

// takes refuses money that came to a wallet whose agent was revoked.
func (a *audit) takes() error {
	for id := range a.revoked {
		if a.freezes[id] {
			return refusal("entry", "kind", "brings money to a wallet whose agent was revoked")
		}
	}
	return nil
}

func (a *audit) unfreeze(e *typev1.Entry) error {
	if err := exactly(e, 1); err != nil {
		return err
	}
	u, _, err := evidence.CheckUnfreeze(a.i, e.GetStatements()[0], a.head.Document.GetOwnerKeys()...)
	if err != nil {
		return err
	}
	if u.GetScope() != typev1.Scope_SCOPE_WALLET || u.GetWallet() != a.wallet || u.GetFreezeId() != e.GetFreezeId() || e.GetScope() != u.GetScope() {
		return refusal("unfreeze", "freeze_id", "is another freeze than the entry's")
	}
	if m := a.revoked[e.GetFreezeId()]; m != nil {
		if err := evidence.CheckTakenOver(m, a.head); err != nil {
			return err
		}
	}
	a.freezes[e.GetFreezeId()] = false
	return nil
}

// frozen reports whether a freeze of the wallet's own is in force.
func (a *audit) frozen() bool {
	for _, in := range a.freezes {
		if in {
			return true
		}
	}
	return false
}

func (a *audit) income(e *typev1.Entry) error {
	if err := exactly(e, 1); err != nil {
		return err
	}
	s := new(typev1.Settlement)
	if _, err := a.statement(e, 0, s, a.i.EveryKey(typev1.Purpose_PURPOSE_LEDGER)...); err != nil {
		return err
	}
	units, err := resource.ParseUnits(s.GetUnits())
	switch {
	case err != nil:
		return err
	case s.GetInstallation() != a.i.ID():
		return refusal("settlement", "installation", "is another installation")
	case !bytes.Equal(s.GetRecipient(), a.groupKey[:]):
		return refusal("settlement", "recipient", "is another key")
	case s.GetPayment() != e.GetPayment() || e.GetPaymentState() != settled:
		return refusal("settlement", "payment", "is another payment")
	case s.GetAsset() != e.GetAsset() || s.GetUnits() != e.GetUnits():
		return refusal("settlement", "units", "are not the entry's")
	case guardrails.RailOf(e.GetAsset()) == railSolana:
		return refusal("entry", "kind", "brings what comes in on a chain, by the transaction that brought it and not by a payment")
	case a.incoming[e.GetPayment()]:
		return refusal("entry", "payment", "came in before")
	}
	a.incoming[e.GetPayment()] = true
	a.move(e.GetAsset(), units, 0)
	return a.takes()
}

func (a *audit) operator(e *typev1.Entry) error {
	if err := exactly(e, 1); err != nil {
		return err
	}
	m, ok := evidence.NewStatement(e.GetStatements()[0].GetPayloadType())
	if !ok {
		return refusal("entry", "statements", "hold one of an unknown type")
	}
	if _, err := a.statement(e, 0, m, a.operators...); err != nil {
		return err
	}
	if of, ok := m.(interface {
		GetInstallation() string
		GetWallet() string
	}); !ok || of.GetInstallation() != a.i.ID() || of.GetWallet() != a.wallet {
		return refusal("entry", "statements", "hold one of another wallet")
	}
	switch m := m.(type) {
	case *typev1.Deposit:
		return a.deposit(e, m)
	case *typev1.Redemption:
		return a.redemption(e, m)
	case *typev1.AcceptLoss:
		if e.GetKind() != typev1.EntryKind_ENTRY_KIND_ACCEPT_LOSS || m.GetEntry()+1 != e.GetNumber() || !bytes.Equal(m.GetEntryHash(), e.GetPrevious()) {
			return refusal("accept-loss", "entry", "is not the entry before")
		}
		return nil
	case *typev1.SetTime:
		if e.GetKind() != typev1.EntryKind_ENTRY_KIND_SET_TIME || m.GetTimeMillis() != e.GetTimeMillis() {
			return refusal("set-time", "time_millis", "is not the entry's time")
		}
		a.recount(guardrails.Quarter(time.UnixMilli(e.GetTimeMillis())))
		return nil
	default:
		return refusal("entry", "statements", "hold one that is no operator's")
	}
}

func (a *audit) deposit(e *typev1.Entry, d *typev1.Deposit) error {
	units, err := resource.ParseUnits(d.GetUnits())
	switch {
	case err != nil:
		return err
	case e.GetKind() != typev1.EntryKind_ENTRY_KIND_DEPOSIT || d.GetAsset() != e.GetAsset() || d.GetUnits() != e.GetUnits():
		return refusal("deposit", "units", "are not the entry's")
	case d.GetAsset() != a.i.BookUSD():
		return refusal("deposit", "asset", "is not this installation's book money")
	case a.deposits[d.GetDepositId()]:
		return refusal("deposit", "deposit_id", "counted before")
	}
	a.deposits[d.GetDepositId()] = true
	a.move(d.GetAsset(), units, 0)
	return a.takes()
}

func (a *audit) redemption(e *typev1.Entry, r *typev1.Redemption) error {
	p := a.payments[r.GetPayment()]
	switch {
	case e.GetKind() != typev1.EntryKind_ENTRY_KIND_REDEMPTION || e.GetPayment() != r.GetPayment():
		return refusal("redemption", "payment", "is not the entry's")
	case p == nil || p.state != settled || p.onChain() || p.recipient != a.i.RedemptionAccount():
		return refusal("redemption", "payment", "did not settle to the redemption account")
	case p.redeemed:
		return refusal("redemption", "payment", "was redeemed before")
	}
	p.redeemed = true
	return nil
}

func (a *audit) report(entries uint64) *JournalReport {
	r := &JournalReport{
		Wallet: a.wallet, Handle: a.handle, GroupKey: a.groupKey, Entries: entries, Incoming: len(a.incoming),
		Payments: make(map[typev1.PaymentState]int), Balances: make(map[string]Balance), Outflows: slices.Clone(a.outflows),
	}
	for asset, b := range a.balances {
		r.Balances[asset] = stated(asset, b)
	}
	if a.head != nil {
		r.GuardRails = a.head.Document.GetNumber()
	}
	for _, p := range a.payments {
		r.Payments[p.state]++
	}
	for id, in := range a.freezes {
		if in {
			r.Frozen = append(r.Frozen, id)
		}
	}
	slices.Sort(r.Frozen)
	return r
}

// errNoHead cannot happen in a chain that begins with its account.
var errNoHead = errors.New("no account was opened")

// facts is what a payment's message says, as guard rails judge it.
func (p *auditedPayment) facts() guardrails.Facts {
	return guardrails.Facts{Rail: p.intent.GetRail(), Asset: p.intent.GetAsset(), Units: p.units, Recipient: p.recipient, X402: p.intent.GetX402()}
}

// sums adds up the windows that a payment is judged by, without the payment itself.
func (a *audit) sums(p *auditedPayment, at time.Time) []guardrails.Sum {
	if p.counted {
		a.count(p, -p.units)
		defer a.count(p, p.units)
	}
	spans := guardrails.Spans(a.head.Document, p.facts(), at)
	sums := make([]guardrails.Sum, len(spans))
	for n, span := range spans {
		from := int64(math.MinInt64)
		if !span.From.IsZero() {
			from = guardrails.Quarter(span.From)
		}
		if c := a.windows[p.unit]; c != nil {
			sums[n] = c.sum(from, guardrails.Quarter(span.To))
		}
	}
	return sums
}

// count adds units to the quarter hour that a payment counts in; negative units are taken out of it.
func (a *audit) count(p *auditedPayment, units int64) {
	c := a.windows[p.unit]
	if c == nil {
		c = new(counted)
		a.windows[p.unit] = c
	}
	c.add(p.quarter, units)
}
