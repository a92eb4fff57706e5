package client

import (
	"bytes"
	"context"
	"time"

	"github.com/halfkey/halfkey/internal/evidence"
	"github.com/halfkey/halfkey/internal/resource"
	gatewayv1 "github.com/halfkey/halfkey/proto/gen/halfkey/gateway/v1"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// enrolmentsMax bounds the tokens that are made at once: a fleet of agents, one file each.
const enrolmentsMax = 100

// EnrolmentOptions says what a token is good for.
type EnrolmentOptions struct {
	// Handle is the handle that the agent must have; empty is any.
	Handle string
	// TTL is how long the token is good for: at most 30 days, 24 hours if it is zero.
	TTL time.Duration
	// Count is how many to make; zero is one.
	Count int
}

// EnrolmentToken is a one-time private key with its owner's terms: whoever has it registers one agent of this owner, once,
// without the owner being there. That wallet pays nothing until the owner has set guard rails. It does not print.
type EnrolmentToken struct {
	redacted
	// Key is its public half, which the claim of its wallet names.
	Key [32]byte
	// Handle is the handle that it is good for; empty is any.
	Handle string
	// Expiry is its last moment.
	Expiry time.Time

	text func() []byte
}

// Text is what RegisterOptions takes. It is a secret.
func (t *EnrolmentToken) Text() Secret { return bytes.Clone(t.text()) }

// WriteFile writes the text to a file of mode 0600, which must not exist.
func (t *EnrolmentToken) WriteFile(path string) error {
	return wrap("write enrolment token", writeNew(path, t.text()), notMoved)
}

// MintEnrolment makes tokens, here and with nobody's help: the installation hears of one when an agent uses it. A token that
// gets lost is good for its lifetime, and nothing ends it sooner but replacing the owner key that signed it: give it a short one.
func (o *Owner) MintEnrolment(ctx context.Context, e EnrolmentOptions) ([]*EnrolmentToken, error) {
	const op = "mint enrolment token"
	if e.Count == 0 {
		e.Count = 1
	}
	switch {
	case e.Count < 0 || e.Count > enrolmentsMax:
		return nil, local(op, typev1.Reason_REASON_INVALID_ARGUMENT, "the number of tokens is not 1 to 100", "field", "count")
	case e.Handle != "" && e.Count > 1:
		return nil, local(op, typev1.Reason_REASON_INVALID_ARGUMENT, "a handle is one agent's: make one token for it", "field", "count")
	case e.Handle != "" && resource.ValidHandle(e.Handle) != nil:
		return nil, wrap(op, resource.ValidHandle(e.Handle), notMoved)
	}
	end, err := o.c.deadline(op, e.TTL)
	if err != nil {
		return nil, err
	}
	tokens := make([]*EnrolmentToken, 0, e.Count)
	for range e.Count {
		if err := ctx.Err(); err != nil {
			return nil, wrap(op, err, notMoved)
		}
		t, err := o.mint(e.Handle, end)
		if err != nil {
			return nil, wrap(op, err, notMoved)
		}
		tokens = append(tokens, t)
	}
	return tokens, nil
}

func (o *Owner) mint(handle string, end time.Time) (*EnrolmentToken, error) {
	seed, key, err := newSeed()
	if err != nil {
		return nil, err
	}
	defer wipe(seed)
	defer wipe(key)
	public := [32]byte(key[len(key)-32:])
	i := o.c.Installation()
	terms, err := evidence.Sign(o.key, &typev1.Enrolment{
		Installation: i.ID(), Owner: o.name, OwnerKeys: cloneKeys(o.keys), TokenKey: public[:], ExpiryMillis: end.UnixMilli(), Handle: handle,
	})
	if err != nil {
		return nil, err
	}
	if _, err := evidence.CheckEnrolment(i, terms); err != nil {
		return nil, err
	}
	text, err := oneTimeText(kindEnrolment, o.email, seed, terms)
	if err != nil {
		return nil, err
	}
	return &EnrolmentToken{Key: public, Handle: handle, Expiry: time.UnixMilli(end.UnixMilli()), text: func() []byte { return text }}, nil
}

// enrolment is a token as an agent uses it.
type enrolment struct {
	*oneTimeKey
	terms *typev1.Enrolment
}

// readEnrolment reads a token and checks that its key and its terms belong together and to this installation.
func (c *Client) readEnrolment(text []byte) (*enrolment, error) {
	const op = "read enrolment token"
	k, err := readOneTime(op, kindEnrolment, text)
	if err != nil {
		return nil, err
	}
	terms, err := evidence.CheckEnrolment(c.Installation(), k.statement)
	if err == nil && !bytes.Equal(terms.GetTokenKey(), k.public) {
		err = local(op, typev1.Reason_REASON_BAD_STATEMENT, "the token's key is not the one that its owner's terms name", "field", kindEnrolment)
	}
	if err != nil {
		k.wipe()
		return nil, wrap(op, err, notMoved)
	}
	return &enrolment{oneTimeKey: k, terms: terms}, nil
}

// fill completes what an agent registers as from its token, and refuses what the token is not good for before anything is
// made.
func (e *enrolment) fill(o *RegisterOptions) error {
	const op = "register"
	if o.OwnerEmail == "" {
		o.OwnerEmail = e.email
	}
	if h := e.terms.GetHandle(); h != "" && o.Handle == "" {
		o.Handle = h
	}
	switch h := e.terms.GetHandle(); {
	case h != "" && o.Handle != h:
		return local(op, typev1.Reason_REASON_INVALID_ARGUMENT, "the enrolment token is for another handle", "field", "handle", "handle", h)
	case o.OwnerEmail != e.email:
		return local(op, typev1.Reason_REASON_INVALID_ARGUMENT, "the enrolment token is another owner's than the address names",
			"field", "owner_email")
	}
	return nil
}

// claim claims the wallet in the owner's place, if a token or a claim that was stored before says so. The claim is stored before
// it is sent: once the co-signer has sealed it nobody else can carry it through, and the token may be gone by then.
func (c *Client) claim(ctx context.Context, k *agentKey, token *enrolment) error {
	const op = "claim wallet by token"
	if stored := k.claim; stored != nil {
		err := c.sealClaim(ctx, k, stored)
		switch ReasonOf(err) {
		case typev1.Reason_REASON_CODE_USED, typev1.Reason_REASON_CODE_EXPIRED:
			// Of no more use. Another token claims below, and without one the wallet waits for its owner.
			k.claim = nil
		default:
			return err
		}
	}
	if token == nil || k.claimed {
		return nil
	}
	e, err := c.claimOf(k, token)
	if err != nil {
		return wrap(op, err, notMoved)
	}
	k.claim = e
	if err := c.saveAgentKey(k); err != nil {
		return wrap(op, err, notMoved)
	}
	return c.sealClaim(ctx, k, e)
}

// claimOf is guard rails number 0 as a token's terms have them, which pay nothing. Its content follows from registration and
// token alone, so that a repeat is the same claim.
func (c *Client) claimOf(k *agentKey, token *enrolment) (*typev1.Envelope, error) {
	i := c.Installation()
	r, err := evidence.CheckRegistration(i, k.registration)
	if err != nil {
		return nil, err
	}
	return evidence.Sign(token.privateKey, &typev1.GuardRails{
		Installation:       i.ID(),
		Wallet:             k.wallet,
		Owner:              token.terms.GetOwner(),
		OwnerKeys:          token.terms.GetOwnerKeys(),
		RequestKey:         r.GetRequestKey(),
		RegistrationDigest: evidence.EnvelopeDigest(k.registration).Bytes(),
		Enrolment:          token.statement,
	})
}

// sealClaim brings a stored claim to all that hold the wallet, and notes that they do.
func (c *Client) sealClaim(ctx context.Context, k *agentKey, claim *typev1.Envelope) error {
	const op = "claim wallet by token"
	err := c.seal(ctx, op, k.registration, claim)
	if ReasonOf(err) == typev1.Reason_REASON_ALREADY_EXISTS {
		// The owner was faster, or an earlier token of the same owner: then this one is not needed, and stays unused.
		err = c.claimedBy(ctx, k, claim, err)
	}
	if err != nil {
		return err
	}
	k.claim, k.claimed = nil, true
	return wrap(op, c.saveAgentKey(k), notMoved)
}

// claimedBy returns refusal unless the wallet was claimed by the owner whom an agent's own claim names.
func (c *Client) claimedBy(ctx context.Context, k *agentKey, claim *typev1.Envelope, refusal error) error {
	const op = "claim wallet by token"
	own := new(typev1.GuardRails)
	if err := evidence.Peek(claim, own); err != nil {
		return wrap(op, err, notMoved)
	}
	who := k.callerBy(k.request)
	w, err := invoke(ctx, c, rpc{op: op, method: gatewayv1.GatewayService_GetWallet_FullMethodName, who: who, about: who.name},
		&gatewayv1.GetWalletRequest{Name: k.wallet}, gatewayv1.GatewayServiceClient.GetWallet)
	if err != nil {
		return err
	}
	pinned, err := evidence.CheckWallet(c.Installation(), w.GetRegistration(), w.GetClaim(), w.GetRecord())
	if err != nil {
		return distrust(op, notMoved, "the wallet's documents do not verify", err)
	}
	if evidence.EnvelopeDigest(w.GetRegistration()) != evidence.EnvelopeDigest(k.registration) ||
		pinned.Claim.Document.GetOwner() != own.GetOwner() || !evidence.ClaimedUnder(pinned.Claim, own.GetOwnerKeys()...) {
		return refusal
	}
	return c.pinRecord(pinned.Record)
}
