package client

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"slices"
	"strconv"
	"time"

	"github.com/halfkey/halfkey/frost"
	"github.com/halfkey/halfkey/internal/chain/solana"
	"github.com/halfkey/halfkey/internal/evidence"
	"github.com/halfkey/halfkey/internal/fault"
	"github.com/halfkey/halfkey/internal/resource"
	gatewayv1 "github.com/halfkey/halfkey/proto/gen/halfkey/gateway/v1"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// The states, short.
const (
	pendingReview = typev1.PaymentState_PAYMENT_STATE_PENDING_REVIEW
	ready         = typev1.PaymentState_PAYMENT_STATE_READY
	authorized    = typev1.PaymentState_PAYMENT_STATE_AUTHORIZED
	settled       = typev1.PaymentState_PAYMENT_STATE_SETTLED
	expired       = typev1.PaymentState_PAYMENT_STATE_EXPIRED
	failedState   = typev1.PaymentState_PAYMENT_STATE_FAILED
)

// errMessages ends a call whose messages die faster than they can be used.
var errMessages = errors.New("messages expired repeatedly before they could be used")

const (
	// stepsMax bounds the calls that one Pay or Resume makes: the honest worst case, a message that expired twice on the way
	// with a review in between, is below it.
	stepsMax = 12
	// furtherMessagesMax is how many further messages one call makes for an intent after the first; on Solana it also bounds those that
	// all calls together make after one that was pinned.
	furtherMessagesMax = 2
)

// Pay pays. It stores the payment's id, intent and message, asks for authorization, and if that is given finishes the
// signature and settles. A payment that waits for a person is no error: its state is PENDING_REVIEW, and Wait or Resume
// continues it; nor is one that was refused by a rule: its state is DENIED. One on Solana that the ledger has sent to the chain is
// AUTHORIZED, and may have been paid, until the chain has proven what became of it: WaitProven waits for that.
//
// Called again with the same id and the same order, it continues or returns the same payment; another order under that id
// is refused. After an error the id of a payment that was stored is in its Metadata under `payment`.
func (a *Agent) Pay(ctx context.Context, o Order) (*Payment, error) {
	o, recipient, err := a.complete(ctx, o)
	if err != nil {
		return nil, err
	}
	name := resource.Payment(a.wallet, o.ID)
	unlock, err := a.c.work.lock(ctx, name)
	if err != nil {
		return nil, wrap("pay", err, notMoved)
	}
	defer unlock()
	ctx, span := a.tracePayment(ctx, name)
	defer span.End()
	r, err := a.c.payments.LoadPayment(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, damaged("pay", name, err) // An earlier call may have paid it.
	default:
		if err := sameOrder(r, o, recipient); err != nil {
			return nil, err
		}
		return a.resume(ctx, r, o.chain)
	}
	now, err := a.ledgerNow(ctx, o.Deadline)
	if err != nil {
		return nil, err
	}
	intent, err := newIntent(a.c.Installation(), a.wallet, o, recipient, now)
	if err != nil {
		return nil, err
	}
	r = &PaymentRecord{Name: name, Intent: intent, RecipientName: o.Recipient}
	p, err := a.drive(ctx, r, nil, o.chain)
	return p, named(err, r)
}

// Resume continues a payment of this home from wherever it stopped: after a crash, a lost answer, a person's approval, or
// the proven death of its message. A payment of a fetch that is not authorized is only returned: ConfirmFetch continues it, for the
// server has to be asked again first.
func (a *Agent) Resume(ctx context.Context, id string) (*Payment, error) {
	name, unlock, err := a.lockPayment(ctx, "resume payment", id)
	if err != nil {
		return nil, err
	}
	defer unlock()
	ctx, span := a.tracePayment(ctx, name)
	defer span.End()
	r, err := a.c.payments.LoadPayment(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, local("resume payment", typev1.Reason_REASON_NOT_FOUND, "this home made no payment of this id", "payment", name)
	}
	if err != nil {
		return nil, damaged("resume payment", name, err)
	}
	if fetched, err := a.ofFetch(name); err != nil || fetched {
		return a.resumeFetched(ctx, r, err)
	}
	return a.resume(ctx, r, nil)
}

