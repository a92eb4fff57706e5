package guardrails

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

const (
	day      = typev1.Window_WINDOW_DAY
	week     = typev1.Window_WINDOW_WEEK
	month    = typev1.Window_WINDOW_MONTH
	lifetime = typev1.Window_WINDOW_LIFETIME
)

// zonesOfNote have offsets, change dates or change hours that differ from each other: at midnight both ways, over midnight
// both ways, by half an hour, by two hours, more than twice a year, at the date line, or never.
var zonesOfNote = []string{
	"", "UTC", "Europe/Zurich", "Europe/London", "Europe/Dublin", "Europe/Chisinau", "America/New_York", "America/St_Johns",
	"America/Los_Angeles", "America/Phoenix", "America/Santiago", "America/Asuncion", "America/Havana", "America/Nuuk",
	"America/Scoresbysund", "America/Sao_Paulo", "America/Caracas", "America/Miquelon", "Atlantic/Azores", "Africa/Cairo",
	"Africa/Casablanca", "Africa/Lagos", "Asia/Beirut", "Asia/Gaza", "Asia/Jerusalem", "Asia/Tehran", "Asia/Kabul",
	"Asia/Kathmandu", "Asia/Kolkata", "Asia/Tokyo", "Asia/Yangon", "Antarctica/Troll", "Australia/Adelaide", "Australia/Eucla",
	"Australia/Lord_Howe", "Australia/Sydney", "Pacific/Apia", "Pacific/Auckland", "Pacific/Chatham", "Pacific/Easter",
	"Pacific/Kiritimati", "Pacific/Marquesas", "Pacific/Niue", "Etc/GMT+12", "Etc/GMT-14",
}

