package guardrails

import (
	"errors"
	"math"
	"math/big"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"pgregory.net/rapid"

	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// x402 makes the standard document one with these hosts; a request that none allows asks a person.
func x402(hosts ...*typev1.X402Host) *typev1.GuardRails {
	return standard(func(d *typev1.GuardRails) { d.X402 = &typev1.X402Rules{Hosts: hosts, UnknownHost: yellow} })
}

func host(pattern string, edits ...func(*typev1.X402Host)) *typev1.X402Host {
	h := &typev1.X402Host{Host: pattern}
	for _, edit := range edits {
		edit(h)
	}
	return h
}

// priced bounds a host's price in cents of a dollar.
func priced(cents string, crossed typev1.Light) func(*typev1.X402Host) {
	return func(h *typev1.X402Host) {
		h.MaxPrice = &typev1.X402Price{Unit: "USD", Amount: cents + "0000", Crossed: crossed}
	}
}

// buys are the facts of a payment of a dollar to key 1 for a request, written like `GET https://api.example.com/v1/x`.
func buys(request string) Facts {
	f := pays(dollar)
	method, rest, _ := strings.Cut(request, " ")
	scheme, rest, _ := strings.Cut(rest, "://")
	name, path, _ := strings.Cut(rest, "/")
	f.X402 = &typev1.X402Context{Method: method, Scheme: scheme, Host: name, Path: "/" + path}
	return f
}

// ruled is the result of one rule, nil if it did not speak.
func ruled(j Judgement, rule typev1.Rule) *typev1.RuleResult {
	i := slices.IndexFunc(j.Results, func(r *typev1.RuleResult) bool { return r.GetRule() == rule })
	if i < 0 {
		return nil
	}
	return j.Results[i]
}

func TestValidX402(t *testing.T) {
	for name, doc := range map[string]*typev1.GuardRails{
		"no host": x402(),
		"denies what it does not name": standard(func(d *typev1.GuardRails) {
			d.X402 = &typev1.X402Rules{UnknownHost: red}
		}),
		"hosts in order": x402(host("*.a.example"), host("*.example.com"), host("*.example.com:8443"), host("192.0.2.7"), host("[::1]:8443"),
			host("a.example"), host("a.example:8443"), host("localhost")),
		"everything": x402(host("api.example.com", priced("10", red), func(h *typev1.X402Host) {
			h.Methods, h.PathPrefixes, h.PlainHttp = []string{"GET", "POST"}, []string{"/", "/v1", "/v1/"}, true
			h.Recipients, h.ChangedRecipient, h.DriftPercent, h.Drifted = keys(16), red, DriftMax, yellow
		})),
		"any rise":              x402(host("api.example.com", func(h *typev1.X402Host) { h.Drifted = red })),
		"port 443 without TLS":  x402(host("api.example.com:443", func(h *typev1.X402Host) { h.PlainHttp = true })),
		"64 hosts":              x402(hosts(64)...),
		"a price that is free":  x402(host("api.example.com", priced("", yellow), func(h *typev1.X402Host) { h.MaxPrice.Amount = "0" })),
		"as large as it may be": x402(large(22)...),
		"longest prefix of a path": x402(host("api.example.com",
			func(h *typev1.X402Host) { h.PathPrefixes = []string{"/" + strings.Repeat("a", 255)} })),
	} {
		if err := Validate(doc); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// hosts are so many hosts.
func hosts(n int) (list []*typev1.X402Host) {
	for i := range n {
		list = append(list, host("h"+string(rune('a'+i/26))+string(rune('a'+i%26))+".example"))
	}
	return list
}

// large are hosts of some 1,100 bytes each.
func large(n int) []*typev1.X402Host {
	list := hosts(n)
	for _, h := range list {
		for _, c := range "abcd" {
			h.PathPrefixes = append(h.PathPrefixes, "/"+strings.Repeat(string(c), 255))
		}
	}
	return list
}

func TestRefusedX402(t *testing.T) {
	one := func(edit func(*typev1.X402Host)) *typev1.GuardRails { return x402(host("api.example.com", edit)) }
	pattern := func(s string) *typev1.GuardRails { return x402(host(s)) }
	for _, row := range []struct {
		name, field, why string
		doc              *typev1.GuardRails
	}{
		{"says nothing of others", "x402.unknown_host", "neither", standard(func(d *typev1.GuardRails) { d.X402 = new(typev1.X402Rules) })},
		{
			"lets others pass", "x402.unknown_host", "neither",
			standard(func(d *typev1.GuardRails) { d.X402 = &typev1.X402Rules{UnknownHost: green} }),
		},
		{"65 hosts", "x402.hosts", "more than 64", x402(hosts(65)...)},
		{"too large", "x402", "24 KiB", x402(large(24)...)},
		{"a host twice", "x402.hosts[1].host", "ascending", x402(host("a.example"), host("a.example"))},
		{"hosts out of order", "x402.hosts[1].host", "ascending", x402(host("b.example"), host("a.example"))},
		{"no host", "x402.hosts[0].host", "not a host", pattern("")},
		{"a URL", "x402.hosts[0].host", "not a host", pattern("https://api.example.com")},
		{"upper case", "x402.hosts[0].host", "not a host", pattern("API.example.com")},
		{"the scheme's port", "x402.hosts[0].host", "not a host", pattern("api.example.com:443")},
		{"every host", "x402.hosts[0].host", "not a host", pattern("*")},
		{"a wildcard of every host", "x402.hosts[0].host", "not a host", pattern("*.")},
		{"a wildcard of one label", "x402.hosts[0].host", "two labels", pattern("*.com")},
		{"a wildcard of one label with a port", "x402.hosts[0].host", "two labels", pattern("*.com:8443")},
		{"a wildcard of an address", "x402.hosts[0].host", "two labels", pattern("*.192.0.2.7")},
		{"a wildcard within", "x402.hosts[0].host", "not a host", pattern("api.*.example.com")},
		{"a wildcard in a label", "x402.hosts[0].host", "not a host", pattern("api*.example.com")},
		{"two wildcards", "x402.hosts[0].host", "not a host", pattern("*.*.example.com")},
		{"method in lower case", "x402.hosts[0].methods", "upper-case", one(func(h *typev1.X402Host) { h.Methods = []string{"get"} })},
		{"methods out of order", "x402.hosts[0].methods", "ascending", one(func(h *typev1.X402Host) { h.Methods = []string{"POST", "GET"} })},
		{"17 methods", "x402.hosts[0].methods", "16", one(func(h *typev1.X402Host) { h.Methods = slices.Repeat([]string{"GET"}, 17) })},
		{
			"a path without its slash", "x402.hosts[0].path_prefixes", "a path such as /v1",
			one(func(h *typev1.X402Host) { h.PathPrefixes = []string{"v1"} }),
		},
		{
			"a path with dots", "x402.hosts[0].path_prefixes", "a path such as /v1",
			one(func(h *typev1.X402Host) { h.PathPrefixes = []string{"/v1/../v2"} }),
		},
		{
			"a path too long", "x402.hosts[0].path_prefixes", "a path such as /v1",
			one(func(h *typev1.X402Host) { h.PathPrefixes = []string{"/" + strings.Repeat("a", 256)} }),
		},
		{"a path twice", "x402.hosts[0].path_prefixes", "ascending", one(func(h *typev1.X402Host) { h.PathPrefixes = []string{"/a", "/a"} })},
		{
			"a price in no unit", "x402.hosts[0].max_price.unit", "not a unit",
			one(func(h *typev1.X402Host) { priced("1", red)(h); h.MaxPrice.Unit = "EUR" }),
		},
		{"a negative price", "x402.hosts[0].max_price.amount", "whole number", one(priced("-1", red))},
		{"a price that does nothing", "x402.hosts[0].max_price.crossed", "neither", one(priced("1", green))},
		{"a recipient too short", "x402.hosts[0].recipients[0]", "32 bytes", one(func(h *typev1.X402Host) { h.Recipients = [][]byte{{1}} })},
		{"17 recipients", "x402.hosts[0].recipients", "16", one(func(h *typev1.X402Host) { h.Recipients = keys(17) })},
		{
			"a change that does nothing", "x402.hosts[0].changed_recipient", "neither",
			one(func(h *typev1.X402Host) { h.ChangedRecipient = green }),
		},
		{"a drift that does nothing", "x402.hosts[0].drifted", "neither", one(func(h *typev1.X402Host) { h.Drifted = green })},
		{"a drift without what happens", "x402.hosts[0].drift_percent", "drifted", one(func(h *typev1.X402Host) { h.DriftPercent = 1 })},
		{
			"a drift too large", "x402.hosts[0].drift_percent", "10,000",
			one(func(h *typev1.X402Host) { h.DriftPercent, h.Drifted = DriftMax+1, red }),
		},
		{"number 0", "x402", "pays nothing", claim(func(d *typev1.GuardRails) { d.X402 = &typev1.X402Rules{UnknownHost: red} })},
	} {
		t.Run(row.name, func(t *testing.T) {
			var refusal *Refusal
			if err := Validate(row.doc); !errors.As(err, &refusal) || refusal.Field != row.field || !strings.Contains(refusal.Why, row.why) {
				t.Errorf("refused %v, want %s ... %s", err, row.field, row.why)
			}
		})
	}
}

func TestJudgeHost(t *testing.T) {
	doc := x402(
		host("*.a.example.com", func(h *typev1.X402Host) { h.Methods = []string{"POST"} }),
		host("*.example.com", priced("200", red)),
		host("*.example.com:8443"),
		host("192.0.2.7", func(h *typev1.X402Host) { h.PlainHttp = true }),
		host("a.example.com", func(h *typev1.X402Host) { h.PathPrefixes = []string{"/v1", "/v2/"} }),
		host("api.example", func(h *typev1.X402Host) { h.Methods = []string{"GET", "POST"} }),
	)
	for _, row := range []struct {
		request string
		want    typev1.Light
	}{
		{"GET https://api.example/", green},
		{"POST https://api.example/any/path", green},
		{"PUT https://api.example/", yellow},
		{"GET http://api.example/", yellow},
		{"GET https://api.example:8443/", yellow},
		{"GET https://www.api.example/", yellow},
		{"GET https://other.example/", yellow},
		{"GET http://192.0.2.7/", green},
		{"GET https://192.0.2.7/", green},
		{"GET https://b.example.com/", green},
		{"GET https://x.y.b.example.com/", green},
		{"GET https://example.com/", yellow},
		{"GET https://notexample.com/", yellow},
		{"GET https://b.example.com:8443/", green},
		{"GET https://b.example.com:8444/", yellow},
		{"GET https://example.com.evil.example/", yellow},
		{"GET https://a.example.com/v1", green},
		{"GET https://a.example.com/v1/x", green},
		{"GET https://a.example.com/v10", yellow},
		{"GET https://a.example.com/v2", yellow},
		{"GET https://a.example.com/v2/", green},
		{"GET https://a.example.com/v2/x", green},
		// The host's own entry decides, also where a wildcard would allow more; so does the longer wildcard.
		{"GET https://a.example.com/", yellow},
		{"POST https://x.a.example.com/", green},
		{"GET https://x.a.example.com/", yellow},
		// What is not well formed was never anything that an owner allowed.
		{"GET https://b.example.com/v1/../v2", red},
		{"GET https://B.example.com/", red},
		{"get https://b.example.com/", red},
		{"GET ftp://b.example.com/", red},
		{"GET https://evil.example:1@b.example.com/", red},
	} {
		got := Judge(doc, buys(row.request), noon)
		if r := ruled(got, typev1.Rule_RULE_X402_HOST); r.GetLight() != row.want || got.Light != row.want {
			t.Errorf("%s: host %v of %v, want %v", row.request, r.GetLight(), got.Light, row.want)
		}
	}
	if r := ruled(Judge(doc, pays(dollar), noon), typev1.Rule_RULE_X402_HOST); r != nil {
		t.Errorf("a payment for no request: %v", r)
	}
	if r := ruled(Judge(standard(), buys("GET https://api.example/"), noon), typev1.Rule_RULE_X402_HOST); r != nil {
		t.Errorf("a document without such rules: %v", r)
	}
	broken := proto.CloneOf(doc)
	broken.X402.Hosts[0].Drifted = 17
	if got := Judge(broken, buys("GET https://api.example/"), noon); got.Light != red {
		t.Errorf("a head that nobody can judge: %v", got.Light)
	}
}

func TestJudgeX402Price(t *testing.T) {
	for _, row := range []struct {
		name  string
		units int64
		edit  func(*typev1.X402Host)
		want  typev1.Light
	}{
		{"the largest", 100_000, priced("10", red), green},
		{"one unit more is denied", 100_001, priced("10", red), red},
		{"one unit more asks", 100_001, priced("10", yellow), yellow},
		{"free, and it is not", 1, func(h *typev1.X402Host) { priced("1", red)(h); h.MaxPrice.Amount = "0" }, red},
	} {
		f := buys("GET https://api.example/")
		f.Units = row.units
		doc := x402(host("api.example", row.edit))
		got := Judge(doc, f, noon)
		r := ruled(got, typev1.Rule_RULE_X402_PRICE)
		if got.Light != row.want || r.GetLight() != row.want || r.GetLimit() != doc.GetX402().GetHosts()[0].GetMaxPrice().GetAmount() ||
			r.GetRoom() != r.GetLimit() {
			t.Errorf("%s: %v with %v, want %v", row.name, got.Light, r, row.want)
		}
	}
	if r := ruled(Judge(x402(host("api.example", priced("10", red))), buys("GET https://other.example/"), noon),
		typev1.Rule_RULE_X402_PRICE); r != nil {
		t.Errorf("another host's price: %v", r)
	}
}

func TestJudgeX402Recipient(t *testing.T) {
	pinned := func(k ...byte) func(*typev1.X402Host) {
		return func(h *typev1.X402Host) {
			for _, n := range k {
				h.Recipients = append(h.Recipients, key(n))
			}
		}
	}
	for _, row := range []struct {
		name, request    string
		recipient        byte
		pins             []byte
		rule, recipients typev1.Light
	}{
		{"the pinned one is allowed by that", "GET https://api.example/", 5, []byte{5}, green, green},
		{"one of several", "GET https://api.example/", 6, []byte{5, 6}, green, green},
		{"another is denied, although the lists allow it", "GET https://api.example/", 1, []byte{5}, red, green},
		{"an unknown one is denied", "GET https://api.example/", 7, []byte{5}, red, yellow},
		{"the deny list wins", "GET https://api.example/", 9, []byte{9}, green, red},
		{"a path that the entry does not allow", "GET https://api.example/other", 5, []byte{5}, 0, yellow},
		{"another host", "GET https://other.example/", 5, []byte{5}, 0, yellow},
		{"no request", "", 5, []byte{5}, 0, yellow},
		{"nothing pinned", "GET https://api.example/", 5, nil, 0, yellow},
	} {
		f := buys(row.request)
		if row.request == "" {
			f = pays(dollar)
		}
		f.Recipient = [32]byte(key(row.recipient))
		doc := x402(host("api.example", pinned(row.pins...), func(h *typev1.X402Host) {
			if row.name[0:6] == "a path" {
				h.PathPrefixes = []string{"/v1"}
			}
		}))
		got := Judge(doc, f, noon)
		if light := ruled(got, typev1.Rule_RULE_X402_RECIPIENT).GetLight(); light != row.rule {
			t.Errorf("%s: pinning says %v, want %v", row.name, light, row.rule)
		}
		if light := ruled(got, typev1.Rule_RULE_RECIPIENT).GetLight(); light != row.recipients {
			t.Errorf("%s: recipients say %v, want %v", row.name, light, row.recipients)
		}
	}
}

func TestCountX402(t *testing.T) {
	watched := func(percent uint32) *typev1.GuardRails {
		return x402(host("api.example", func(h *typev1.X402Host) { h.ChangedRecipient, h.DriftPercent, h.Drifted = red, percent, yellow }))
	}
	one, other := [32]byte(key(1)), [32]byte(key(5))
	for _, row := range []struct {
		name           string
		doc            *typev1.GuardRails
		units          int64
		last           Paid
		changed, drift typev1.Light
		limit          string
	}{
		{"the first payment", watched(20), dollar, Paid{}, green, green, ""},
		{"the same again", watched(20), dollar, Paid{one, dollar, "USD"}, green, green, "1200000"},
		{"another recipient", watched(20), dollar, Paid{other, dollar, "USD"}, red, green, "1200000"},
		{"another recipient, another path", watched(20), dollar, Paid{Recipient: other}, red, green, ""},
		{"20 percent more", watched(20), 1_200_000, Paid{one, dollar, "USD"}, green, green, "1200000"},
		{"a unit more than 20 percent more", watched(20), 1_200_001, Paid{one, dollar, "USD"}, green, yellow, "1200000"},
		{"cheaper", watched(0), 1, Paid{one, dollar, "USD"}, green, green, "1000000"},
		{"a unit more than before", watched(0), dollar + 1, Paid{one, dollar, "USD"}, green, yellow, "1000000"},
		{"parts of a unit are not given", watched(50), 2, Paid{one, 1, "USD"}, green, yellow, "1"},
		{"in another unit", watched(20), 1, Paid{one, dollar, "EUR"}, green, yellow, ""},
		{"more than there is", watched(DriftMax), math.MaxInt64, Paid{one, math.MaxInt64, "USD"}, green, green, "9223372036854775807"},
		{"a price that cannot be", watched(20), dollar, Paid{one, -1, "USD"}, green, red, ""},
		{"no such rules", x402(host("api.example")), 2 * dollar, Paid{other, 1, "USD"}, 0, 0, ""},
		{"a host that no entry allows", x402(host("other.example")), 2 * dollar, Paid{other, 1, "USD"}, 0, 0, ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			f := buys("GET https://api.example/v1")
			f.Units = row.units
			got := Count(row.doc, f, History{Sums: make([]Sum, 1), Paid: row.last}, noon)
			changed, drift := ruled(got, typev1.Rule_RULE_X402_CHANGED_RECIPIENT), ruled(got, typev1.Rule_RULE_X402_DRIFT)
			if changed.GetLight() != row.changed || drift.GetLight() != row.drift || drift.GetLimit() != row.limit || drift.GetRoom() != row.limit {
				t.Errorf("changed recipient %v, drift %v; want %v, %v at most %s", changed, drift, row.changed, row.drift, row.limit)
			}
			if want := row.last.Recipient; changed != nil && want != [32]byte{} && [32]byte(changed.GetLastRecipient()) != want {
				t.Errorf("the last recipient is %x, want %x", changed.GetLastRecipient(), want)
			}
			if drift != nil && drift.GetObserved() == "" {
				t.Error("drift observed nothing")
			}
		})
	}
}

// TestX402ResultsInOrder: what a payment for a request is judged by, in the order in which people read it.
func TestX402ResultsInOrder(t *testing.T) {
	doc := x402(host("api.example", priced("200", red), func(h *typev1.X402Host) {
		h.Recipients, h.ChangedRecipient, h.DriftPercent, h.Drifted = [][]byte{key(1)}, red, 10, yellow
	}))
	f := buys("GET https://api.example/")
	got := append(Judge(doc, f, noon).Results, Count(doc, f, History{Sums: make([]Sum, 1)}, noon).Results...)
	want := []*typev1.RuleResult{
		{Rule: typev1.Rule_RULE_RAIL, Light: green},
		{Rule: typev1.Rule_RULE_ASSET, Light: green},
		{Rule: typev1.Rule_RULE_RECIPIENT, Light: green},
		{Rule: typev1.Rule_RULE_X402_HOST, Light: green},
		{Rule: typev1.Rule_RULE_X402_PRICE, Light: green, Observed: "1000000", Limit: "2000000", Room: "2000000"},
		{Rule: typev1.Rule_RULE_X402_RECIPIENT, Light: green},
		{Rule: typev1.Rule_RULE_LIMIT, Index: 0, Light: green, Observed: "1000000", Limit: "5000000", Room: "5000000"},
		{Rule: typev1.Rule_RULE_LIMIT, Index: 2, Light: green, Observed: "1000000", Limit: "100000000", Room: "100000000"},
		{Rule: typev1.Rule_RULE_LIMIT, Index: 1, Light: green, Observed: "1000000", Limit: "50000000", Room: "50000000"},
		{Rule: typev1.Rule_RULE_X402_CHANGED_RECIPIENT, Light: green},
		{Rule: typev1.Rule_RULE_X402_DRIFT, Light: green, Observed: "1000000"},
	}
	if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" {
		t.Errorf("results (-want +got):\n%s", diff)
	}
}

func TestRaised(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		units, percent := genUnits().Draw(t, "units"), rapid.Uint32Range(0, DriftMax).Draw(t, "percent")
		want := new(big.Int).Mul(big.NewInt(units), big.NewInt(100+int64(percent)))
		want.Quo(want, big.NewInt(100))
		if !want.IsInt64() {
			want.SetInt64(math.MaxInt64)
		}
		if got := raised(units, percent); got != want.Int64() {
			t.Errorf("%d raised by %d percent is %d, want %v", units, percent, got, want)
		}
	})
}