// lockPayment takes a payment's lock. id may also be the payment's whole name.
func (a *Agent) lockPayment(ctx context.Context, op, id string) (name string, unlock func(), err error) {
	if name, err = a.paymentName(op, id); err != nil {
		return "", nil, err
	}
	unlock, err = a.c.work.lock(ctx, name)
	return name, unlock, wrap(op, err, notMoved)
}

func (a *Agent) paymentName(op, id string) (string, error) {
	if wallet, short, err := resource.ParsePayment(id); err == nil && wallet == a.wallet {
		id = short
	}
	if err := resource.ValidID(id); err != nil {
		return "", wrap(op, err, notMoved)
	}
	return resource.Payment(a.wallet, id), nil
}

// Unfinished lists the ids of this home's payments that have not ended: what a program that starts should resume.
func (a *Agent) Unfinished() ([]string, error) {
	names, err := a.c.payments.Unfinished(a.wallet)
	if err != nil {
		return nil, err
	}
	ids := make([]string, 0, len(names))
	for _, n := range names {
		_, id, err := resource.ParsePayment(n)
		if err != nil {
			return nil, wrap("list payments", err, notMoved)
		}
		ids = append(ids, id)
	}
	return ids, nil
}

// named adds a stored payment's name to an error, for who has to resume it.
func named(err error, r *PaymentRecord) error {
	var e *Error
	if r.Revision > 0 && errors.As(err, &e) {
		if e.Metadata == nil {
			e.Metadata = make(map[string]string)
		}
		e.Metadata["payment"] = r.Name
	}
	return err
}

// resume asks what the ledger knows and continues from there.
func (a *Agent) resume(ctx context.Context, r *PaymentRecord, terms *chainTerms) (*Payment, error) {
	told, err := a.ask(ctx, r)
	if err != nil {
		return nil, named(err, r)
	}
	p, err := a.drive(ctx, r, told, terms)
	return p, named(err, r)
}

// ask returns what the ledger says of a payment: nil if it was never recorded.
func (a *Agent) ask(ctx context.Context, r *PaymentRecord) (*typev1.Payment, error) {
	const op = "get payment"
	told, err := invoke(ctx, a.c, rpc{op: op, method: gatewayv1.GatewayService_GetPayment_FullMethodName, who: a.who, about: a.wallet, moved: a.risk(r)},
		&gatewayv1.GetPaymentRequest{Name: r.Name}, gatewayv1.GatewayServiceClient.GetPayment)
	if ReasonOf(err) == typev1.Reason_REASON_NOT_FOUND {
		if len(r.Pinned) > 0 || r.State != typev1.PaymentState_PAYMENT_STATE_UNSPECIFIED && r.State != expired {
			return nil, failure(op, typev1.Reason_REASON_LEDGER_BEHIND, a.risk(r), "the ledger does not know a payment that it had recorded")
		}
		return nil, nil
	}
	if err != nil {
		if a.risk(r) == unknown {
			err = unsure(err) // Whoever refuses this question, a gateway by its quota, says nothing of what was sent before.
		}
		return nil, err
	}
	return told, a.checkTold(ctx, r, told)
}

// risk is what a failure that says nothing means for a payment: without a whole signature nothing of it can have settled.
func (a *Agent) risk(r *PaymentRecord) typev1.MoneyMoved {
	if len(r.Signature) == 0 {
		return notMoved
	}
	return unknown
}

