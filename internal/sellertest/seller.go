// Package sellertest is a server for tests that sells over HTTP by x402's scheme `exact` on Solana, and does with a payment what the
// stock server and its facilitator do: it compares the offer that comes back, checks the transaction and the buyer's signature, signs as
// the one who pays the fee, and hands the transaction to its chain. It is written here a second time, by encoding/json and the codec
// alone, so that a client that agrees with it does not only agree with itself.
//
// Who should not use it: anything but a test. It keeps every payment, and whoever it is handed to can change what it asks and answers.
package sellertest

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"reflect"
	"strconv"
	"strings"
	"sync"

	"github.com/halfkey/halfkey/internal/chain/solana"
)

// Chain takes transactions.
type Chain interface{ Send(wire []byte) }

// Seller sells one resource.
type Seller struct {
	// Network is the chain by CAIP-2, Mint the token, Decimals what it has, and PayTo who is paid.
	Network     string
	Mint, PayTo solana.Key
	Decimals    uint8
	// Chain takes what is settled.
	Chain Chain

	feePayer ed25519.PrivateKey

	mu       sync.Mutex
	units    int64
	version  int
	extra    map[string]any
	payments []Payment
}

// Payment is what a buyer sent.
type Payment struct {
	// Header is the JSON in the header, and Accepted the offer that came back in it; version 1 sends none.
	Header   map[string]any
	Accepted map[string]any
	// Wire is the transaction, and Message what both sign.
	Wire, Message []byte
}

// New makes a seller who is paid in a token.
func New(network string, mint, payTo solana.Key, chain Chain) *Seller {
	seed := sha256.Sum256([]byte("the facilitator of " + payTo.String()))
	return &Seller{
		Network: network, Mint: mint, PayTo: payTo, Decimals: 6, Chain: chain,
		feePayer: ed25519.NewKeyFromSeed(seed[:]), units: 10_000, version: 2,
	}
}

// FeePayer is who pays the chain's fee.
func (s *Seller) FeePayer() solana.Key {
	s.mu.Lock()
	defer s.mu.Unlock()
	return publicKey(s.feePayer)
}

func publicKey(private ed25519.PrivateKey) solana.Key {
	return solana.Key(private.Public().(ed25519.PublicKey)) //nolint:forcetypeassert // it is one by its documentation
}

// ChangeFeePayer has somebody else pay the fee, who is returned and has no SOL yet.
func (s *Seller) ChangeFeePayer() solana.Key {
	s.mu.Lock()
	defer s.mu.Unlock()
	seed := sha256.Sum256(s.feePayer.Seed())
	s.feePayer = ed25519.NewKeyFromSeed(seed[:])
	return publicKey(s.feePayer)
}

// Ask sets the price, the version of x402, and what the offer's extra has besides the fee payer.
func (s *Seller) Ask(units int64, version int, extra map[string]any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.units, s.version, s.extra = units, version, extra
}

// Payments are what buyers sent, in order.
func (s *Seller) Payments() []Payment {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Payment(nil), s.payments...)
}

// Version is that of x402 that it speaks.
func (s *Seller) Version() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.version
}

// Offer is what it asks.
func (s *Seller) Offer() map[string]any {
	s.mu.Lock()
	defer s.mu.Unlock()
	extra := map[string]any{"feePayer": publicKey(s.feePayer).String()}
	for name, value := range s.extra {
		extra[name] = value
	}
	o := map[string]any{"scheme": "exact", "asset": s.Mint.String(), "payTo": s.PayTo.String(), "maxTimeoutSeconds": 60, "extra": extra}
	if s.version == 1 {
		o["network"], o["maxAmountRequired"] = namesV1[s.Network], strconv.FormatInt(s.units, 10)
		return o
	}
	o["network"], o["amount"] = s.Network, strconv.FormatInt(s.units, 10)
	return o
}

// namesV1 are version 1's words for networks.
var namesV1 = map[string]string{
	"solana:5eykt4UsFv8P8NJdTREpY1vzqKqZKvdp": "solana", "solana:EtWTRABZaYq6iMfeYKouRu166VU2xqa1": "solana-devnet",
	"solana:4uhcVJyU9pJkvQyS88uRDiswHXSCkY3z": "solana-testnet",
}

// Require answers with a 402 of these offers.
func (s *Seller) Require(w http.ResponseWriter, reason string, offers ...map[string]any) {
	version := s.Version()
	required := map[string]any{"x402Version": version, "error": reason, "accepts": offers}
	if version == 2 {
		required["resource"] = map[string]any{"url": "https://seller.example/weather", "description": "the weather"}
		required["extensions"] = map[string]any{
			"payment-identifier": map[string]any{"info": map[string]any{"required": true}, "schema": map[string]any{}},
			"unheard-of":         map[string]any{"info": map[string]any{"echo": "<this>"}},
		}
	}
	raw, err := json.Marshal(required)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	if version == 2 {
		w.Header().Set("PAYMENT-REQUIRED", base64.StdEncoding.EncodeToString(raw))
		raw = []byte("{}")
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusPaymentRequired)
	_, _ = w.Write(raw)
}

