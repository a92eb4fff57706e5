package client

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"strings"

	"github.com/halfkey/halfkey/internal/evidence"
	"github.com/halfkey/halfkey/internal/resource"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// Offer is a new request key that an agent has made and shows to its owner, who puts it in the guard rails by Refresh. It is
// no secret. The owner takes it from the agent's own screen, as the claim code: whoever changes it on the way becomes the
// agent.
type Offer struct {
	// Wallet is `wallets/{wallet}`.
	Wallet string
	// RequestKey is the public half of the key.
	RequestKey [32]byte
}

// offerKeys stands between wallet and key in an offer's text.
const offerKeys = "/request-keys/"

// offerCheck is how many bytes of a SHA-256 end an offer's text: a slip in copying shows. It protects from nothing else.
const offerCheck = 4

// String is the offer as text: `wallets/{wallet}/request-keys/{key}-{check}`, key and check in hexadecimal.
func (o Offer) String() string {
	s := o.Wallet + offerKeys + hex.EncodeToString(o.RequestKey[:])
	sum := sha256.Sum256([]byte(s))
	return s + "-" + hex.EncodeToString(sum[:offerCheck])
}

// ParseOffer is the inverse of String, and accepts nothing else but white space around it.
func ParseOffer(text string) (Offer, error) {
	const op = "read offer"
	text = strings.TrimSpace(text)
	wallet, rest, _ := strings.Cut(text, offerKeys)
	if _, err := resource.ParseWallet(wallet); err != nil {
		return Offer{}, wrap(op, err, notMoved)
	}
	b, err := hex.DecodeString(rest[:min(len(rest), 2*ed25519.PublicKeySize)])
	if err != nil || !evidence.ValidKey(b) {
		return Offer{}, local(op, typev1.Reason_REASON_INVALID_ARGUMENT, "the offer holds no key: it may have lost characters", "field", "offer")
	}
	o := Offer{Wallet: wallet, RequestKey: [32]byte(b)}
	if o.String() != text {
		return Offer{}, local(op, typev1.Reason_REASON_INVALID_ARGUMENT, "the offer was changed on the way: its check does not fit", "field", "offer")
	}
	return o, nil
}

// OfferOptions changes what Offer does.
type OfferOptions struct {
	// Again makes another key although one is offered already: for when the home may have been copied after that one was made,
	// which is then as stolen as everything else in it.
	Again bool
}

// Offer makes a new request key for the wallet and returns it to be shown to the owner, who answers a leak by Refresh. It is
// stored before it is returned, and until the guard rails name it the present key stays in use. Called again it returns the
// same one.
func (a *Agent) Offer(ctx context.Context, options ...OfferOptions) (Offer, error) {
	const op = "offer a request key"
	unlock, err := a.c.lockSecret(ctx, op, a.wallet)
	if err != nil {
		return Offer{}, err
	}
	defer unlock()
	if err := a.reload(); err != nil {
		return Offer{}, err
	}
	again := false
	for _, o := range options {
		again = again || o.Again
	}
	if again && a.state.now().offered != nil {
		// One that the guard rails name already is not dropped: nobody else could sign for the wallet any more.
		if err := a.follow(ctx); err != nil {
			return Offer{}, err
		}
	}
	k := a.state.now()
	if k.offered == nil || again {
		if k, err = k.offering(); err != nil {
			return Offer{}, wrap(op, err, notMoved)
		}
		if err := a.saveKey(k); err != nil {
			return Offer{}, wrap(op, err, notMoved)
		}
	}
	return Offer{Wallet: a.wallet, RequestKey: [32]byte(bytes.Clone(k.offered.public))}, nil
}

// offering is the secret with a fresh request key to offer.
func (k *agentKey) offering() (*agentKey, error) {
	seed := make([]byte, ed25519.SeedSize)
	if _, err := rand.Read(seed); err != nil {
		return nil, err
	}
	defer wipe(seed)
	next := k.copy()
	next.offered, next.offeredSeed = keyOfSeed(seed)
	return next, nil
}
