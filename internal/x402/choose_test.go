package x402

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const payer = "7YWHMfk9JZe0LM0g1ZauHuiSxhI"

func testTerms() Terms {
	return Terms{
		Payable: []Payable{
			{Scheme: SchemeBook, Network: book, Asset: bookUSD, Decimals: 6, UnitsMax: 5_000_000},
			{Scheme: SchemeExact, Network: SolanaMainnet, Asset: USDCMainnet, Decimals: 6, FeePayer: true, UnitsMax: 5_000_000},
			{Scheme: SchemeExact, Network: SolanaMainnet, Asset: "nine", Decimals: 9, FeePayer: true},
		},
		Own: []string{"wallets/payer", payer},
	}
}

func good(change func(*Offer)) Offer {
	o := Offer{
		Version: 2, Scheme: SchemeExact, Network: SolanaMainnet, Asset: USDCMainnet, PayTo: seller, Units: 1_000_000, MaxTimeoutSeconds: 60,
		FeePayer: feePayer, Flow: FlowAuthorization,
	}
	if change != nil {
		change(&o)
	}
	return o
}

func TestWhatIsNotPaid(t *testing.T) {
	for _, c := range []struct {
		name  string
		offer Offer
		want  Reason
	}{
		{"good", good(nil), ""},
		{"good, settled first", good(func(o *Offer) { o.Flow = FlowUpfront }), ""},
		{"good, for version 0 too", good(func(o *Offer) { o.TransactionVersions = []int64{1, 0} }), ""},
		{"good, at the most", good(func(o *Offer) { o.Units = 5_000_000 }), ""},
		{"malformed", good(func(o *Offer) { o.Problem = BadMemo }), BadMemo},
		{"scheme unknown", good(func(o *Offer) { o.Scheme = "upto" }), OtherScheme},
		{"scheme of another network", good(func(o *Offer) { o.Scheme = SchemeBook }), OtherNetwork},
		{"network unknown", good(func(o *Offer) { o.Network = "eip155:8453" }), OtherNetwork},
		{"network of testing", good(func(o *Offer) { o.Network = SolanaDevnet }), OtherNetwork},
		{"book of another installation", good(func(o *Offer) { o.Scheme, o.Network = SchemeBook, "halfkey:other" }), OtherNetwork},
		{"asset unknown", good(func(o *Offer) { o.Asset = "USDC" }), OtherAsset},
		{"asset of another network", good(func(o *Offer) { o.Asset = USDCDevnet }), OtherAsset},
		{"asset in other capitals", good(func(o *Offer) { o.Asset = "NINE" }), OtherAsset},
		{"flow unknown", good(func(o *Offer) { o.Flow = "escrow" }), OtherFlow},
		{"fee payer missing", good(func(o *Offer) { o.FeePayer = "" }), NoFeePayer},
		{"fee payer is the payer", good(func(o *Offer) { o.FeePayer = payer }), FeePayerIsPayer},
		{"pays the payer", good(func(o *Offer) { o.PayTo = payer }), PayToIsPayer},
		{"no transaction of version 0", good(func(o *Offer) { o.TransactionVersions = []int64{1} }), OtherTransaction},
		{"too dear", good(func(o *Offer) { o.Units = 5_000_001 }), TooDear},
		{"most on another asset does not count", good(func(o *Offer) { o.Asset, o.Units = "nine", 6_000_000_000 }), ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			chosen, rejected := Choose([]Offer{c.offer}, testTerms())
			if c.want == "" {
				if chosen != 0 || len(rejected) != 0 {
					t.Errorf("got %d, %v", chosen, rejected)
				}
				return
			}
			if diff := cmp.Diff([]Rejected{{0, c.want}}, rejected); chosen != -1 || diff != "" {
				t.Errorf("chosen %d; rejected (-want +got):\n%s", chosen, diff)
			}
		})
	}
}

