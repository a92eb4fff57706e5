package client

import (
	"bytes"
	"context"
	"time"

	"github.com/google/uuid"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/halfkey/halfkey/internal/resource"
	gatewayv1 "github.com/halfkey/halfkey/proto/gen/halfkey/gateway/v1"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// ShadowReport is a payment that an application makes by other means, such as a shared API key.
type ShadowReport struct {
	// ID is the report's, 1 to 63 of [a-z0-9-]; empty makes a fresh one. The same id with the same content is the same report.
	ID string
	// Units are the amount in the smallest unit of book dollars, millionths of a dollar.
	Units int64
	// Method, Scheme, Host and Path are the HTTP request that was paid for. Empty is GET, https and /; the host has to be given.
	Method, Scheme, Host, Path string
	// Recipient is who was paid: a wallet, a handle, or a key. Empty means that nobody knows, and no rule about recipients is judged.
	Recipient string
}

// ShadowPayment is a report as the guard rails judged it. Nothing was enforced: it is no payment.
type ShadowPayment struct {
	// Name is `wallets/{wallet}/shadowPayments/{id}`, and ID its last part.
	Name, ID string
	// Units are what was reported of Asset, a CAIP-19 id.
	Units int64
	Asset string
	// Method, Scheme, Host and Path are the request.
	Method, Scheme, Host, Path string
	// Recipient is the key that was reported as paid; zero if nobody was, and then no rule about recipients was judged.
	Recipient [32]byte
	// Light is what a payment like this would have met: GREEN, YELLOW or RED.
	Light typev1.Light
	// Results hold one for each rule that was judged, by guard rails of this Number.
	Results []*typev1.RuleResult
	Number  uint64
	// Time is when it was recorded, by the ledger's time.
	Time time.Time
}

// ReportShadow tells what the agent's application pays by other means, and returns what this wallet's guard rails would have made of
// it. They judge it as a payment, over what the wallet paid and what was reported before. It is not enforced: nothing is held, moved or
// signed, the wallet needs no balance, and neither journal nor spending knows of it. The answer is the ledger's word.
func (a *Agent) ReportShadow(ctx context.Context, r ShadowReport) (*ShadowPayment, error) {
	const op = "report shadow payment"
	req, err := a.shadowRequest(ctx, r)
	if err != nil {
		return nil, err
	}
	told, err := invoke(ctx, a.c, rpc{op: op, method: gatewayv1.GatewayService_ReportShadowPayment_FullMethodName, who: a.who, about: a.wallet},
		req, gatewayv1.GatewayServiceClient.ReportShadowPayment)
	if err != nil {
		return nil, err
	}
	p, err := readShadow(req, told)
	if err != nil {
		return nil, distrust(op, notMoved, "the answer is about another report", err)
	}
	return p, nil
}

func (a *Agent) shadowRequest(ctx context.Context, r ShadowReport) (*gatewayv1.ReportShadowPaymentRequest, error) {
	const op = "report shadow payment"
	or := func(text, otherwise string) string {
		if text == "" {
			return otherwise
		}
		return text
	}
	req := &gatewayv1.ReportShadowPaymentRequest{
		Parent: a.wallet, ShadowPaymentId: r.ID, Asset: a.c.Installation().BookUSD(), Units: resource.FormatUnits(r.Units),
		Method: or(r.Method, "GET"), Scheme: or(r.Scheme, "https"), Host: r.Host, Path: or(r.Path, "/"),
	}
	if r.ID == "" {
		id, err := uuid.NewV7()
		if err != nil {
			return nil, wrap(op, err, notMoved)
		}
		req.ShadowPaymentId = id.String()
	}
	for _, err := range []error{
		resource.ValidID(req.GetShadowPaymentId()), resource.ValidHTTPMethod(req.GetMethod()), resource.ValidHTTPScheme(req.GetScheme()),
		resource.ValidHTTPHost(req.GetScheme(), req.GetHost()), resource.ValidHTTPPath(req.GetPath()),
	} {
		if err != nil {
			return nil, wrap(op, err, notMoved)
		}
	}
	if r.Units <= 0 {
		return nil, local(op, typev1.Reason_REASON_INVALID_ARGUMENT, "an amount is more than zero", "field", "units")
	}
	if r.Recipient != "" {
		key, err := a.c.resolve(ctx, a.who, r.Recipient)
		if err != nil {
			return nil, err
		}
		req.Recipient = key[:]
	}
	return req, nil
}

// readShadow reads an answer, which has to be about the report and may not claim to have enforced anything.
func readShadow(req *gatewayv1.ReportShadowPaymentRequest, told *typev1.ShadowPayment) (*ShadowPayment, error) {
	units, err := resource.ParseUnits(told.GetUnits())
	switch {
	case err != nil:
		return nil, err
	case told.GetName() != resource.ShadowPayment(req.GetParent(), req.GetShadowPaymentId()):
		return nil, refusal("shadow payment", "name", "is another one's")
	case told.GetAsset() != req.GetAsset() || told.GetUnits() != req.GetUnits():
		return nil, refusal("shadow payment", "units", "are not what was reported")
	case told.GetMethod() != req.GetMethod() || told.GetScheme() != req.GetScheme(),
		told.GetHost() != req.GetHost() || told.GetPath() != req.GetPath():
		return nil, refusal("shadow payment", "host", "or another part of the request is not what was reported")
	case !bytes.Equal(told.GetRecipient(), req.GetRecipient()):
		return nil, refusal("shadow payment", "recipient", "is not who was reported")
	case told.GetEnforcement() != typev1.Enforcement_ENFORCEMENT_NOT_ENFORCED:
		return nil, refusal("shadow payment", "enforcement", "is not that nothing was enforced")
	case !isLight(told.GetLight()):
		return nil, refusal("shadow payment", "light", "is neither GREEN, YELLOW nor RED")
	}
	p := &ShadowPayment{
		Name: told.GetName(), ID: req.GetShadowPaymentId(), Units: units, Asset: told.GetAsset(), Method: told.GetMethod(), Scheme: told.GetScheme(),
		Host: told.GetHost(), Path: told.GetPath(), Light: told.GetLight(), Results: told.GetResults(), Number: told.GetGuardRails(),
		Time: told.GetReportTime().AsTime(),
	}
	copy(p.Recipient[:], told.GetRecipient())
	return p, nil
}

func isLight(l typev1.Light) bool {
	return l == typev1.Light_LIGHT_GREEN || l == typev1.Light_LIGHT_YELLOW || l == typev1.Light_LIGHT_RED
}

// ShadowQuery says which shadow payments are counted; its zero value is all that are kept.
type ShadowQuery struct {
	// Wallet is one wallet of an owner; empty means all of them. An agent has one.
	Wallet string
	// From and To bound when a payment was reported, by whole UTC quarter hours: From is inside, To is not. Zero is no bound.
	From, To time.Time
}

// ShadowSums counts shadow payments of one wallet and host that met the same rules in the same way.
type ShadowSums struct {
	// Wallet is `wallets/{wallet}`.
	Wallet, Host, Asset string
	// Light is what they would have met; nothing was enforced.
	Light typev1.Light
	// Number is that of the guard rails that judged them, and Rules those of their rules that were not GREEN: rule, index and light.
	Number uint64
	Rules  []*typev1.RuleResult
	// Units are their sum, and Count is how many they are.
	Units, Count int64
}

// ShadowSummary counts what this wallet's shadow payments would have met. It is the ledger's word.
func (a *Agent) ShadowSummary(ctx context.Context, q ShadowQuery) ([]ShadowSums, error) {
	if q.Wallet != "" && q.Wallet != a.wallet {
		return nil, local("get shadow summary", typev1.Reason_REASON_INVALID_ARGUMENT, "an agent sums up its own wallet's reports", "field", "wallet")
	}
	return a.c.shadowSummary(ctx, a.who, a.wallet, q)
}

// ShadowSummary counts what the shadow payments of this owner's wallets would have met. It is the ledger's word.
func (o *Owner) ShadowSummary(ctx context.Context, q ShadowQuery) ([]ShadowSums, error) {
	parent := q.Wallet
	if parent == "" {
		parent = o.name
	}
	return o.c.shadowSummary(ctx, o.who, parent, q)
}

func (c *Client) shadowSummary(ctx context.Context, who *caller, parent string, q ShadowQuery) ([]ShadowSums, error) {
	const op = "get shadow summary"
	req := &gatewayv1.GetShadowSummaryRequest{Parent: parent}
	if !q.From.IsZero() {
		req.StartTime = timestamppb.New(q.From)
	}
	if !q.To.IsZero() {
		req.EndTime = timestamppb.New(q.To)
	}
	var out []ShadowSums
	for range pagesMax {
		resp, err := invoke(ctx, c, rpc{op: op, method: gatewayv1.GatewayService_GetShadowSummary_FullMethodName, who: who, about: parent},
			req, gatewayv1.GatewayServiceClient.GetShadowSummary)
		if err != nil {
			return nil, err
		}
		if resp.GetEnforcement() != typev1.Enforcement_ENFORCEMENT_NOT_ENFORCED {
			return nil, distrust(op, notMoved, "the answer does not say that nothing was enforced", nil)
		}
		for _, r := range resp.GetRows() {
			s, err := readShadowSums(r)
			if err != nil {
				return nil, distrust(op, notMoved, "a row is not a sum", err)
			}
			out = append(out, s)
		}
		if req.PageToken = resp.GetNextPageToken(); req.PageToken == "" {
			return out, nil
		}
	}
	return nil, tooLong(op)
}

func readShadowSums(r *typev1.ShadowSummaryRow) (s ShadowSums, err error) {
	s = ShadowSums{
		Wallet: r.GetWallet(), Host: r.GetHost(), Asset: r.GetAsset(), Light: r.GetLight(), Number: r.GetGuardRails(), Rules: r.GetRules(),
		Count: r.GetCount(),
	}
	if s.Units, err = resource.ParseUnits(r.GetUnits()); err != nil {
		return ShadowSums{}, err
	}
	if _, err := resource.ParseWallet(s.Wallet); err != nil {
		return ShadowSums{}, err
	}
	switch {
	case s.Count <= 0:
		return ShadowSums{}, refusal("shadow summary", "count", "is not a number of reports")
	case !isLight(s.Light):
		return ShadowSums{}, refusal("shadow summary", "light", "is neither GREEN, YELLOW nor RED")
	}
	return s, nil
}
