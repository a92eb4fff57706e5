package guardrails

import (
	"math"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/halfkey/halfkey/internal/resource"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// genUnits leans towards the edges, where sums overflow.
func genUnits() *rapid.Generator[int64] {
	return rapid.OneOf(rapid.Int64Range(1, 300*dollar), rapid.Int64Range(1, math.MaxInt64),
		rapid.SampledFrom([]int64{1, math.MaxInt64 - 1, math.MaxInt64}))
}

func genLimit() *rapid.Generator[*typev1.Limit] {
	return rapid.Custom(func(t *rapid.T) *typev1.Limit {
		l := &typev1.Limit{
			Unit:    "USD",
			Measure: typev1.Measure_MEASURE_UNITS,
			Window:  typev1.Window(rapid.IntRange(1, 6).Draw(t, "window")),
			Amount:  resource.FormatUnits(genUnits().Draw(t, "amount") - 1),
			Crossed: rapid.SampledFrom([]typev1.Light{yellow, red}).Draw(t, "crossed"),
		}
		if l.Window != typev1.Window_WINDOW_PAYMENT && rapid.Bool().Draw(t, "by count") {
			l.Measure, l.Amount = typev1.Measure_MEASURE_COUNT, resource.FormatUnits(rapid.Int64Range(0, 9).Draw(t, "payments"))
		}
		if l.Window == typev1.Window_WINDOW_ROLLING {
			l.RollingSeconds = 900 * rapid.Int64Range(1, RollingMaxSeconds/900).Draw(t, "quarter hours")
		}
		return l
	})
}

// genDocument makes documents that Validate accepts and that allow some payments.
func genDocument() *rapid.Generator[*typev1.GuardRails] {
	return rapid.Custom(func(t *rapid.T) *typev1.GuardRails {
		doc := standard()
		doc.TimeZone = rapid.SampledFrom(zonesOfNote).Draw(t, "zone")
		doc.Limits[1] = genLimit().Filter(func(l *typev1.Limit) bool { return l.Window != typev1.Window_WINDOW_PAYMENT }).Draw(t, "window")
		doc.Limits[2].Amount = resource.FormatUnits(genUnits().Draw(t, "hard cap"))
		doc.Limits = append(doc.Limits, rapid.SliceOfN(genLimit(), 0, 6).Draw(t, "more limits")...)
		doc.Recipients.Unknown = rapid.SampledFrom([]typev1.Light{yellow, red}).Draw(t, "unknown")
		return doc
	})
}

func genFacts() *rapid.Generator[Facts] {
	return rapid.Custom(func(t *rapid.T) Facts {
		f := pays(genUnits().Draw(t, "units"))
		f.Recipient = [32]byte(key(rapid.SampledFrom([]byte{1, 1, 1, 5, 9}).Draw(t, "recipient")))
		return f
	})
}

func genTime() *rapid.Generator[time.Time] {
	return rapid.Custom(func(t *rapid.T) time.Time {
		return time.Unix(rapid.Int64Range(1, timeMaxSeconds-1).Draw(t, "seconds"), rapid.Int64Range(0, 999_999_999).Draw(t, "nanoseconds"))
	})
}

func genSums(t *rapid.T, n int) []Sum {
	return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) Sum {
		return Sum{Units: genUnits().Draw(t, "sum") - 1, Count: rapid.Int64Range(0, 9).Draw(t, "count")}
	}), n, n).Draw(t, "sums")
}

func TestStricterIsALattice(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		light := rapid.Custom(func(t *rapid.T) typev1.Light {
			return typev1.Light(rapid.OneOf(rapid.Int32Range(-1, 5), rapid.Int32()).Draw(t, "number"))
		})
		a, b, c := light.Draw(t, "a"), light.Draw(t, "b"), light.Draw(t, "c")
		ab := Stricter(a, b)
		switch {
		case ab != green && ab != yellow && ab != red:
			t.Errorf("Stricter(%d, %d) = %d, which is no light", a, b, ab)
		case ab != Stricter(b, a):
			t.Error("not commutative")
		case Stricter(ab, c) != Stricter(a, Stricter(b, c)):
			t.Error("not associative")
		case Stricter(ab, ab) != ab:
			t.Error("not idempotent")
		case Stricter(ab, green) != ab:
			t.Error("GREEN is not neutral")
		case Stricter(a, red) != red:
			t.Error("RED does not absorb")
		case ab < a && a <= red:
			t.Error("milder than what went in")
		}
	})
}

