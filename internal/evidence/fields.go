package evidence

import (
	"bytes"
	"math"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/halfkey/halfkey/internal/resource"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

const (
	// PurposeMax bounds an intent's purpose: a line that a person reads before approving.
	PurposeMax = 256
	// IntentMax bounds an intent's bytes: two names, an asset, a purpose, a host with a path, and change.
	IntentMax = 3 << 10
	// AssetMax bounds a CAIP-19 asset id: its grammar ends at 41 + 1 + 137 bytes and a token id of 79.
	AssetMax = 258
	// MessageMax bounds a message to be signed; a Solana message fits one packet of 1,232 bytes.
	MessageMax = 2 << 10
	// EmailMax is the longest address that SMTP carries (RFC 5321, 4.5.3.1.3).
	EmailMax = 254
	// ResultsMax bounds a statement's rule results: a document has at most 32 limits, three other rules, and five for an HTTP request.
	ResultsMax = 40
	// EntryStatementsMax bounds the statements of a journal entry: a payment's request, verdict and review are the most.
	EntryStatementsMax = 4
	// OwnerKeysMax bounds an owner's keys.
	OwnerKeysMax = 16
	// SharingMax bounds the public half of a sharing: three participants' is some 170 bytes.
	SharingMax = 256
	// MethodMax bounds a gRPC method's name in a token.
	MethodMax = 128
	// ResourceMax bounds a resource name in a token: a payment's is the longest.
	ResourceMax = 160
	// millisMax is the last millisecond of the year 9999, beyond which times have no agreed text; it keeps sums of times
	// far from overflow.
	millisMax = 253402300799999

	digestSize     = 32
	keySize        = 32
	signatureSize  = 64
	commitmentSize = 64
	runSize        = 16
)

// fields checks one statement's fields and keeps the first refusal, so that the list of checks reads like the contract.
type fields struct {
	piece string
	err   *Error
}

func (f *fields) refuse(field, why string) {
	if f.err == nil {
		f.err = bad(f.piece, field, why)
	}
}

func (f *fields) check(ok bool, field, why string) {
	if !ok {
		f.refuse(field, why)
	}
}

func (f *fields) installation(s string) {
	f.check(resource.ValidInstallation(s) == nil, "installation", "is not 1 to 32 of [a-z0-9-]")
}

func (f *fields) wallet(s string) {
	_, err := resource.ParseWallet(s)
	f.check(err == nil, "wallet", "is not a wallet's name")
}

func (f *fields) noWallet(s string) {
	f.check(s == "", "wallet", "is not empty, and the statement is not a wallet's")
}

// scopeSubject checks that a freeze's scope, wallet and owner say the same.
func (f *fields) scopeSubject(scope typev1.Scope, wallet, owner string) {
	switch scope {
	case typev1.Scope_SCOPE_WALLET:
		f.wallet(wallet)
		f.check(owner == "", "owner", "is not empty, and the scope is a wallet")
	case typev1.Scope_SCOPE_OWNER:
		f.noWallet(wallet)
		f.owner(owner)
	case typev1.Scope_SCOPE_INSTALLATION:
		f.noWallet(wallet)
		f.check(owner == "", "owner", "is not empty, and the scope is the installation")
	default:
		f.refuse("scope", "is not given")
	}
}

func (f *fields) owner(s string) {
	_, err := resource.ParseOwner(s)
	f.check(err == nil, "owner", "is not an owner's name")
}

func (f *fields) handle(s string) {
	f.check(resource.ValidHandle(s) == nil, "handle", "is not a handle")
}

func (f *fields) id(field, s string) {
	f.check(resource.ValidID(s) == nil, field, "is not 1 to 63 of [a-z0-9-]")
}

// payment checks a payment's name and that it is of the statement's wallet.
func (f *fields) payment(s, wallet string) {
	of, _, err := resource.ParsePayment(s)
	f.check(err == nil, "payment", "is not a payment's name")
	f.check(err != nil || of == wallet, "payment", "is of another wallet")
}

func (f *fields) size(field string, b []byte, size int) {
	if len(b) != size {
		switch size {
		case runSize:
			f.refuse(field, "is not 16 bytes")
		case signatureSize:
			f.refuse(field, "is not 64 bytes")
		default:
			f.refuse(field, "is not 32 bytes")
		}
	}
}

func (f *fields) digest(field string, b []byte) { f.size(field, b, digestSize) }

func (f *fields) key(field string, b []byte) { f.size(field, b, keySize) }

func (f *fields) optionalDigest(field string, b []byte) {
	if len(b) != 0 {
		f.digest(field, b)
	}
}

// keys checks a set of keys: sizes, number, ascending without repeats, so that one set has one encoding.
func (f *fields) keys(field string, keys [][]byte, least, most int) {
	f.check(len(keys) >= least && len(keys) <= most, field, "are too few or too many")
	for i, k := range keys {
		f.key(field, k)
		f.check(i == 0 || bytes.Compare(keys[i-1], k) < 0, field, "are not ascending without repeats")
	}
}

func (f *fields) units(field, s string) {
	_, err := resource.ParseUnits(s)
	f.check(err == nil, field, "is not an amount of 1 to 2^63-1")
}

// amount is zero or more, or not given.
func (f *fields) amount(field, s string) {
	if s == "" {
		return
	}
	_, err := resource.ParseAmount(s)
	f.check(err == nil, field, "is not an amount of 0 to 2^63-1")
}

func (f *fields) asset(s string) {
	f.check(len(s) > 0 && len(s) <= AssetMax && printableASCII(s), "asset", "is not an asset id of at most 258 characters")
}

func (f *fields) millis(field string, v int64) {
	f.check(v > 0 && v <= millisMax, field, "is not a time between 1970 and the year 9999")
}

// life checks that a statement lives, and no longer than EvidenceLife.
func (f *fields) life(from, to, most int64) {
	f.millis("time_millis", from)
	f.millis("expiry_millis", to)
	f.check(to > from && to-from <= most, "expiry_millis", "is not within 60 seconds after time_millis")
}

func (f *fields) number(field string, n uint64) {
	f.check(n > 0 && n <= math.MaxInt64, field, "is not a number from 1 on")
}

// onChain reports whether an asset is moved by a chain's transactions, by the namespace that its id begins with.
func onChain(asset string) bool { return strings.HasPrefix(asset, resource.SolanaNamespace) }

// landed checks which transaction of a chain a statement speaks of, and the slot of the block that holds it: both or neither.
func (f *fields) landed(transaction []byte, slot uint64, is bool) {
	if !is {
		f.check(len(transaction) == 0, "transaction", "is given, and nothing landed on a chain")
		f.check(slot == 0, "slot", "is given, and nothing landed on a chain")
		return
	}
	f.size("transaction", transaction, signatureSize)
	f.number("slot", slot)
}

// chainTransfer checks what came to a wallet's token account or left it. Only what left may be a message of the wallet's own payments.
func (f *fields) chainTransfer(m *typev1.ChainTransfer) {
	f.installation(m.GetInstallation())
	f.wallet(m.GetWallet())
	_, known := resource.TokenOf(m.GetAsset())
	f.check(known, "asset", "is not a token that is paid on Solana")
	f.units("units", m.GetUnits())
	f.landed(m.GetTransaction(), m.GetSlot(), true)
	if m.GetPayment() != "" {
		f.payment(m.GetPayment(), m.GetWallet())
		f.check(m.GetOutflow(), "payment", "is given, and the units came in")
	}
	f.millis("time_millis", m.GetTimeMillis())
}

// numbered checks an entry's number and hash, which a new store does not have.
func (f *fields) numbered(numberField, hashField string, n uint64, hash []byte) {
	f.check(n <= math.MaxInt64, numberField, "is too large")
	if n == 0 {
		f.check(len(hash) == 0, hashField, "is not empty, and there is no entry")
		return
	}
	f.digest(hashField, hash)
}

// judged checks a light with its results: a statement milder than one of its own results contradicts itself.
func (f *fields) judged(light typev1.Light, results []*typev1.RuleResult) {
	f.check(light != typev1.Light_LIGHT_UNSPECIFIED, "light", "is not given")
	f.results(results)
	for _, r := range results {
		f.check(r.GetLight() <= light, "light", "is milder than one of its results")
	}
}

func (f *fields) results(results []*typev1.RuleResult) {
	f.check(len(results) <= ResultsMax, "results", "are too many")
	for _, r := range results {
		f.check(r.GetRule() != typev1.Rule_RULE_UNSPECIFIED, "results", "hold one without a rule")
		f.check(r.GetLight() != typev1.Light_LIGHT_UNSPECIFIED, "results", "hold one without a light")
		f.check(r.GetIndex() < ResultsMax, "results", "hold an index too large")
		f.check(r.GetRule() == typev1.Rule_RULE_LIMIT || r.GetIndex() == 0, "results", "hold an index, and the rule is no limit")
		f.amount("results", r.GetObserved())
		f.amount("results", r.GetLimit())
		f.amount("results", r.GetRoom())
		f.check(len(r.GetLastRecipient()) == 0 ||
			(len(r.GetLastRecipient()) == keySize && r.GetRule() == typev1.Rule_RULE_X402_CHANGED_RECIPIENT),
			"results", "hold a recipient that is not 32 bytes, or not of the rule that has one")
	}
}

// answered checks that exactly a YELLOW may name the review that answered it.
func (f *fields) answered(light typev1.Light, review []byte) {
	f.optionalDigest("review_digest", review)
	f.check(len(review) == 0 || light == typev1.Light_LIGHT_YELLOW, "review_digest", "is given, and the light is not YELLOW")
}

// caller checks who calls, and that an agent's token names its wallet.
func (f *fields) caller(caller, wallet string) {
	switch {
	case strings.HasPrefix(caller, "agents/"):
		f.wallet(wallet)
		f.check(resource.AgentOf(wallet) == caller, "caller", "is not the agent of the wallet")
	case strings.HasPrefix(caller, "owners/"):
		_, err := resource.ParseOwner(caller)
		f.check(err == nil, "caller", "is not an owner's name")
		f.noWallet(wallet)
	case caller == "operator":
		f.noWallet(wallet)
	default:
		f.refuse("caller", "is no agent, owner or operator")
	}
}

// email checks shape and size only: the address is where a claim code finds its owner, not something that is proven here.
func (f *fields) email(field, s string) {
	f.check(ValidEmail(s), field, "is not one bare lower-case e-mail address of at most 254 bytes")
}

// ValidEmail reports whether s is one lower-case e-mail address in ASCII and nothing else: a dot-atom, @ and a domain (RFC 5322,
// 3.4.1), without a name, brackets, quotes, comments or a second address.
func ValidEmail(s string) bool {
	local, domain, ok := strings.Cut(s, "@")
	return ok && len(s) <= EmailMax && dotted(local, "!#$%&'*+-/=?^_`{|}~") && dotted(domain, "-")
}

// dotted reports whether s is words of a to z, digits and more, with one dot between each two.
func dotted(s, more string) bool {
	letters := "abcdefghijklmnopqrstuvwxyz0123456789" + more
	other := func(r rune) bool { return !strings.ContainsRune(letters, r) }
	for word := range strings.SplitSeq(s, ".") {
		if word == "" || strings.ContainsFunc(word, other) {
			return false
		}
	}
	return true
}

// text checks what a person reads before approving: no control characters, and none that reorder or hide what stands
// around them.
func (f *fields) text(field, s string, most int) {
	f.check(len(s) <= most && utf8.ValidString(s), field, "is too long or not UTF-8")
	for _, r := range s {
		if unicode.IsControl(r) || unicode.Is(unicode.Cf, r) || unicode.Is(unicode.Zl, r) || unicode.Is(unicode.Zp, r) {
			f.refuse(field, "holds a control character")
			return
		}
	}
}

func printableASCII(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}
