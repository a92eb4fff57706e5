package client

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"time"

	"github.com/halfkey/halfkey/internal/evidence"
	"github.com/halfkey/halfkey/internal/guardrails"
	"github.com/halfkey/halfkey/internal/resource"
	gatewayv1 "github.com/halfkey/halfkey/proto/gen/halfkey/gateway/v1"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// Review is a payment that waits for its owner, or waited, as verified here: what the owner signs is exactly what this
// says.
type Review struct {
	// Payment is `wallets/{wallet}/payments/{payment}`, Wallet its wallet, Handle the agent's handle without `@`.
	Payment, Wallet, Handle string
	// State is the payment's.
	State typev1.PaymentState
	// Asset, Units, Recipient and Purpose are the intent's, in the agent's own signed words.
	Asset     string
	Units     int64
	Recipient [32]byte
	Purpose   string
	// RecipientName is what this home knows the recipient as, or empty.
	RecipientName string
	// X402 is the HTTP request whose answer it pays for, in the agent's signed words too; nil if it pays for none.
	X402 *typev1.X402Context
	// Deadline is the last moment at which it may be authorized.
	Deadline time.Time
	// FormerKey says that it was asked for under a request key that the wallet has no longer: after a leak the thief may have asked.
	// What is approved is carried out by the agent that has the present key, if it knows the payment, or by nobody.
	FormerKey bool
	// Results are why it waits: every rule's result, those without history judged here and the others by the ledger's word.
	Results []*typev1.RuleResult

	intentDigest evidence.Digest
	intent       []byte
	head         *evidence.Head
}

// Reviews lists the payments that wait for this owner, oldest first, each verified as Review does.
func (o *Owner) Reviews(ctx context.Context) ([]*Review, error) {
	const op = "list reviews"
	var out []*Review
	token := ""
	for range pagesMax {
		resp, err := invoke(ctx, o.c, rpc{op: op, method: gatewayv1.GatewayService_ListReviews_FullMethodName, who: o.who, about: o.name},
			&gatewayv1.ListReviewsRequest{Owner: o.name, PageSize: pageSize, PageToken: token}, gatewayv1.GatewayServiceClient.ListReviews)
		if err != nil {
			return nil, err
		}
		for _, p := range resp.GetPayments() {
			r, err := o.readReview(ctx, p)
			if err != nil {
				return nil, err
			}
			out = append(out, r)
		}
		if token = resp.GetNextPageToken(); token == "" {
			return out, nil
		}
	}
	return nil, tooLong(op)
}

// Review returns one payment as its owner reviews it.
func (o *Owner) Review(ctx context.Context, payment string) (*Review, error) {
	const op = "get review"
	wallet, _, err := resource.ParsePayment(payment)
	if err != nil {
		return nil, wrap(op, err, notMoved)
	}
	p, err := invoke(ctx, o.c, rpc{op: op, method: gatewayv1.GatewayService_GetPayment_FullMethodName, who: o.who, about: wallet},
		&gatewayv1.GetPaymentRequest{Name: payment}, gatewayv1.GatewayServiceClient.GetPayment)
	if err != nil {
		return nil, err
	}
	if p.GetName() != payment {
		return nil, distrust(op, notMoved, "the answer is about another payment", nil)
	}
	return o.readReview(ctx, p)
}

// readReview verifies a payment that is shown for review: that the wallet is this owner's by its guard rails, that the
// agent's request key signed the request, the present one or one before it, and that the intent inside is the one shown.
func (o *Owner) readReview(ctx context.Context, p *typev1.Payment) (*Review, error) {
	const op = "check review"
	wallet, _, err := resource.ParsePayment(p.GetName())
	if err != nil {
		return nil, distrust(op, notMoved, "the answer names no payment", err)
	}
	head, err := o.c.head(ctx, o.who, wallet)
	if err != nil {
		return nil, err
	}
	if head.Document.GetOwner() != o.name {
		return nil, distrust(op, notMoved, "a payment is shown of a wallet that is not this owner's", nil)
	}
	record, err := o.record(ctx, wallet)
	if err != nil {
		return nil, err
	}
	a, former, err := o.reviewed(ctx, head, p.GetRequest())
	if err != nil {
		return nil, distrust(op, notMoved, "the payment shown is not what the agent asked for", err)
	}
	r, err := readReview(a, head, record, p)
	if err != nil {
		return nil, distrust(op, notMoved, "the payment shown is not what the agent asked for", err)
	}
	r.FormerKey = former
	r.RecipientName = o.c.NameOf(r.Recipient)
	return r, nil
}

// reviewed verifies the request of a payment that waits. One that was asked for before the wallet got another request key waits
// on, and its owner answers it like any other.
func (o *Owner) reviewed(ctx context.Context, head *evidence.Head, e *typev1.Envelope) (a *evidence.Attempt, former bool, err error) {
	a, refused := evidence.CheckRequest(o.c.Installation(), e, head.Document.GetRequestKey())
	if refused == nil {
		return a, false, nil
	}
	keys, err := o.requestKeys(ctx, head.Document.GetWallet())
	if err != nil {
		return nil, false, err
	}
	for _, key := range keys {
		if a, err := evidence.CheckRequest(o.c.Installation(), e, key); err == nil {
			return a, true, nil
		}
	}
	return nil, false, refused
}

