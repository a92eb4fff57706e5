package guardrails

import (
	"math"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// noon is a moment in which nothing of note happens to any clock.
var noon = time.Date(2026, time.November, 24, 12, 0, 0, 0, time.UTC)

// pays are the facts of a book payment to key 1, which standard allows.
func pays(units int64) Facts {
	return Facts{Rail: typev1.Rail_RAIL_BOOK, Asset: "halfkey:acme/iso4217:USD", Units: units, Recipient: [32]byte(key(1))}
}

// lights lists the lights of a judgement's results.
func lights(j Judgement) (list []typev1.Light) {
	for _, r := range j.Results {
		list = append(list, r.GetLight())
	}
	return list
}

func TestJudgeStandard(t *testing.T) {
	tests := []struct {
		name  string
		units int64
		want  typev1.Light
	}{
		{"smallest", 1, green},
		{"below auto-approve", 5*dollar - 1, green},
		{"auto-approve itself", 5 * dollar, green},
		{"one unit above auto-approve", 5*dollar + 1, yellow},
		{"hard cap itself", 100 * dollar, yellow},
		{"one unit above the hard cap", 100*dollar + 1, red},
		{"largest", math.MaxInt64, red},
		{"zero", 0, red},
		{"negative", -1, red},
		{"smallest int64", math.MinInt64, red},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if got := Judge(standard(), pays(test.units), noon); got.Light != test.want {
				t.Errorf("Judge(%d) = %v with %v, want %v", test.units, got.Light, got.Results, test.want)
			}
		})
	}
}

func TestJudgeResults(t *testing.T) {
	got := Judge(standard(), pays(7*dollar), noon)
	want := Judgement{Light: yellow, Results: []*typev1.RuleResult{
		{Rule: typev1.Rule_RULE_RAIL, Light: green},
		{Rule: typev1.Rule_RULE_ASSET, Light: green},
		{Rule: typev1.Rule_RULE_RECIPIENT, Light: green},
		{Rule: typev1.Rule_RULE_LIMIT, Index: 0, Light: yellow, Observed: "7000000", Limit: "5000000", Room: "5000000"},
		{Rule: typev1.Rule_RULE_LIMIT, Index: 2, Light: green, Observed: "7000000", Limit: "100000000", Room: "100000000"},
	}}
	if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" {
		t.Errorf("judgement (-want +got):\n%s", diff)
	}
}

// TestJudgeShowsEveryRule: a refused payment says everything that is wrong with it, not the first thing.
func TestJudgeShowsEveryRule(t *testing.T) {
	f := pays(200 * dollar)
	f.Recipient = [32]byte(key(9))
	doc := standard(func(d *typev1.GuardRails) { d.Rails = nil })
	got := Judge(doc, f, noon)
	if diff := cmp.Diff([]typev1.Light{red, green, red, yellow, red}, lights(got)); diff != "" || got.Light != red {
		t.Errorf("light %v, results (-want +got):\n%s", got.Light, diff)
	}
}