func utc(t testing.TB, s string) time.Time {
	t.Helper()
	v, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func in(zone string, limits ...*typev1.Limit) *typev1.GuardRails {
	return standard(func(d *typev1.GuardRails) {
		d.TimeZone = zone
		d.Limits = append([]*typev1.Limit{perPayment(100, red)}, limits...)
	})
}

// TestCalendarWindows has each expectation from the zones' published changes, not from the code.
func TestCalendarWindows(t *testing.T) {
	tests := []struct {
		name     string
		zone     string
		window   typev1.Window
		now      string
		from, to string
	}{
		{"day in UTC", "", day, "2026-11-24T12:00:00Z", "2026-11-24T00:00:00Z", "2026-11-25T00:00:00Z"},
		{"first moment of a day", "", day, "2026-11-24T00:00:00Z", "2026-11-24T00:00:00Z", "2026-11-25T00:00:00Z"},
		{"last moment of a day", "", day, "2026-11-24T23:59:59.999999999Z", "2026-11-24T00:00:00Z", "2026-11-25T00:00:00Z"},
		{"last day of a year", "", day, "2026-12-31T23:00:00Z", "2026-12-31T00:00:00Z", "2027-01-01T00:00:00Z"},
		{"winter day", "Europe/Zurich", day, "2026-11-24T22:59:59Z", "2026-11-23T23:00:00Z", "2026-11-24T23:00:00Z"},
		{"first moment of a winter day", "Europe/Zurich", day, "2026-11-24T23:00:00Z", "2026-11-24T23:00:00Z", "2026-11-25T23:00:00Z"},
		{"23 hours", "Europe/Zurich", day, "2026-03-29T12:00:00Z", "2026-03-28T23:00:00Z", "2026-03-29T22:00:00Z"},
		{"25 hours", "Europe/Zurich", day, "2026-10-25T12:00:00Z", "2026-10-24T22:00:00Z", "2026-10-25T23:00:00Z"},
		{"second time it is half past two", "Europe/Zurich", day, "2026-10-25T01:30:00Z", "2026-10-24T22:00:00Z", "2026-10-25T23:00:00Z"},
		{"last moment of 25 hours", "Europe/Zurich", day, "2026-10-25T22:59:59Z", "2026-10-24T22:00:00Z", "2026-10-25T23:00:00Z"},
		{"New York, 23 hours", "America/New_York", day, "2026-03-08T05:00:00Z", "2026-03-08T05:00:00Z", "2026-03-09T04:00:00Z"},
		{"New York, 25 hours", "America/New_York", day, "2026-11-02T04:59:59Z", "2026-11-01T04:00:00Z", "2026-11-02T05:00:00Z"},

		{"Santiago, no midnight", "America/Santiago", day, "2026-09-06T04:00:00Z", "2026-09-06T04:00:00Z", "2026-09-07T03:00:00Z"},
		{"Santiago, before no midnight", "America/Santiago", day, "2026-09-06T03:59:59Z", "2026-09-05T04:00:00Z", "2026-09-06T04:00:00Z"},
		{"Santiago, eleven at night once", "America/Santiago", day, "2026-04-05T02:30:00Z", "2026-04-04T03:00:00Z", "2026-04-05T04:00:00Z"},
		{"Santiago, eleven at night again", "America/Santiago", day, "2026-04-05T03:30:00Z", "2026-04-04T03:00:00Z", "2026-04-05T04:00:00Z"},
		{"Santiago, midnight at last", "America/Santiago", day, "2026-04-05T04:00:00Z", "2026-04-05T04:00:00Z", "2026-04-06T04:00:00Z"},
		{"Beirut, no midnight", "Asia/Beirut", day, "2026-03-28T22:00:00Z", "2026-03-28T22:00:00Z", "2026-03-29T21:00:00Z"},
		{"Beirut, before no midnight", "Asia/Beirut", day, "2026-03-28T21:59:59Z", "2026-03-27T22:00:00Z", "2026-03-28T22:00:00Z"},
		{"Beirut, eleven at night again", "Asia/Beirut", day, "2026-10-24T21:30:00Z", "2026-10-23T21:00:00Z", "2026-10-24T22:00:00Z"},
		{"Havana, no midnight", "America/Havana", day, "2026-03-08T12:00:00Z", "2026-03-08T05:00:00Z", "2026-03-09T04:00:00Z"},
		{"Havana, midnight twice, first", "America/Havana", day, "2026-11-01T04:00:00Z", "2026-11-01T04:00:00Z", "2026-11-02T05:00:00Z"},
		{"Havana, midnight twice, second", "America/Havana", day, "2026-11-01T05:00:00Z", "2026-11-01T04:00:00Z", "2026-11-02T05:00:00Z"},
		{"Cairo, no midnight", "Africa/Cairo", day, "2026-04-24T12:00:00Z", "2026-04-23T22:00:00Z", "2026-04-24T21:00:00Z"},

		{"offset of three quarters", "Asia/Kathmandu", day, "2026-11-24T12:00:00Z", "2026-11-23T18:15:00Z", "2026-11-24T18:15:00Z"},
		{"Chatham in summer", "Pacific/Chatham", day, "2026-11-24T12:00:00Z", "2026-11-24T10:15:00Z", "2026-11-25T10:15:00Z"},
		{"clock changed by half an hour", "Australia/Lord_Howe", day, "2026-04-05T00:00:00Z", "2026-04-04T13:00:00Z", "2026-04-05T13:30:00Z"},
		{"farthest east", "Pacific/Kiritimati", day, "2026-11-24T10:00:00Z", "2026-11-24T10:00:00Z", "2026-11-25T10:00:00Z"},
		{"farthest west", "Etc/GMT+12", day, "2026-11-24T11:59:59Z", "2026-11-23T12:00:00Z", "2026-11-24T12:00:00Z"},
		{"before a skipped date", "Pacific/Apia", day, "2011-12-30T09:59:59Z", "2011-12-29T10:00:00Z", "2011-12-30T10:00:00Z"},
		{"after a skipped date", "Pacific/Apia", day, "2011-12-30T10:00:00Z", "2011-12-30T10:00:00Z", "2011-12-31T10:00:00Z"},
		{"set back over midnight, before", "America/St_Johns", day, "2006-10-29T02:29:59Z", "2006-10-28T02:30:00Z", "2006-10-29T02:30:00Z"},
		{
			"set back over midnight: yesterday has ended", "America/St_Johns", day, "2006-10-29T03:00:00Z", "2006-10-29T02:30:00Z",
			"2006-10-30T03:30:00Z",
		},
		{"set back over midnight, after", "America/St_Johns", day, "2006-10-29T12:00:00Z", "2006-10-29T02:30:00Z", "2006-10-30T03:30:00Z"},
		{
			"offset of odd seconds: ends move outwards", "Africa/Monrovia", day, "1971-06-01T12:00:00Z", "1971-06-01T00:30:00Z",
			"1971-06-02T00:45:00Z",
		},

		{"week from Monday", "Europe/Zurich", week, "2026-11-24T12:00:00Z", "2026-11-22T23:00:00Z", "2026-11-29T23:00:00Z"},
		{"Sunday is the week's last day", "Europe/Zurich", week, "2026-11-29T22:59:59Z", "2026-11-22T23:00:00Z", "2026-11-29T23:00:00Z"},
		{"Monday is the week's first day", "Europe/Zurich", week, "2026-11-29T23:00:00Z", "2026-11-29T23:00:00Z", "2026-12-06T23:00:00Z"},
		{"week of 167 hours", "Europe/Zurich", week, "2026-03-29T12:00:00Z", "2026-03-22T23:00:00Z", "2026-03-29T22:00:00Z"},
		{"week of 169 hours", "Europe/Zurich", week, "2026-10-20T12:00:00Z", "2026-10-18T22:00:00Z", "2026-10-25T23:00:00Z"},
		{"week over two years", "", week, "2027-01-01T12:00:00Z", "2026-12-28T00:00:00Z", "2027-01-04T00:00:00Z"},
		{"week that begins by a jump", "America/Santiago", week, "2026-09-06T04:30:00Z", "2026-08-31T04:00:00Z", "2026-09-07T03:00:00Z"},
		{"month", "", month, "2026-11-24T12:00:00Z", "2026-11-01T00:00:00Z", "2026-12-01T00:00:00Z"},
		{"month of a clock change", "Europe/Zurich", month, "2026-10-31T22:59:59Z", "2026-09-30T22:00:00Z", "2026-10-31T23:00:00Z"},
		{"December", "Asia/Tokyo", month, "2026-12-31T14:59:59Z", "2026-11-30T15:00:00Z", "2026-12-31T15:00:00Z"},
		{"January", "Asia/Tokyo", month, "2026-12-31T15:00:00Z", "2026-12-31T15:00:00Z", "2027-01-31T15:00:00Z"},
		{"February with 28 days", "", month, "2027-02-28T23:59:59Z", "2027-02-01T00:00:00Z", "2027-03-01T00:00:00Z"},
		{"February with 29 days", "", month, "2028-02-29T23:59:59Z", "2028-02-01T00:00:00Z", "2028-03-01T00:00:00Z"},
		{
			"month that begins with midnight twice", "America/Havana", month, "2026-11-01T05:30:00Z", "2026-11-01T04:00:00Z",
			"2026-12-01T05:00:00Z",
		},
		{"last day of a leap year", "Europe/Zurich", day, "2028-12-31T12:00:00Z", "2028-12-30T23:00:00Z", "2028-12-31T23:00:00Z"},
		{"last day of a leap year by rule", "Europe/Zurich", day, "2040-12-31T12:00:00Z", "2040-12-30T23:00:00Z", "2040-12-31T23:00:00Z"},
		{
			"before the last day of a leap year by rule", "Europe/Zurich", day, "2040-12-30T12:00:00Z", "2040-12-29T23:00:00Z",
			"2040-12-30T23:00:00Z",
		},
		{"December of a leap year by rule", "America/Santiago", month, "2040-12-31T12:00:00Z", "2040-12-01T03:00:00Z", "2041-01-01T03:00:00Z"},
		{"week of a leap year's end by rule", "Pacific/Auckland", week, "2040-12-31T12:00:00Z", "2040-12-30T11:00:00Z", "2041-01-06T11:00:00Z"},
		{"year 9999", "", month, "9999-12-31T23:59:59Z", "9999-12-01T00:00:00Z", "+10000-01-01"},
		{"far future by rule", "Europe/Zurich", day, "2199-07-01T12:00:00Z", "2199-06-30T22:00:00Z", "2199-07-01T22:00:00Z"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			to := time.Unix(timeMaxSeconds, 0).UTC() // the last row's, which RFC 3339 cannot say
			if test.to[0] != '+' {
				to = utc(t, test.to)
			}
			want := []Span{{Limit: 1, From: utc(t, test.from), To: to, Measure: typev1.Measure_MEASURE_UNITS}}
			got := Spans(in(test.zone, perWindow(test.window, 1, red)), pays(1), utc(t, test.now))
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("spans (-want +got):\n%s", diff)
			}
		})
	}
}

