package ledger

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"math"
	"strconv"
	"strings"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/halfkey/halfkey/internal/resource"
	ledgerv1 "github.com/halfkey/halfkey/proto/gen/halfkey/ledger/v1"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

const (
	// pageDefault and pageMax bound a page of payments, which carry their statements.
	pageDefault = 50
	pageMax     = 100
	// examinedMax bounds the payments that one call looks at, whatever passes its filters: a page is then shorter, and says
	// where the next one goes on. So one call is some milliseconds however long the history is.
	examinedMax = 1000
)

// errEnough ends a read that has all it wants.
var errEnough = errors.New("enough")

// filter says which payments a list holds.
type filter struct {
	parent    string
	owner     bool // The parent is an owner.
	incoming  bool
	state     typev1.PaymentState
	recipient []byte
	from, to  int64 // Milliseconds: from is inside, to is not.
}

// place is where a list stands: after this payment. Lists are by time, wallet and entry, descending, none of which ever changes;
// so a payment that is added while pages are read neither moves nor hides another.
type place struct {
	millis int64
	wallet string
	entry  int64
}

// ListPayments lists a wallet's or an owner's payments, newest first.
func (s *Service) ListPayments(ctx context.Context, req *ledgerv1.ListPaymentsRequest) (*ledgerv1.ListPaymentsResponse, error) {
	resp, err := s.listPayments(ctx, req)
	return resp, s.answer(ctx, "ListPayments", err)
}

func (s *Service) listPayments(ctx context.Context, req *ledgerv1.ListPaymentsRequest) (*ledgerv1.ListPaymentsResponse, error) {
	f, err := newFilter(req)
	if err != nil {
		return nil, err
	}
	size, err := pageSize(req.GetPageSize(), pageDefault, pageMax)
	if err != nil {
		return nil, err
	}
	after := place{millis: f.to}
	if req.GetPageToken() != "" {
		if after, err = readPlace(req.GetPageToken()); err != nil {
			return nil, err
		}
	}
	resp := new(ledgerv1.ListPaymentsResponse)
	err = s.store.look(ctx, func(v *view) error {
		if !f.owner {
			if _, err := v.tip(ctx, f.parent); err != nil {
				return err
			}
		}
		page, next, err := v.page(ctx, f, after, size)
		if err != nil {
			return err
		}
		if next != nil {
			resp.NextPageToken = next.token()
		}
		resp.Payments, err = v.showAll(ctx, f, page)
		return err
	})
	if err != nil {
		return nil, err
	}
	return resp, nil
}

// page reads at most size payments that pass the filter, and where to go on unless that was all.
func (v *view) page(ctx context.Context, f filter, after place, size int) (page []payment, next *place, err error) {
	examined := 0
	err = v.each(ctx, f.query(v.store.dialect), func(r scanner) error {
		p, err := scanPayment(r)
		if err != nil {
			return err
		}
		if f.passes(p) {
			if len(page) == size {
				last := f.place(page[size-1])
				next = &last
				return errEnough
			}
			page = append(page, p)
		}
		if examined++; examined == examinedMax {
			at := f.place(p)
			next = &at
		}
		return nil
	}, f.parent, after.millis, after.wallet, after.entry, f.from, examinedMax)
	if errors.Is(err, errEnough) {
		err = nil
	}
	return page, next, err
}

// showAll shows payments with the tip of the journal that each is listed from.
func (v *view) showAll(ctx context.Context, f filter, page []payment) ([]*typev1.Payment, error) {
	tips := make(map[string]chain)
	out := make([]*typev1.Payment, 0, len(page))
	for _, p := range page {
		name := f.place(p).wallet
		tip, ok := tips[name]
		if !ok {
			var err error
			if tip, err = v.tip(ctx, name); err != nil {
				return nil, err
			}
			tips[name] = tip
		}
		show := v.show
		if f.incoming {
			show = v.showIncoming
		}
		shown, err := show(ctx, p, tip)
		if err != nil {
			return nil, err
		}
		out = append(out, shown)
	}
	return out, nil
}

