package cosigner_test

import (
	"testing"

	"github.com/halfkey/halfkey/internal/chain/solana"
	"github.com/halfkey/halfkey/internal/evidence/evidencetest"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// onSolana makes an attempt one on Solana.
func onSolana(c *evidencetest.PaymentConfig) { c.Rail = typev1.Rail_RAIL_SOLANA }

// fetches makes an attempt one for an HTTP resource.
func fetches(c *evidencetest.PaymentConfig) {
	c.EditIntent = func(i *typev1.Intent) {
		i.X402 = &typev1.X402Context{
			Method: "GET", Scheme: "https", Host: "api.example", Path: "/", UrlDigest: make([]byte, 32), BodyDigest: make([]byte, 32),
		}
	}
}

// newSolanaGate is a gate before a wallet that may pay on Solana.
func newSolanaGate(t testing.TB) *gate {
	t.Helper()
	g := newGate(t)
	g.deliver(g.SetGuardRails(evidencetest.AllowSolana()))
	return g
}

// TestGateOpensOnSolana: a message of either layout is signed by the two shares, and the whole signature is the ordinary Ed25519
// signature over the message that the chain verifies.
func TestGateOpensOnSolana(t *testing.T) {
	for _, tt := range []struct {
		name   string
		review bool
		edits  []func(*evidencetest.PaymentConfig)
	}{
		{"transfer", false, nil},
		{"transfer with a review", true, []func(*evidencetest.PaymentConfig){units(20 * usd)}},
		{"for an HTTP resource", false, []func(*evidencetest.PaymentConfig){fetches}},
		{"for an HTTP resource with a review", true, []func(*evidencetest.PaymentConfig){fetches, units(20 * usd)}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g := newSolanaGate(t)
			g.again(tt.review, append(tt.edits, onSolana)...)
			resp, err := g.f.Release(t.Context(), g.req)
			if err != nil {
				t.Fatal(describe(err))
			}
			if err := g.a.finish(resp); err != nil { // which verifies with crypto/ed25519
				t.Fatal(err)
			}
			m, err := solana.Decode(g.a.MessageBytes, g.f.recipient(), []solana.Mint{{Key: g.a.Solana.Mint, Decimals: 6}})
			if err != nil || m != g.a.Solana || m.Payer != g.GroupKey {
				t.Errorf("signed %+v, %v, want %+v", m, err, g.a.Solana)
			}
		})
	}
}

// TestGateRefusesOnSolana: what only this rail has, and what stands in for every other row of the gate's table.
func TestGateRefusesOnSolana(t *testing.T) {
	says := func(edit func(*solana.Message)) func(*evidencetest.PaymentConfig) {
		return func(c *evidencetest.PaymentConfig) { c.EditSolana = edit }
	}
	const rules = typev1.Reason_REASON_RULES_CHANGED
	for _, tt := range []struct {
		name string
		set  func(g *gate)
		want typev1.Reason
	}{
		{"bytes pay more than the intent", func(g *gate) { g.again(false, onSolana, says(func(m *solana.Message) { m.Units++ })) }, mismatch},
		{"bytes pay another recipient", func(g *gate) {
			g.again(false, onSolana, says(func(m *solana.Message) { m.Recipient = evidencetest.Key32(g.f.Key("thief")) }))
		}, mismatch},
		{"bytes of another layout", func(g *gate) {
			g.again(false, onSolana, fetches, says(func(m *solana.Message) { m.Layout, m.FeePayer = solana.Transfer, m.Payer }),
				func(c *evidencetest.PaymentConfig) {
					c.EditRequest = func(r *typev1.Request) { r.FeePayer, r.OfferDigest = g.GroupKey[:], make([]byte, 32) }
				})
		}, mismatch},
		{"bytes of the book", func(g *gate) {
			onBook := g.attempt()
			g.again(false, onSolana)
			g.req.Message = onBook.MessageBytes
		}, mismatch},
		{"request without the fee payer", func(g *gate) {
			g.again(false, onSolana, fetches, func(c *evidencetest.PaymentConfig) {
				c.EditRequest = func(r *typev1.Request) { r.FeePayer = nil }
			})
		}, mismatch},
		{"receipt without a last valid height", func(g *gate) {
			g.again(false, onSolana)
			g.a.Record(g.at, func(r *typev1.Receipt) { r.LastValidHeight = 0 })
			g.req = g.a.request()
		}, mismatch},
		{"guard rails without the rail, approved by everybody", func(g *gate) {
			g.deliver(g.SetGuardRails(func(d *typev1.GuardRails) { d.Rails = []typev1.Rail{typev1.Rail_RAIL_BOOK} }))
			g.again(false, onSolana)
			g.a.Judge(g.at, func(v *typev1.Verdict) { v.Light, v.Results = green, nil })
			g.a.Record(g.at, nil)
			g.req = g.a.request()
		}, rules},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g := newSolanaGate(t)
			tt.set(g)
			resp, err := g.f.Release(t.Context(), g.req)
			wantReason(t, err, tt.want)
			if len(resp.GetRelease()) > 0 {
				t.Error("a share left")
			}
		})
	}
}
