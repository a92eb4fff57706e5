package guardrails

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/halfkey/halfkey/internal/resource"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// payment is one that was authorized, kept to the nanosecond.
type payment struct {
	at    time.Time
	units int64
}

// history is what a ledger keeps, in the plainest form: every payment. sum gives what quarter-hour sums would give.
type history []payment

func (h history) sum(s Span) (sum Sum) {
	from, to := Quarter(s.From), Quarter(s.To)
	for _, p := range h {
		if q := Quarter(p.at); q >= from && q < to {
			sum.Units += p.units
			sum.Count++
		}
	}
	return sum
}

func (h history) sums(doc *typev1.GuardRails, f Facts, now time.Time) (sums []Sum) {
	for _, s := range Spans(doc, f, now) {
		sums = append(sums, h.sum(s))
	}
	return sums
}

// observed is what a limit is about, payment included, by an oracle that knows neither spans nor quarter hours: it compares
// dates on the wall, ISO weeks, and exact durations. Slack lengthens a rolling window.
func (h history) observed(l *typev1.Limit, location *time.Location, now time.Time, units int64, slack time.Duration) int64 {
	wall := now.In(location)
	year, isoWeek := wall.ISOWeek()
	total, count := units, int64(1)
	for _, p := range h {
		at := p.at.In(location)
		inside := false
		switch l.GetWindow() {
		case typev1.Window_WINDOW_DAY:
			inside = at.Format(time.DateOnly) == wall.Format(time.DateOnly)
		case typev1.Window_WINDOW_WEEK:
			y, w := at.ISOWeek()
			inside = y == year && w == isoWeek
		case typev1.Window_WINDOW_MONTH:
			inside = at.Format("2006-01") == wall.Format("2006-01")
		case typev1.Window_WINDOW_ROLLING:
			inside = now.Sub(p.at) < time.Duration(l.GetRollingSeconds())*time.Second+slack
		case typev1.Window_WINDOW_LIFETIME:
			inside = true
		}
		if inside {
			total += p.units
			count++
		}
	}
	if l.GetMeasure() == typev1.Measure_MEASURE_COUNT {
		return count
	}
	return total
}