// checkTold checks that an answer is about this payment, and that its state is one that the payment can be in: a message
// that was AUTHORIZED is alive until the ledger has signed that it is dead.
func (a *Agent) checkTold(ctx context.Context, r *PaymentRecord, p *typev1.Payment) error {
	const op = "check payment"
	a.c.learn(p.GetLedgerTime())
	switch {
	case p.GetName() != r.Name:
		return distrust(op, a.risk(r), "the answer is about another payment", nil)
	case !bytes.Equal(p.GetIntent(), r.Intent):
		return distrust(op, a.risk(r), "the answer is about another intent than this agent's", nil)
	case p.GetState() == typev1.PaymentState_PAYMENT_STATE_UNSPECIFIED:
		return distrust(op, a.risk(r), "the answer names no state", nil)
	case p.GetState() == authorized || p.GetState() == settled || len(r.Pinned) == 0:
		return nil
	}
	word := a.c.ledgerWord(a.who, a.wallet)
	for _, e := range p.GetDeadMessages() {
		dead, err := word.dead(ctx, e)
		if err == nil && dead.GetPayment() == r.Name && bytes.Equal(dead.GetMessageDigest(), r.Pinned) &&
			evidence.IntentDigest(r.Intent).Is(dead.GetIntentDigest()) && (len(dead.GetTransaction()) > 0) == (p.GetState() == failedState) {
			return nil
		}
	}
	return failure(op, typev1.Reason_REASON_EVIDENCE_MISSING, a.risk(r),
		"the payment is said to have ended or to be free again, and the ledger's statement that its message is dead is missing", "evidence", "dead-message")
}

// drive brings a payment as far as it goes without a person and, on Solana, without the chain. told is what the ledger says of it,
// nil if it never recorded it; terms are what the seller of an HTTP resource on Solana says, nil for any other payment.
func (a *Agent) drive(ctx context.Context, r *PaymentRecord, told *typev1.Payment, terms *chainTerms) (*Payment, error) {
	further := 0
	var made wholeSignature
	for range stepsMax {
		if told != nil && (ended(told.GetState()) || told.GetState() == pendingReview) {
			return a.conclude(ctx, r, told)
		}
		if told.GetState() == ready && terms == nil && r.throughSeller() {
			// Its seller has to be asked again, which its fetch does.
			return a.conclude(ctx, r, told)
		}
		used := a.state.now()
		var err error
		if told.GetState() == authorized {
			var signed *signedMessage
			if told, signed, err = a.finish(ctx, r, told, &made); err == nil && signed != nil {
				// What becomes of it is for the chain to say.
				return a.concludeSigned(ctx, r, told, signed)
			}
		} else {
			var message []byte
			if message, err = a.nextMessage(ctx, r, told, terms, &further); err == nil {
				told, err = a.attempt(ctx, r, message, told.GetReview(), &made)
			}
		}
		if err == nil {
			continue
		}
		again, failed := a.repeats(ctx, used, err)
		if failed != nil {
			return nil, failed
		}
		if !again {
			return nil, a.giveUp(r, err)
		}
		r.staleHash(err)
		if told, err = a.ask(ctx, r); err != nil {
			return nil, err
		}
	}
	return nil, failure("pay", typev1.Reason_REASON_ABORTED, a.risk(r), "the payment did not come to rest: repeat the call")
}

// repeats reports whether asking again and going on from there can help, and learns what the error tells: the ledger's time,
// another request key or share than those used.
func (a *Agent) repeats(ctx context.Context, used *agentKey, err error) (again bool, failed error) {
	var e *Error
	switch {
	case !errors.As(err, &e) || errors.Is(err, ErrConflict) || errors.Is(err, errMessages):
		return false, nil
	case e.Reason == typev1.Reason_REASON_UNAUTHENTICATED:
		return a.renew(ctx, used.request.public)
	case errors.As(err, new(*frost.CulpritError)):
		// The co-signer may hold a share of a sharing that another program on this home has made with it.
		if err := a.reload(); err != nil {
			return false, err
		}
		return !a.state.now().sharesAs(used), nil
	}
	return a.repeatsBy(e), nil
}

// repeatsBy is repeats by the reason alone.
func (a *Agent) repeatsBy(e *Error) bool {
	switch e.Reason {
	case typev1.Reason_REASON_MESSAGE_EXPIRED:
		millis, err := strconv.ParseInt(e.Metadata["ledger_time_millis"], 10, 64)
		if err == nil && millis > 0 {
			a.c.learnTime(time.UnixMilli(millis))
		}
		return true
	case typev1.Reason_REASON_EVIDENCE_MISSING:
		return e.Metadata["evidence"] == "review"
	case typev1.Reason_REASON_PAYMENT_DIFFERS:
		return e.Metadata["field"] == "message"
	case typev1.Reason_REASON_GUARD_RAILS_CHANGED, typev1.Reason_REASON_ABORTED, typev1.Reason_REASON_WRONG_STATE:
		return true
	default:
		return false
	}
}

