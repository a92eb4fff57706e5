package ledger

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/halfkey/halfkey/internal/guardrails"
	"github.com/halfkey/halfkey/internal/resource"
	ledgerv1 "github.com/halfkey/halfkey/proto/gen/halfkey/ledger/v1"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// Shadow mode: an agent whose application still pays by a shared key reports what it pays, and is told what guard rails would have
// made of it. Reports are kept apart from payments. They are no agent's signed statements and move nothing, so they stand in no
// journal: an audit proves money, and nobody can take one for a payment there.

// ReportShadowPayment judges and records what was paid by other means.
func (s *Service) ReportShadowPayment(
	ctx context.Context, req *ledgerv1.ReportShadowPaymentRequest,
) (*ledgerv1.ReportShadowPaymentResponse, error) {
	p, err := s.reportShadowPayment(ctx, req)
	if err != nil {
		return nil, s.answer(ctx, "ReportShadowPayment", err)
	}
	return &ledgerv1.ReportShadowPaymentResponse{ShadowPayment: p}, nil
}

func (s *Service) reportShadowPayment(
	ctx context.Context, req *ledgerv1.ReportShadowPaymentRequest,
) (out *typev1.ShadowPayment, err error) {
	r, err := s.newShadowReport(req)
	if err != nil {
		return nil, err
	}
	err = s.write(ctx, &op{
		needs: needs{wallets: []string{r.key.wallet}, facts: []windowNeed{{r.key.wallet, r.facts}}, shadows: []*shadowReport{r}},
		decide: func(st *state) (err error) {
			out, err = decideShadow(st, r)
			return err
		},
	})
	return out, err
}

func (s *Service) newShadowReport(req *ledgerv1.ReportShadowPaymentRequest) (*shadowReport, error) {
	if _, err := resource.ParseWallet(req.GetParent()); err != nil {
		return nil, err
	}
	if err := resource.ValidID(req.GetShadowPaymentId()); err != nil {
		return nil, malformed("shadow_payment_id")
	}
	if req.GetAsset() != s.installation.BookUSD() {
		return nil, refuse(typev1.Reason_REASON_INVALID_ARGUMENT, "this installation's asset is its book dollars", "field", "asset")
	}
	units, err := resource.ParseUnits(req.GetUnits())
	if err != nil || units > ShadowUnitsMax {
		return nil, malformed("units")
	}
	x := &typev1.X402Context{Method: req.GetMethod(), Scheme: req.GetScheme(), Host: req.GetHost(), Path: req.GetPath()}
	for _, f := range []struct {
		field string
		err   error
	}{
		{"method", resource.ValidHTTPMethod(x.GetMethod())},
		{"scheme", resource.ValidHTTPScheme(x.GetScheme())},
		{"host", resource.ValidHTTPHost(x.GetScheme(), x.GetHost())},
		{"path", resource.ValidHTTPPath(x.GetPath())},
	} {
		if f.err != nil {
			return nil, malformed(f.field)
		}
	}
	r := &shadowReport{
		key:   shadowKey{req.GetParent(), req.GetShadowPaymentId()},
		facts: guardrails.Facts{Rail: typev1.Rail_RAIL_BOOK, Asset: req.GetAsset(), Units: units, X402: x},
	}
	switch len(req.GetRecipient()) {
	case 0:
	case 32:
		r.reported, r.facts.Recipient = req.GetRecipient(), [32]byte(req.GetRecipient())
	default:
		return nil, malformed("recipient")
	}
	return r, nil
}

// loadShadows reads the history of each report.
func (t *sqlTransaction) loadShadows(ctx context.Context, s *state, n needs) error {
	for _, r := range n.shadows {
		h, err := t.shadowHistory(ctx, s, r)
		if err != nil {
			return err
		}
		s.shadows[r] = h
	}
	return nil
}

