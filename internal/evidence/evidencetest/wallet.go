package evidencetest

import (
	"crypto/ed25519"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/halfkey/halfkey/internal/evidence"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// WalletConfig says what a wallet is made of; only what a test cares for needs to be given.
type WalletConfig struct {
	// ID is the wallet's id, also the default of its handle.
	ID string
	// Handle is the agent's handle.
	Handle string
	// Owner is the owner's id; empty is "owner".
	Owner string
	// GroupKey is the group key if it is made elsewhere; GroupPrivate is nil then.
	GroupKey []byte
	// RequestKey and OwnerKey are the world's keys "request/ID" and "owner/OWNER" if nil.
	RequestKey, OwnerKey ed25519.PrivateKey
	// Token claims the wallet in the owner's place, until TokenExpiry; nil for a claim by the owner.
	Token       ed25519.PrivateKey
	TokenExpiry time.Time
}

// Wallet is a claimed wallet with all of its keys.
type Wallet struct {
	*World
	// Name is `wallets/{wallet}`, Handle without `@`, Owner `owners/{owner}`.
	Name, Handle, Owner string
	// GroupKey is its address; GroupPrivate the whole key behind it, if the world made it.
	GroupKey     [32]byte
	GroupPrivate ed25519.PrivateKey
	// RequestKey is the agent's, OwnerKey the owner's.
	RequestKey, OwnerKey ed25519.PrivateKey
	// Enrolment is the owner's terms for the token that claimed it, or nil.
	Enrolment *typev1.Envelope
	// Registration, Claim (guard rails number 0) and Record are the documents that pin it.
	Registration, Claim, Record *typev1.Envelope
	// Head is its newest guard rails; number 0 until SetGuardRails.
	Head *evidence.Head
}

// Wallet makes and claims a wallet with the standard guard rails (number 1) in force.
func (w *World) Wallet(c WalletConfig) *Wallet {
	w.t.Helper()
	l := w.ClaimedWallet(c)
	l.SetGuardRails(nil)
	return l
}

// ClaimedWallet makes and claims a wallet whose head is number 0: it pays nothing.
func (w *World) ClaimedWallet(c WalletConfig) *Wallet {
	w.t.Helper()
	if c.ID == "" {
		c.ID = "research"
	}
	if c.Handle == "" {
		c.Handle = c.ID
	}
	if c.Owner == "" {
		c.Owner = "owner"
	}
	if c.RequestKey == nil {
		c.RequestKey = w.Key("request/" + c.ID)
	}
	if c.OwnerKey == nil {
		c.OwnerKey = w.Key("owner/" + c.Owner)
	}
	l := &Wallet{
		World:      w,
		Name:       "wallets/" + c.ID,
		Handle:     c.Handle,
		Owner:      "owners/" + c.Owner,
		RequestKey: c.RequestKey,
		OwnerKey:   c.OwnerKey,
	}
	if c.GroupKey == nil {
		l.GroupPrivate = w.Key("group/" + c.ID)
		c.GroupKey = Public(l.GroupPrivate)
	}
	l.GroupKey = [32]byte(c.GroupKey)
	l.Registration = w.Sign(l.RequestKey, &typev1.Registration{
		Installation: w.Installation.ID(),
		Wallet:       l.Name,
		Handle:       l.Handle,
		GroupKey:     l.GroupKey[:],
		RequestKey:   Public(l.RequestKey),
	})
	claimer := l.OwnerKey
	if c.Token != nil {
		claimer = c.Token
		l.Enrolment = w.Sign(l.OwnerKey, &typev1.Enrolment{
			Installation: w.Installation.ID(),
			Owner:        l.Owner,
			OwnerKeys:    sorted(l.OwnerKey),
			TokenKey:     Public(c.Token),
			ExpiryMillis: c.TokenExpiry.UnixMilli(),
			Handle:       l.Handle,
		})
	}
	l.Claim = w.Sign(claimer, &typev1.GuardRails{
		Installation:       w.Installation.ID(),
		Wallet:             l.Name,
		Owner:              l.Owner,
		OwnerKeys:          sorted(l.OwnerKey),
		RequestKey:         Public(l.RequestKey),
		RegistrationDigest: evidence.EnvelopeDigest(l.Registration).Bytes(),
		Enrolment:          l.Enrolment,
	})
	l.Record = w.Sign(w.Cosigner, &typev1.WalletRecord{
		Installation:       w.Installation.ID(),
		Wallet:             l.Name,
		Handle:             l.Handle,
		GroupKey:           l.GroupKey[:],
		RegistrationDigest: evidence.EnvelopeDigest(l.Registration).Bytes(),
		GuardRailsDigest:   evidence.EnvelopeDigest(l.Claim).Bytes(),
	})
	checked, err := evidence.CheckWallet(w.Installation, l.Registration, l.Claim, l.Record)
	if err != nil {
		w.t.Fatalf("CheckWallet: %v", err)
	}
	l.Head = checked.Claim
	return l
}

// NextGuardRails returns the document that follows the head: from number 0 the standard guard rails, else the head's rules
// again, one number higher, changed by edit.
func (l *Wallet) NextGuardRails(edit func(*typev1.GuardRails)) *typev1.GuardRails {
	doc := proto.CloneOf(l.Head.Document)
	if doc.GetNumber() == 0 {
		doc.RegistrationDigest, doc.Enrolment = nil, nil
		Standard(doc)
	}
	doc.Number++
	doc.Replaces = [][]byte{l.Head.Digest.Bytes()}
	if edit != nil {
		edit(doc)
	}
	return doc
}

// SetGuardRails signs the next guard rails under the owner key and makes them the head.
func (l *Wallet) SetGuardRails(edit func(*typev1.GuardRails)) *typev1.Envelope {
	l.t.Helper()
	e := l.Sign(l.OwnerKey, l.NextGuardRails(edit))
	head, err := evidence.Accept(l.Installation, l.Head, e)
	if err != nil {
		l.t.Fatalf("Accept: %v", err)
	}
	l.Head = head
	return e
}

// Standard puts the standard guard rails into a document: over 5 USD review, a day over 50 USD review, a payment over 100 USD
// deny; book dollars on the book rail; a recipient that is not listed is a person's decision, and none is listed.
func Standard(doc *typev1.GuardRails) {
	doc.Assets = []string{"halfkey:" + doc.GetInstallation() + "/iso4217:USD"}
	doc.Rails = []typev1.Rail{typev1.Rail_RAIL_BOOK}
	doc.Limits = []*typev1.Limit{
		{Window: typev1.Window_WINDOW_PAYMENT, Amount: "5000000", Crossed: typev1.Light_LIGHT_YELLOW},
		{Window: typev1.Window_WINDOW_DAY, Amount: "50000000", Crossed: typev1.Light_LIGHT_YELLOW},
		{Window: typev1.Window_WINDOW_PAYMENT, Amount: "100000000", Crossed: typev1.Light_LIGHT_RED},
	}
	for _, l := range doc.GetLimits() {
		l.Unit, l.Measure = "USD", typev1.Measure_MEASURE_UNITS
	}
	doc.Recipients = &typev1.Recipients{Unknown: typev1.Light_LIGHT_YELLOW}
}

// Allow returns an edit that lets recipients be paid.
func Allow(recipients ...[32]byte) func(*typev1.GuardRails) {
	return func(doc *typev1.GuardRails) {
		if doc.Recipients == nil {
			doc.Recipients = &typev1.Recipients{Unknown: typev1.Light_LIGHT_YELLOW}
		}
		keys := doc.GetRecipients().GetAllow()
		for _, r := range recipients {
			keys = append(keys, append([]byte(nil), r[:]...))
		}
		doc.Recipients.Allow = sortedUnique(keys)
	}
}
