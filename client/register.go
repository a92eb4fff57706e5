package client

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"slices"
	"strings"
	"unicode"

	"github.com/google/uuid"

	"github.com/halfkey/halfkey/frost"
	"github.com/halfkey/halfkey/internal/evidence"
	"github.com/halfkey/halfkey/internal/resource"
	gatewayv1 "github.com/halfkey/halfkey/proto/gen/halfkey/gateway/v1"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// RegisterOptions says who registers.
type RegisterOptions struct {
	// Name is the agent's display name: at most 64 bytes.
	Name string
	// Handle is the agent's handle without `@`; empty makes one from Name, if its letters are a to z.
	Handle string
	// OwnerEmail is the address of the owner who shall claim the wallet; with a token empty is the token's owner.
	OwnerEmail string
	// EnrolmentToken is an owner's token (Owner.MintEnrolment): the wallet is claimed as well, without its owner being there.
	// A repeat needs a token again for as long as the claim was not stored, and not after; the token itself is not kept here.
	EnrolmentToken Secret
	// Again begins a new registration although this home has ended one for the same handle and owner: for when that was not
	// claimed within 24 hours. The old share is kept.
	Again bool
}

// Registered is a wallet that waits for its owner, or has found it.
type Registered struct {
	// Wallet is `wallets/{wallet}`.
	Wallet string
	// Handle is the agent's handle without `@`.
	Handle string
	// ClaimCode is what the owner types: a hash over installation, wallet, handle, group key and request key, so that who
	// claims by it claims exactly this key.
	ClaimCode string
	// GroupKey is the wallet's key: its address.
	GroupKey [32]byte
	// Claimed says that a token has claimed it: ClaimCode is of no more use, and the owner's next step is guard rails.
	Claimed bool
}

// handleMax is the longest handle.
const handleMax = 32

// slug makes a handle of a name: lower case, whatever is neither letter nor digit becomes a dash. A name with other letters than a
// to z has none: one that left them out would be another name, and a look-alike's could be anybody's.
func slug(name string) string {
	foreign := func(r rune) bool {
		return r > unicode.MaxASCII && (unicode.IsLetter(r) || unicode.IsNumber(r) || unicode.IsMark(r))
	}
	if strings.ContainsFunc(name, foreign) {
		return ""
	}
	var b strings.Builder
	for _, r := range strings.ToLower(name) {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
			b.WriteRune(r)
		} else if s := b.String(); s != "" && s[len(s)-1] != '-' {
			b.WriteByte('-')
		}
	}
	s := b.String()
	return strings.Trim(s[:min(len(s), handleMax)], "-")
}

// Register makes a wallet: one half of its key here, the other with the co-signer, by a key generation that the gateway
// carries and cannot read, and a test signature. The share is stored before the wallet is announced.
//
// It resumes: called again with the same handle and owner, by a program that died on the way or lost the answer, it ends
// what it began and returns the same wallet.
func (c *Client) Register(ctx context.Context, o RegisterOptions) (*Registered, error) {
	const op = "register"
	o.OwnerEmail = lowerEmail(o.OwnerEmail)
	var token *enrolment
	if len(o.EnrolmentToken) > 0 {
		var err error
		if token, err = c.readEnrolment(o.EnrolmentToken); err != nil {
			return nil, err
		}
		defer token.wipe()
		if err := token.fill(&o); err != nil {
			return nil, err
		}
	}
	if o.Handle == "" {
		if o.Handle = slug(o.Name); o.Handle == "" {
			return nil, local(op, typev1.Reason_REASON_INVALID_ARGUMENT,
				"no handle can be made from this name, which has other letters than a to z or none: choose a handle", "field", "handle")
		}
	}
	if err := o.check(); err != nil {
		return nil, err
	}
	unlock, err := c.work.lock(ctx, "register @"+o.Handle)
	if err != nil {
		return nil, wrap(op, err, notMoved)
	}
	defer unlock()

	k, err := c.register(ctx, o, token)
	// A token's wallet that was not claimed within 24 hours is made anew: there is nobody to ask for it.
	if ReasonOf(err) == typev1.Reason_REASON_NOT_ACTIVE && token != nil && k != nil && !o.Again {
		o.Again = true
		k, err = c.register(ctx, o, token)
	}
	if err != nil {
		return nil, err
	}
	return c.registered(k)
}

// register carries a registration through from where it stands; with a token to the claim. It returns the registration along
// with an error of the claim.
func (c *Client) register(ctx context.Context, o RegisterOptions, token *enrolment) (*agentKey, error) {
	const op = "register"
	k, err := c.openRegistration(o)
	if err != nil {
		return nil, wrap(op, err, notMoved)
	}
	if k.stage == stageStarted {
		if err := c.makeKey(ctx, k, token); err != nil {
			return nil, err
		}
	}
	if k.stage == stageMade {
		if err := c.completeRegistration(ctx, k); err != nil {
			return nil, err
		}
	}
	return k, c.claim(ctx, k, token)
}

