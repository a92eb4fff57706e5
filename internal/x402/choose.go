package x402

import (
	"math/big"
	"slices"

	"github.com/halfkey/halfkey/internal/resource"
)

// Reason says why an offer is not paid. All are constants of this package.
type Reason string

// Why an offer is malformed.
const (
	NotAnObject Reason = "the offer is not a JSON object"
	BadScheme   Reason = "its scheme is not 1 to 64 of [a-z0-9-]"
	BadNetwork  Reason = "its network is not a name that this version of x402 has"
	BadAsset    Reason = "its asset is not 1 to 258 bytes of [A-Za-z0-9:/._@%-]"
	BadPayTo    Reason = "its payTo is not 1 to 258 bytes of [A-Za-z0-9:/._@%-]"
	BadAmount   Reason = "its amount is not a text that is a whole number of 1 to 9223372036854775807"
	BadTimeout  Reason = "its maxTimeoutSeconds is not a whole number of 1 to 2147483647"
	BadExtra    Reason = "its extra is not a JSON object"
	BadFeePayer Reason = "its fee payer is not at most 258 bytes of [A-Za-z0-9:/._@%-]"
	BadMemo     Reason = "its memo is not 1 to 256 bytes of UTF-8"
	BadHint     Reason = "its recentBlockhash or lastValidBlockHeight is malformed"
	BadFlow     Reason = "its payment flow is not 1 to 64 of [a-z0-9-]"
	BadVersions Reason = "its transactionVersions are not 1 to 16 whole numbers"
)

// Why a well-formed offer is not paid.
const (
	OtherScheme      Reason = "its scheme is not known here"
	OtherNetwork     Reason = "its network is not one that this wallet pays on"
	OtherAsset       Reason = "its asset is not one that this wallet pays with"
	OtherFlow        Reason = "its payment flow is not known here"
	NoFeePayer       Reason = "it names nobody to pay the network's fee"
	FeePayerIsPayer  Reason = "it wants this wallet to pay the network's fee"
	PayToIsPayer     Reason = "it pays the wallet that would pay"
	OtherTransaction Reason = "it takes no transaction of version 0"
	BadPayToKey      Reason = "its payTo is not an address of its network"
	BadFeePayerKey   Reason = "its fee payer is not an address of its network"
	BadMemoText      Reason = "its memo holds a NUL, which readers of its network leave out"
	TooDear          Reason = "it costs more than the most that may be paid"
	Dearer           Reason = "another offer is cheaper, or was listed first"
)

// Payable is something that the caller can pay with: one scheme on one network with one asset.
type Payable struct {
	// Scheme, Network and Asset are what an offer must name.
	Scheme, Network, Asset string
	// Decimals is how many decimals the asset has, by the caller's own table: at most resource.DecimalsMax. Prices are compared by it.
	Decimals int
	// FeePayer is whether the scheme needs somebody else to pay the network's fee.
	FeePayer bool
	// UnitsMax is the most that may be paid, 0 if the caller sets no bound.
	UnitsMax int64
	// Judge says why the rail pays no such offer: what an address or a memo may be there is the rail's to say. It is asked last and
	// answers with constants, nothing if the offer is good; nil takes every offer.
	Judge func(*Offer) Reason
}

// Terms are what the caller can pay with. All its assets count in one unit of account, at par.
type Terms struct {
	Payable []Payable
	// Own are the payer's own names on the networks: neither may be paid nor pay the fee.
	Own []string
}

// Rejected is an offer that was not chosen.
type Rejected struct {
	// Index is its place in the list.
	Index int
	// Reason says why.
	Reason Reason
}

// Choose finds the cheapest offer that can be paid on these terms; of those that cost the same, one by FlowAuthorization, and
// then the first. It gives the offer's place in the list, -1 if none can be paid, and says of every other why it was not chosen.
func Choose(offers []Offer, terms Terms) (chosen int, rejected []Rejected) {
	order, rejected := Rank(offers, terms)
	if len(order) == 0 {
		return -1, rejected
	}
	for _, i := range order[1:] {
		rejected = append(rejected, Rejected{i, Dearer})
	}
	slices.SortFunc(rejected, func(a, b Rejected) int { return a.Index - b.Index })
	return order[0], rejected
}

// Rank gives the places of the offers that can be paid on these terms, in the order in which Choose would choose them, and says of
// every other why it cannot be paid. It is for a caller who knows more about what can be paid than its terms say.
func Rank(offers []Offer, terms Terms) (order []int, rejected []Rejected) {
	prices := make([]*big.Int, len(offers))
	for i := range offers {
		payable, reason := terms.judge(&offers[i])
		if reason != "" {
			rejected = append(rejected, Rejected{i, reason})
			continue
		}
		order, prices[i] = append(order, i), atPar(offers[i].Units, payable.Decimals)
	}
	slices.SortStableFunc(order, func(i, j int) int {
		if c := prices[i].Cmp(prices[j]); c != 0 {
			return c
		}
		return settledLate(&offers[j]) - settledLate(&offers[i])
	})
	return order, rejected
}

// settledLate is 1 for an offer whose server serves before it settles: of two at one price the better one.
func settledLate(offer *Offer) int {
	if offer.Flow == FlowAuthorization {
		return 1
	}
	return 0
}

// atPar is an amount in units of 18 decimals, the most that an asset has.
func atPar(units int64, decimals int) *big.Int {
	scale := new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(resource.DecimalsMax-decimals)), nil)
	return scale.Mul(scale, big.NewInt(units))
}

// judge finds what pays the offer, or says why nothing does. What fits least is named first: an unknown scheme before the asset.
func (t Terms) judge(offer *Offer) (Payable, Reason) {
	if offer.Problem != "" {
		return Payable{}, offer.Problem
	}
	reason := OtherScheme
	for _, p := range t.Payable {
		switch {
		case p.Scheme != offer.Scheme:
		case p.Network != offer.Network:
			if reason == OtherScheme {
				reason = OtherNetwork
			}
		case p.Asset != offer.Asset:
			reason = OtherAsset
		default:
			return p, t.judgePayable(offer, p)
		}
	}
	return Payable{}, reason
}

func (t Terms) judgePayable(offer *Offer, p Payable) Reason {
	switch {
	case offer.Flow != FlowAuthorization && offer.Flow != FlowUpfront:
		return OtherFlow
	case p.FeePayer && offer.FeePayer == "":
		return NoFeePayer
	case slices.Contains(t.Own, offer.FeePayer):
		return FeePayerIsPayer
	case slices.Contains(t.Own, offer.PayTo):
		return PayToIsPayer
	case len(offer.TransactionVersions) > 0 && !slices.Contains(offer.TransactionVersions, 0):
		return OtherTransaction
	case p.UnitsMax > 0 && offer.Units > p.UnitsMax:
		return TooDear
	case p.Judge != nil:
		return p.Judge(offer)
	}
	return ""
}
