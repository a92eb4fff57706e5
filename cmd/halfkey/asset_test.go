package main

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/halfkey/halfkey/client"
	"github.com/halfkey/halfkey/internal/resource"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

const (
	mainnetUSDC = resource.SolanaMainnet + "/token:EPjFWdd5AufqSSqeM2qN1xzybapC8G4wEGGkZwyTDt1v"
	mainnetUSDT = resource.SolanaMainnet + "/token:Es9vMFrzaCERmJfrF4H2FYD4KCoNkY11McCe8BenwNYB"
	devnetUSDC  = resource.SolanaDevnet + "/token:4zMMC9srt5Ri5X14GAgXhaHii3GnPAEERYPJgZJDncDU"
)

// TestAssetWords: each asset has one word, which names it again, and no word names two.
func TestAssetWords(t *testing.T) {
	book := resource.BookUSD("test")
	for _, row := range []struct{ asset, word string }{
		{book, "USD"}, {mainnetUSDC, "USDC"}, {mainnetUSDT, "USDT"}, {devnetUSDC, "USDC-devnet"},
	} {
		if got := assetWord(row.asset, "test"); got != row.word {
			t.Errorf("%s: got word %q, want %q", row.asset, got, row.word)
		}
	}
	words := append([]string{usd}, tokenWords()...)
	for _, word := range words {
		asset, ok := assetOf(word, "test")
		if !ok || assetWord(asset, "test") != word {
			t.Errorf("%s: got %s, %v", word, asset, ok)
		}
		if again, ok := assetOf(asset, "test"); !ok || again != asset {
			t.Errorf("%s by its id: got %s, %v", word, again, ok)
		}
	}
	if slices.Sort(words); len(slices.Compact(words)) != len(resource.Tokens())+1 {
		t.Errorf("two assets have one word: %v", words)
	}
	for _, word := range []string{"", "usdc", "EUR", "USDC-mainnet", "USDT-devnet", " USD", resource.BookUSD("other"), mainnetUSDC + "x"} {
		if asset, ok := assetOf(word, "test"); ok {
			t.Errorf("%q names %s", word, asset)
		}
	}
}

// TestOrderAmount: an amount and --asset name one asset together, or none.
func TestOrderAmount(t *testing.T) {
	for _, row := range []struct {
		amount, unit, asset string
		want                string // Empty where it is refused.
	}{
		{"5", "", "", "USD"},
		{"5 USD", "", "", "USD"},
		{"5", "USD", "", "USD"},
		{"5", "USD", "USD", "USD"},
		{"5", "", "USDC", "USDC"},
		{"5 USDC", "", "", "USDC"},
		{"5", "USDC", "", "USDC"},
		{"5", "USDC", "USDC-devnet", "USDC-devnet"},
		{"5", "USDC", devnetUSDC, devnetUSDC},
		{"5 USDT", "", mainnetUSDT, mainnetUSDT},
		{"5 USDC", "", "USDT", ""},
		{"5", "USD", "USDC", ""},
		{"5", "USDC", "USD", ""},
		{"5", "EUR", "", ""},
		{"5 USD", "USD", "", ""},
		{"5 USDC", "USDC", "", ""},
		{"5 USD ", "", "", ""},
		{"0", "", "USDC", ""},
		{"0.0000001", "", "USDC", ""},
		{"-5", "", "USDC", ""},
	} {
		c := payCommand{Amount: row.amount, Unit: row.unit, Asset: row.asset}
		units, asset, err := c.orderAmount()
		if row.want == "" {
			if client.ReasonOf(err) != typev1.Reason_REASON_INVALID_ARGUMENT {
				t.Errorf("%+v: got %d of %s, %v", row, units, asset, err)
			}
			continue
		}
		if err != nil || units != 5_000_000 || asset != row.want {
			t.Errorf("%+v: got %d of %s, %v", row, units, asset, err)
		}
	}
}

