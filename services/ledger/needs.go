package ledger

import (
	"maps"
	"slices"
	"time"

	"github.com/halfkey/halfkey/internal/guardrails"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// needs says which rows an operation's decision reads. What follows from these rows (the payee of a payment, the windows of a
// head, the owner of a wallet) is loaded with them.
type needs struct {
	wallets     []string
	handles     []string
	keys        [][32]byte
	payments    []paymentKey
	authorized  []string // All AUTHORIZED payments of these wallets.
	quarters    []int64  // The batch's payments may be counted in these quarter hours.
	facts       []windowNeed
	hashes      []entryKey
	losses      []lossKey
	versions    []versionKey
	owners      []string // Freezes of these owners.
	ownerKeys   []ownerKey
	supply      []string
	deposits    []string
	redemptions []string
	setTimes    []setTimeKey
	shadows     []*shadowReport
	messages    []messageKey // With the payments that they are of.
	cursors     []balanceKey // With the balances of these accounts.
}

// windowNeed asks for the windows that a payment is judged by.
type windowNeed struct {
	wallet string
	facts  guardrails.Facts
}

func (n *needs) add(m needs) {
	n.wallets = append(n.wallets, m.wallets...)
	n.handles = append(n.handles, m.handles...)
	n.keys = append(n.keys, m.keys...)
	n.payments = append(n.payments, m.payments...)
	n.authorized = append(n.authorized, m.authorized...)
	n.quarters = append(n.quarters, m.quarters...)
	n.facts = append(n.facts, m.facts...)
	n.hashes = append(n.hashes, m.hashes...)
	n.losses = append(n.losses, m.losses...)
	n.versions = append(n.versions, m.versions...)
	n.owners = append(n.owners, m.owners...)
	n.ownerKeys = append(n.ownerKeys, m.ownerKeys...)
	n.supply = append(n.supply, m.supply...)
	n.deposits = append(n.deposits, m.deposits...)
	n.redemptions = append(n.redemptions, m.redemptions...)
	n.setTimes = append(n.setTimes, m.setTimes...)
	n.shadows = append(n.shadows, m.shadows...)
	n.messages = append(n.messages, m.messages...)
	n.cursors = append(n.cursors, m.cursors...)
}

// accounts are the wallets that a batch touches and those that its payments pay.
func (s *state) accounts(n needs) []string {
	names := make(map[string]bool)
	for _, w := range n.wallets {
		names[w] = true
	}
	for _, k := range n.messages {
		names[k.wallet] = true
	}
	for _, k := range n.cursors {
		names[k.account] = true
	}
	for _, p := range s.payments.rows {
		names[p.wallet] = true
		if p.payee != redemption {
			names[p.payee] = true
		}
	}
	for _, w := range s.byKey.rows {
		names[w] = true
	}
	return slices.Sorted(maps.Keys(names))
}

// assets are the balances that a batch reads and changes: of every account the book's, and what its payments and its accounts on a chain
// are in.
func (s *state) assets(n needs) []balanceKey {
	keys := map[balanceKey]bool{{redemption, s.installation.BookUSD()}: true}
	for _, name := range s.accounts(n) {
		keys[balanceKey{name, s.installation.BookUSD()}] = true
	}
	for _, need := range n.facts {
		keys[balanceKey{need.wallet, need.facts.Asset}] = true
	}
	for _, p := range s.payments.rows {
		keys[balanceKey{p.wallet, p.asset}] = true
	}
	for _, k := range n.cursors {
		keys[k] = true
	}
	return slices.Collect(maps.Keys(keys))
}

// pinned are the messages that a batch's payments on a chain wait for.
func (s *state) pinned() []messageKey {
	var keys []messageKey
	for _, p := range s.payments.rows {
		if k := p.messageKey(); p.onChain() && p.state == authorized && !s.messages.known[k] {
			keys = append(keys, k)
		}
	}
	return keys
}

// subjects are what may freeze the wallets of a batch.
func (s *state) subjects(n needs) []subject {
	all := map[subject]bool{{typev1.Scope_SCOPE_INSTALLATION, ""}: true}
	for _, owner := range n.owners {
		all[subject{typev1.Scope_SCOPE_OWNER, owner}] = true
	}
	for _, w := range s.wallets.rows {
		all[subject{typev1.Scope_SCOPE_WALLET, w.name}] = true
		all[subject{typev1.Scope_SCOPE_OWNER, w.owner}] = true
	}
	return slices.Collect(maps.Keys(all))
}

// windows are the sums that a batch reads and changes: the windows of each head for each payment, the rows that a payment
// authorized now is added to, and those that an authorized payment may be taken out of.
func (s *state) windows(n needs) (whole []sumRange, single []sumKey) {
	ranged := make(map[sumRange]bool)
	slotted := make(map[sumKey]bool)
	for _, need := range n.facts {
		w, ok := s.wallets.get(need.wallet)
		if !ok {
			continue
		}
		at, _ := s.time(need.wallet)
		now := time.UnixMilli(at)
		unit := unitOf(s.installation, need.facts.Asset)
		for _, span := range guardrails.Spans(w.head.Document, need.facts, now) {
			for _, r := range ranges(w.name, unit, span) {
				ranged[r] = true
			}
		}
		for _, k := range slots(w.name, unit, guardrails.Quarter(now)) {
			slotted[k] = true
		}
	}
	for _, p := range s.payments.rows {
		if !p.counted() {
			continue
		}
		for _, quarter := range append([]int64{p.quarter}, n.quarters...) {
			for _, k := range slots(p.wallet, p.unit, quarter) {
				slotted[k] = true
			}
		}
	}
	return slices.Collect(maps.Keys(ranged)), slices.Collect(maps.Keys(slotted))
}