func TestRollingWindows(t *testing.T) {
	tests := []struct {
		name     string
		seconds  int64
		now      string
		from, to string
	}{
		{"on a quarter hour", 86400, "2026-11-24T12:00:00Z", "2026-11-23T12:00:00Z", "2026-11-24T12:15:00Z"},
		{"a moment before a quarter hour", 86400, "2026-11-24T11:59:59.999999999Z", "2026-11-23T11:45:00Z", "2026-11-24T12:00:00Z"},
		{"within a quarter hour", 86400, "2026-11-24T12:07:30Z", "2026-11-23T12:00:00Z", "2026-11-24T12:15:00Z"},
		{"shortest", 900, "2026-11-24T12:07:30Z", "2026-11-24T11:45:00Z", "2026-11-24T12:15:00Z"},
		{"over a clock change it is hours, not days", 86400, "2026-10-25T12:00:00Z", "2026-10-24T12:00:00Z", "2026-10-25T12:15:00Z"},
		{"longest", RollingMaxSeconds, "2026-11-24T12:00:00Z", "2025-11-23T12:00:00Z", "2026-11-24T12:15:00Z"},
		{"reaches back before 1970", RollingMaxSeconds, "1970-01-02T00:01:00Z", "1969-01-01T00:00:00Z", "1970-01-02T00:15:00Z"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			l := rolling(24, 1, red)
			l.RollingSeconds = test.seconds
			want := []Span{{Limit: 1, From: utc(t, test.from), To: utc(t, test.to), Measure: typev1.Measure_MEASURE_UNITS}}
			if diff := cmp.Diff(want, Spans(in("Europe/Zurich", l), pays(1), utc(t, test.now))); diff != "" {
				t.Errorf("spans (-want +got):\n%s", diff)
			}
		})
	}
}

