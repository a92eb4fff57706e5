package guardrails

import (
	"time"

	"github.com/halfkey/halfkey/internal/resource"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// Use is how far one limit is used up.
type Use struct {
	// Limit is the index of the limit in the document.
	Limit int
	// Windowed says that it sums over a window; Used is what that has seen, in what the limit measures.
	Windowed bool
	Used     int64
	// Amount is the limit, and Room what is left of it: what Judge and Count call the room of a payment made now.
	Amount, Room int64
	// Resets is when a calendar window begins anew, or when the oldest quarter hour of a rolling window with a payment in it
	// leaves; zero where nothing resets the limit, or nothing is to be reset.
	Resets time.Time
}

// Seen is what one of Windows has seen.
type Seen struct {
	Sum
	// First lies in the oldest quarter hour of the window with a payment in it; zero if there is none. It is asked for rolling
	// windows alone.
	First time.Time
}

// Windows returns the window of every limit per window, in the document's order, each of them holding now, whatever unit it
// counts in. It reports whether the document's limits can be judged at all.
func Windows(doc *typev1.GuardRails, now time.Time) ([]Span, bool) {
	if !datable(now) {
		return nil, false
	}
	return windowsOf(doc, now, func(*typev1.Limit) bool { return true })
}

// Uses says of every limit, in the document's order, how far it is used up. seen is parallel to Windows of the same document
// and now. It reports whether the answer can be relied on.
func Uses(doc *typev1.GuardRails, seen []Seen, now time.Time) ([]Use, bool) {
	spans, ok := Windows(doc, now)
	if !ok || len(spans) != len(seen) {
		return nil, false
	}
	uses := make([]Use, 0, len(doc.GetLimits()))
	for i, l := range doc.GetLimits() {
		u := Use{Limit: i}
		var sum Sum
		if len(spans) > 0 && spans[0].Limit == i {
			u.Windowed, sum = true, seen[0].Sum
			u.Used = sum.Units
			if l.GetMeasure() == typev1.Measure_MEASURE_COUNT {
				u.Used = sum.Count
			}
			if u.Resets, ok = resets(l, spans[0], seen[0]); !ok {
				return nil, false
			}
			spans, seen = spans[1:], seen[1:]
		}
		var errAmount, errRoom error
		judged := judgeLimit(i, l, sum, 1)
		u.Amount, errAmount = resource.ParseAmount(judged.GetLimit())
		u.Room, errRoom = resource.ParseAmount(judged.GetRoom())
		if errAmount != nil || errRoom != nil {
			return nil, false // It would be RED whatever was paid.
		}
		uses = append(uses, u)
	}
	return uses, true
}

// resets is when a window has more room without anybody's doing.
func resets(l *typev1.Limit, s Span, seen Seen) (time.Time, bool) {
	switch l.GetWindow() {
	case typev1.Window_WINDOW_LIFETIME:
		return time.Time{}, true
	case typev1.Window_WINDOW_ROLLING:
		if seen.Count == 0 {
			return time.Time{}, true
		}
		if seen.First.Before(s.From) || !seen.First.Before(s.To) {
			return time.Time{}, false
		}
		return QuarterStart(Quarter(seen.First) + 1).Add(time.Duration(l.GetRollingSeconds()) * time.Second), true
	}
	return s.To, true
}

// DateIn is the day that a moment belongs to in a time zone, as calendar windows have it, `2026-07-15`. It reports whether the
// zone's name, empty for UTC, is one.
func DateIn(zoneName string, at time.Time) (string, bool) {
	location, err := zone(zoneName)
	if err != nil || !datable(at) {
		return "", false
	}
	day, ok := dateIn(location, at)
	return day.Format(time.DateOnly), ok
}
