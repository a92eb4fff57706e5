package main

import (
	"bytes"
	"cmp"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/halfkey/halfkey/internal/guardrails"
	"github.com/halfkey/halfkey/internal/resource"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// x402Lines are the rules about HTTP requests as a guard rails file has them.
type x402Lines struct {
	// Hosts may be paid.
	Hosts []hostLine `yaml:"hosts,omitempty"`
	// UnknownHost says what a request that none of them allows means: deny, the default, or review.
	UnknownHost string `yaml:"unknown_host,omitempty"`
}

// hostLine is one host.
type hostLine struct {
	// Host is like api.example.com, api.example.com:8443 or *.example.com.
	Host string `yaml:"host"`
	// Methods and Paths are those that may be paid for; none is any. A path stands for all below it.
	Methods []string `yaml:"methods,omitempty"`
	Paths   []string `yaml:"paths,omitempty"`
	// PlainHTTP allows http besides https.
	PlainHTTP bool `yaml:"plain_http,omitempty"`
	// MaxPrice is the largest price of a request.
	MaxPrice *boundLine `yaml:"max_price,omitempty"`
	// Recipients are the only ones that may be paid for it, and may be.
	Recipients []string `yaml:"recipients,omitempty"`
	// ChangedRecipient says what another recipient than the one that was paid last means: review or deny.
	ChangedRecipient string `yaml:"changed_recipient,omitempty"`
	// Drift is how much a price may rise over the last one for the same request, such as 20%.
	Drift *boundLine `yaml:"drift,omitempty"`
}

// boundLine is a bound of a host's price, and what happens above it.
type boundLine struct {
	AtMost string `yaml:"at_most"`
	Over   string `yaml:"over"`
}

// rules writes the lines as rules; nil if there are none. Order is the person's: a document has its own.
func (l *x402Lines) rules(resolve resolver) (*typev1.X402Rules, error) {
	if l == nil {
		return nil, nil
	}
	unknown, err := lightOf(l.UnknownHost, wordDeny)
	if err != nil {
		return nil, badRules("x402.unknown_host: " + err.Error())
	}
	out := &typev1.X402Rules{UnknownHost: unknown}
	for n, line := range l.Hosts {
		h, err := line.host(fmt.Sprintf("x402.hosts[%d]", n), resolve)
		if err != nil {
			return nil, err
		}
		out.Hosts = append(out.Hosts, h)
	}
	slices.SortStableFunc(out.Hosts, func(a, b *typev1.X402Host) int { return cmp.Compare(a.GetHost(), b.GetHost()) })
	for i, h := range out.GetHosts() {
		if i > 0 && out.GetHosts()[i-1].GetHost() == h.GetHost() {
			return nil, badRules(fmt.Sprintf("x402.hosts: %q is there twice, and one of them would have to decide", shorten(h.GetHost())))
		}
	}
	return out, nil
}

func (l *hostLine) host(at string, resolve resolver) (*typev1.X402Host, error) {
	bad := func(field string, err error) error { return badRules(at + "." + field + ": " + err.Error()) }
	h := &typev1.X402Host{Host: l.Host, Methods: inOrder(l.Methods), PathPrefixes: inOrder(l.Paths), PlainHttp: l.PlainHTTP}
	var err error
	if h.Recipients, err = keysOf(at+".recipients", l.Recipients, resolve); err != nil {
		return nil, err
	}
	if l.ChangedRecipient != "" {
		if h.ChangedRecipient, err = lightOf(l.ChangedRecipient, ""); err != nil {
			return nil, bad("changed_recipient", err)
		}
	}
	if l.MaxPrice != nil {
		units, err := resource.ParseDecimal(strings.TrimSuffix(l.MaxPrice.AtMost, " "+usd), usdDecimals)
		if err != nil {
			return nil, bad("max_price", errors.New("at_most: an amount is like \"0.10 USD\""))
		}
		h.MaxPrice = &typev1.X402Price{Unit: resource.UnitUSD, Amount: resource.FormatUnits(units)}
		if h.MaxPrice.Crossed, err = lightOf(l.MaxPrice.Over, ""); err != nil {
			return nil, bad("max_price", errors.New("over: "+err.Error()))
		}
	}
	if l.Drift != nil {
		number, percent := strings.CutSuffix(l.Drift.AtMost, "%")
		n, err := strconv.ParseUint(number, 10, 32)
		if err != nil || !percent {
			return nil, bad("drift", errors.New("at_most: a drift is whole percents, like \"20%\""))
		}
		h.DriftPercent = uint32(n)
		if h.Drifted, err = lightOf(l.Drift.Over, ""); err != nil {
			return nil, bad("drift", errors.New("over: "+err.Error()))
		}
	}
	return h, nil
}

// inOrder is a list as documents have it.
func inOrder(words []string) []string {
	return slices.Compact(slices.Sorted(slices.Values(words)))
}

// newX402Lines writes rules as lines; nil if there are none.
func newX402Lines(r *typev1.X402Rules) *x402Lines {
	if r == nil {
		return nil
	}
	out := &x402Lines{UnknownHost: lightWord(r.GetUnknownHost())}
	for _, h := range r.GetHosts() {
		l := hostLine{Host: h.GetHost(), Methods: h.GetMethods(), Paths: h.GetPathPrefixes(), PlainHTTP: h.GetPlainHttp()}
		if p := h.GetMaxPrice(); p != nil {
			l.MaxPrice = &boundLine{AtMost: priceText(p), Over: lightWord(p.GetCrossed())}
		}
		for _, key := range h.GetRecipients() {
			l.Recipients = append(l.Recipients, hex.EncodeToString(key))
		}
		if h.GetChangedRecipient() != typev1.Light_LIGHT_UNSPECIFIED {
			l.ChangedRecipient = lightWord(h.GetChangedRecipient())
		}
		if h.GetDrifted() != typev1.Light_LIGHT_UNSPECIFIED {
			l.Drift = &boundLine{AtMost: driftText(h), Over: lightWord(h.GetDrifted())}
		}
		out.Hosts = append(out.Hosts, l)
	}
	return out
}

func priceText(p *typev1.X402Price) string {
	return measureText(typev1.Measure_MEASURE_UNITS, p.GetUnit(), p.GetAmount())
}

func driftText(h *typev1.X402Host) string {
	return strconv.FormatUint(uint64(h.GetDriftPercent()), 10) + "%"
}

// printX402 prints for which HTTP requests may be paid.
func printX402(p *printer, r *typev1.X402Rules) {
	if r == nil {
		return
	}
	for _, h := range r.GetHosts() {
		p.line("Pays for    %s at %s", requestsText(h), h.GetHost())
		if price := h.GetMaxPrice(); price != nil {
			p.line("            over %s a request: %s", priceText(price), crossedText(price.GetCrossed()))
		}
		for _, key := range h.GetRecipients() {
			p.line("            to %s alone", keyText(key))
		}
		if h.GetChangedRecipient() != typev1.Light_LIGHT_UNSPECIFIED {
			p.line("            to another recipient than the last one: %s", crossedText(h.GetChangedRecipient()))
		}
		if h.GetDrifted() != typev1.Light_LIGHT_UNSPECIFIED {
			p.line("            over the last price and %s: %s", driftText(h), crossedText(h.GetDrifted()))
		}
	}
	p.line("Any other HTTP request %s.", lightMeans(r.GetUnknownHost()))
}

// requestsText is which requests an entry allows.
func requestsText(h *typev1.X402Host) string {
	text := "any method"
	if len(h.GetMethods()) > 0 {
		text = strings.Join(h.GetMethods(), ", ")
	}
	if len(h.GetPathPrefixes()) > 0 {
		text += " under " + strings.Join(h.GetPathPrefixes(), ", ")
	}
	if h.GetPlainHttp() {
		text += ", also without TLS,"
	}
	return text
}

// x402Remarks says what rules about HTTP requests allow that their owner may not mean.
func x402Remarks(doc *typev1.GuardRails) (out []string) {
	r := doc.GetX402()
	if r == nil {
		return nil
	}
	if len(r.GetHosts()) == 0 && r.GetUnknownHost() == typev1.Light_LIGHT_RED {
		out = append(out, "it pays for no HTTP request: no host is allowed, and every other is refused")
	}
	for _, h := range r.GetHosts() {
		if slices.ContainsFunc(h.GetRecipients(), func(k []byte) bool { return listed(doc.GetRecipients().GetAllow(), k) }) {
			out = append(out, "a recipient of "+h.GetHost()+" is on the allow list as well: it may be paid for anything, whatever the request")
		}
		if slices.ContainsFunc(h.GetRecipients(), func(k []byte) bool { return listed(doc.GetRecipients().GetDeny(), k) }) {
			out = append(out, "a recipient of "+h.GetHost()+" is on the deny list: it is never paid")
		}
	}
	return out
}

func listed(keys [][]byte, key []byte) bool {
	return slices.ContainsFunc(keys, func(k []byte) bool { return bytes.Equal(k, key) })
}

// requestShown is the HTTP request whose answer a payment pays for, as the agent said.
type requestShown struct {
	// Request is method and URL, without the query: `GET https://api.example/report`.
	Request string `json:"request"`
	// URLDigest is the SHA-256 over the whole URL, BodyDigest over the request's body, in hexadecimal.
	URLDigest  string `json:"url_digest"`
	BodyDigest string `json:"body_digest"`
}

// newRequestShown is nil for a payment that is for no request.
func newRequestShown(x *typev1.X402Context) *requestShown {
	if x == nil {
		return nil
	}
	_, request := guardrails.PaidFor(x)
	return &requestShown{Request: request, URLDigest: hex.EncodeToString(x.GetUrlDigest()), BodyDigest: hex.EncodeToString(x.GetBodyDigest())}
}
