package guardrails

import (
	"testing"

	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// TestJudgeRails: a payment goes on the one rail that its asset settles on, if the document lists both; limits count both rails alike.
func TestJudgeRails(t *testing.T) {
	const book = "halfkey:acme/iso4217:USD"
	for _, tt := range []struct {
		name  string
		doc   *typev1.GuardRails
		rail  typev1.Rail
		asset string
		units int64
		want  typev1.Light
	}{
		{"book dollars on the book", onSolana(), 1, book, 5 * dollar, green},
		{"USDC on Solana", onSolana(), 2, usdc, 5 * dollar, green},
		{"USDC on Solana over the review limit", onSolana(), 2, usdc, 5*dollar + 1, yellow},
		{"USDC on Solana over the hard cap", onSolana(), 2, usdc, 100*dollar + 1, red},
		{"USDC on the book", onSolana(), 1, usdc, dollar, red},
		{"book dollars on Solana", onSolana(), 2, book, dollar, red},
		{
			"another token", onSolana(), 2, "solana:EtWTRABZaYq6iMfeYKouRu166VU2xqa1/token:4zMMC9srt5Ri5X14GAgXhaHii3GnPAEERYPJgZJDncDU", dollar,
			red,
		},
		{"USDC under the standard guard rails", standard(), 2, usdc, dollar, red},
		{"without the rail", onSolanaBut(func(d *typev1.GuardRails) { d.Rails = d.Rails[:1] }), 2, usdc, dollar, red},
		{"without the asset", onSolanaBut(func(d *typev1.GuardRails) { d.Assets = d.Assets[:1] }), 2, usdc, dollar, red},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := Facts{Rail: tt.rail, Asset: tt.asset, Units: tt.units, Recipient: [32]byte(key(1))}
			if got := Judge(tt.doc, f, noon); got.Light != tt.want {
				t.Errorf("got %v with %v, want %v", got.Light, got.Results, tt.want)
			}
		})
	}
}

func onSolanaBut(edit func(*typev1.GuardRails)) *typev1.GuardRails {
	doc := onSolana()
	edit(doc)
	return doc
}