func (c *Client) registered(k *agentKey) (*Registered, error) {
	i := c.Installation()
	r, err := evidence.CheckRegistration(i, k.registration)
	if err != nil {
		return nil, wrap("register", err, notMoved)
	}
	return &Registered{
		Wallet: k.wallet, Handle: k.handle, ClaimCode: evidence.ClaimCode(i.ID(), r), GroupKey: k.share.GroupKey(), Claimed: k.claimed,
	}, nil
}

// openRegistration finds the registration that was begun for this handle and owner, or begins one: a wallet id and a
// request key, stored before they are used.
func (c *Client) openRegistration(o RegisterOptions) (*agentKey, error) {
	keys, err := c.agentKeys()
	if err != nil {
		return nil, err
	}
	// The newest first: wallet ids are drawn in ascending order.
	for _, k := range slices.Backward(keys) {
		if k.handle != o.Handle || k.ownerEmail != o.OwnerEmail {
			continue
		}
		if k.stage == stageRegistered && o.Again {
			break
		}
		return k, nil
	}
	id, err := uuid.NewV7()
	if err != nil {
		return nil, err
	}
	seed := make([]byte, ed25519.SeedSize)
	if _, err := rand.Read(seed); err != nil {
		return nil, err
	}
	defer wipe(seed)
	k := newAgentKey(seed)
	k.stage, k.wallet, k.handle, k.displayName, k.ownerEmail = stageStarted, resource.Wallet(id.String()), o.Handle, o.Name, o.OwnerEmail
	return k, c.saveAgentKey(k)
}

// madeKey is what a key generation has made.
type madeKey struct {
	share        *frost.KeyShare
	registration *typev1.Envelope
	testSigned   frost.Signature
}

// makeKey runs one key generation and stores its share.
func (c *Client) makeKey(ctx context.Context, k *agentKey, token *enrolment) error {
	run := make([]byte, 16)
	if _, err := rand.Read(run); err != nil {
		return wrap("register", err, notMoved)
	}
	made, err := c.generate(ctx, k, run, token)
	if err != nil {
		return err
	}
	k.stage, k.run, k.share, k.registration, k.testSigned = stageMade, run, made.share, made.registration, made.testSigned[:]
	// The share is durable before anybody can claim its wallet: a wallet that was funded and whose share was never stored
	// would hold its money for ever.
	return wrap("register", c.saveAgentKey(k), notMoved)
}

// generate runs COCKTAIL-DKG with the co-signer through the gateway, and the test signature. The static keys are made for
// this run and vouched for by the request key and the co-signer's record key, so the gateway cannot be a party.
func (c *Client) generate(ctx context.Context, k *agentKey, run []byte, token *enrolment) (*madeKey, error) {
	const op = "register"
	i := c.Installation()
	static, err := frost.NewStaticKey()
	if err != nil {
		return nil, wrap(op, err, notMoved)
	}
	defer static.Zero()
	own := static.Public()
	start, err := evidence.Sign(k.request, &typev1.KeyGenerationStart{
		Installation: i.ID(), Wallet: k.wallet, Run: run, StaticKey: own[:], RequestKey: k.request.public,
		Handle: k.handle, OwnerEmail: k.ownerEmail,
	})
	if err != nil {
		return nil, wrap(op, err, notMoved)
	}
	request := &gatewayv1.StartRegistrationRequest{Start: start, DisplayName: k.displayName}
	if token != nil {
		if request.Start, err = evidence.CoSign(start, token.privateKey); err != nil {
			return nil, wrap(op, err, notMoved)
		}
		request.Enrolment = token.statement
	}
	started, err := invoke(ctx, c, rpc{op: op}, request, gatewayv1.GatewayServiceClient.StartRegistration)
	if err != nil {
		return nil, err
	}
	answer, err := evidence.CheckKeyGenerationAnswer(c.Installation(), start, started.GetAnswer())
	if err != nil {
		return nil, distrust(op, notMoved, "the co-signer's answer to the key generation does not verify", err)
	}
	g, err := frost.NewKeyGeneration(frost.Agent, static, frost.Run{
		Session:    evidence.KeyGenerationSession(i.ID(), k.wallet, run),
		StaticKeys: [][32]byte{own, [32]byte(answer.GetStaticKey())},
		Threshold:  2,
	})
	if err != nil {
		return nil, wrap(op, err, notMoved)
	}
	defer g.Zero()
	certificate, err := g.Round2([][]byte{g.Round1(), started.GetRound1()})
	if err != nil {
		return nil, distrust(op, notMoved, "the co-signer's part of the key generation does not verify", err)
	}
	exchanged, err := invoke(ctx, c, rpc{op: op}, &gatewayv1.ExchangeRegistrationRequest{Wallet: k.wallet, Run: run, Round1: g.Round1()},
		gatewayv1.GatewayServiceClient.ExchangeRegistration)
	if err != nil {
		return nil, err
	}
	if len(exchanged.GetCertificate()) != len(certificate) {
		return nil, distrust(op, notMoved, "the co-signer's certificate is malformed", frost.ErrCertificate)
	}
	transcript, err := g.TranscriptDigest()
	if err != nil {
		return nil, wrap(op, err, notMoved)
	}
	share, err := g.Finish([][64]byte{certificate, [64]byte(exchanged.GetCertificate())})
	if err != nil {
		return nil, distrust(op, notMoved, "the co-signer saw another key generation than this agent", err)
	}
	signed, err := c.testSignature(ctx, k, run, share, certificate, transcript)
	if err != nil {
		return nil, err
	}
	group := share.GroupKey()
	registration, err := evidence.Sign(k.request, &typev1.Registration{
		Installation: i.ID(), Wallet: k.wallet, Handle: k.handle, GroupKey: group[:], RequestKey: k.request.public,
	})
	if err != nil {
		return nil, wrap(op, err, notMoved)
	}
	return &madeKey{share: share, registration: registration, testSigned: signed}, nil
}