// TestGreenMeansEveryAmountHolds: sums in big integers, which cannot overflow.
func TestGreenMeansEveryAmountHolds(t *testing.T) {
	greens := 0
	rapid.Check(t, func(t *rapid.T) {
		doc, f, now := genDocument().Draw(t, "document"), genFacts().Draw(t, "facts"), genTime().Draw(t, "now")
		if err := Validate(doc); err != nil {
			t.Fatalf("Validate: %v", err)
		}
		spans := Spans(doc, f, now)
		sums := genSums(t, len(spans))
		judged, counted := Judge(doc, f, now), Count(doc, f, History{Sums: sums}, now)
		light := Stricter(judged.Light, counted.Light)
		if len(judged.Results)+len(counted.Results) > LimitsMax+3 || len(judged.Results) == 0 || len(counted.Results) == 0 {
			t.Fatalf("%d and %d results", len(judged.Results), len(counted.Results))
		}
		want := typev1.Light_LIGHT_GREEN
		if f.Recipient == [32]byte(key(9)) {
			want = red
		} else if f.Recipient == [32]byte(key(5)) {
			want = doc.GetRecipients().GetUnknown()
		}
		for i, l := range doc.GetLimits() {
			before := Sum{}
			if l.GetWindow() != typev1.Window_WINDOW_PAYMENT {
				before = sums[slices.IndexFunc(spans, func(s Span) bool { return s.Limit == i })]
			}
			total := new(big.Int).Add(big.NewInt(before.Units), big.NewInt(f.Units))
			if l.GetMeasure() == typev1.Measure_MEASURE_COUNT {
				total = new(big.Int).Add(big.NewInt(before.Count), big.NewInt(1))
			}
			limit, _ := new(big.Int).SetString(l.GetAmount(), 10)
			switch {
			case !total.IsInt64():
				want = red
			case total.Cmp(limit) > 0:
				want = max(want, l.GetCrossed())
			}
		}
		if light != want {
			t.Errorf("the light is %v, want %v; results %v and %v", light, want, judged.Results, counted.Results)
		}
		if light == green {
			greens++
		}
		for _, r := range slices.Concat(judged.Results, counted.Results) {
			if r.GetRule() != typev1.Rule_RULE_LIMIT {
				continue
			}
			for _, amount := range []string{r.GetObserved(), r.GetLimit(), r.GetRoom()} {
				if _, err := resource.ParseAmount(amount); err != nil {
					t.Errorf("a result does not parse: %v", r)
				}
			}
		}
	})
	if greens == 0 {
		t.Error("no payment was GREEN: the property says nothing")
	}
}

// TestMoreIsNeverMilder: a larger payment, more paid before, or one more limit never turns a light milder.
func TestMoreIsNeverMilder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		doc, f, now := genDocument().Draw(t, "document"), genFacts().Draw(t, "facts"), genTime().Draw(t, "now")
		sums := genSums(t, len(Spans(doc, f, now)))
		judged, counted := Judge(doc, f, now).Light, Count(doc, f, History{Sums: sums}, now).Light

		larger := f
		larger.Units += rapid.Int64Range(0, math.MaxInt64-f.Units).Draw(t, "more units")
		if got := Judge(doc, larger, now).Light; Stricter(got, judged) != got {
			t.Errorf("Judge: %v for %d units, %v for %d", judged, f.Units, got, larger.Units)
		}
		if got := Count(doc, larger, History{Sums: sums}, now).Light; Stricter(got, counted) != got {
			t.Errorf("Count: %v for %d units, %v for %d", counted, f.Units, got, larger.Units)
		}

		more := slices.Clone(sums)
		for i := range more {
			more[i].Units += rapid.Int64Range(0, math.MaxInt64-more[i].Units).Draw(t, "more before")
			more[i].Count += rapid.Int64Range(0, 9).Draw(t, "more payments")
		}
		if got := Count(doc, f, History{Sums: more}, now).Light; Stricter(got, counted) != got {
			t.Errorf("Count: %v over %v, %v over %v", counted, sums, got, more)
		}

		longer := proto.CloneOf(doc)
		longer.Limits = append(longer.Limits, genLimit().Draw(t, "one more limit"))
		if got := Judge(longer, f, now).Light; Stricter(got, judged) != got {
			t.Errorf("Judge: %v, and %v with one more limit", judged, got)
		}
		if spans := Spans(longer, f, now); len(spans) > len(sums) {
			sums = append(sums, genSums(t, 1)...)
		}
		if got := Count(longer, f, History{Sums: sums}, now).Light; Stricter(got, counted) != got {
			t.Errorf("Count: %v, and %v with one more limit", counted, got)
		}
	})
}