func TestJudgeRecipient(t *testing.T) {
	tests := []struct {
		name      string
		recipient []byte
		edit      func(*typev1.Recipients)
		want      typev1.Light
	}{
		{"allowed", key(1), nil, green},
		{"denied", key(9), nil, red},
		{"unknown asks", key(5), nil, yellow},
		{"unknown denied", key(5), func(r *typev1.Recipients) { r.Unknown = red }, red},
		{"allowed although unknown ones are denied", key(1), func(r *typev1.Recipients) { r.Unknown = red }, green},
		{"in both lists", key(9), func(r *typev1.Recipients) { r.Allow = r.Deny }, red},
		{"denied in a list out of order", key(5), func(r *typev1.Recipients) { r.Deny = [][]byte{key(9), key(8), key(5), key(7)} }, red},
		{"allowed key with a byte more", key(1), func(r *typev1.Recipients) { r.Allow[0] = append(r.Allow[0], 0) }, yellow},
		{"beginning of a key allowed", key(1), func(r *typev1.Recipients) { r.Allow[0] = r.Allow[0][:31] }, yellow},
		{"no key", make([]byte, 32), nil, red},
		{"no key, and it is allowed", make([]byte, 32), func(r *typev1.Recipients) { r.Allow = [][]byte{make([]byte, 32)} }, red},
		{"unknown not said", key(5), func(r *typev1.Recipients) { r.Unknown = 0 }, red},
		{"unknown GREEN", key(5), func(r *typev1.Recipients) { r.Unknown = green }, red},
		{"unknown not known", key(5), func(r *typev1.Recipients) { r.Unknown = 17 }, red},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			doc := standard()
			if test.edit != nil {
				test.edit(doc.Recipients)
			}
			f := pays(dollar)
			f.Recipient = [32]byte(test.recipient)
			got := Judge(doc, f, noon)
			if got.Light != test.want || got.Results[2].GetLight() != test.want {
				t.Errorf("Judge = %v, recipient %v; want %v", got.Light, got.Results[2].GetLight(), test.want)
			}
		})
	}
}

// A rail that nobody knows is refused as a rail, also where a document names it: what it pays with is another rule's.
func TestUnknownRail(t *testing.T) {
	doc := standard(func(d *typev1.GuardRails) { d.Rails = []typev1.Rail{99} })
	j := Judge(doc, Facts{Rail: 99, Asset: pays(1).Asset, Units: 1, Recipient: pays(1).Recipient}, noon)
	for _, r := range j.Results {
		if r.GetRule() == typev1.Rule_RULE_RAIL && r.GetLight() == red {
			return
		}
	}
	t.Errorf("got %v", j.Results)
}