// TestRailsOfRules: a file's assets bring their rails, other ones are written out, and what cannot be paid is remarked on.
func TestRailsOfRules(t *testing.T) {
	const limits = "\nlimits:\n  - {per: payment, at_most: 100 USD, over: deny}\n  - {per: day, at_most: 50 USD, over: review}\nrecipients: {unknown: review}\n"
	const costs = "also costs SOL"
	for _, row := range []struct {
		name, yaml string
		assets     []string
		rails      []typev1.Rail
		remarks    []string
	}{
		{"nothing said", "", []string{"USD"}, []typev1.Rail{typev1.Rail_RAIL_BOOK}, nil},
		{"one token", "assets: [USDC]", []string{"USDC"}, []typev1.Rail{typev1.Rail_RAIL_SOLANA}, []string{costs}},
		{
			"both", "assets: [USDC-devnet, USD]",
			[]string{"USD", "USDC-devnet"},
			[]typev1.Rail{typev1.Rail_RAIL_BOOK, typev1.Rail_RAIL_SOLANA},
			[]string{costs},
		},
		{
			"a token whose rail is not allowed", "assets: [USD, USDC]\nrails: [book]",
			[]string{"USD", "USDC"},
			[]typev1.Rail{typev1.Rail_RAIL_BOOK},
			[]string{"USDC is never paid"},
		},
		{
			"a rail without an asset", "rails: [solana, book]",
			[]string{"USD"},
			[]typev1.Rail{typev1.Rail_RAIL_BOOK, typev1.Rail_RAIL_SOLANA},
			[]string{"nothing is paid on the rail solana"},
		},
		{"two networks", "assets: [USDC, USDC-devnet]", []string{"USDC", "USDC-devnet"}, []typev1.Rail{typev1.Rail_RAIL_SOLANA}, []string{"several of Solana's", costs}},
	} {
		t.Run(row.name, func(t *testing.T) {
			f, err := parseRules([]byte(row.yaml + limits))
			if err != nil {
				t.Fatal(err)
			}
			doc, err := f.document("test", lintRecipient)
			if err == nil {
				err = lintDocument(doc, "test")
			}
			if err != nil {
				t.Fatal(err)
			}
			var words []string
			for _, asset := range doc.GetAssets() {
				words = append(words, assetWord(asset, "test"))
			}
			slices.Sort(words)
			if diff := cmp.Diff(words, row.assets); diff != "" {
				t.Errorf("assets (-got +want):\n%s", diff)
			}
			if diff := cmp.Diff(doc.GetRails(), row.rails); diff != "" {
				t.Errorf("rails (-got +want):\n%s", diff)
			}
			said := remarks(doc)
			for _, want := range row.remarks {
				if !slices.ContainsFunc(said, func(s string) bool { return strings.Contains(s, want) }) {
					t.Errorf("got remarks %q, want one that says %q", said, want)
				}
			}
			if len(said) != len(row.remarks) {
				t.Errorf("got remarks %q, want %d", said, len(row.remarks))
			}
			again, err := parseRules([]byte(newRulesFile(doc).yaml()))
			if err != nil {
				t.Fatal(err)
			}
			redone, err := again.document("test", lintRecipient)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(redone.GetRails(), doc.GetRails()); diff != "" || !slices.Equal(redone.GetAssets(), doc.GetAssets()) {
				t.Errorf("written and read again it has %v and other rails (-got +want):\n%s", redone.GetAssets(), diff)
			}
		})
	}
	for _, bad := range []string{"assets: [EUR]", "assets: [usdc]", "rails: [solana, sepa]", "rails: [BOOK]", "assets: [USD, USD]", "rails: [book, book]"} {
		f, err := parseRules([]byte(bad + limits))
		if err != nil {
			t.Fatal(err)
		}
		doc, err := f.document("test", lintRecipient)
		if err == nil {
			err = lintDocument(doc, "test")
		}
		if client.ReasonOf(err) != typev1.Reason_REASON_INVALID_ARGUMENT {
			t.Errorf("%s: got %v", bad, err)
		}
	}
}
