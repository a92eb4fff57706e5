package policy_test

import (
	"testing"
	"time"

	"github.com/halfkey/halfkey/internal/chain/solana"
	"github.com/halfkey/halfkey/internal/evidence"
	"github.com/halfkey/halfkey/internal/evidence/evidencetest"
	"github.com/halfkey/halfkey/internal/servicetest"
	policyv1 "github.com/halfkey/halfkey/proto/gen/halfkey/policy/v1"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// TestJudgeOnSolana: the same rules judge both rails, from the bytes of each.
func TestJudgeOnSolana(t *testing.T) {
	f := newFixture(t)
	l := f.pinned("w", evidencetest.AllowSolana(recipient))
	without := f.pinned("book", evidencetest.Allow(recipient))
	fetch := func(i *typev1.Intent) {
		i.X402 = &typev1.X402Context{
			Method: "GET", Scheme: "https", Host: "api.example", Path: "/", UrlDigest: make([]byte, 32), BodyDigest: make([]byte, 32),
		}
	}
	for _, tt := range []struct {
		name   string
		wallet *evidencetest.Wallet
		c      evidencetest.PaymentConfig
		want   typev1.Light
	}{
		{"small, to whom is allowed", l, evidencetest.PaymentConfig{To: recipient, Units: 5_000_000}, typev1.Light_LIGHT_GREEN},
		{
			"small, for an HTTP resource", l,
			evidencetest.PaymentConfig{To: recipient, Units: 5_000_000, EditIntent: fetch},
			typev1.Light_LIGHT_GREEN,
		},
		{"a unit over the review limit", l, evidencetest.PaymentConfig{To: recipient, Units: 5_000_001}, typev1.Light_LIGHT_YELLOW},
		{"to a stranger", l, evidencetest.PaymentConfig{To: [32]byte{9}, Units: 1}, typev1.Light_LIGHT_YELLOW},
		{"a unit over the wall", l, evidencetest.PaymentConfig{To: recipient, Units: 100_000_001}, typev1.Light_LIGHT_RED},
		{"under guard rails without the rail", without, evidencetest.PaymentConfig{To: recipient, Units: 1}, typev1.Light_LIGHT_RED},
		// Its block hash ends it, and policy asks no chain.
		{"minutes later", l, evidencetest.PaymentConfig{To: recipient, Units: 1, Now: start.Add(-5 * time.Minute)}, typev1.Light_LIGHT_GREEN},
	} {
		for _, dry := range []bool{false, true} {
			t.Run(tt.name, func(t *testing.T) {
				tt.c.Rail = typev1.Rail_RAIL_SOLANA
				if tt.c.Now.IsZero() {
					tt.c.Now = start
				}
				p := tt.wallet.Payment(tt.c)
				resp, err := f.policy.Judge(t.Context(), &policyv1.JudgeRequest{Request: p.Request, Message: p.MessageBytes, ValidateOnly: dry})
				if err != nil {
					t.Fatal(err)
				}
				v := new(typev1.Verdict)
				if err := evidence.Unmarshal(resp.GetVerdict().GetPayload(), v); err != nil {
					t.Fatal(err)
				}
				if v.GetLight() != tt.want || !evidence.MessageDigest(p.MessageBytes).Is(v.GetMessageDigest()) {
					t.Errorf("dry %v: light %v, want %v, of message %x", dry, v.GetLight(), tt.want, v.GetMessageDigest())
				}
				if signed := len(resp.GetVerdict().GetSignatures()) > 0; signed == dry {
					t.Errorf("dry %v: signed %v", dry, signed)
				}
			})
		}
	}
}

// TestJudgeRefusesOnSolana: bytes that say something else than the intent get no verdict.
func TestJudgeRefusesOnSolana(t *testing.T) {
	f := newFixture(t)
	l := f.pinned("w", evidencetest.AllowSolana(recipient))
	for _, tt := range []struct {
		name string
		c    evidencetest.PaymentConfig
		want typev1.Reason
	}{
		{"more units", evidencetest.PaymentConfig{EditSolana: func(m *solana.Message) { m.Units++ }}, mismatch},
		{"another recipient", evidencetest.PaymentConfig{EditSolana: func(m *solana.Message) { m.Recipient[0] ^= 1 }}, mismatch},
		{"another memo", evidencetest.PaymentConfig{EditRequest: func(r *typev1.Request) { r.Memo += "x" }}, mismatch},
		{"deadline passed", evidencetest.PaymentConfig{Deadline: start.Add(-time.Minute)}, typev1.Reason_REASON_DEADLINE_EXPIRED},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.c.To, tt.c.Now, tt.c.Rail = recipient, start, typev1.Rail_RAIL_SOLANA
			e, err := f.judge(l.Payment(tt.c))
			servicetest.Refused(t, err, tt.want)
			if e != nil {
				t.Error("a verdict came with the refusal")
			}
		})
	}
}