// names reports whether a pattern names a host, label by label: an oracle that shares nothing with holds.
func names(pattern, host string) bool {
	split := func(s string) ([]string, string) {
		name, port, _ := strings.Cut(s, ":")
		return strings.Split(name, "."), port
	}
	p, pPort := split(pattern)
	h, hPort := split(host)
	if pPort != hPort {
		return false
	}
	if p[0] != "*" {
		return slices.Equal(p, h)
	}
	return len(h) >= len(p) && slices.Equal(p[1:], h[len(h)-len(p)+1:])
}

// TestHostsByLabels: which entry decides is the one that an owner would point at, whatever the hosts are.
func TestHostsByLabels(t *testing.T) {
	named := 0
	rapid.Check(t, func(t *rapid.T) {
		label := rapid.SampledFrom([]string{"a", "a", "aa"})
		name := rapid.Custom(func(t *rapid.T) string {
			return strings.Join(rapid.SliceOfN(label, 2, 4).Draw(t, "labels"), ".") + rapid.SampledFrom([]string{"", "", ":8443"}).Draw(t, "port")
		})
		patterns := rapid.SliceOfNDistinct(rapid.Custom(func(t *rapid.T) string {
			return rapid.SampledFrom([]string{"", wildcard}).Draw(t, "wild") + name.Draw(t, "name")
		}), 0, 8, rapid.ID[string]).Draw(t, "patterns")
		slices.Sort(patterns)
		doc := x402()
		for _, p := range patterns {
			doc.X402.Hosts = append(doc.X402.Hosts, host(p))
		}
		if err := Validate(doc); err != nil {
			t.Fatal(err)
		}
		f := buys("GET https://" + name.Draw(t, "host") + "/")
		want := ""
		for _, p := range patterns {
			specific := !strings.HasPrefix(p, wildcard) || strings.Count(p, ".") > strings.Count(want, ".") && strings.HasPrefix(want, wildcard)
			if names(p, f.X402.GetHost()) && (want == "" || specific) {
				want = p
			}
		}
		entry, allowed := X402Entry(doc.GetX402(), f.X402)
		if entry.GetHost() != want || allowed != (want != "") {
			t.Errorf("%s is decided by %q (%v) of %v, want %q", f.X402.GetHost(), entry.GetHost(), allowed, patterns, want)
		}
		if light := ruled(Judge(doc, f, noon), typev1.Rule_RULE_X402_HOST).GetLight(); (light == green) != (want != "") {
			t.Errorf("%s is %v by %v", f.X402.GetHost(), light, patterns)
		}
		if want != "" {
			named++
		}
	})
	if named == 0 {
		t.Error("no host was named: the property says nothing")
	}
}