// TestDefaultDeny: whatever is missing or not understood is RED, for Judge, for Count over empty sums, or for both. The rows
// leave out Validate, which refuses most of these documents long before.
func TestDefaultDeny(t *testing.T) {
	doc := func(edit func(*typev1.GuardRails)) (*typev1.GuardRails, Facts, time.Time) {
		return standard(edit), pays(dollar), noon
	}
	facts := func(edit func(*Facts)) (*typev1.GuardRails, Facts, time.Time) {
		f := pays(dollar)
		edit(&f)
		return standard(), f, noon
	}
	clock := func(now time.Time) (*typev1.GuardRails, Facts, time.Time) { return standard(), pays(dollar), now }
	type given struct {
		doc   *typev1.GuardRails
		facts Facts
		now   time.Time
	}
	of := func(d *typev1.GuardRails, f Facts, now time.Time) given { return given{d, f, now} }
	const judges, counts, both = 1, 2, 3
	tests := []struct {
		name  string
		given given
		red   int // whose light is RED
	}{
		{"no document", of(nil, pays(dollar), noon), both},
		{"empty document", of(new(typev1.GuardRails), pays(dollar), noon), both},
		{"claim", of(claim(), pays(dollar), noon), both},
		{"number 0 with rules", of(doc(func(d *typev1.GuardRails) { d.Number = 0 })), both},
		{"no payment", of(standard(), Facts{}, noon), both},
		{"rail not given", of(facts(func(f *Facts) { f.Rail = 0 })), judges},
		{"rail not known", of(facts(func(f *Facts) { f.Rail = 99 })), judges},
		{"unknown rail allowed", of(standard(func(d *typev1.GuardRails) { d.Rails = []typev1.Rail{99} }),
			Facts{Rail: 99, Asset: pays(1).Asset, Units: 1, Recipient: pays(1).Recipient}, noon), judges},
		{"rail zero allowed", of(standard(func(d *typev1.GuardRails) { d.Rails = []typev1.Rail{0} }),
			Facts{Asset: pays(1).Asset, Units: 1, Recipient: pays(1).Recipient}, noon), judges},
		{"no rails", of(doc(func(d *typev1.GuardRails) { d.Rails = nil })), judges},
		{"asset not given", of(facts(func(f *Facts) { f.Asset = "" })), both},
		{"asset without unit", of(facts(func(f *Facts) { f.Asset = "solana:mainnet/slip44:501" })), both},
		{"asset without unit allowed", of(standard(func(d *typev1.GuardRails) { d.Assets = []string{"x"} }),
			Facts{Rail: 1, Asset: "x", Units: 1, Recipient: pays(1).Recipient}, noon), both},
		{"another installation's money", of(facts(func(f *Facts) { f.Asset = "halfkey:other/iso4217:USD" })), both},
		{"document of another installation", of(doc(func(d *typev1.GuardRails) { d.Installation = "other" })), both},
		{"asset not allowed", of(doc(func(d *typev1.GuardRails) { d.Assets = nil })), judges},
		{"no recipients", of(standard(func(d *typev1.GuardRails) { d.Recipients = nil }), pays(dollar), noon), judges},
		{"no limits", of(doc(func(d *typev1.GuardRails) { d.Limits = nil })), both},
		{"no hard cap", of(doc(func(d *typev1.GuardRails) { d.Limits = d.Limits[:2] })), judges},
		{"hard cap only asks", of(doc(func(d *typev1.GuardRails) { d.Limits[2].Crossed = yellow })), judges},
		{"no window", of(doc(func(d *typev1.GuardRails) { d.Limits = slices.Delete(d.Limits, 1, 2) })), both},
		{"limit missing", of(doc(func(d *typev1.GuardRails) { d.Limits = append(d.Limits, nil) })), both},
		{"limit of an unknown window", of(doc(func(d *typev1.GuardRails) { d.Limits[1].Window = 9 })), both},
		{"limit of an unknown measure", of(doc(func(d *typev1.GuardRails) { d.Limits[1].Measure = 9 })), both},
		{
			"limit in an unknown unit",
			of(doc(func(d *typev1.GuardRails) { d.Limits = append(d.Limits, perDay(1, red)); d.Limits[3].Unit = "EUR" })), both,
		},
		{"limit without amount", of(doc(func(d *typev1.GuardRails) { d.Limits[1].Amount = "" })), both},
		{"limit with a sign", of(doc(func(d *typev1.GuardRails) { d.Limits[2].Amount = "+5" })), both},
		{"limit that crosses to GREEN", of(doc(func(d *typev1.GuardRails) { d.Limits[0].Crossed = green })), both},
		{"limit that crosses to nothing", of(doc(func(d *typev1.GuardRails) { d.Limits[1].Crossed = 0 })), both},
		{"time zone not known", of(doc(func(d *typev1.GuardRails) { d.TimeZone = "Mars/Olympus" })), counts},
		{"the machine's time zone", of(doc(func(d *typev1.GuardRails) { d.TimeZone = "Local" })), counts},
		{"no time", of(clock(time.Time{})), both},
		{"before 1970", of(clock(time.Unix(-1, 0))), both},
		{"year 10000", of(clock(time.Unix(timeMaxSeconds, 0))), both},
		{"end of int64's seconds", of(clock(time.Unix(math.MaxInt64, 0))), both},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			g := test.given
			judged := Judge(g.doc, g.facts, g.now)
			counted := Count(g.doc, g.facts, History{Sums: make([]Sum, len(Spans(g.doc, g.facts, g.now)))}, g.now)
			want := func(bit int) typev1.Light {
				if test.red&bit != 0 {
					return red
				}
				return green
			}
			if judged.Light != want(judges) {
				t.Errorf("Judge = %v with %v, want %v", judged.Light, judged.Results, want(judges))
			}
			if counted.Light != want(counts) {
				t.Errorf("Count = %v with %v, want %v", counted.Light, counted.Results, want(counts))
			}
			if Stricter(judged.Light, counted.Light) != red {
				t.Error("the payment is not RED")
			}
		})
	}
}