func (t *sqlTransaction) shadowHistory(ctx context.Context, s *state, r *shadowReport) (h shadowHistory, err error) {
	d := t.db.dialect
	row := func(text string, args []any, into ...any) error {
		err := t.db.writing[text].QueryRowContext(ctx, args...).Scan(into...)
		if errors.Is(err, sql.ErrNoRows) {
			return nil
		}
		return err
	}
	w, ok := s.wallets.get(r.key.wallet)
	if !ok {
		return h, nil
	}
	var report []byte
	if err := row(d.loadShadow, []any{r.key.wallet, r.key.id}, &report); err != nil {
		return h, err
	}
	if report != nil {
		h.same = new(typev1.ShadowPayment)
		return h, proto.Unmarshal(report, h.same)
	}
	at, _ := s.time(w.name)
	now := guardrails.Quarter(time.UnixMilli(at))
	kept := now - shadowQuarters
	if err := row(d.loadShadowDay, []any{w.name, floorDiv(now, dayQuarters) * dayQuarters}, &h.today); err != nil {
		return h, err
	}
	unit := unitOf(s.installation, r.facts.Asset)
	for _, span := range guardrails.Spans(w.head.Document, r.facts, time.UnixMilli(at)) {
		from, to := shadowRange(span, at)
		var sum guardrails.Sum
		if err := row(d.loadShadowSum, []any{w.name, unit, from, to}, &sum.Units, &sum.Count); err != nil {
			return h, err
		}
		h.sums = append(h.sums, sum)
	}
	_, request := guardrails.PaidFor(r.facts.X402)
	if err := row(d.loadShadowPrice, []any{w.name, request, kept}, &h.paid.Units, &h.paid.Unit); err != nil {
		return h, err
	}
	var recipient []byte
	if err := row(d.loadShadowRecipient, []any{w.name, r.facts.X402.GetHost(), kept}, &recipient); err != nil {
		return h, err
	}
	copy(h.paid.Recipient[:], recipient)
	return h, nil
}

// putShadows stores a batch's reports, and deletes some of what is no longer kept of the same wallets.
func (t *sqlTransaction) putShadows(s *state, exec func(string, ...any) error) error {
	d := t.db.dialect
	for _, p := range s.newShadows {
		err := exec(d.putShadow, p.wallet, p.id, p.asset, p.unit, p.units, p.host, p.request, p.recipient, int(p.light), p.number, p.rules,
			p.quarter, p.report)
		if err == nil {
			err = exec(d.dropShadows, p.wallet, p.quarter-shadowQuarters)
		}
		if err != nil {
			return fmt.Errorf("store shadow payment: %w", err)
		}
	}
	return nil
}

// shadowGroup is reports that met the same rules in the same way.
type shadowGroup struct {
	wallet, host, asset string
	light               typev1.Light
	number              int64
	rules               string
}

func (k shadowGroup) compare(o shadowGroup) int {
	return cmp.Or(
		cmp.Compare(k.wallet, o.wallet), cmp.Compare(k.host, o.host), cmp.Compare(k.asset, o.asset), cmp.Compare(k.light, o.light),
		cmp.Compare(k.number, o.number), cmp.Compare(k.rules, o.rules),
	)
}

func (k shadowGroup) token() string {
	return makeToken(k.wallet, k.host, k.asset, strconv.Itoa(int(k.light)), strconv.FormatInt(k.number, 10), k.rules)
}

func readShadowToken(token string) (*shadowGroup, error) {
	fields, err := readToken(token, 6)
	if err != nil {
		return nil, err
	}
	light, err := strconv.ParseInt(fields[3], 10, 32)
	if err != nil {
		return nil, errToken
	}
	number, err := strconv.ParseInt(fields[4], 10, 64)
	if err != nil {
		return nil, errToken
	}
	return &shadowGroup{fields[0], fields[1], fields[2], typev1.Light(light), number, fields[5]}, nil
}

// shadowSums are a group's.
type shadowSums struct {
	units, count int64
}

// GetShadowSummary counts what was reported by wallet, host, light and the rules that were not GREEN.
func (s *Service) GetShadowSummary(ctx context.Context, req *ledgerv1.GetShadowSummaryRequest) (*ledgerv1.GetShadowSummaryResponse, error) {
	resp, err := s.getShadowSummary(ctx, req)
	return resp, s.answer(ctx, "GetShadowSummary", err)
}