// TestSpansOfSeveralLimits: in the document's order, by its index, those per payment left out.
func TestSpansOfSeveralLimits(t *testing.T) {
	doc := in("Asia/Tokyo", counting(day, 3, red), perPayment(5, yellow), perWindow(lifetime, 9, red), rolling(2, 1, yellow))
	want := []Span{
		{1, utc(t, "2026-11-23T15:00:00Z"), utc(t, "2026-11-24T15:00:00Z"), typev1.Measure_MEASURE_COUNT},
		{3, time.Time{}, time.Unix(timeMaxSeconds, 0).UTC(), typev1.Measure_MEASURE_UNITS},
		{4, utc(t, "2026-11-24T10:00:00Z"), utc(t, "2026-11-24T12:15:00Z"), typev1.Measure_MEASURE_UNITS},
	}
	if diff := cmp.Diff(want, Spans(doc, pays(1), noon)); diff != "" {
		t.Errorf("spans (-want +got):\n%s", diff)
	}
}

func TestQuarter(t *testing.T) {
	tests := []struct {
		name string
		now  string
		want int64
	}{
		{"epoch", "1970-01-01T00:00:00Z", 0},
		{"end of the first", "1970-01-01T00:14:59.999999999Z", 0},
		{"second", "1970-01-01T00:15:00Z", 1},
		{"before the epoch", "1969-12-31T23:59:59.999999999Z", -1},
		{"fifteen minutes before", "1969-12-31T23:45:00Z", -1},
		{"earlier still", "1969-12-31T23:44:59Z", -2},
		{"another zone's notation", "2026-11-24T13:00:00+01:00", 1995024},
		{"the same in UTC", "2026-11-24T12:00:00Z", 1995024},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if got := Quarter(utc(t, test.now)); got != test.want {
				t.Errorf("Quarter(%s) = %d, want %d", test.now, got, test.want)
			}
		})
	}
	if got, want := Quarter(time.Unix(timeMaxSeconds, 0)), int64(timeMaxSeconds/900); got != want {
		t.Errorf("Quarter(end of a lifetime) = %d, want %d", got, want)
	}
	if start := QuarterStart(Quarter(time.Time{})); !start.Equal(time.Time{}) {
		t.Errorf("a lifetime begins within a quarter hour: %v", start)
	}
}

// TestDaysPartitionTime walks through time in every zone of note, by the hour, and by the quarter hour where a day ends: each
// moment is in the window of its own date and week and month, and where one window ends the next begins.
func TestDaysPartitionTime(t *testing.T) {
	tests := []struct{ name, from, to string }{
		{"a year", "2026-01-01T00:00:00Z", "2027-01-08T00:00:00Z"},
		{"the end of a leap year", "2028-12-24T00:00:00Z", "2029-01-08T00:00:00Z"},
		// Beyond 2037 every zone database has rules and no table.
		{"a leap year by rule", "2048-02-01T00:00:00Z", "2049-02-01T00:00:00Z"},
	}
	for _, test := range tests {
		for _, name := range zonesOfNote {
			t.Run(test.name+" in "+name, func(t *testing.T) {
				partition(t, name, Quarter(utc(t, test.from)), Quarter(utc(t, test.to)))
			})
		}
	}
}