func TestCount(t *testing.T) {
	window := func(limits ...*typev1.Limit) func(*typev1.GuardRails) {
		return func(d *typev1.GuardRails) { d.Limits = append(d.Limits[2:3:3], limits...) }
	}
	limit := func(index uint32, light typev1.Light, observed, limit, room string) *typev1.RuleResult {
		return &typev1.RuleResult{Rule: typev1.Rule_RULE_LIMIT, Index: index, Light: light, Observed: observed, Limit: limit, Room: room}
	}
	tests := []struct {
		name  string
		edit  func(*typev1.GuardRails)
		units int64
		sums  []Sum
		want  Judgement
	}{
		{
			"first payment", window(perDay(50, red)), 5 * dollar,
			[]Sum{{}},
			Judgement{green, []*typev1.RuleResult{limit(1, green, "5000000", "50000000", "50000000")}},
		},
		{
			"exactly the limit", window(perDay(50, red)), 5 * dollar,
			[]Sum{{Units: 45 * dollar, Count: 9}},
			Judgement{green, []*typev1.RuleResult{limit(1, green, "50000000", "50000000", "5000000")}},
		},
		{
			"one unit too much denies", window(perDay(50, red)), 5*dollar + 1,
			[]Sum{{Units: 45 * dollar, Count: 9}},
			Judgement{red, []*typev1.RuleResult{limit(1, red, "50000001", "50000000", "5000000")}},
		},
		{
			"one unit too much asks", window(perDay(50, yellow)), 5*dollar + 1,
			[]Sum{{Units: 45 * dollar, Count: 9}},
			Judgement{yellow, []*typev1.RuleResult{limit(1, yellow, "50000001", "50000000", "5000000")}},
		},
		{
			"limit lowered below what was paid: no room, not less", window(perDay(10, red)), 1,
			[]Sum{{Units: 45 * dollar, Count: 9}},
			Judgement{red, []*typev1.RuleResult{limit(1, red, "45000001", "10000000", "0")}},
		},
		{
			"limit of zero", window(perDay(0, yellow)), 1,
			[]Sum{{}},
			Judgement{yellow, []*typev1.RuleResult{limit(1, yellow, "1", "0", "0")}},
		},
		{
			"last of three payments", window(counting(typev1.Window_WINDOW_DAY, 3, red)), 900 * dollar,
			[]Sum{{Units: 2, Count: 2}},
			Judgement{green, []*typev1.RuleResult{limit(1, green, "3", "3", "1")}},
		},
		{
			"fourth of three payments", window(counting(typev1.Window_WINDOW_DAY, 3, red)), 1,
			[]Sum{{Units: 3, Count: 3}},
			Judgement{red, []*typev1.RuleResult{limit(1, red, "4", "3", "0")}},
		},
		{
			"the strictest of several wins, and all are shown",
			window(perDay(50, yellow), rolling(24, 60, red), counting(typev1.Window_WINDOW_WEEK, 9, yellow),
				perWindow(typev1.Window_WINDOW_LIFETIME, 1000, red)),
			20 * dollar,
			[]Sum{{40 * dollar, 4}, {50 * dollar, 5}, {60 * dollar, 6}, {70 * dollar, 7}},
			Judgement{red, []*typev1.RuleResult{
				limit(1, yellow, "60000000", "50000000", "10000000"), limit(2, red, "70000000", "60000000", "10000000"),
				limit(3, green, "7", "9", "3"), limit(4, green, "90000000", "1000000000", "930000000"),
			}},
		},
		{
			"overflow of units is RED although the limit only asks", window(perDay(50, yellow)), 1,
			[]Sum{{Units: math.MaxInt64, Count: 1}},
			Judgement{red, []*typev1.RuleResult{limit(1, red, "9223372036854775807", "50000000", "0")}},
		},
		{
			"overflow of units under the largest limit",
			func(d *typev1.GuardRails) { d.Limits[1].Amount, d.Limits[1].Crossed = "9223372036854775807", yellow },
			2,
			[]Sum{{Units: math.MaxInt64 - 1, Count: 1}},
			Judgement{red, []*typev1.RuleResult{limit(1, red, "9223372036854775807", "9223372036854775807", "1")}},
		},
		{
			"the largest sum under the largest limit",
			func(d *typev1.GuardRails) { d.Limits[1].Amount, d.Limits[1].Crossed = "9223372036854775807", yellow },
			1,
			[]Sum{{Units: math.MaxInt64 - 1, Count: 1}},
			Judgement{green, []*typev1.RuleResult{limit(1, green, "9223372036854775807", "9223372036854775807", "1")}},
		},
		{
			"largest payment on top of another", window(perDay(50, yellow)), math.MaxInt64,
			[]Sum{{Units: 1, Count: 1}},
			Judgement{red, []*typev1.RuleResult{limit(1, red, "9223372036854775807", "50000000", "49999999")}},
		},
		{
			"overflow of the count", window(counting(typev1.Window_WINDOW_DAY, math.MaxInt64, yellow)), 1,
			[]Sum{{Units: 1, Count: math.MaxInt64}},
			Judgement{red, []*typev1.RuleResult{limit(1, red, "9223372036854775807", "9223372036854775807", "0")}},
		},
		{
			"a negative sum is no room", window(perDay(50, yellow)), 1,
			[]Sum{{Units: -1, Count: 1}},
			Judgement{red, []*typev1.RuleResult{limit(1, red, "", "50000000", "")}},
		},
		{
			"a negative count spoils units as well", window(perDay(50, yellow)), 1,
			[]Sum{{Units: 1, Count: -1}},
			Judgement{red, []*typev1.RuleResult{limit(1, red, "", "50000000", "")}},
		},
		{"no sums", window(perDay(50, yellow)), 1, nil, Judgement{Light: red}},
		{"a sum too few", window(perDay(50, yellow), perDay(60, red)), 1, []Sum{{}}, Judgement{Light: red}},
		{"a sum too many", window(perDay(50, yellow)), 1, []Sum{{}, {}}, Judgement{Light: red}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			doc := standard(test.edit)
			if err := Validate(doc); err != nil {
				t.Fatalf("Validate: %v", err)
			}
			got := Count(doc, pays(test.units), History{Sums: test.sums}, noon)
			if diff := cmp.Diff(test.want, got, protocmp.Transform()); diff != "" {
				t.Errorf("judgement (-want +got):\n%s", diff)
			}
		})
	}
}