// giveUp ends a record whose payment was never recorded and, its deadline having passed, never will be. That takes no
// word of the gateway's: no signature was ever made.
func (a *Agent) giveUp(r *PaymentRecord, err error) error {
	if ReasonOf(err) != typev1.Reason_REASON_DEADLINE_EXPIRED || r.Revision == 0 || len(r.Signature) > 0 || len(r.Pinned) > 0 {
		return err
	}
	r.State = expired
	if saving := a.save(r, notMoved); saving != nil {
		return errors.Join(err, saving)
	}
	return err
}

// nextMessage is the message to send: the last one sent while nobody says that it was recorded and it lives, else a fresh
// one. It is stored before it is returned.
func (a *Agent) nextMessage(ctx context.Context, r *PaymentRecord, told *typev1.Payment, terms *chainTerms, further *int) ([]byte, error) {
	const op = "pay"
	i := a.c.Installation()
	m, _, err := evidence.CheckIntent(i, r.Intent)
	if err != nil {
		return nil, wrap(op, err, notMoved)
	}
	now, _ := a.c.now()
	onChain := m.GetRail() == railSolana
	if n := len(r.Messages); told == nil && n > 0 {
		last := r.Messages[n-1]
		if onChain && r.usableChain(m, terms, a.c.clock()) || !onChain && usable(last, now) {
			return last, nil
		}
	}
	if len(r.Messages) > 0 {
		if *further >= furtherMessagesMax {
			// Nothing is pinned that lives, or this would not ask for a further message.
			return nil, wrap(op, fault.Caused(errMessages, typev1.Reason_REASON_MESSAGE_EXPIRED, notMoved, errMessages.Error()), notMoved)
		}
		*further++
	}
	var message []byte
	if onChain {
		message, err = a.nextChainMessage(ctx, r, terms)
	} else {
		message, err = newMessage(i, r.Intent, a.groupKey, now.Add(messageLife))
	}
	if err != nil {
		return nil, wrap(op, err, notMoved)
	}
	r.Messages = append(slices.Clone(r.Messages[max(0, len(r.Messages)-messagesMax+1):]), message)
	// checkTold has seen the proof that what was pinned before is dead, or nothing was.
	r.Pinned, r.Signature = nil, nil
	if told != nil {
		r.State = told.GetState()
	}
	return message, a.save(r, notMoved)
}

// save stores a record. A conflict means that another process works on the same payment: whoever lost repeats the call and
// goes on from what the winner stored.
func (a *Agent) save(r *PaymentRecord, moved typev1.MoneyMoved) error {
	const op = "store payment"
	err := a.c.payments.SavePayment(r)
	if errors.Is(err, ErrConflict) {
		return wrap(op, fault.Caused(err, typev1.Reason_REASON_ABORTED, moved, "another process works on this payment"), moved)
	}
	return wrap(op, err, moved)
}

// attempt is steps 1 and 6: it asks with a fresh commitment and, if the payment is AUTHORIZED, verifies everything that
// came back and makes the signature.
func (a *Agent) attempt(ctx context.Context, r *PaymentRecord, message []byte, review *typev1.Envelope, made *wholeSignature) (*typev1.Payment, error) {
	const op = "create payment"
	key, done, err := a.use(ctx, op)
	if err != nil {
		return nil, err
	}
	defer done()
	_, step := a.c.tracer.Start(ctx, stepRequest)
	nonces, request, att, err := a.prepare(key, r.Intent, message, r.offerDigest(message))
	endStep(step, err)
	if err != nil {
		return nil, wrap(op, err, notMoved)
	}
	told, err := invoke(ctx, a.c, rpc{op: op, moved: unknown, unsent: a.risk(r)}, &gatewayv1.CreatePaymentRequest{
		Parent: a.wallet, Request: request, Message: message, Review: review,
	}, gatewayv1.GatewayServiceClient.CreatePayment)
	if err != nil {
		return nil, err
	}
	if err := a.checkTold(ctx, r, told); err != nil {
		return nil, err
	}
	if told.GetState() != authorized {
		return told, nil
	}
	ctx, step = a.c.tracer.Start(ctx, stepSignature)
	err = a.signAuthorized(ctx, r, att, nonces, message, told, made)
	endStep(step, err)
	if err != nil {
		return nil, err
	}
	return told, nil
}

