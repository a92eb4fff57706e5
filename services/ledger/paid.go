package ledger

import (
	"cmp"
	"context"

	"google.golang.org/protobuf/proto"

	"github.com/halfkey/halfkey/internal/guardrails"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// paidKey names what a wallet paid for, as guardrails.PaidFor does.
type paidKey struct {
	wallet, what string
}

func comparePaid(a, b paidKey) int {
	return cmp.Or(cmp.Compare(a.wallet, b.wallet), cmp.Compare(a.what, b.what))
}

// paid is the last payment for it that has settled.
type paid struct {
	recipient [32]byte
	unit      string
	units     int64
}

// x402 is the HTTP request that a payment is for, nil if it is for none. Its intent was decoded strictly before it was recorded.
func (p payment) x402() *typev1.X402Context {
	intent := new(typev1.Intent)
	if proto.Unmarshal(p.intent, intent) != nil {
		return nil
	}
	return intent.GetX402()
}

// paidBefore is what a wallet paid last for a request like this one.
func (s *state) paidBefore(walletName string, x *typev1.X402Context) guardrails.Paid {
	if x == nil {
		return guardrails.Paid{}
	}
	host, request := guardrails.PaidFor(x)
	last := s.paid.value(paidKey{walletName, request})
	return guardrails.Paid{
		Recipient: s.paid.value(paidKey{walletName, host}).recipient,
		Units:     last.units, Unit: last.unit,
	}
}

// notePaid keeps what a payment that has settled paid for a request.
func (s *state) notePaid(p payment) {
	x := p.x402()
	if x == nil {
		return
	}
	host, request := guardrails.PaidFor(x)
	for _, what := range []string{host, request} {
		s.paid.put(s, paidKey{p.wallet, what}, paid{p.recipient, p.unit, p.units})
	}
}

// paidFor are the rows that a batch reads to judge payments, and that those of its payments which can settle change.
func (s *state) paidFor(n needs) (keys []paidKey) {
	add := func(walletName string, x *typev1.X402Context) {
		if x == nil {
			return
		}
		host, request := guardrails.PaidFor(x)
		keys = append(keys, paidKey{walletName, host}, paidKey{walletName, request})
	}
	for _, need := range n.facts {
		add(need.wallet, need.facts.X402)
	}
	for _, p := range s.payments.rows {
		if p.state == authorized {
			add(p.wallet, p.x402())
		}
	}
	return keys
}

func (t *sqlTransaction) loadPaid(ctx context.Context, s *state, n needs) error {
	var keys []any
	for _, k := range s.paidFor(n) {
		s.paid.loaded(k)
		keys = append(keys, []any{k.wallet, k.what})
	}
	return t.rows(ctx, t.db.dialect.loadPaid, keys, func(r scanner) error {
		var k paidKey
		var row paid
		var recipient []byte
		if err := r.Scan(&k.wallet, &k.what, &recipient, &row.unit, &row.units); err != nil {
			return err
		}
		row.recipient = [32]byte(recipient)
		s.paid.found(k, row)
		return nil
	})
}