// testSignature proves that both shares sign together, over bytes that pay nothing on any rail.
func (c *Client) testSignature(ctx context.Context, k *agentKey, run []byte, share *frost.KeyShare, certificate [64]byte, transcript [32]byte) (frost.Signature, error) {
	const op = "register"
	nonces, commitment, err := share.Commit()
	if err != nil {
		return frost.Signature{}, wrap(op, err, notMoved)
	}
	confirmed, err := invoke(ctx, c, rpc{op: op}, &gatewayv1.ConfirmRegistrationRequest{
		Wallet: k.wallet, Run: run, Certificate: certificate[:], Commitment: commitment[:],
	}, gatewayv1.GatewayServiceClient.ConfirmRegistration)
	if err != nil {
		return frost.Signature{}, err
	}
	release, err := frost.ParseRelease(confirmed.GetRelease())
	if err != nil {
		return frost.Signature{}, distrust(op, notMoved, "the co-signer's test share is malformed", err)
	}
	signed, err := nonces.Finish(evidence.KeyTestMessage(c.Installation().ID(), k.wallet, share.GroupKey(), transcript), release)
	if err != nil {
		return frost.Signature{}, distrust(op, notMoved, "the test signature does not verify", err)
	}
	return signed, nil
}

// completeRegistration announces the wallet. If the co-signer no longer knows the run, because the program was away for
// long, nobody can have claimed it: the next call makes a new key.
func (c *Client) completeRegistration(ctx context.Context, k *agentKey) error {
	const op = "register"
	if _, err := c.announce(ctx, op, k); err != nil {
		return c.abandonRegistration(k, err)
	}
	k.stage = stageRegistered
	return wrap(op, c.saveAgentKey(k), notMoved)
}

// announce brings the registration to co-signer and directory, or asks both again what became of it.
func (c *Client) announce(ctx context.Context, op string, k *agentKey) (*typev1.Wallet, error) {
	w, err := invoke(ctx, c, rpc{op: op}, &gatewayv1.CompleteRegistrationRequest{
		Wallet: k.wallet, Run: k.run, Registration: k.registration, Signature: k.testSigned,
	}, gatewayv1.GatewayServiceClient.CompleteRegistration)
	if err != nil {
		return nil, err
	}
	if w.GetName() != k.wallet || evidence.EnvelopeDigest(w.GetRegistration()) != evidence.EnvelopeDigest(k.registration) {
		return nil, distrust(op, notMoved, "the directory shows another registration than this agent's", nil)
	}
	return w, nil
}

// abandonRegistration gives up a registration whose announcement was refused for good, so that the next call begins anew.
// No code for it was ever shown, so nobody can have claimed or funded it.
func (c *Client) abandonRegistration(k *agentKey, err error) error {
	switch ReasonOf(err) {
	case typev1.Reason_REASON_HANDLE_TAKEN, typev1.Reason_REASON_NOT_FOUND, typev1.Reason_REASON_KEY_GENERATION_FAILED,
		typev1.Reason_REASON_NOT_ACTIVE, typev1.Reason_REASON_ALREADY_EXISTS, typev1.Reason_REASON_WRONG_STATE:
		if deleting := c.keys.Delete(k.keyName()); deleting != nil {
			return wrap("register", deleting, notMoved)
		}
	}
	return err
}