// prepare is step 1 up to the call: a fresh commitment, and the request that names it.
func (a *Agent) prepare(k *agentKey, intent, message, offer []byte) (*frost.Nonces, *typev1.Envelope, *evidence.Attempt, error) {
	nonces, commitment, err := k.commit()
	if err != nil {
		return nil, nil, nil, err
	}
	request, att, err := a.request(k, intent, message, offer, commitment)
	return nonces, request, att, err
}

// signAuthorized is step 6: it verifies what an authorization rests on, makes the signature and stores it.
func (a *Agent) signAuthorized(
	ctx context.Context, r *PaymentRecord, att *evidence.Attempt, nonces *frost.Nonces, message []byte, told *typev1.Payment,
	made *wholeSignature,
) error {
	const op = "create payment"
	receipt, err := checkAuthorized(a.c.Installation(), att, a.groupKey, message, told)
	if err != nil {
		return distrust(op, unknown, "the authorization does not verify", err)
	}
	if err := a.seeAfter(ctx, att.Request.GetSeenEntry(), att.Request.GetSeenHash(), receipt.GetEntry(), receipt.GetEntryHash()); err != nil {
		return err
	}
	r.State, r.Pinned = authorized, att.MessageDigest.Bytes()
	signature, err := sign(nonces, message, told.GetRelease())
	if err != nil {
		return errors.Join(distrust(op, unknown, "the co-signer's share does not verify", err), a.save(r, unknown))
	}
	*made = wholeSignature{message: bytes.Clone(message), signature: signature}
	r.Signature = signature[:]
	return a.save(r, unknown)
}

// wholeSignature is what this call has made of both shares and verified under the wallet's key. A signature that comes from the
// store is verified before it is used, whoever put it there; one that was made a moment ago has been.
type wholeSignature struct {
	message   []byte
	signature frost.Signature
}

// is reports whether it is exactly this signature over exactly this message.
func (w *wholeSignature) is(message, signature []byte) bool {
	return len(w.message) > 0 && bytes.Equal(w.message, message) && bytes.Equal(w.signature[:], signature)
}

func sign(nonces *frost.Nonces, message, release []byte) (frost.Signature, error) {
	parsed, err := frost.ParseRelease(release)
	if err != nil {
		return frost.Signature{}, err
	}
	return nonces.Finish(message, parsed)
}

// request signs the agent's statement for one attempt. offer is the digest of the x402 offer that a message on Solana was made for.
func (a *Agent) request(k *agentKey, intent, message, offer []byte, commitment frost.Commitment) (*typev1.Envelope, *evidence.Attempt, error) {
	i := a.c.Installation()
	m, _, err := evidence.CheckIntent(i, intent)
	if err != nil {
		return nil, nil, err
	}
	seen, hash, err := a.c.payments.Seen(a.wallet)
	if err != nil {
		return nil, nil, err
	}
	r, err := addedTo(intent, message, offer)
	if err != nil {
		return nil, nil, err
	}
	now, _ := a.c.now()
	r.Installation, r.Wallet, r.Payment, r.Intent = i.ID(), a.wallet, m.GetPayment(), intent
	r.MessageDigest, r.Commitment = evidence.MessageDigest(message).Bytes(), commitment[:]
	r.SeenEntry, r.SeenHash, r.TimeMillis = seen, hash, now.UnixMilli()
	e, err := evidence.Sign(k.request, r)
	if err != nil {
		return nil, nil, err
	}
	att, err := evidence.CheckRequest(i, e, k.request.public)
	if err != nil {
		return nil, nil, err
	}
	if _, err := evidence.CheckMessage(message, att, a.groupKey); err != nil {
		return nil, nil, err
	}
	return e, att, nil
}