func TestChoosesTheCheapest(t *testing.T) {
	at := func(units int64) Offer { return good(func(o *Offer) { o.Units = units }) }
	upfront := func(units int64) Offer { return good(func(o *Offer) { o.Units, o.Flow = units, FlowUpfront }) }
	nine := func(units int64) Offer { return good(func(o *Offer) { o.Asset, o.Units = "nine", units }) }
	onBook := func(units int64) Offer {
		return good(func(o *Offer) {
			o.Scheme, o.Network, o.Asset, o.FeePayer, o.Units = SchemeBook, book, bookUSD, "", units
		})
	}
	unknown := good(func(o *Offer) { o.Scheme, o.Units = "upto", 1 })
	for _, c := range []struct {
		name   string
		offers []Offer
		want   int
		why    []Rejected
	}{
		{"none", nil, -1, nil},
		{"not the first", []Offer{at(300), at(200), at(250)}, 1, []Rejected{{0, Dearer}, {2, Dearer}}},
		{"the first of equals", []Offer{at(200), at(200)}, 0, []Rejected{{1, Dearer}}},
		{"not one that cannot be paid", []Offer{unknown, at(300)}, 1, []Rejected{{0, OtherScheme}}},
		{"served before settled, of equals", []Offer{upfront(200), at(200)}, 1, []Rejected{{0, Dearer}}},
		{"served before settled, in either order", []Offer{at(200), upfront(200)}, 0, []Rejected{{1, Dearer}}},
		{"cheaper before either", []Offer{at(200), upfront(199)}, 1, []Rejected{{0, Dearer}}},
		{"decimals count", []Offer{at(200), nine(199_000)}, 1, []Rejected{{0, Dearer}}},
		{"decimals count the other way", []Offer{at(200), nine(201_000)}, 0, []Rejected{{1, Dearer}}},
		{"no overflow", []Offer{nine(1<<63 - 1), at(5_000_000)}, 1, []Rejected{{0, Dearer}}},
		{"across rails", []Offer{at(200), onBook(150)}, 1, []Rejected{{0, Dearer}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, why := Choose(c.offers, testTerms())
			if got != c.want {
				t.Errorf("chose %d, want %d", got, c.want)
			}
			if diff := cmp.Diff(c.why, why); diff != "" {
				t.Errorf("rejected (-want +got):\n%s", diff)
			}
		})
	}
}

// What the rail alone knows is asked of offers that are good otherwise, and its answer is the reason.
func TestRailJudges(t *testing.T) {
	terms := testTerms()
	asked := 0
	for i := range terms.Payable {
		terms.Payable[i].Judge = func(o *Offer) Reason {
			asked++
			if o.Memo == "bad" {
				return BadMemoText
			}
			return ""
		}
	}
	offers := []Offer{good(func(o *Offer) { o.Memo = "bad" }), good(func(o *Offer) { o.Asset = "other" }), good(nil)}
	order, rejected := Rank(offers, terms)
	if diff := cmp.Diff([]Rejected{{0, BadMemoText}, {1, OtherAsset}}, rejected); diff != "" || !slices.Equal(order, []int{2}) || asked != 2 {
		t.Errorf("ranks %v after %d questions; rejected (-want +got):\n%s", order, asked, diff)
	}
}

// TestRanks gives what can be paid in the order in which it would be chosen.
func TestRanks(t *testing.T) {
	at := func(units int64, flow string) Offer { return good(func(o *Offer) { o.Units, o.Flow = units, flow }) }
	order, rejected := Rank([]Offer{
		at(300, FlowAuthorization), at(200, FlowUpfront), at(200, FlowAuthorization), at(100, "escrow"), at(200, FlowAuthorization),
	}, testTerms())
	if want := []int{2, 4, 1, 0}; !slices.Equal(order, want) || len(rejected) != 1 {
		t.Errorf("ranks %v, want %v; rejects %v", order, want, rejected)
	}
}

// The zero Terms pay nothing.
func TestNoTermsPayNothing(t *testing.T) {
	if got, why := Choose([]Offer{good(nil)}, Terms{}); got != -1 || len(why) != 1 || why[0].Reason != OtherScheme {
		t.Errorf("got %d, %v", got, why)
	}
}
