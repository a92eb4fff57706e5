package evidencetest

import (
	"bytes"
	"crypto/ed25519"
	"slices"
	"strconv"
	"time"

	"github.com/halfkey/halfkey/internal/chain/book"
	"github.com/halfkey/halfkey/internal/chain/solana"
	"github.com/halfkey/halfkey/internal/evidence"
	"github.com/halfkey/halfkey/internal/guardrails"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// PaymentConfig says what is paid; only To and Now must be given.
type PaymentConfig struct {
	// ID is the payment's id; empty is "p1".
	ID string
	// Rail is how it settles; zero is the book.
	Rail typev1.Rail
	// To is the recipient's group key.
	To [32]byte
	// Units is the amount; 0 is 1 USD.
	Units int64
	// Now is the ledger's time at the request.
	Now time.Time
	// Purpose is for people; empty is "test".
	Purpose string
	// Deadline is the intent's; zero is an hour after Now.
	Deadline time.Time
	// Expiry is the book message's; zero is 90 seconds after Now.
	Expiry time.Time
	// Commitment is the agent's FROST commitment; zero is two points that nobody has nonces for.
	Commitment [64]byte
	// SeenEntry and SeenHash are the newest journal entry that the agent has seen.
	SeenEntry uint64
	SeenHash  []byte
	// EditIntent, EditMessage or EditSolana, and EditRequest change each before it is encoded.
	EditIntent  func(*typev1.Intent)
	EditMessage func(*book.Message)
	EditSolana  func(*solana.Message)
	EditRequest func(*typev1.Request)
}

// Payment is one attempt to pay, with the evidence made so far.
type Payment struct {
	*Wallet
	// Name is `wallets/{wallet}/payments/{payment}`.
	Name string
	// Intent and Message, on Solana Solana, are what the agent made; their bytes are what is hashed and signed.
	Intent       *typev1.Intent
	IntentBytes  []byte
	Message      book.Message
	Solana       solana.Message
	MessageBytes []byte
	// Request, Verdict, Receipt and Review are the statements; nil until made.
	Request, Verdict, Receipt, Review *typev1.Envelope
}

// Payment makes intent, message and the agent's request.
func (l *Wallet) Payment(c PaymentConfig) *Payment {
	l.t.Helper()
	if c.ID == "" {
		c.ID = "p1"
	}
	if c.Rail == typev1.Rail_RAIL_UNSPECIFIED {
		c.Rail = typev1.Rail_RAIL_BOOK
	}
	if c.Units == 0 {
		c.Units = 1_000_000
	}
	if c.Purpose == "" {
		c.Purpose = "test"
	}
	if c.Deadline.IsZero() {
		c.Deadline = c.Now.Add(time.Hour)
	}
	if c.Expiry.IsZero() {
		c.Expiry = c.Now.Add(90 * time.Second)
	}
	if c.Commitment == [64]byte{} {
		copy(c.Commitment[:32], Public(l.Key("D")))
		copy(c.Commitment[32:], Public(l.Key("E")))
	}
	p := &Payment{Wallet: l, Name: l.Name + "/payments/" + c.ID}
	p.Intent = &typev1.Intent{
		Installation:   l.Installation.ID(),
		Wallet:         l.Name,
		Payment:        p.Name,
		Rail:           c.Rail,
		Asset:          l.Installation.BookUSD(),
		Units:          strconv.FormatInt(c.Units, 10),
		Recipient:      bytes.Clone(c.To[:]),
		Purpose:        c.Purpose,
		DeadlineMillis: c.Deadline.UnixMilli(),
	}
	if c.Rail == typev1.Rail_RAIL_SOLANA {
		p.Intent.Asset = USDC
	}
	if c.EditIntent != nil {
		c.EditIntent(p.Intent)
	}
	var err error
	if p.IntentBytes, err = evidence.Marshal(p.Intent); err != nil {
		l.t.Fatalf("Marshal intent: %v", err)
	}
	if c.Rail == typev1.Rail_RAIL_SOLANA {
		p.encodeSolana(c)
	} else {
		p.encodeBook(c)
	}
	request := &typev1.Request{
		Installation:  l.Installation.ID(),
		Wallet:        l.Name,
		Payment:       p.Name,
		Intent:        p.IntentBytes,
		MessageDigest: evidence.MessageDigest(p.MessageBytes).Bytes(),
		Commitment:    bytes.Clone(c.Commitment[:]),
		SeenEntry:     c.SeenEntry,
		SeenHash:      c.SeenHash,
		TimeMillis:    c.Now.UnixMilli(),
	}
	if c.Rail == typev1.Rail_RAIL_SOLANA {
		p.adds(request)
	}
	if c.EditRequest != nil {
		c.EditRequest(request)
	}
	p.Request = l.Sign(l.RequestKey, request)
	return p
}

func (p *Payment) encodeBook(c PaymentConfig) {
	p.t.Helper()
	p.Message = book.Message{
		Installation: p.Installation.ID(),
		Payment:      p.Name,
		Payer:        p.GroupKey,
		Recipient:    c.To,
		Asset:        p.Installation.BookUSD(),
		Units:        c.Units,
		IntentDigest: evidence.IntentDigest(p.IntentBytes),
		ExpiryMillis: c.Expiry.UnixMilli(),
	}
	if c.EditMessage != nil {
		c.EditMessage(&p.Message)
	}
	var err error
	if p.MessageBytes, err = p.Message.Encode(); err != nil {
		p.t.Fatalf("Encode message: %v", err)
	}
}

func (p *Payment) encodeSolana(c PaymentConfig) {
	p.t.Helper()
	p.Solana = p.solanaMessage(c.To, c.Units)
	if c.EditSolana != nil {
		c.EditSolana(&p.Solana)
	}
	var err error
	if p.MessageBytes, err = p.Solana.Encode(); err != nil {
		p.t.Fatalf("Encode message: %v", err)
	}
}

// Judge makes policy's honest verdict at now, naming the review if there is one and the colour is YELLOW, changed by edit.
func (p *Payment) Judge(now time.Time, edit func(*typev1.Verdict)) *typev1.Envelope {
	p.t.Helper()
	j := guardrails.Judge(p.Head.Document, p.Facts(), now)
	v := &typev1.Verdict{
		Installation:     p.Installation.ID(),
		Wallet:           p.Wallet.Name,
		Payment:          p.Name,
		IntentDigest:     evidence.IntentDigest(p.IntentBytes).Bytes(),
		MessageDigest:    evidence.MessageDigest(p.MessageBytes).Bytes(),
		GuardRailsDigest: p.Head.Digest.Bytes(),
		Light:            j.Light,
		Results:          j.Results,
		TimeMillis:       now.UnixMilli(),
		ExpiryMillis:     now.Add(evidence.EvidenceLife).UnixMilli(),
	}
	if p.Review != nil && j.Light == typev1.Light_LIGHT_YELLOW {
		v.ReviewDigest = evidence.EnvelopeDigest(p.Review).Bytes()
	}
	if edit != nil {
		edit(v)
	}
	p.Verdict = p.SignLoose(p.Policy, v)
	return p.Verdict
}

// Record makes the ledger's receipt at now, GREEN by history, changed by edit. It names the request and verdict made last.
func (p *Payment) Record(now time.Time, edit func(*typev1.Receipt)) *typev1.Envelope {
	p.t.Helper()
	r := &typev1.Receipt{
		Installation:     p.Installation.ID(),
		Wallet:           p.Wallet.Name,
		Payment:          p.Name,
		IntentDigest:     evidence.IntentDigest(p.IntentBytes).Bytes(),
		MessageDigest:    evidence.MessageDigest(p.MessageBytes).Bytes(),
		RequestDigest:    evidence.EnvelopeDigest(p.Request).Bytes(),
		VerdictDigest:    evidence.EnvelopeDigest(p.Verdict).Bytes(),
		GuardRailsDigest: p.Head.Digest.Bytes(),
		Light:            typev1.Light_LIGHT_GREEN,
		TimeMillis:       now.UnixMilli(),
		Entry:            2,
		EntryHash:        bytes.Repeat([]byte{7}, 32),
	}
	if p.Intent.GetRail() == typev1.Rail_RAIL_SOLANA {
		r.LastValidHeight = LastValidHeight
	}
	if edit != nil {
		edit(r)
	}
	p.Receipt = p.SignLoose(p.Ledger, r)
	return p.Receipt
}

// Answer makes the owner's review of the intent, changed by edit.
func (p *Payment) Answer(answer typev1.Answer, edit func(*typev1.Review)) *typev1.Envelope {
	p.t.Helper()
	r := &typev1.Review{
		Installation: p.Installation.ID(),
		Wallet:       p.Wallet.Name,
		Payment:      p.Name,
		IntentDigest: evidence.IntentDigest(p.IntentBytes).Bytes(),
		Answer:       answer,
	}
	if edit != nil {
		edit(r)
	}
	p.Review = p.SignLoose(p.OwnerKey, r)
	return p.Review
}

// Facts is what the message says, as guardrails judges it.
func (p *Payment) Facts() guardrails.Facts {
	f := guardrails.Facts{
		Rail: p.Intent.GetRail(), Asset: p.Message.Asset, Units: p.Message.Units, Recipient: p.Message.Recipient, X402: p.Intent.GetX402(),
	}
	if f.Rail == typev1.Rail_RAIL_SOLANA {
		f.Asset, f.Units, f.Recipient = USDC, p.Solana.Units, p.Solana.Recipient
	}
	return f
}

// Bundle is the evidence made so far.
func (p *Payment) Bundle() evidence.Bundle {
	return evidence.Bundle{Message: p.MessageBytes, Request: p.Request, Verdict: p.Verdict, Receipt: p.Receipt, Review: p.Review}
}

// Pins is what the co-signer holds of the payment's wallet.
func (l *Wallet) Pins() evidence.Pins {
	return evidence.Pins{Installation: l.Installation, Wallet: l.Name, GroupKey: l.GroupKey, Head: l.Head}
}

// Settle signs the message as the two shares together do.
func (p *Payment) Settle() []byte {
	p.t.Helper()
	if p.GroupPrivate == nil {
		p.t.Fatal("the group key was made elsewhere")
	}
	return ed25519.Sign(p.GroupPrivate, p.MessageBytes)
}

func sortedUnique(keys [][]byte) [][]byte {
	slices.SortFunc(keys, bytes.Compare)
	return slices.CompactFunc(keys, bytes.Equal)
}