func partition(t *testing.T, zone string, start, end int64) {
	labels := []func(time.Time) [2]int{
		func(local time.Time) [2]int { return [2]int{local.Year(), local.YearDay()} },
		func(local time.Time) [2]int { y, w := local.ISOWeek(); return [2]int{y, w} },
		func(local time.Time) [2]int { return [2]int{local.Year(), int(local.Month())} },
	}
	location, err := time.LoadLocation(zone)
	if err != nil {
		t.Fatal(err)
	}
	doc := in(zone, perDay(1, red), perWindow(week, 1, red), perWindow(month, 1, red))
	var last []Span
	var lastLabels [3][2]int
	for q := start; q < end; q++ {
		if last != nil && q%4 != 0 && max(q-Quarter(last[0].To), Quarter(last[0].To)-q) > 2 {
			continue
		}
		now := QuarterStart(q)
		spans := Spans(doc, pays(1), now)
		if len(spans) != len(labels) {
			t.Fatalf("%v: %d spans", now, len(spans))
		}
		for i, s := range spans {
			label := labels[i](now.In(location))
			if s.From.After(now) || !s.To.After(now) {
				t.Fatalf("window %d at %v is from %v to %v", i, now, s.From, s.To)
			}
			if last == nil {
				lastLabels[i] = label
				continue
			}
			switch before := last[i]; {
			case label == lastLabels[i]:
				if s != before {
					t.Fatalf("window %d changes within %v at %v: %v, then %v", i, label, now, before, s)
				}
			case !s.From.Equal(before.To) || !s.From.Equal(now):
				t.Fatalf("window %d of %v ends at %v, that of %v begins at %v, and the date changes at %v",
					i, lastLabels[i], before.To, label, s.From, now)
			}
			lastLabels[i] = label
		}
		last = spans
	}
}

// TestOddClocksPartitionTime walks minute by minute over changes that make a date come twice, not at all, or begin beside a
// quarter hour. There each moment has its window, and no window comes back after it ended.
func TestOddClocksPartitionTime(t *testing.T) {
	tests := []struct {
		zone     string
		from, to string
		overlap  time.Duration // of one window and the next
	}{
		{"Pacific/Apia", "2011-12-27T00:00:00Z", "2012-01-03T00:00:00Z", 0},
		{"Pacific/Kwajalein", "1993-08-18T00:00:00Z", "1993-08-25T00:00:00Z", 0},
		{"America/St_Johns", "2006-10-26T00:00:00Z", "2006-11-02T00:00:00Z", 0},
		{"America/St_Johns", "2007-03-08T00:00:00Z", "2007-03-15T00:00:00Z", 0},
		{"Africa/Monrovia", "1971-12-25T00:00:00Z", "1972-01-02T00:00:00Z", 15 * time.Minute},
	}
	for _, test := range tests {
		t.Run(test.zone+" "+test.from[:4], func(t *testing.T) {
			doc := in(test.zone, perDay(1, red))
			last := Spans(doc, pays(1), utc(t, test.from))[0]
			windows := 1
			for now := utc(t, test.from); now.Before(utc(t, test.to)); now = now.Add(time.Minute) {
				s := Spans(doc, pays(1), now)[0]
				if s.From.After(now) || !s.To.After(now) {
					t.Fatalf("the window at %v is from %v to %v", now, s.From, s.To)
				}
				if s == last {
					continue
				}
				if gap := s.From.Sub(last.To); gap > 0 || -gap > test.overlap || s.From.Before(last.From) {
					t.Fatalf("after %v to %v comes %v to %v", last.From, last.To, s.From, s.To)
				}
				last = s
				windows++
			}
			if windows < 6 {
				t.Errorf("only %d windows in a week", windows)
			}
		})
	}
}

// TestZonesLoadOnce: what is kept is what was loaded, and a name that does not load is asked for again.
func TestZonesLoadOnce(t *testing.T) {
	first, err := zone("Asia/Kathmandu")
	if err != nil {
		t.Fatal(err)
	}
	if again, err := zone("Asia/Kathmandu"); err != nil || again != first {
		t.Errorf("zone loads again: %v, %v", again, err)
	}
	if l, err := zone("Mars/Olympus"); err == nil {
		t.Errorf("zone(Mars/Olympus) = %v", l)
	}
	if _, kept := zones.Load("Mars/Olympus"); kept {
		t.Error("a name that does not load is kept: whoever sends many fills the memory")
	}
}
