package plain

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/halfkey/halfkey/frost"
	gatewayv1 "github.com/halfkey/halfkey/proto/gen/halfkey/gateway/v1"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

const (
	// deadline is how long a payment may wait for a person; messageLife how long its bytes may settle: at most 2 minutes.
	deadline    = 24 * time.Hour
	messageLife = time.Minute
)

// Order is what to pay.
type Order struct {
	// ID is the payment's id: repeating it with the same order is the same payment.
	ID string
	// Recipient is the key of the wallet paid.
	Recipient [32]byte
	// Units are millionths of a book dollar.
	Units int64
	// Purpose is why, for people.
	Purpose string
}

// attempt is a signed request for a payment and what finishes it.
type attempt struct {
	request *gatewayv1.CreatePaymentRequest
	nonces  *frost.Nonces
}

// attempt makes intent, message and a fresh commitment, and signs the request that names all three.
func (a *Agent) attempt(ctx context.Context, o Order) (*attempt, error) {
	account, err := a.gateway.GetAccount(a.withToken(ctx, gatewayv1.GatewayService_GetAccount_FullMethodName),
		&gatewayv1.GetAccountRequest{Wallet: a.wallet})
	if err != nil {
		return nil, err
	}
	// Expiry is reckoned by the ledger's time. The newest journal entry that we have seen goes into the request: a ledger that
	// has lost it is found out.
	now := account.GetLedgerTime().AsTime()
	seen := &typev1.JournalHead{}
	if err := open(account.GetHead(), typeJournalHead, seen, a.installation.key(typev1.Purpose_PURPOSE_LEDGER)); err != nil {
		return nil, err
	}
	name := a.wallet + "/payments/" + o.ID
	intent := encode(&typev1.Intent{
		Installation: a.installation.ID(), Wallet: a.wallet, Payment: name, Rail: typev1.Rail_RAIL_BOOK, Asset: a.installation.USD(),
		Units: strconv.FormatInt(o.Units, 10), Recipient: o.Recipient[:], Purpose: o.Purpose, DeadlineMillis: now.Add(deadline).UnixMilli(),
	})
	message := a.message(name, o, digest(typeIntent, intent), now.Add(messageLife))
	nonces, commitment, err := a.share.Commit()
	if err != nil {
		return nil, err
	}
	return &attempt{nonces: nonces, request: &gatewayv1.CreatePaymentRequest{
		Parent: a.wallet, Message: message,
		Request: sign(a.request, typeRequest, &typev1.Request{
			Installation: a.installation.ID(), Wallet: a.wallet, Payment: name, Intent: intent, MessageDigest: digest(typeMessage, message),
			Commitment: commitment[:], SeenEntry: seen.GetEntry(), SeenHash: seen.GetEntryHash(), TimeMillis: now.UnixMilli(),
		}),
	}}, nil
}

// message is what the wallet's key signs: docs/evidence.md, "Book message".
func (a *Agent) message(payment string, o Order, intent []byte, expiry time.Time) []byte {
	payer, installation, asset := a.GroupKey(), a.installation.ID(), a.installation.USD()
	b := []byte("\xffhalfkey/book/v1")
	b = append(append(b, byte(len(installation))), installation...)
	b = append(append(b, byte(len(payment))), payment...)
	b = append(append(b, payer[:]...), o.Recipient[:]...)
	b = append(binary.BigEndian.AppendUint16(b, uint16(len(asset))), asset...)
	b = binary.BigEndian.AppendUint64(b, uint64(o.Units))
	b = append(b, intent...)
	return binary.BigEndian.AppendUint64(b, uint64(expiry.UnixMilli()))
}

// ErrWaits says that a person has to answer: pay again with the same order afterwards.
var ErrWaits = errors.New("the payment waits for its owner")

// Pay pays, and returns the ledger's verified settlement. A payment that a rule refuses is an error here that says so; whatever
// else fails is gRPC's status with our reason and whether money moved, docs/errors.md. It keeps nothing: whoever pays for real
// stores order and message before this, or takes the SDK, which does.
func (a *Agent) Pay(ctx context.Context, o Order) (*typev1.Settlement, error) {
	ctx, cancel := context.WithTimeout(ctx, callMax)
	defer cancel()
	try, err := a.attempt(ctx, o)
	if err != nil {
		return nil, err
	}
	payment, err := a.gateway.CreatePayment(ctx, try.request)
	if err != nil {
		return nil, err
	}
	switch payment.GetState() {
	case typev1.PaymentState_PAYMENT_STATE_AUTHORIZED:
	case typev1.PaymentState_PAYMENT_STATE_SETTLED: // By an earlier call.
		return a.settlement(payment, o)
	case typev1.PaymentState_PAYMENT_STATE_PENDING_REVIEW:
		return nil, ErrWaits
	default:
		return nil, fmt.Errorf("the payment is %s: %v", payment.GetState(), payment.GetResults())
	}
	// Our own bytes, not those that came back.
	signature, err := finish(try.nonces, try.request.GetMessage(), payment.GetRelease())
	if err != nil {
		return nil, err
	}
	settled, err := a.gateway.SettlePayment(ctx, &gatewayv1.SettlePaymentRequest{Name: payment.GetName(), Signature: signature[:]})
	if err != nil {
		return nil, err
	}
	return a.settlement(settled, o)
}

// settlement verifies that an order was settled, by the ledger's signature and in every field.
func (a *Agent) settlement(p *typev1.Payment, o Order) (*typev1.Settlement, error) {
	s, err := a.installation.CheckSettlement(p.GetSettlement())
	if err != nil {
		return nil, err
	}
	payer := a.GroupKey()
	if s.GetPayment() != a.wallet+"/payments/"+o.ID || !bytes.Equal(s.GetPayer(), payer[:]) ||
		!bytes.Equal(s.GetRecipient(), o.Recipient[:]) ||
		s.GetAsset() != a.installation.USD() || s.GetUnits() != strconv.FormatInt(o.Units, 10) {
		return nil, errors.New("the settlement is another payment's")
	}
	return s, nil
}
