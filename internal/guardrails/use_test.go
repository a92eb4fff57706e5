package guardrails

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/halfkey/halfkey/internal/resource"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// Every limit in the document's order: what its window has seen, what is left, and when there is more.
func TestUses(t *testing.T) {
	doc := in("Europe/Zurich", perDay(50, red), perWindow(week, 70, red), perWindow(month, 80, yellow), perWindow(lifetime, 900, red),
		rolling(24, 60, red), rolling(1, 30, red), counting(day, 3, red))
	now := utc(t, "2026-11-24T12:10:00Z")
	spans, ok := Windows(doc, now)
	if !ok || len(spans) != 7 {
		t.Fatalf("got %v, %v", spans, ok)
	}
	spent := Sum{Units: 40 * dollar, Count: 2}
	seen := []Seen{
		{Sum: spent},
		{Sum: Sum{Units: 70 * dollar, Count: 9}},
		{Sum: Sum{Units: 90 * dollar, Count: 9}},
		{Sum: Sum{Units: 90 * dollar, Count: 9}},
		{Sum: spent, First: utc(t, "2026-11-23T22:31:00Z")},
		{},
		{Sum: spent},
	}
	want := []Use{
		{Limit: 0, Amount: 100 * dollar, Room: 100 * dollar},
		{Limit: 1, Windowed: true, Used: 40 * dollar, Amount: 50 * dollar, Room: 10 * dollar, Resets: utc(t, "2026-11-24T23:00:00Z")},
		{Limit: 2, Windowed: true, Used: 70 * dollar, Amount: 70 * dollar, Resets: utc(t, "2026-11-29T23:00:00Z")},
		{Limit: 3, Windowed: true, Used: 90 * dollar, Amount: 80 * dollar, Resets: utc(t, "2026-11-30T23:00:00Z")},
		{Limit: 4, Windowed: true, Used: 90 * dollar, Amount: 900 * dollar, Room: 810 * dollar},
		{Limit: 5, Windowed: true, Used: 40 * dollar, Amount: 60 * dollar, Room: 20 * dollar, Resets: utc(t, "2026-11-24T22:45:00Z")},
		{Limit: 6, Windowed: true, Amount: 30 * dollar, Room: 30 * dollar},
		{Limit: 7, Windowed: true, Used: 2, Amount: 3, Room: 1, Resets: utc(t, "2026-11-24T23:00:00Z")},
	}
	got, ok := Uses(doc, seen, now)
	if diff := cmp.Diff(want, got); diff != "" || !ok {
		t.Errorf("ok %v (-want +got):\n%s", ok, diff)
	}
	// A claim has no limits, and that is no failure.
	if got, ok := Uses(claim(), nil, now); !ok || len(got) != 0 {
		t.Errorf("got %v, %v for a claim", got, ok)
	}
}

// What cannot be judged has no room either.
func TestUsesRefuses(t *testing.T) {
	now := utc(t, "2026-11-24T12:10:00Z")
	for name, tt := range map[string]struct {
		doc  *typev1.GuardRails
		seen []Seen
		now  time.Time
	}{
		"a window too few":       {in("", perDay(50, red)), nil, now},
		"a window too many":      {in(""), []Seen{{}}, now},
		"no time zone":           {in("Mars/Olympus", perDay(50, red)), []Seen{{}}, now},
		"an unknown window":      {in("", perWindow(77, 50, red)), []Seen{{}}, now},
		"a negative sum":         {in("", perDay(50, red)), []Seen{{Sum: Sum{Units: -1}}}, now},
		"the year 10000":         {in("", perDay(50, red)), []Seen{{}}, time.Unix(timeMaxSeconds, 0)},
		"first before a window":  {in("", rolling(1, 50, red)), []Seen{{Sum: Sum{1, 1}, First: now.Add(-2 * time.Hour)}}, now},
		"first after a window":   {in("", rolling(1, 50, red)), []Seen{{Sum: Sum{1, 1}, First: now.Add(time.Hour)}}, now},
		"a sum of unknown first": {in("", rolling(1, 50, red)), []Seen{{Sum: Sum{1, 1}}}, now},
	} {
		if got, ok := Uses(tt.doc, tt.seen, tt.now); ok {
			t.Errorf("%s: got %v", name, got)
		}
	}
}

