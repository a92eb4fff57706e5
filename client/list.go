package client

import (
	"bytes"
	"context"
	"iter"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/halfkey/halfkey/internal/evidence"
	"github.com/halfkey/halfkey/internal/resource"
	gatewayv1 "github.com/halfkey/halfkey/proto/gen/halfkey/gateway/v1"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// Filter says which payments are listed; its zero value is all.
type Filter struct {
	// Wallet is one wallet of an owner; empty means all of them. An agent has one.
	Wallet string
	// Incoming lists payments settled to the wallets instead of their own. How these were judged is the payer's business: they have
	// neither Light nor Results.
	Incoming bool
	// State is the only state; unspecified means any.
	State typev1.PaymentState
	// Recipient is the only recipient's key; zero means any.
	Recipient [32]byte
	// From and To bound when a payment was recorded, or settled if incoming: From is inside, To is not. Zero is no bound.
	From, To time.Time
}

// EachPayment lists the wallet's payments, newest first, each verified as Payment does, and incoming ones to pay this wallet's
// key by the ledger's signature. It asks page by page, as far as the loop goes; payments that are added meanwhile change nothing.
// An error ends it.
func (a *Agent) EachPayment(ctx context.Context, f Filter) iter.Seq2[*Payment, error] {
	if f.Wallet != "" && f.Wallet != a.wallet {
		return failed[*Payment](local("list payments", typev1.Reason_REASON_INVALID_ARGUMENT, "an agent lists its own wallet's payments", "field", "wallet"))
	}
	word := a.c.ledgerWord(a.who, a.wallet)
	return a.c.eachPayment(ctx, a.who, a.wallet, f, func(told *typev1.Payment) (*Payment, error) {
		return a.readListed(ctx, word, told, f.Incoming)
	})
}

// readListed reads a payment of a list or a stream of this wallet.
func (a *Agent) readListed(ctx context.Context, word *ledgerWord, told *typev1.Payment, incoming bool) (*Payment, error) {
	if incoming {
		return a.c.readIncoming(ctx, word, told, a.groupKey)
	}
	return a.readOwn(ctx, word, told)
}

// Payments lists a wallet's payments, newest first: its own, or incoming the ones settled to it. EachPayment lists them one by
// one, fewer of them, or those of all wallets.
func (o *Owner) Payments(ctx context.Context, wallet string, incoming bool) ([]*Payment, error) {
	if wallet == "" {
		return nil, local("list payments", typev1.Reason_REASON_INVALID_ARGUMENT, "no wallet is named", "field", "wallet")
	}
	return collect(o.EachPayment(ctx, Filter{Wallet: wallet, Incoming: incoming}))
}

// EachPayment lists the payments of this owner's wallets, newest first, each verified to be of one of them. It asks page by page,
// as far as the loop goes; payments that are added meanwhile change nothing. An error ends it.
func (o *Owner) EachPayment(ctx context.Context, f Filter) iter.Seq2[*Payment, error] {
	r := o.reader(f.Wallet, f.Incoming)
	return o.c.eachPayment(ctx, o.who, r.parent(), f, func(told *typev1.Payment) (*Payment, error) { return r.read(ctx, told) })
}

// eachPayment reads a list page by page.
func (c *Client) eachPayment(
	ctx context.Context, who *caller, parent string, f Filter, read func(*typev1.Payment) (*Payment, error),
) iter.Seq2[*Payment, error] {
	const op = "list payments"
	return func(yield func(*Payment, error) bool) {
		req := f.request(parent)
		// A loop can stop whenever it likes; pages without a payment are all that could keep it from being asked.
		for empty := 0; empty < pagesMax; empty++ {
			resp, err := invoke(ctx, c, rpc{op: op, method: gatewayv1.GatewayService_ListPayments_FullMethodName, who: who, about: parent},
				req, gatewayv1.GatewayServiceClient.ListPayments)
			if err != nil {
				yield(nil, err)
				return
			}
			for _, told := range resp.GetPayments() {
				empty = -1
				p, err := read(told)
				if err == nil && !f.passes(p) {
					err = distrust(op, notMoved, "a payment is listed that was not asked for", nil)
				}
				if err != nil {
					yield(nil, err)
					return
				}
				if !yield(p, nil) {
					return
				}
			}
			if req.PageToken = resp.GetNextPageToken(); req.PageToken == "" {
				return
			}
		}
		yield(nil, tooLong(op))
	}
}

func (f Filter) request(parent string) *gatewayv1.ListPaymentsRequest {
	req := &gatewayv1.ListPaymentsRequest{Parent: parent, PageSize: pageSize, Incoming: f.Incoming, State: f.State}
	if f.Recipient != [32]byte{} {
		req.Recipient = f.Recipient[:]
	}
	if !f.From.IsZero() {
		req.StartTime = timestamppb.New(f.From)
	}
	if !f.To.IsZero() {
		req.EndTime = timestamppb.New(f.To)
	}
	return req
}

// passes checks what a payment's own evidence says of the filter.
func (f Filter) passes(p *Payment) bool {
	return (f.State == typev1.PaymentState_PAYMENT_STATE_UNSPECIFIED || p.State == f.State) &&
		(f.Recipient == [32]byte{} || p.Recipient == f.Recipient)
}

// collect takes a whole list, within bounds.
func collect(all iter.Seq2[*Payment, error]) ([]*Payment, error) {
	var out []*Payment
	for p, err := range all {
		if err == nil && len(out) == pagesMax*pageSize {
			err = tooLong("list payments")
		}
		if err != nil {
			return nil, err
		}
		out = append(out, p)
	}
	return out, nil
}

// Payment returns a payment of one of the owner's wallets as the ledger has it, by its name.
func (o *Owner) Payment(ctx context.Context, name string) (*Payment, error) {
	const op = "get payment"
	wallet, _, err := resource.ParsePayment(name)
	if err != nil {
		return nil, wrap(op, err, notMoved)
	}
	told, err := invoke(ctx, o.c, rpc{op: op, method: gatewayv1.GatewayService_GetPayment_FullMethodName, who: o.who, about: wallet},
		&gatewayv1.GetPaymentRequest{Name: name}, gatewayv1.GatewayServiceClient.GetPayment)
	if err != nil {
		return nil, err
	}
	if told.GetName() != name {
		return nil, distrust(op, unknown, "the answer is about another payment", nil)
	}
	return o.reader(wallet, false).read(ctx, told)
}

// failed is a sequence that is an error.
func failed[T any](err error) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		var none T
		yield(none, err)
	}
}