func newFilter(req *ledgerv1.ListPaymentsRequest) (f filter, err error) {
	f = filter{
		parent: req.GetParent(), incoming: req.GetIncoming(), state: req.GetState(), recipient: req.GetRecipient(),
		from: math.MinInt64, to: math.MaxInt64,
	}
	if f.owner, err = parseParent(f.parent); err != nil {
		return filter{}, err
	}
	if n := len(f.recipient); n != 0 && n != 32 {
		return filter{}, malformed("recipient")
	}
	if t := req.GetStartTime(); t != nil {
		if f.from, err = millisOf(t, "start_time"); err != nil {
			return filter{}, err
		}
	}
	if t := req.GetEndTime(); t != nil {
		if f.to, err = millisOf(t, "end_time"); err != nil {
			return filter{}, err
		}
	}
	return f, nil
}

// query is the statement that reads a list of this kind in its order.
func (f filter) query(d dialect) string {
	switch {
	case f.owner && f.incoming:
		return d.readOwnerIncoming
	case f.owner:
		return d.readOwnerPayments
	case f.incoming:
		return d.readIncoming
	}
	return d.readPayments
}

func (f filter) passes(p payment) bool {
	return (f.state == typev1.PaymentState_PAYMENT_STATE_UNSPECIFIED || p.state == f.state) &&
		(len(f.recipient) == 0 || bytes.Equal(p.recipient[:], f.recipient))
}

// place is where a payment stands in a list of this kind.
func (f filter) place(p payment) place {
	if f.incoming {
		return place{p.updatedMillis, p.payee, p.incomingEntry}
	}
	return place{p.createdMillis, p.wallet, p.createdEntry}
}

// parseParent checks a name that is a wallet's or an owner's.
func parseParent(name string) (owner bool, err error) {
	if _, err := resource.ParseWallet(name); err == nil {
		return false, nil
	}
	if _, err := resource.ParseOwner(name); err == nil {
		return true, nil
	}
	return false, malformed("parent")
}

// millisOf rounds a moment up: what is before it, or not, stays so.
func millisOf(t *timestamppb.Timestamp, field string) (int64, error) {
	if !t.IsValid() || t.GetSeconds() < 0 {
		return 0, malformed(field)
	}
	at := t.AsTime()
	millis := at.UnixMilli()
	if at.Nanosecond()%1e6 != 0 {
		millis++
	}
	return millis, nil
}

func malformed(field string) error {
	return refuse(typev1.Reason_REASON_INVALID_ARGUMENT, "a field is malformed or out of bounds", "field", field)
}

// Page tokens are opaque to callers and checked as any other field.

var errToken = refuse(typev1.Reason_REASON_INVALID_ARGUMENT, "the page token is not from an answer before", "field", "page_token")

func (p place) token() string {
	return makeToken(strconv.FormatInt(p.millis, 10), p.wallet, strconv.FormatInt(p.entry, 10))
}

func readPlace(token string) (p place, err error) {
	fields, err := readToken(token, 3)
	if err != nil {
		return place{}, err
	}
	p.wallet = fields[1]
	if p.millis, err = strconv.ParseInt(fields[0], 10, 64); err != nil {
		return place{}, errToken
	}
	if p.entry, err = strconv.ParseInt(fields[2], 10, 64); err != nil {
		return place{}, errToken
	}
	return p, nil
}

func makeToken(fields ...string) string {
	return base64.RawURLEncoding.EncodeToString([]byte(strings.Join(fields, " ")))
}

func readToken(token string, fields int) ([]string, error) {
	b, err := base64.RawURLEncoding.DecodeString(token)
	out := strings.Split(string(b), " ")
	if err != nil || len(out) != fields {
		return nil, errToken
	}
	return out, nil
}

func pageSize(asked int32, standard, most int) (int, error) {
	switch {
	case asked == 0:
		return standard, nil
	case asked < 0 || int(asked) > most:
		return 0, malformed("page_size")
	}
	return int(asked), nil
}