func TestStricter(t *testing.T) {
	tests := []struct {
		name       string
		a, b, want typev1.Light
	}{
		{"green green", green, green, green},
		{"green yellow", green, yellow, yellow},
		{"yellow yellow", yellow, yellow, yellow},
		{"yellow red", yellow, red, red},
		{"green red", green, red, red},
		{"red red", red, red, red},
		{"nothing", 0, 0, red},
		{"green and nothing", green, 0, red},
		{"green and not known", green, 4, red},
		{"green and negative", green, -1, red},
		{"yellow and huge", yellow, math.MaxInt32, red},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if got := Stricter(test.a, test.b); got != test.want {
				t.Errorf("Stricter(%v, %v) = %v, want %v", test.a, test.b, got, test.want)
			}
			if got := Stricter(test.b, test.a); got != test.want {
				t.Errorf("Stricter(%v, %v) = %v, want %v", test.b, test.a, got, test.want)
			}
		})
	}
}

// TestJudgingChangesNothing: services judge the one head that they all share.
func TestJudgingChangesNothing(t *testing.T) {
	doc := standard()
	before := proto.CloneOf(doc)
	Judge(doc, pays(dollar), noon)
	Count(doc, pays(dollar), History{Sums: []Sum{{}}}, noon)
	if !proto.Equal(before, doc) {
		t.Error("judging changed the document")
	}
}

func BenchmarkJudge(b *testing.B) {
	doc, f := standard(), pays(dollar)
	b.ReportAllocs()
	for b.Loop() {
		Judge(doc, f, noon)
	}
}

func BenchmarkCount(b *testing.B) {
	doc, f := standard(), pays(dollar)
	sums := make([]Sum, len(Spans(doc, f, noon)))
	b.ReportAllocs()
	for b.Loop() {
		Count(doc, f, History{Sums: sums}, noon)
	}
}