// FuzzX402 gives arbitrary rules and requests: nothing panics, and a payment that is let go is for a well-formed request that an
// entry of a well-formed document names, at its price, to its recipients.
func FuzzX402(f *testing.F) {
	for _, doc := range []*typev1.GuardRails{
		x402(host("api.example", priced("10", red))), x402(host("*.example.com"), host("a.example.com")),
	} {
		b, err := proto.Marshal(doc.GetX402())
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b, "GET", "https", "api.example", "/v1", int64(1000), byte(1), int64(1000), "USD", byte(1))
		f.Add(b, "", "", "x.example.com", "", int64(math.MaxInt64), byte(5), int64(-1), "", byte(0))
	}
	f.Fuzz(func(
		t *testing.T, b []byte, method, scheme, name, path string, units int64, recipient byte,
		lastUnits int64, lastUnit string, last byte,
	) {
		rules := new(typev1.X402Rules)
		if proto.Unmarshal(b, rules) != nil {
			return
		}
		doc := standard(func(d *typev1.GuardRails) { d.X402 = rules })
		facts := pays(units)
		facts.Recipient = [32]byte(key(recipient))
		facts.X402 = &typev1.X402Context{Method: method, Scheme: scheme, Host: name, Path: path}
		judged := Judge(doc, facts, noon)
		h := History{Sums: make([]Sum, len(Spans(doc, facts, noon))), Paid: Paid{[32]byte(key(last)), lastUnits, lastUnit}}
		counted := Count(doc, facts, h, noon)
		if Stricter(judged.Light, counted.Light) != green {
			return
		}
		entry, allowed := X402Entry(rules, facts.X402)
		switch {
		case Validate(doc) != nil || !wellFormed(facts.X402) || !allowed || !names(entry.GetHost(), name) && !strings.HasPrefix(name, "["):
			t.Fatalf("%v is let go by %v", facts.X402, rules)
		case len(entry.GetRecipients()) > 0 &&
			!slices.ContainsFunc(entry.GetRecipients(), func(k []byte) bool { return string(k) == string(key(recipient)) }):
			t.Fatalf("%x is let go by %v", recipient, entry)
		}
	})
}