// finish brings an AUTHORIZED payment to its settlement: by the signature made before, or by a new attempt at the pinned
// message. On Solana it returns the signed message once nothing is left to do here: the ledger sends a transfer, and a seller what
// buys an HTTP resource, so that one is never handed to the ledger.
func (a *Agent) finish(
	ctx context.Context, r *PaymentRecord, told *typev1.Payment, made *wholeSignature,
) (*typev1.Payment, *signedMessage, error) {
	const op = "settle payment"
	message := told.GetMessage()
	if !slices.ContainsFunc(r.Messages, func(m []byte) bool { return bytes.Equal(m, message) }) {
		return nil, nil, distrust(op, a.risk(r), "the payment is said to be authorized by a message that this agent never made", nil)
	}
	digest := evidence.MessageDigest(message)
	if len(r.Pinned) > 0 && !digest.Is(r.Pinned) {
		return nil, nil, distrust(op, a.risk(r), "the payment is said to be authorized by another message than its receipt named", nil)
	}
	if !made.is(message, r.Signature) && !frost.VerifySignature(a.groupKey, message, r.Signature) {
		told, err := a.attempt(ctx, r, message, told.GetReview(), made)
		return told, nil, err
	}
	intent, _, err := evidence.CheckIntent(a.c.Installation(), r.Intent)
	if err != nil {
		return nil, nil, wrap(op, err, a.risk(r))
	}
	var signed *signedMessage
	if intent.GetRail() == railSolana {
		signed = &signedMessage{message: bytes.Clone(message), signature: solana.Signature(r.Signature), offerDigest: r.offerDigest(message)}
	}
	if throughSeller(intent) {
		return told, signed, nil
	}
	settling, step := a.c.tracer.Start(ctx, stepSettlement)
	p, err := invoke(settling, a.c, rpc{op: op, moved: unknown}, &gatewayv1.SettlePaymentRequest{Name: r.Name, Signature: r.Signature},
		gatewayv1.GatewayServiceClient.SettlePayment)
	endStep(step, err)
	if err != nil {
		if r.Chain != nil {
			err = unsure(err) // An earlier call may have sent it.
		}
		return nil, nil, err
	}
	if err := a.checkTold(ctx, r, p); err != nil {
		return nil, nil, err
	}
	switch {
	case p.GetState() == settled:
		return p, nil, nil
	case signed != nil && p.GetState() == authorized && bytes.Equal(p.GetMessage(), message):
		return p, signed, nil
	case signed != nil && p.GetState() != authorized && p.GetState() != pendingReview:
		// It landed with an error, or it is dead, by the statement that checkTold has seen.
		return p, nil, nil
	default:
		return nil, nil, distrust(op, unknown, "the answer to the settlement is not a settled payment", nil)
	}
}

// concludeSigned is conclude for a payment that waits for the chain.
func (a *Agent) concludeSigned(ctx context.Context, r *PaymentRecord, told *typev1.Payment, signed *signedMessage) (*Payment, error) {
	p, err := a.conclude(ctx, r, told)
	if err == nil {
		p.signed = signed
	}
	return p, err
}

// conclude records a state that waits or has ended, having verified what can be verified of it.
func (a *Agent) conclude(ctx context.Context, r *PaymentRecord, told *typev1.Payment) (*Payment, error) {
	p, err := a.c.readPayment(ctx, a.c.ledgerWord(a.who, a.wallet), told, a.wallet, &a.groupKey)
	if err != nil {
		return nil, err
	}
	p.RecipientName = r.RecipientName
	traceState(ctx, told.GetState())
	if r.State == told.GetState() && (r.State != settled || len(r.Settlement) > 0) {
		return p, nil
	}
	r.State = told.GetState()
	if r.State == settled {
		if r.Settlement, err = evidence.Marshal(told.GetSettlement()); err != nil {
			return nil, wrap("pay", err, unknown)
		}
	}
	return p, a.save(r, a.risk(r))
}