// Paid reports whether a request carries a payment.
func Paid(r *http.Request) bool {
	return r.Header.Get("PAYMENT-SIGNATURE") != "" || r.Header.Get("X-PAYMENT") != ""
}

// ServeHTTP asks, or checks a payment, settles it and serves.
func (s *Seller) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !Paid(r) {
		s.Require(w, "Payment required", s.Offer())
		return
	}
	p, err := s.Read(r)
	if err != nil {
		s.Require(w, err.Error(), s.Offer())
		return
	}
	s.Serve(w, s.Settle(p))
}

// Serve hands the resource over, with a receipt for the transaction.
func (s *Seller) Serve(w http.ResponseWriter, transaction solana.Signature) {
	name := "PAYMENT-RESPONSE"
	if s.Version() == 1 {
		name = "X-PAYMENT-RESPONSE"
	}
	receipt := `{"success":true,"transaction":"` + transaction.String() + `","network":"` + s.Network + `"}`
	w.Header().Set(name, base64.StdEncoding.EncodeToString([]byte(receipt)))
	_, _ = io.WriteString(w, "sunny\n")
}

// Read checks a payment as a facilitator does, and keeps it.
func (s *Seller) Read(r *http.Request) (Payment, error) {
	p, err := parse(r, s.Version())
	if err != nil {
		return p, err
	}
	s.mu.Lock()
	s.payments = append(s.payments, p)
	s.mu.Unlock()
	if s.Version() == 2 && !accepts(p.Accepted, s.Offer()) {
		return p, errors.New("no matching payment requirements")
	}
	signatures, message, err := solana.ParseWire(p.Wire)
	if err != nil {
		return p, err
	}
	m, err := solana.Decode(message, s.PayTo, []solana.Mint{{Key: s.Mint, Decimals: s.Decimals}})
	if err != nil {
		return p, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	memo, wanted := s.extra["memo"].(string)
	switch {
	case m.Layout != solana.X402 || m.FeePayer != publicKey(s.feePayer):
		return p, errors.New("invalid_exact_svm_payload_fee_payer_mismatch")
	case signatures[0] != (solana.Signature{}) || !ed25519.Verify(m.Payer[:], message, signatures[1][:]):
		return p, errors.New("invalid_exact_svm_payload_signature_invalid")
	case m.Units != s.units:
		return p, errors.New("invalid_exact_svm_payload_amount_mismatch")
	case wanted && m.Memo != memo:
		return p, errors.New("invalid_exact_svm_payload_memo_mismatch")
	case !wanted && (len(m.Memo) != 32 || strings.Trim(m.Memo, "0123456789abcdef") != ""):
		return p, errors.New("the memo is not 32 hexadecimal digits")
	}
	return p, nil
}

// Settle signs as who pays the fee, and hands the transaction to the chain.
func (s *Seller) Settle(p Payment) solana.Signature {
	s.mu.Lock()
	signature := solana.Signature(ed25519.Sign(s.feePayer, p.Message))
	s.mu.Unlock()
	wire := bytes.Clone(p.Wire)
	copy(wire[1:], signature[:])
	s.Chain.Send(wire)
	return signature
}

// parse reads what a request carries.
func parse(r *http.Request, version int) (p Payment, err error) {
	name := "PAYMENT-SIGNATURE"
	if version == 1 {
		name = "X-PAYMENT"
	}
	raw, err := base64.StdEncoding.DecodeString(r.Header.Get(name))
	if err != nil {
		return p, err
	}
	if err := json.Unmarshal(raw, &p.Header); err != nil {
		return p, err
	}
	payload, _ := p.Header["payload"].(map[string]any)
	text, _ := payload["transaction"].(string)
	if p.Wire, err = base64.StdEncoding.DecodeString(text); err != nil {
		return p, err
	}
	if p.Header["x402Version"] != float64(version) {
		return p, errors.New("another version of x402")
	}
	p.Accepted, _ = p.Header["accepted"].(map[string]any)
	if _, p.Message, err = solana.ParseWire(p.Wire); err != nil {
		return p, err
	}
	p.Message = bytes.Clone(p.Message)
	return p, nil
}

// accepts reports whether what came back is what was offered.
func accepts(accepted, offered map[string]any) bool {
	raw, err := json.Marshal(offered)
	if err != nil {
		return false
	}
	var again map[string]any
	return json.Unmarshal(raw, &again) == nil && reflect.DeepEqual(accepted, again)
}