// TestSpansHoldNow: at any time, in any zone.
func TestSpansHoldNow(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		doc, now := genDocument().Draw(t, "document"), genTime().Draw(t, "now")
		spans := Spans(doc, pays(1), now)
		last := -1
		for _, s := range spans {
			l := doc.GetLimits()[s.Limit]
			if s.From.After(now) || !s.To.After(now) {
				t.Errorf("%v at %v in %s is from %v to %v", l, now, doc.GetTimeZone(), s.From, s.To)
			}
			if !QuarterStart(Quarter(s.From)).Equal(s.From) || !QuarterStart(Quarter(s.To)).Equal(s.To) {
				t.Errorf("%v is from %v to %v, beside quarter hours", l, s.From, s.To)
			}
			if s.From.Location() != time.UTC || s.To.Location() != time.UTC {
				t.Errorf("%v is not in UTC", s)
			}
			if s.Limit <= last || l.GetWindow() == typev1.Window_WINDOW_PAYMENT || s.Measure != l.GetMeasure() {
				t.Errorf("span %+v after limit %d, of %v", s, last, l)
			}
			last = s.Limit
		}
		windows := 0
		for _, l := range doc.GetLimits() {
			if l.GetWindow() != typev1.Window_WINDOW_PAYMENT {
				windows++
			}
		}
		if len(spans) != windows {
			t.Errorf("%d spans of %d limits per window", len(spans), windows)
		}
	})
}

// FuzzJudge gives arbitrary documents: nothing panics, and what is GREEN holds the demands of Validate that decide about
// money, whether or not the document passed Validate.
func FuzzJudge(f *testing.F) {
	for _, doc := range []*typev1.GuardRails{
		standard(), onSolana(), claim(), in("Asia/Beirut", rolling(24, 5, red), counting(day, 3, yellow)),
	} {
		b, err := proto.Marshal(doc)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b, "halfkey:acme/iso4217:USD", int64(dollar), int32(1), byte(1), noon.Unix(), int64(0), int64(0))
		f.Add(b, usdc, int64(dollar), int32(2), byte(1), noon.Unix(), int64(0), int64(0))
		f.Add(b, "", int64(-1), int32(0), byte(0), int64(-1), int64(-1), int64(math.MaxInt64))
	}
	f.Fuzz(func(t *testing.T, b []byte, asset string, units int64, rail int32, recipient byte, seconds, sumUnits, sumCount int64) {
		doc := new(typev1.GuardRails)
		if proto.Unmarshal(b, doc) != nil {
			return
		}
		facts := Facts{Rail: typev1.Rail(rail), Asset: asset, Units: units, Recipient: [32]byte(key(recipient))}
		now := time.Unix(seconds, 0)
		valid := Validate(doc) == nil
		spans := Spans(doc, facts, now)
		judged, counted := Judge(doc, facts, now), Count(doc, facts, History{Sums: slices.Repeat([]Sum{{sumUnits, sumCount}}, len(spans))}, now)
		for _, j := range []Judgement{judged, counted} {
			if j.Light != green && j.Light != yellow && j.Light != red {
				t.Fatalf("light %v", j.Light)
			}
			for _, r := range j.Results {
				if Stricter(r.GetLight(), j.Light) != j.Light || r.GetLight() == 0 {
					t.Fatalf("light %v of %v", j.Light, j.Results)
				}
			}
		}
		if Stricter(judged.Light, counted.Light) == red {
			return
		}
		// Not RED: each of these is the reason that the payment could be let go.
		amount := func(l *typev1.Limit) int64 {
			v, err := resource.ParseAmount(l.GetAmount())
			if err != nil {
				t.Fatalf("%v is judged: %v", l, err)
			}
			return v
		}
		settles := typev1.Rail_RAIL_BOOK
		if strings.HasPrefix(asset, "solana:") {
			settles = typev1.Rail_RAIL_SOLANA
		}
		if doc.GetNumber() == 0 || units < 1 || recipient == 0 || !slices.Contains(doc.GetAssets(), asset) ||
			!slices.Contains(doc.GetRails(), facts.Rail) || facts.Rail != settles || sumUnits < 0 || sumCount < 0 {
			t.Fatalf("%+v over %d, %d is let go by %v (valid: %v)", facts, sumUnits, sumCount, doc, valid)
		}
		capped := false
		for _, l := range doc.GetLimits() {
			if l.GetCrossed() != red {
				continue
			}
			switch {
			case l.GetWindow() == typev1.Window_WINDOW_PAYMENT:
				capped = true
				if units > amount(l) {
					t.Fatalf("%d is let go above %v", units, l)
				}
			case l.GetMeasure() == typev1.Measure_MEASURE_UNITS && (sumUnits > math.MaxInt64-units || sumUnits+units > amount(l)):
				t.Fatalf("%d over %d is let go above %v", units, sumUnits, l)
			case l.GetMeasure() == typev1.Measure_MEASURE_COUNT && sumCount >= amount(l):
				t.Fatalf("payment %d is let go above %v", sumCount, l)
			}
		}
		if !capped {
			t.Fatalf("let go without a hard cap: %v", doc)
		}
	})
}
