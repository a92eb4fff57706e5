package guardrails

import (
	"bytes"
	"math"
	"math/bits"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/halfkey/halfkey/internal/resource"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

const (
	// X402Max bounds the rules about HTTP requests, encoded: with the rest of a document, and the journal entry that holds it, they
	// stay within a payload's 64 KiB.
	X402Max = 24 << 10
	// X402HostsMax bounds the hosts: a list that a person reads.
	X402HostsMax = 64
	// X402WordsMax bounds a host's methods, its path prefixes and its recipients, each.
	X402WordsMax = 16
	// X402PrefixMax bounds a path prefix.
	X402PrefixMax = 256
	// DriftMax bounds a drift, in percent: a price a hundred times as high is another price.
	DriftMax = 10_000

	wildcard = "*."
)

// checkX402 checks the rules about HTTP requests.
func checkX402(r *typev1.X402Rules) *Refusal {
	switch {
	case r == nil:
		return nil
	case len(r.GetHosts()) > X402HostsMax:
		return refuse("x402.hosts", "are more than 64")
	case proto.Size(r) > X402Max:
		return refuse("x402", "is larger than 24 KiB: name fewer hosts, paths or recipients")
	case !stops(r.GetUnknownHost()):
		return refuse("x402.unknown_host", "is neither YELLOW nor RED")
	}
	for i, h := range r.GetHosts() {
		at := at("x402.hosts", i)
		if field, why := checkHost(h); why != "" {
			return refuse(at+field, why)
		}
		if refusal := checkKeys(at+".recipients", h.GetRecipients(), X402WordsMax, "are more than 16"); refusal != nil {
			return refusal
		}
		// Two entries of one host would leave open which of them decides.
		if i > 0 && r.GetHosts()[i-1].GetHost() >= h.GetHost() {
			return refuse(at+".host", "is not in ascending order without repeats")
		}
	}
	return nil
}

// checkHost says which field of a host's entry is refused, with the point before it, and why; both empty if none.
func checkHost(h *typev1.X402Host) (field, why string) {
	if h == nil {
		return "", "is missing"
	}
	if why := checkPattern(h); why != "" {
		return ".host", why
	}
	if why := checkWords(h.GetMethods(), resource.ValidHTTPMethod, "hold one that is not 1 to 16 upper-case letters"); why != "" {
		return ".methods", why
	}
	const badPrefix = "hold one that is not a path such as /v1, as it is sent, of at most 256 bytes"
	if why := checkWords(h.GetPathPrefixes(), validPrefix, badPrefix); why != "" {
		return ".path_prefixes", why
	}
	if p := h.GetMaxPrice(); p != nil {
		if !resource.KnownUnit(p.GetUnit()) {
			return ".max_price.unit", "is not a unit of account known here, such as USD"
		}
		if _, err := resource.ParseAmount(p.GetAmount()); err != nil {
			return ".max_price.amount", "is not a whole number of 0 to 2^63-1"
		}
		if !stops(p.GetCrossed()) {
			return ".max_price.crossed", "is neither YELLOW nor RED"
		}
	}
	switch {
	case given(h.GetChangedRecipient()) && !stops(h.GetChangedRecipient()):
		return ".changed_recipient", "is neither YELLOW nor RED"
	case given(h.GetDrifted()) && !stops(h.GetDrifted()):
		return ".drifted", "is neither YELLOW nor RED"
	case !given(h.GetDrifted()) && h.GetDriftPercent() != 0:
		return ".drift_percent", "is given, and drifted does not say what happens above it"
	case h.GetDriftPercent() > DriftMax:
		return ".drift_percent", "is more than 10,000"
	}
	return "", ""
}

// given reports whether an optional light is set.
func given(l typev1.Light) bool { return l != typev1.Light_LIGHT_UNSPECIFIED }

// checkPattern says why an entry's host is refused, or is empty.
func checkPattern(h *typev1.X402Host) string {
	host, wild := strings.CutPrefix(h.GetHost(), wildcard)
	if resource.ValidHTTPHost("https", host) != nil && (!h.GetPlainHttp() || resource.ValidHTTPHost("http", host) != nil) {
		return "is not a host such as api.example.com, api.example.com:8443 or *.example.com, without the scheme's own port"
	}
	name, _, _ := strings.Cut(host, ":")
	if wild && (!resource.ValidDNSName(name) || !strings.Contains(name, ".")) {
		return "has a wildcard before less than a DNS name of two labels, such as *.example.com"
	}
	return ""
}

// checkWords checks a list of methods or paths: each well formed, or it is bad, and ascending without repeats.
func checkWords(words []string, valid func(string) error, bad string) string {
	if len(words) > X402WordsMax {
		return "are more than 16"
	}
	for i, w := range words {
		if valid(w) != nil {
			return bad
		}
		if i > 0 && words[i-1] >= w {
			return "are not in ascending order without repeats"
		}
	}
	return ""
}

func validPrefix(s string) error {
	if len(s) > X402PrefixMax {
		return refuse("path_prefixes", "are too long")
	}
	return resource.ValidHTTPPath(s)
}

// X402Entry is the entry that decides about a request: the one of its host or, if there is none, of the longest wildcard that holds
// it; nil if there is neither. allowed says that the request's scheme, method and path are the entry's. An entry that does not allow
// a request is not passed over for a less specific one.
func X402Entry(r *typev1.X402Rules, x *typev1.X402Context) (entry *typev1.X402Host, allowed bool) {
	for _, h := range r.GetHosts() {
		if holds(h.GetHost(), x.GetHost()) && (entry == nil || moreSpecific(h.GetHost(), entry.GetHost())) {
			entry = h
		}
	}
	return entry, entry != nil && allows(entry, x)
}

// holds reports whether a pattern holds a host. A wildcard stands for at least one whole label, and holds no other port.
func holds(pattern, host string) bool {
	suffix, wild := strings.CutPrefix(pattern, "*")
	if !wild {
		return pattern == host
	}
	return len(host) > len(suffix) && strings.HasSuffix(host, suffix)
}

func moreSpecific(a, b string) bool {
	aWild, bWild := strings.HasPrefix(a, wildcard), strings.HasPrefix(b, wildcard)
	if aWild != bWild {
		return bWild
	}
	return len(a) > len(b)
}

func allows(h *typev1.X402Host, x *typev1.X402Context) bool {
	return (x.GetScheme() == "https" || h.GetPlainHttp()) &&
		(len(h.GetMethods()) == 0 || slices.Contains(h.GetMethods(), x.GetMethod())) &&
		(len(h.GetPathPrefixes()) == 0 || slices.ContainsFunc(h.GetPathPrefixes(), func(p string) bool { return below(p, x.GetPath()) }))
}

// below reports whether a path is a prefix or one of the paths below it.
func below(prefix, path string) bool {
	rest, ok := strings.CutPrefix(path, prefix)
	return ok && (rest == "" || rest[0] == '/' || strings.HasSuffix(prefix, "/"))
}

// wellFormed reports whether a context can be matched with patterns at all.
func wellFormed(x *typev1.X402Context) bool {
	return resource.ValidHTTPMethod(x.GetMethod()) == nil && resource.ValidHTTPScheme(x.GetScheme()) == nil &&
		resource.ValidHTTPHost(x.GetScheme(), x.GetHost()) == nil && resource.ValidHTTPPath(x.GetPath()) == nil
}

// judgeHost is the entry that allows a payment's request, nil if none does or no rule speaks of it, and what follows from that.
func judgeHost(doc *typev1.GuardRails, f Facts) (*typev1.X402Host, typev1.Light) {
	rules := doc.GetX402()
	switch {
	case rules == nil || f.X402 == nil:
		return nil, typev1.Light_LIGHT_GREEN
	case checkX402(rules) != nil || !wellFormed(f.X402):
		return nil, typev1.Light_LIGHT_RED
	}
	if entry, allowed := X402Entry(rules, f.X402); allowed {
		return entry, typev1.Light_LIGHT_GREEN
	}
	return nil, rules.GetUnknownHost()
}

// judgeX402 judges a payment for an HTTP request by the rules about these that need no history, host and light being judgeHost's.
func (j *Judgement) judgeX402(doc *typev1.GuardRails, f Facts, h *typev1.X402Host, host typev1.Light) {
	if doc.GetX402() == nil || f.X402 == nil {
		return
	}
	j.add(&typev1.RuleResult{Rule: typev1.Rule_RULE_X402_HOST, Light: host})
	if p := h.GetMaxPrice(); p != nil {
		j.add(judgePrice(p, doc.GetInstallation(), f))
	}
	if len(h.GetRecipients()) > 0 {
		j.add(&typev1.RuleResult{Rule: typev1.Rule_RULE_X402_RECIPIENT, Light: greenIf(pins(h, f))})
	}
}

// pins reports whether an entry names a payment's recipient.
func pins(h *typev1.X402Host, f Facts) bool {
	return slices.ContainsFunc(h.GetRecipients(), func(k []byte) bool { return bytes.Equal(k, f.Recipient[:]) })
}

func judgePrice(p *typev1.X402Price, installation string, f Facts) *typev1.RuleResult {
	r := &typev1.RuleResult{
		Rule: typev1.Rule_RULE_X402_PRICE, Light: typev1.Light_LIGHT_RED,
		Observed: resource.FormatUnits(f.Units), Limit: p.GetAmount(), Room: p.GetAmount(),
	}
	most, err := resource.ParseAmount(p.GetAmount())
	unit, _, ok := resource.UnitOf(f.Asset, installation)
	switch {
	case err != nil || !ok || unit != p.GetUnit():
		// Nobody can compare the two.
	case f.Units <= most:
		r.Light = typev1.Light_LIGHT_GREEN
	default:
		r.Light = p.GetCrossed()
	}
	return r
}

// Paid is what was paid last for HTTP requests, that is settled, as far as it concerns one payment. It is the zero value where
// nothing was.
type Paid struct {
	// Recipient is who was paid last at the payment's host; zero if nobody was.
	Recipient [32]byte
	// Units is what was paid last for the payment's method, scheme, host and path, in Unit; 0 if nothing was.
	Units int64
	Unit  string
}

// PaidFor are the names under which what was paid last is kept: the host, and the request without its query and body. One holds a
// space and the other none, so that neither is ever taken for the other.
func PaidFor(x *typev1.X402Context) (host, request string) {
	return x.GetHost(), x.GetMethod() + " " + x.GetScheme() + "://" + x.GetHost() + x.GetPath()
}

// countX402 judges a payment for an HTTP request by the rules about these that need history. Where there is none yet they are
// GREEN: the owner's other rules decide about the first.
func (j *Judgement) countX402(doc *typev1.GuardRails, f Facts, last Paid) {
	h, _ := judgeHost(doc, f)
	if given(h.GetChangedRecipient()) {
		r := &typev1.RuleResult{Rule: typev1.Rule_RULE_X402_CHANGED_RECIPIENT, Light: typev1.Light_LIGHT_GREEN}
		if last.Recipient != [32]byte{} {
			r.LastRecipient = bytes.Clone(last.Recipient[:])
			if last.Recipient != f.Recipient {
				r.Light = h.GetChangedRecipient()
			}
		}
		j.add(r)
	}
	if given(h.GetDrifted()) {
		j.add(judgeDrift(h, doc.GetInstallation(), f, last))
	}
}

func judgeDrift(h *typev1.X402Host, installation string, f Facts, last Paid) *typev1.RuleResult {
	r := &typev1.RuleResult{Rule: typev1.Rule_RULE_X402_DRIFT, Light: typev1.Light_LIGHT_GREEN, Observed: resource.FormatUnits(f.Units)}
	unit, _, ok := resource.UnitOf(f.Asset, installation)
	switch {
	case last.Units == 0:
		return r
	case last.Units < 0:
		r.Light = typev1.Light_LIGHT_RED
		return r
	case !ok || unit != last.Unit:
		// A price in another unit cannot be compared, so nobody knows that it has not risen.
		r.Light = h.GetDrifted()
		return r
	}
	most := raised(last.Units, h.GetDriftPercent())
	r.Limit, r.Room = resource.FormatUnits(most), resource.FormatUnits(most)
	if f.Units > most {
		r.Light = h.GetDrifted()
	}
	return r
}

// raised is so many percent above a price, in whole units, or the largest number that there is.
func raised(units int64, percent uint32) int64 {
	high, low := bits.Mul64(uint64(units), 100+uint64(percent))
	if high >= 100 {
		return math.MaxInt64
	}
	quotient, _ := bits.Div64(high, low, 100)
	return int64(min(quotient, math.MaxInt64))
}