func readReview(a *evidence.Attempt, head *evidence.Head, record *typev1.WalletRecord, p *typev1.Payment) (*Review, error) {
	switch {
	case a.Request.GetPayment() != p.GetName():
		return nil, refusal("request", "payment", "is another payment")
	case !bytes.Equal(a.Request.GetIntent(), p.GetIntent()):
		return nil, refusal("request", "intent", "is another intent")
	}
	r := &Review{
		Payment: p.GetName(), Wallet: a.Request.GetWallet(), Handle: record.GetHandle(), State: p.GetState(),
		Asset: a.Intent.GetAsset(), Units: a.Units, Recipient: [32]byte(a.Intent.GetRecipient()), Purpose: a.Intent.GetPurpose(),
		X402: a.Intent.GetX402(), Deadline: a.Deadline(), intentDigest: a.IntentDigest, intent: a.Request.GetIntent(), head: head,
	}
	own := guardrails.Judge(head.Document, guardrails.Facts{
		Rail: a.Intent.GetRail(), Asset: r.Asset, Units: r.Units, Recipient: r.Recipient, X402: r.X402,
	}, time.UnixMilli(a.Request.GetTimeMillis()))
	r.Results = own.Results
	for _, told := range p.GetResults() {
		if !isOwnRule(head.Document, told) {
			r.Results = append(r.Results, told)
		}
	}
	return r, nil
}

// isOwnRule reports whether a result is of a rule that needs no history, which is judged here.
func isOwnRule(doc *typev1.GuardRails, r *typev1.RuleResult) bool {
	switch r.GetRule() {
	case typev1.Rule_RULE_X402_CHANGED_RECIPIENT, typev1.Rule_RULE_X402_DRIFT:
		return false
	case typev1.Rule_RULE_LIMIT:
	default:
		return true
	}
	limits := doc.GetLimits()
	return int(r.GetIndex()) < len(limits) && limits[r.GetIndex()].GetWindow() == typev1.Window_WINDOW_PAYMENT
}

// NameOf is the handle, with its `@`, of a key whose wallet record this home has verified, or empty: a name shown to a person who
// decides comes from a verified record or not at all.
func (c *Client) NameOf(key [32]byte) string {
	r, err := c.recordOf(key)
	if err != nil || r == nil {
		return ""
	}
	return "@" + r.GetHandle()
}

// HandleOf is the handle, with its `@`, of a wallet whose agent this home is or whose record it has verified, or empty.
func (c *Client) HandleOf(wallet string) string {
	if r, err := c.pinnedRecord(wallet); err == nil && r != nil && r.GetWallet() == wallet {
		return "@" + r.GetHandle()
	}
	if own, ok := c.handles.Load(wallet); ok {
		return own.(string) //nolint:forcetypeassert // nothing else is stored
	}
	if wallet == "" {
		return ""
	}
	agent, err := c.Agent(wallet)
	if err != nil {
		return ""
	}
	own := "@" + agent.handle
	c.handles.Store(wallet, own)
	return own
}

// recordOf is the wallet record of a key, as this home has verified it, or nil.
func (c *Client) recordOf(key [32]byte) (*typev1.WalletRecord, error) {
	b, err := c.payments.Pinned(keyPin(key))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	r := new(typev1.WalletRecord)
	if err := evidence.Unmarshal(b, r); err != nil {
		return nil, err
	}
	if r.GetInstallation() != c.Installation().ID() || !bytes.Equal(r.GetGroupKey(), key[:]) {
		return nil, errors.New("halfkey: a pinned wallet record is another key's")
	}
	return r, nil
}

// Approve approves a payment: it fetches and verifies it as Review does, and signs the intent that it found. The payment
// becomes READY, and the agent goes on.
func (o *Owner) Approve(ctx context.Context, payment string) (*Payment, error) {
	r, err := o.Review(ctx, payment)
	if err != nil {
		return nil, err
	}
	return o.Answer(ctx, r, true)
}

// Refuse refuses a payment, until it is AUTHORIZED.
func (o *Owner) Refuse(ctx context.Context, payment string) (*Payment, error) {
	r, err := o.Review(ctx, payment)
	if err != nil {
		return nil, err
	}
	return o.Answer(ctx, r, false)
}

// Answer signs and sends the answer to a payment that Review or Reviews showed: over exactly the intent that was shown.
func (o *Owner) Answer(ctx context.Context, r *Review, approve bool) (*Payment, error) {
	const op = "answer review"
	if err := o.signs(r.head); err != nil {
		return nil, err
	}
	answer := typev1.Answer_ANSWER_REFUSE
	if approve {
		answer = typev1.Answer_ANSWER_APPROVE
	}
	e, err := evidence.Sign(o.key, &typev1.Review{
		Installation: o.c.Installation().ID(), Wallet: r.Wallet, Payment: r.Payment, IntentDigest: r.intentDigest.Bytes(), Answer: answer,
	})
	if err != nil {
		return nil, wrap(op, err, notMoved)
	}
	p, err := invoke(ctx, o.c, rpc{op: op}, &gatewayv1.AnswerReviewRequest{Review: e}, gatewayv1.GatewayServiceClient.AnswerReview)
	if err != nil {
		return nil, err
	}
	o.c.learn(p.GetLedgerTime())
	if p.GetName() != r.Payment || !bytes.Equal(p.GetIntent(), r.intent) || evidence.EnvelopeDigest(p.GetReview()) != evidence.EnvelopeDigest(e) {
		return nil, distrust(op, notMoved, "the answer was not recorded as it was given", nil)
	}
	return o.c.readPayment(ctx, o.c.ledgerWord(o.who, r.Wallet), p, r.Wallet, nil)
}
