package x402

import (
	"encoding/json"
	"slices"
	"unicode/utf8"

	"github.com/halfkey/halfkey/internal/resource"
)

// Flows that an offer may ask for: what the server does first. Once the payment has left the client all are the same to it.
const (
	// FlowAuthorization: the server verifies, serves, then settles. An offer that names none means this.
	FlowAuthorization = "authorization"
	// FlowUpfront: the server settles, then serves.
	FlowUpfront = "upfront"
)

// MemoMax bounds the memo that an offer asks for, in bytes.
const MemoMax = 256

const (
	timeoutMax  = 1<<31 - 1
	versionsMax = 16
)

// Offer is one way to pay that a server accepts. What is text in it has the form that is said, whatever the server sent; that it
// names something known is Choose's to say, and that PayTo is somebody, the rail's.
type Offer struct {
	// Raw is the offer as the server wrote it, byte for byte. A seller that makes an offer leaves it empty.
	Raw json.RawMessage
	// Problem says why the offer can be paid by nobody here: it is malformed. The fields below may then be empty.
	Problem Reason
	// Version is that of x402, 1 or 2.
	Version int
	// Scheme is the way of paying: 1 to 64 of [a-z0-9-].
	Scheme string
	// Network is the CAIP-2 name, for the words of version 1 too.
	Network string
	// Asset is what is paid with, in the network's own spelling: 1 to 258 bytes, for example a mint.
	Asset string
	// PayTo is who is paid, in the network's own spelling: 1 to 258 bytes.
	PayTo string
	// Units is the price, in the asset's smallest units, from 1 on.
	Units int64
	// MaxTimeoutSeconds is how long the server says it will take to answer, at most.
	MaxTimeoutSeconds int64
	// FeePayer is who pays the network's fee, where the scheme has such.
	FeePayer string
	// Memo is what the payment must carry on the network, 1 to 256 bytes of UTF-8; empty if the server asks for none.
	Memo Untrusted
	// RecentBlockhash and LastValidBlockHeight are the server's hints, which nobody here relies on.
	RecentBlockhash      string
	LastValidBlockHeight int64
	// Flow is FlowAuthorization, FlowUpfront, or another word that is not known here: 1 to 64 of [a-z0-9-].
	Flow string
	// TransactionVersions are the versions of a transaction that the server takes; none means 0 alone.
	TransactionVersions []int64
}

// ParseOffer reads one offer of this version, 1 or 2, from its JSON. It never fails: what is wrong is the offer's Problem.
func ParseOffer(version int, raw []byte) Offer {
	offer := Offer{Raw: slices.Clone(raw), Version: version}
	if checkJSON("offer", raw) != nil {
		offer.Problem = NotAnObject
		return offer
	}
	return readOffer(version, raw)
}

// readOffer reads an offer whose JSON was checked.
func readOffer(version int, raw json.RawMessage) Offer {
	offer := Offer{Raw: raw, Version: version}
	o, ok := asObject(raw)
	if !ok {
		offer.Problem = NotAnObject
		return offer
	}
	offer.Problem = offer.read(o)
	return offer
}