// ownerReader reads payments of an owner's wallets, of one or of all, and remembers what it found out about each.
type ownerReader struct {
	o        *Owner
	only     string // The one wallet; empty for all.
	incoming bool
	words    map[string]*ledgerWord
	keys     map[string][32]byte
}

func (o *Owner) reader(wallet string, incoming bool) *ownerReader {
	return &ownerReader{o: o, only: wallet, incoming: incoming, words: make(map[string]*ledgerWord), keys: make(map[string][32]byte)}
}

// parent is what is asked about.
func (r *ownerReader) parent() string {
	if r.only != "" {
		return r.only
	}
	return r.o.name
}

// read verifies one payment: of its own wallet if it is outgoing, settled to one of the owner's if it is incoming.
func (r *ownerReader) read(ctx context.Context, told *typev1.Payment) (*Payment, error) {
	const op = "check payment"
	wallet, _, err := resource.ParsePayment(told.GetName())
	if err != nil {
		return nil, distrust(op, unknown, "the answer names no payment", err)
	}
	if r.incoming {
		if wallet, err = r.payee(ctx, told); err != nil {
			return nil, err
		}
	}
	if r.only != "" && wallet != r.only {
		return nil, distrust(op, unknown, "a payment is shown of another wallet than was asked about", nil)
	}
	key, err := r.own(ctx, wallet)
	if err != nil {
		return nil, err
	}
	if r.words[wallet] == nil {
		r.words[wallet] = r.o.c.ledgerWord(r.o.who, wallet)
	}
	if r.incoming {
		return r.o.c.readIncoming(ctx, r.words[wallet], told, key)
	}
	return r.o.c.readPayment(ctx, r.words[wallet], told, wallet, &key)
}

// own is the key of a wallet whose guard rails name this owner. That never changes once it was verified.
func (r *ownerReader) own(ctx context.Context, wallet string) ([32]byte, error) {
	const op = "check payment"
	if key, ok := r.keys[wallet]; ok {
		return key, nil
	}
	head, err := r.o.c.pinnedHead(wallet)
	if err != nil {
		return [32]byte{}, wrap(op, err, notMoved)
	}
	if head == nil {
		if head, err = r.o.c.head(ctx, r.o.who, wallet); err != nil {
			return [32]byte{}, err
		}
	}
	if head.Document.GetOwner() != r.o.name {
		return [32]byte{}, distrust(op, unknown, "a payment is shown of a wallet that is not this owner's", nil)
	}
	record, err := r.o.record(ctx, wallet)
	if err != nil {
		return [32]byte{}, err
	}
	r.keys[wallet] = [32]byte(record.GetGroupKey())
	return r.keys[wallet], nil
}

// payee is the wallet that a payment's recipient is, by a record that this home has verified; it looks this owner's wallets up
// once if it knows none.
func (r *ownerReader) payee(ctx context.Context, told *typev1.Payment) (string, error) {
	const op = "check payment"
	intent, _, err := evidence.CheckIntent(r.o.c.Installation(), told.GetIntent())
	if err != nil {
		return "", distrust(op, unknown, "the answer contradicts itself", err)
	}
	for wallet, key := range r.keys {
		if bytes.Equal(intent.GetRecipient(), key[:]) {
			return wallet, nil
		}
	}
	if r.only != "" {
		return r.only, nil // Its key is compared next.
	}
	key := [32]byte(intent.GetRecipient())
	record, err := r.o.c.recordOf(key)
	if err == nil && record == nil {
		if _, err := r.o.Wallets(ctx); err != nil {
			return "", err
		}
		record, err = r.o.c.recordOf(key)
	}
	if err == nil && record == nil {
		err = distrust(op, unknown, "a payment is listed as incoming and was settled to none of this owner's wallets", nil)
	}
	return record.GetWallet(), wrap(op, err, notMoved)
}