// TestNoWindowIsExceeded pays at random times around clock changes, in random zones, under documents that the owner replaces
// now and then by others with other zones and limits. After each payment no limit of the document in force is exceeded,
// whichever document each payment was made under; and what is refused would have exceeded one.
func TestNoWindowIsExceeded(t *testing.T) {
	// Shortly before clocks change somewhere, and before a year, a month and a week end.
	starts := []string{
		"2026-03-05T00:00:00Z", "2026-03-27T00:00:00Z", "2026-04-02T00:00:00Z", "2026-04-22T00:00:00Z", "2026-09-04T00:00:00Z",
		"2026-10-22T00:00:00Z", "2026-10-30T00:00:00Z", "2026-12-29T00:00:00Z", "2027-02-26T00:00:00Z",
	}
	paid, refused := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		fresh := func() *typev1.GuardRails {
			doc := in(rapid.SampledFrom(zonesOfNote).Draw(t, "zone"))
			windows := []*typev1.Limit{
				perDay(0, red), perWindow(week, 0, red), perWindow(month, 0, red), perWindow(lifetime, 0, red),
				rolling(rapid.Int64Range(1, 72).Draw(t, "hours"), 0, red),
				counting(day, 0, red), counting(typev1.Window_WINDOW_ROLLING, 0, red),
			}
			windows[6].RollingSeconds = 900 * rapid.Int64Range(1, 200).Draw(t, "quarter hours")
			for _, l := range windows {
				most := int64(30)
				if l.Window == month || l.Window == lifetime {
					most = 200
				}
				l.Amount = resource.FormatUnits(rapid.Int64Range(1, most).Draw(t, "limit"))
			}
			n := rapid.IntRange(1, 3).Draw(t, "number of limits")
			doc.Limits = append(doc.Limits, rapid.Permutation(windows).Draw(t, "windows")[:n]...)
			return doc
		}
		doc := fresh()
		start, err := time.Parse(time.RFC3339, rapid.SampledFrom(starts).Draw(t, "start"))
		if err != nil {
			t.Fatal(err)
		}
		var made history
		now := start
		for range rapid.IntRange(1, 80).Draw(t, "payments") {
			gap := rapid.OneOf(rapid.Int64Range(0, 3600), rapid.Int64Range(0, 12*3600), rapid.Just[int64](900)).Draw(t, "gap")
			now = now.Add(time.Duration(gap)*time.Second + time.Duration(rapid.Int64Range(0, 2).Draw(t, "nanoseconds")))
			if rapid.IntRange(0, 19).Draw(t, "replace") == 0 {
				doc = fresh()
				if err := Validate(doc); err != nil {
					t.Fatalf("Validate: %v", err)
				}
			}
			f := pays(rapid.Int64Range(1, 10).Draw(t, "units"))
			got := Stricter(Judge(doc, f, now).Light, Count(doc, f, History{Sums: made.sums(doc, f, now)}, now).Light)
			exceeds, nearly := false, false
			location, err := time.LoadLocation(doc.GetTimeZone())
			if err != nil {
				t.Fatal(err)
			}
			for _, l := range doc.GetLimits()[1:] {
				limit, err := resource.ParseAmount(l.GetAmount())
				if err != nil {
					t.Fatal(err)
				}
				exceeds = exceeds || made.observed(l, location, now, f.Units, 0) > limit
				nearly = nearly || made.observed(l, location, now, f.Units, 15*time.Minute) > limit
			}
			switch {
			case got == green && exceeds:
				t.Fatalf("paid %d at %v under %v, over %v", f.Units, now, doc, made)
			case got != green && !nearly:
				t.Fatalf("refused %d at %v under %v, over %v", f.Units, now, doc, made)
			}
			if got == green {
				made = append(made, payment{now, f.Units})
				paid++
			} else {
				refused++
			}
		}
	})
	if paid < 100 || refused < 100 {
		t.Errorf("%d paid, %d refused: too few to say anything", paid, refused)
	}
}

// TestTenThousandDays tries one dollar every 25 minutes of a year in every zone of note, under a daily limit of 5: on no date
// on the wall are there more than 5 payments, and on none fewer.
func TestTenThousandDays(t *testing.T) {
	const budget = 5
	days := 0
	for _, name := range zonesOfNote {
		location, err := time.LoadLocation(name)
		if err != nil {
			t.Fatal(err)
		}
		doc := in(name, perDay(budget, red))
		first := time.Date(2026, time.January, 1, 0, 0, 0, 0, location)
		end := time.Date(2027, time.January, 1, 0, 0, 0, 0, location)
		perDate := make(map[string]int64)
		sums := make([]Sum, Quarter(end)-Quarter(first)+1)
		for now := first; now.Before(end); now = now.Add(25 * time.Minute) {
			s := Spans(doc, pays(dollar), now)[0]
			var sum Sum
			for q := max(Quarter(s.From), Quarter(first)); q < min(Quarter(s.To), Quarter(now)+1); q++ {
				sum.Units += sums[q-Quarter(first)].Units
				sum.Count += sums[q-Quarter(first)].Count
			}
			if Count(doc, pays(dollar), History{Sums: []Sum{sum}}, now).Light != green {
				continue
			}
			sums[Quarter(now)-Quarter(first)].Units += dollar
			sums[Quarter(now)-Quarter(first)].Count++
			perDate[now.In(location).Format(time.DateOnly)]++
		}
		for date, n := range perDate {
			if n != budget {
				t.Errorf("%s: %d payments on %s, want %d", name, n, date, budget)
			}
		}
		if len(perDate) != 365 {
			t.Errorf("%s: paid on %d dates of 2026", name, len(perDate))
		}
		days += len(perDate)
	}
	if days < 10_000 {
		t.Errorf("only %d days", days)
	}
}