// read takes the fields over, each only if it is well formed, and names the first that is not.
func (f *Offer) read(o object) (problem Reason) {
	wrong := func(r Reason) {
		if problem == "" {
			problem = r
		}
	}
	take := func(o object, name string, to *string, good func(string) bool, r Reason) {
		if s, ok := o.text(name); ok && good(s) {
			*to = s
		} else {
			wrong(r)
		}
	}
	word := func(s string) bool { return s != "" && len(s) <= 64 && only(s, lower+"-") }
	optional := func(good func(string) bool) func(string) bool {
		return func(s string) bool { return s == "" || good(s) }
	}

	take(o, "scheme", &f.Scheme, word, BadScheme)
	amount := "amount"
	if f.Version == 1 {
		amount = "maxAmountRequired"
		s, _ := o.text("network")
		if f.Network = networksV1[s]; f.Network == "" {
			wrong(BadNetwork)
		}
	} else {
		take(o, "network", &f.Network, namedNetwork, BadNetwork)
	}
	take(o, "asset", &f.Asset, named, BadAsset)
	take(o, "payTo", &f.PayTo, named, BadPayTo)
	s, _ := o.text(amount)
	var err error
	if f.Units, err = resource.ParseUnits(s); err != nil {
		wrong(BadAmount)
	}
	var ok bool
	if f.MaxTimeoutSeconds, ok = asInteger(o["maxTimeoutSeconds"]); !ok || f.MaxTimeoutSeconds < 1 || f.MaxTimeoutSeconds > timeoutMax {
		f.MaxTimeoutSeconds = 0
		wrong(BadTimeout)
	}

	f.Flow = FlowAuthorization
	if !o.has("extra") {
		return problem
	}
	extra, ok := asObject(o["extra"])
	if !ok {
		wrong(BadExtra)
		return problem
	}
	take(extra, "feePayer", &f.FeePayer, optional(named), BadFeePayer)
	memo := ""
	take(extra, "memo", &memo, func(s string) bool { return len(s) <= MemoMax && utf8.ValidString(s) }, BadMemo)
	if f.Memo = Untrusted(memo); memo == "" && extra.has("memo") {
		wrong(BadMemo)
	}
	take(extra, "recentBlockhash", &f.RecentBlockhash, optional(named), BadHint)
	if f.LastValidBlockHeight, ok = height(extra); !ok {
		wrong(BadHint)
	}
	if extra.has("paymentFlow") {
		take(extra, "paymentFlow", &f.Flow, word, BadFlow)
	}
	if f.TransactionVersions, ok = versions(extra); !ok {
		wrong(BadVersions)
	}
	return problem
}

// height is the hint lastValidBlockHeight, which servers write as a number or as a text.
func height(extra object) (int64, bool) {
	const name = "lastValidBlockHeight"
	if !extra.has(name) {
		return 0, true
	}
	if s, ok := asText(extra[name]); ok {
		v, err := resource.ParseUnits(s)
		return v, err == nil
	}
	return asInteger(extra[name])
}

func versions(extra object) ([]int64, bool) {
	list, ok := extra.list("transactionVersions")
	if !ok || len(list) > versionsMax || (len(list) == 0 && extra.has("transactionVersions")) {
		return nil, false
	}
	var all []int64
	for _, raw := range list {
		v, ok := asInteger(raw)
		if !ok {
			return nil, false
		}
		all = append(all, v)
	}
	return all, true
}

// encode is the offer's JSON: Raw, if there is one, for what came from somebody goes back as it came.
func (f *Offer) encode() json.RawMessage {
	if len(f.Raw) > 0 {
		return f.Raw
	}
	var w, extra writer
	w.words("scheme", f.Scheme)
	w.words("network", f.Network)
	w.words("amount", resource.FormatUnits(f.Units))
	w.words("asset", f.Asset)
	w.words("payTo", f.PayTo)
	w.member("maxTimeoutSeconds", integer(f.MaxTimeoutSeconds))
	extra.words("feePayer", f.FeePayer)
	extra.words("memo", string(f.Memo))
	if f.Flow != "" && f.Flow != FlowAuthorization {
		extra.words("paymentFlow", f.Flow)
	}
	w.member("extra", extra.object())
	return w.object()
}

// Matches reports whether a payment that accepts f accepts what was offered: every field that is known is the same but the hints,
// which change from one answer to the next. A seller asks it before it looks at the payment itself.
func (f *Offer) Matches(offered *Offer) bool {
	return f.Problem == "" && offered.Problem == "" &&
		f.Version == offered.Version && f.Scheme == offered.Scheme && f.Network == offered.Network && f.Asset == offered.Asset &&
		f.PayTo == offered.PayTo && f.Units == offered.Units && f.MaxTimeoutSeconds == offered.MaxTimeoutSeconds &&
		f.FeePayer == offered.FeePayer && f.Memo == offered.Memo && f.Flow == offered.Flow &&
		slices.Equal(f.TransactionVersions, offered.TransactionVersions)
}