// What Uses calls room is what Count lets pass, to the unit, and it is still so in the last moment before the reset.
func TestRoomIsWhatPasses(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		doc, now := genDocument().Draw(t, "document"), genTime().Draw(t, "now")
		spans, ok := Windows(doc, now)
		if !ok {
			t.Fatal("a valid document has no windows")
		}
		sums := genSums(t, len(spans))
		seen := make([]Seen, len(spans))
		for i, s := range spans {
			seen[i] = Seen{sums[i], s.From}
		}
		uses, ok := Uses(doc, seen, now)
		if !ok || len(uses) != len(doc.GetLimits()) {
			t.Fatalf("got %v, %v", uses, ok)
		}
		light := func(u Use, units int64) typev1.Light {
			results := Count(doc, pays(units), History{Sums: sums}, now).Results
			if !u.Windowed {
				results = Judge(doc, pays(units), now).Results
			}
			for _, r := range results {
				if r.GetRule() == typev1.Rule_RULE_LIMIT && int(r.GetIndex()) == u.Limit {
					return r.GetLight()
				}
			}
			t.Fatalf("limit %d does not speak", u.Limit)
			return 0
		}
		for i, u := range uses {
			l := doc.GetLimits()[i]
			if u.Limit != i || resource.FormatUnits(u.Amount) != l.GetAmount() {
				t.Fatalf("limit %d is shown as %v", i, u)
			}
			fits, crosses := u.Room, u.Room+1
			if l.GetMeasure() == typev1.Measure_MEASURE_COUNT {
				fits, crosses = min(u.Room, 1), 1 // One payment is one.
				if u.Room > 0 {
					crosses = 0
				}
			}
			if fits > 0 && light(u, fits) != green {
				t.Errorf("limit %d: room for %d, and it does not pass", i, u.Room)
			}
			if crosses > 0 && light(u, crosses) != l.GetCrossed() {
				t.Errorf("limit %d: room for %d, and %d passes", i, u.Room, crosses)
			}
			if !u.Resets.IsZero() && !u.Resets.After(now) {
				t.Errorf("limit %d resets at %v, which is not after %v", i, u.Resets, now)
			}
		}
	})
}

// A rolling window still holds the quarter hour just before it resets, and no more from then on.
func TestRollingResets(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		quarters := rapid.Int64Range(1, RollingMaxSeconds/quarterSeconds).Draw(t, "quarters")
		l := rolling(1, 50, red)
		l.RollingSeconds = quarters * quarterSeconds
		doc := in("", l)
		paid := genTime().Filter(func(at time.Time) bool { return at.Unix() < timeMaxSeconds-2*RollingMaxSeconds }).Draw(t, "paid")
		uses, ok := Uses(doc, []Seen{{Sum{dollar, 1}, paid}}, paid)
		if !ok {
			t.Fatal("no answer")
		}
		holds := func(at time.Time) bool {
			s, _ := Windows(doc, at)
			return !paid.Before(s[0].From)
		}
		if at := uses[1].Resets; !holds(at.Add(-1)) || holds(at) {
			t.Errorf("paid at %v, resets at %v", paid, at)
		}
	})
}

// A payment's day is the one whose window holds it, also where no midnight is or two are.
func TestDateIn(t *testing.T) {
	for _, tt := range []struct{ zone, at, want string }{
		{"", "2026-07-15T23:59:59Z", "2026-07-15"},
		{"Europe/Zurich", "2026-07-15T22:00:00Z", "2026-07-16"},
		{"Europe/Zurich", "2026-07-15T21:59:59Z", "2026-07-15"},
		{"Asia/Beirut", "2026-10-24T21:30:00Z", "2026-10-24"},
		{"America/Havana", "2026-11-01T05:00:00Z", "2026-11-01"},
		{"Pacific/Kiritimati", "2026-07-15T10:00:00Z", "2026-07-16"},
	} {
		if got, ok := DateIn(tt.zone, utc(t, tt.at)); got != tt.want || !ok {
			t.Errorf("%s in %q: got %q, %v, want %q", tt.at, tt.zone, got, ok, tt.want)
		}
	}
	for _, zone := range []string{"Local", "Mars/Olympus", "../etc/passwd"} {
		if got, ok := DateIn(zone, utc(t, "2026-07-15T10:00:00Z")); ok {
			t.Errorf("%q is a zone: %q", zone, got)
		}
	}
}
