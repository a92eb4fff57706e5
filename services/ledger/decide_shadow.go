package ledger

import (
	"bytes"
	"math"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/halfkey/halfkey/internal/guardrails"
	"github.com/halfkey/halfkey/internal/resource"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

const (
	// ShadowPaymentsPerDayMax bounds what one wallet reports in a UTC day: an application that pays more often than each 90 seconds
	// all day long learns nothing more from the rest.
	ShadowPaymentsPerDayMax = 1000
	// ShadowRetention is how long a report is kept: whole months and quarters of a year can be compared. What is older counts
	// nowhere and is deleted with the wallet's next reports.
	ShadowRetention = 92 * 24 * time.Hour
	// ShadowUnitsMax bounds the units of a report, ten million dollars: a larger one is a mistake, and the sum of all reports that
	// are kept fits its number.
	ShadowUnitsMax = 10_000_000_000_000

	shadowQuarters = int64(ShadowRetention / (15 * time.Minute))
)

// shadowKey names a report.
type shadowKey struct {
	wallet, id string
}

func (k shadowKey) name() string { return resource.ShadowPayment(k.wallet, k.id) }

// shadowPayment is one report's row.
type shadowPayment struct {
	wallet, id  string
	asset, unit string
	units       int64
	host        string
	request     string // As guardrails.PaidFor names it.
	recipient   []byte // Nil if the report names nobody.
	light       typev1.Light
	number      int64
	rules       string // What was not GREEN, as shadowRules writes it.
	quarter     int64
	report      []byte // What the caller is answered, encoded.
}

// counts reports whether it stands in the shadow windows. What guard rails would have refused would not have been paid; what would
// have waited for a person counts as if that person had approved it, for the application did pay.
func (p shadowPayment) counts() bool { return p.light == green || p.light == yellow }

// shadowHistory is what was reported before one report: what its decision reads besides the history of payments.
type shadowHistory struct {
	same  *typev1.ShadowPayment // What its id was used for; nil if for nothing.
	today int64                 // How many reports this UTC day has.
	sums  []guardrails.Sum      // Parallel to guardrails.Spans.
	paid  guardrails.Paid
}

// shadowReport is one report to decide about.
type shadowReport struct {
	key      shadowKey
	facts    guardrails.Facts
	reported []byte // The recipient's key, empty if nobody is named.
}

// decideShadow judges a report as a payment is judged, by the payments of the wallet and its earlier reports together, and keeps it
// apart from them. It reads the windows, and changes none.
func decideShadow(s *state, r *shadowReport) (*typev1.ShadowPayment, error) {
	w, ok := s.wallets.get(r.key.wallet)
	if !ok {
		return nil, errNotActive
	}
	h := s.shadowHistory(r)
	if h.same != nil {
		if field := r.differs(h.same); field != "" {
			return nil, refuse(typev1.Reason_REASON_ALREADY_EXISTS, "the id stands for a report of something else", "field", field)
		}
		return h.same, nil
	}
	at, behind := s.time(w.name)
	if behind {
		return nil, refuseClock(at, s.nowMillis)
	}
	if w.head.Document.GetNumber() == 0 {
		return nil, refuse(typev1.Reason_REASON_NO_GUARD_RAILS, "the wallet has no guard rails that allow payments")
	}
	if by, id, is := s.frozen(w); is {
		return nil, refuseFrozen(by, id)
	}
	if h.today >= ShadowPaymentsPerDayMax {
		return nil, refuse(typev1.Reason_REASON_LIMIT_EXCEEDED, "the wallet has reported as many shadow payments as a UTC day takes",
			"limit", strconv.Itoa(ShadowPaymentsPerDayMax))
	}
	return s.takeShadow(w, r, h, at)
}

// takeShadow judges a report and records it.
func (s *state) takeShadow(w wallet, r *shadowReport, h shadowHistory, at int64) (*typev1.ShadowPayment, error) {
	doc, now, unit := w.head.Document, time.UnixMilli(at), unitOf(s.installation, r.facts.Asset)
	spans := guardrails.Spans(doc, r.facts, now)
	history := guardrails.History{Sums: make([]guardrails.Sum, len(spans)), Paid: s.paidBefore(w.name, r.facts.X402)}
	for i, span := range spans {
		sum := s.sum(w.name, unit, span, nil)
		history.Sums[i] = guardrails.Sum{Units: saturated(sum.Units, h.sums[i].Units), Count: saturated(sum.Count, h.sums[i].Count)}
	}
	if h.paid.Units != 0 {
		history.Paid.Units, history.Paid.Unit = h.paid.Units, h.paid.Unit
	}
	if h.paid.Recipient != [32]byte{} {
		history.Paid.Recipient = h.paid.Recipient
	}
	judged, counted := guardrails.Judge(doc, r.facts, now), guardrails.Count(doc, r.facts, history, now)
	if len(r.reported) == 0 {
		judged, counted = judged.WithoutRecipient(), counted.WithoutRecipient()
	}
	x := r.facts.X402
	out := &typev1.ShadowPayment{
		Name: r.key.name(), Asset: r.facts.Asset, Units: resource.FormatUnits(r.facts.Units),
		Method: x.GetMethod(), Scheme: x.GetScheme(), Host: x.GetHost(), Path: x.GetPath(), Recipient: r.reported,
		Light: guardrails.Stricter(judged.Light, counted.Light), Results: append(judged.Results, counted.Results...),
		GuardRails: doc.GetNumber(), ReportTime: timestamp(at), Enforcement: typev1.Enforcement_ENFORCEMENT_NOT_ENFORCED,
	}
	report, err := proto.Marshal(out)
	if err != nil {
		return nil, err
	}
	_, request := guardrails.PaidFor(x)
	s.addShadow(shadowPayment{
		wallet: w.name, id: r.key.id, asset: out.GetAsset(), unit: unit, units: r.facts.Units, host: out.GetHost(), request: request,
		recipient: r.reported, light: out.GetLight(), number: int64(doc.GetNumber()), rules: shadowRules(out.GetResults()),
		quarter: guardrails.Quarter(now), report: report,
	}, out)
	return out, nil
}

// addShadow records a report, for the rest of the batch as well.
func (s *state) addShadow(p shadowPayment, told *typev1.ShadowPayment) {
	n := len(s.newShadows)
	s.newShadows, s.toldShadows = append(s.newShadows, p), append(s.toldShadows, told)
	s.undo = append(s.undo, func() { s.newShadows, s.toldShadows = s.newShadows[:n], s.toldShadows[:n] })
}

// shadowHistory is what was loaded, and what the batch has reported since.
func (s *state) shadowHistory(r *shadowReport) shadowHistory {
	loaded, ok := s.shadows[r]
	if !ok {
		panic("ledger: the history of a report was not loaded")
	}
	h := loaded
	h.sums = append([]guardrails.Sum(nil), loaded.sums...)
	w := s.wallets.value(r.key.wallet)
	at, _ := s.time(w.name)
	unit := unitOf(s.installation, r.facts.Asset)
	_, request := guardrails.PaidFor(r.facts.X402)
	for i, p := range s.newShadows {
		if p.wallet != r.key.wallet {
			continue
		}
		h.today++
		if p.id == r.key.id {
			h.same = s.toldShadows[i]
		}
		if !p.counts() {
			continue
		}
		for n, span := range guardrails.Spans(w.head.Document, r.facts, time.UnixMilli(at)) {
			if lo, hi := shadowRange(span, at); p.unit == unit && p.quarter >= lo && p.quarter < hi {
				h.sums[n].Units, h.sums[n].Count = saturated(h.sums[n].Units, p.units), h.sums[n].Count+1
			}
		}
		if p.request == request {
			h.paid.Units, h.paid.Unit = p.units, p.unit
		}
		if p.host == r.facts.X402.GetHost() && len(p.recipient) == 32 {
			h.paid.Recipient = [32]byte(p.recipient)
		}
	}
	return h
}

// shadowRange are the quarter hours of a window whose reports are kept: from the first, to before the last.
func shadowRange(w guardrails.Span, at int64) (from, to int64) {
	kept := guardrails.Quarter(time.UnixMilli(at)) - shadowQuarters
	if w.From.IsZero() {
		return kept, math.MaxInt64
	}
	return max(guardrails.Quarter(w.From), kept), guardrails.Quarter(w.To)
}

// differs names the first field in which a report is not the recorded one, or is empty.
func (r *shadowReport) differs(p *typev1.ShadowPayment) string {
	x := r.facts.X402
	switch {
	case p.GetAsset() != r.facts.Asset:
		return "asset"
	case p.GetUnits() != resource.FormatUnits(r.facts.Units):
		return "units"
	case p.GetMethod() != x.GetMethod():
		return "method"
	case p.GetScheme() != x.GetScheme():
		return "scheme"
	case p.GetHost() != x.GetHost():
		return "host"
	case p.GetPath() != x.GetPath():
		return "path"
	case !bytes.Equal(p.GetRecipient(), r.reported):
		return "recipient"
	}
	return ""
}

// shadowRules writes the results that are not GREEN as rule, index and light, so that equal ones are grouped.
func shadowRules(results []*typev1.RuleResult) string {
	var out []string
	for _, r := range results {
		if r.GetLight() != green {
			out = append(out, strconv.Itoa(int(r.GetRule()))+"."+strconv.FormatUint(uint64(r.GetIndex()), 10)+"."+strconv.Itoa(int(r.GetLight())))
		}
	}
	return strings.Join(out, ",")
}
