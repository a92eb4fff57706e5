package guardrails

import (
	"errors"
	"sync"
	"time"
	_ "time/tzdata" // a container without a zone database must know the owner's zone as well

	"github.com/halfkey/halfkey/internal/resource"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

const (
	quarter        = 15 * time.Minute
	quarterSeconds = int64(quarter / time.Second)
	// timeMaxSeconds is the end of the year 9999, a quarter hour's edge.
	timeMaxSeconds = 253402300800

	// offsetMax is more than any zone's offset from UTC: RFC 8536, 3.2 recommends at most 26 hours.
	offsetMax = 27 * time.Hour
	// stepsMax bounds the stretches looked at around one midnight: one or two, but every quarter hour where the end of a
	// stretch is not known.
	stepsMax = int(2*offsetMax/quarter) + 16
)

// Quarter is the number of the UTC quarter hour that holds t, counted from the Unix epoch: the ledger keeps its sums in
// these.
func Quarter(t time.Time) int64 {
	s := t.Unix()
	q := s / quarterSeconds
	if s%quarterSeconds < 0 {
		q--
	}
	return q
}

// QuarterStart is when a quarter hour begins.
func QuarterStart(q int64) time.Time { return time.Unix(q*quarterSeconds, 0).UTC() }

// quarterEnd is the first beginning of a quarter hour that is not before t.
func quarterEnd(t time.Time) time.Time {
	start := QuarterStart(Quarter(t))
	if start.Equal(t) {
		return start
	}
	return QuarterStart(Quarter(t) + 1)
}

// Span is one window that the ledger sums for a payment.
type Span struct {
	// Limit is the index of its limit in the document.
	Limit int
	// From and To bound it, in UTC and on quarter hours: From is inside, To is not. A lifetime is from the zero time to the end
	// of the year 9999.
	From, To time.Time
	// Measure says which of the window's sums the limit looks at.
	Measure typev1.Measure
}

// Spans returns the windows that Count needs sums of: one for each limit per window in the payment's unit of account, in the
// document's order, each of them holding now. It returns none where Count is RED whatever was paid.
func Spans(doc *typev1.GuardRails, f Facts, now time.Time) []Span {
	spans, _ := windows(doc, f, now)
	return spans
}

// windows is Spans, and reports whether they are to be relied on.
func windows(doc *typev1.GuardRails, f Facts, now time.Time) ([]Span, bool) {
	unit, _, ok := resource.UnitOf(f.Asset, doc.GetInstallation())
	if !judgeable(doc, f, now) || !ok {
		return nil, false
	}
	spans, ok := windowsOf(doc, now, func(l *typev1.Limit) bool { return l.GetUnit() == unit })
	// Validate demands one for every asset.
	return spans, ok && len(spans) > 0
}

// windowsOf returns the windows of the limits per window that speak, each of them holding now.
func windowsOf(doc *typev1.GuardRails, now time.Time, speaks func(*typev1.Limit) bool) ([]Span, bool) {
	location, err := zone(doc.GetTimeZone())
	if err != nil {
		return nil, false
	}
	var spans []Span
	for i, l := range doc.GetLimits() {
		if _, why := checkLimit(l); why != "" {
			return nil, false
		}
		if l.GetWindow() == typev1.Window_WINDOW_PAYMENT || !speaks(l) {
			continue
		}
		from, to, ok := window(l, location, now)
		if !ok {
			return nil, false
		}
		spans = append(spans, Span{Limit: i, From: from, To: to, Measure: l.GetMeasure()})
	}
	return spans, true
}

// window returns the bounds of a limit's window that holds now.
func window(l *typev1.Limit, location *time.Location, now time.Time) (from, to time.Time, ok bool) {
	switch l.GetWindow() {
	case typev1.Window_WINDOW_LIFETIME:
		return time.Time{}, time.Unix(timeMaxSeconds, 0).UTC(), true
	case typev1.Window_WINDOW_ROLLING:
		oldest := now.Add(-time.Duration(l.GetRollingSeconds()) * time.Second)
		return QuarterStart(Quarter(oldest)), QuarterStart(Quarter(now) + 1), true
	}
	today, ok := dateIn(location, now)
	if !ok {
		return time.Time{}, time.Time{}, false
	}
	year, month, day := today.Date()
	var first, next time.Time
	switch l.GetWindow() {
	case typev1.Window_WINDOW_DAY:
		first, next = today, today.AddDate(0, 0, 1)
	case typev1.Window_WINDOW_WEEK:
		sinceMonday := (int(today.Weekday()) + 6) % 7
		first = date(year, month, day-sinceMonday)
		next = first.AddDate(0, 0, 7)
	case typev1.Window_WINDOW_MONTH:
		first, next = date(year, month, 1), date(year, month+1, 1)
	default:
		return time.Time{}, time.Time{}, false
	}
	from, okFrom := reached(location, first)
	to, okTo := reached(location, next)
	if !okFrom || !okTo {
		return time.Time{}, time.Time{}, false
	}
	// No zone today has an offset that is not of whole quarter hours. One that had would get windows a little too long.
	return QuarterStart(Quarter(from)), quarterEnd(to), true
}

// date stands for a date in no particular zone: its midnight in UTC.
func date(year int, month time.Month, day int) time.Time {
	return time.Date(year, month, day, 0, 0, 0, 0, time.UTC)
}

// dateIn is the latest date that a zone has reached by now. That is the date on the wall, but for the hour after a clock was
// set back over midnight: then the wall says yesterday, which has ended.
func dateIn(location *time.Location, now time.Time) (time.Time, bool) {
	year, month, day := now.In(location).Date()
	today := date(year, month, day)
	tomorrow := today.AddDate(0, 0, 1)
	start, ok := reached(location, tomorrow)
	if !ok {
		return time.Time{}, false
	}
	if !start.After(now) {
		return tomorrow, true
	}
	return today, true
}

// reached is the first moment at which the date in a zone is d or later. It is not time.Date, which picks either side of a
// midnight that does not exist, and either one of two.
func reached(location *time.Location, d time.Time) (time.Time, bool) {
	// Here no clock has reached d; from here on, each stretch of one offset is looked at.
	t := d.Add(-offsetMax)
	for range stepsMax {
		local := t.In(location)
		_, offset := local.Zone()
		midnight := d.Add(-time.Duration(offset) * time.Second)
		_, end := local.ZoneBounds()
		if !end.IsZero() && !end.After(t) {
			// Where a zone goes by its rule, time counts 365 days for every year: all 31 December of a leap year lies behind
			// the end of its own stretch. Clocks change on quarter hours, so one of these is all of one offset.
			end = QuarterStart(Quarter(t) + 1)
		}
		if end.IsZero() || midnight.Before(end) {
			if midnight.Before(t) {
				// The clock jumped over midnight: the date is reached by the jump.
				midnight = t
			}
			return midnight.UTC(), true
		}
		t = end
	}
	return time.Time{}, false
}

// zones keeps zones that were loaded. Loading one reads a file, and a wallet's never changes but with its document. It holds
// at most the few hundred zones that there are: a name that does not load is not kept.
var zones sync.Map

var errZone = errors.New("not a time zone")

// zone loads a time zone by its IANA name; empty is UTC.
func zone(name string) (*time.Location, error) {
	if name == "" {
		return time.UTC, nil
	}
	if l, ok := zones.Load(name); ok {
		return l.(*time.Location), nil
	}
	if !zoneName(name) {
		return nil, errZone
	}
	l, err := time.LoadLocation(name)
	if err != nil {
		return nil, errZone
	}
	zones.Store(name, l)
	return l, nil
}

// zoneName is an allow-list of names. Besides zones, a zone database has files which differ between machines or count leap
// seconds (localtime, posixrules, posix/, right/); all these begin with a small letter, and no zone does. Local is the
// machine's own.
func zoneName(s string) bool {
	if len(s) > ZoneMax || s[0] < 'A' || s[0] > 'Z' || s == "Local" {
		return false
	}
	for i := range len(s) {
		c := s[i]
		letter := (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')
		digit := c >= '0' && c <= '9'
		if !letter && !digit && c != '/' && c != '_' && c != '-' && c != '+' {
			return false
		}
	}
	return true
}