func (s *Service) getShadowSummary(ctx context.Context, req *ledgerv1.GetShadowSummaryRequest) (*ledgerv1.GetShadowSummaryResponse, error) {
	owner, err := parseParent(req.GetParent())
	if err != nil {
		return nil, err
	}
	from, to := guardrails.Quarter(s.clock())-shadowQuarters, int64(math.MaxInt64)
	if t := req.GetStartTime(); t != nil {
		asked, err := quarterOf(t, "start_time")
		if err != nil {
			return nil, err
		}
		from = max(from, asked)
	}
	if t := req.GetEndTime(); t != nil {
		if to, err = quarterOf(t, "end_time"); err != nil {
			return nil, err
		}
	}
	size, err := pageSize(req.GetPageSize(), spendingRowsMax, spendingRowsMax)
	if err != nil {
		return nil, err
	}
	var after *shadowGroup
	if req.GetPageToken() != "" {
		if after, err = readShadowToken(req.GetPageToken()); err != nil {
			return nil, err
		}
	}
	var groups map[shadowGroup]shadowSums
	err = s.store.look(ctx, func(v *view) (err error) {
		if !owner {
			if _, err := v.tip(ctx, req.GetParent()); err != nil {
				return err
			}
		}
		groups, err = v.shadowGroups(ctx, req.GetParent(), owner, from, to, spentMax)
		return err
	})
	if err != nil {
		return nil, err
	}
	return shadowRows(groups, after, size)
}

// shadowGroups adds up at most so many reports.
func (v *view) shadowGroups(ctx context.Context, parent string, owner bool, from, to int64, most int) (map[shadowGroup]shadowSums, error) {
	text := v.store.dialect.readShadows
	if owner {
		text = v.store.dialect.readOwnerShadows
	}
	groups := make(map[shadowGroup]shadowSums)
	examined := 0
	err := v.each(ctx, text, func(row scanner) error {
		var k shadowGroup
		var units int64
		if err := row.Scan(&k.wallet, &k.host, &k.asset, &k.light, &k.number, &k.rules, &units); err != nil {
			return err
		}
		if examined++; examined > most {
			return refuse(typev1.Reason_REASON_LIMIT_EXCEEDED, "more shadow payments than one answer sums up: ask for a shorter time",
				"limit", strconv.Itoa(most))
		}
		sums := groups[k]
		groups[k] = shadowSums{saturated(sums.units, units), sums.count + 1}
		return nil
	}, parent, from, to, most+1)
	return groups, err
}

// shadowRows is the page of groups after one of them.
func shadowRows(groups map[shadowGroup]shadowSums, after *shadowGroup, size int) (*ledgerv1.GetShadowSummaryResponse, error) {
	resp := &ledgerv1.GetShadowSummaryResponse{Enforcement: typev1.Enforcement_ENFORCEMENT_NOT_ENFORCED}
	var last shadowGroup
	for _, k := range slices.SortedFunc(maps.Keys(groups), shadowGroup.compare) {
		if after != nil && k.compare(*after) <= 0 {
			continue
		}
		if len(resp.Rows) == size {
			resp.NextPageToken = last.token()
			break
		}
		rules, err := readShadowRules(k.rules)
		if err != nil {
			return nil, err
		}
		resp.Rows = append(resp.Rows, &typev1.ShadowSummaryRow{
			Wallet: k.wallet, Host: k.host, Asset: k.asset, Light: k.light, GuardRails: uint64(k.number), Rules: rules,
			Units: resource.FormatUnits(groups[k].units), Count: groups[k].count,
		})
		last = k
	}
	return resp, nil
}

// readShadowRules reads what shadowRules wrote.
func readShadowRules(text string) (out []*typev1.RuleResult, err error) {
	if text == "" {
		return nil, nil
	}
	for part := range strings.SplitSeq(text, ",") {
		var rule, light int32
		var index uint32
		if _, err := fmt.Sscanf(part, "%d.%d.%d", &rule, &index, &light); err != nil {
			return nil, fmt.Errorf("rules of a shadow payment: %w", err)
		}
		out = append(out, &typev1.RuleResult{Rule: typev1.Rule(rule), Index: index, Light: typev1.Light(light)})
	}
	return out, nil
}
