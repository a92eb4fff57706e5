package x402

import (
	"encoding/base64"
	"encoding/json"

	"github.com/halfkey/halfkey/internal/resource"
)

const (
	// IntentMax bounds the intent in a BookPayload, as bytes.
	IntentMax = 8 << 10
	// SettlementMax bounds the statement in a BookPayload, as bytes.
	SettlementMax = 4 << 10
	// TransactionMax bounds a Solana transaction on the wire.
	TransactionMax = 1232
)

// BookPayload is what pays by SchemeBook: a payment that is settled already, shown by what its ledger signed. In JSON:
//
//	{"payment":"wallets/…/payments/…","intent":"<base64>","settlement":"<base64>"}
//
// Each is checked here for its form only. The seller verifies the settlement under the installation file, and that the intent has
// the digest that the settlement names and is for this resource.
type BookPayload struct {
	// Payment is the payment's name.
	Payment string
	// Intent is the payer's intent, in its one encoding.
	Intent []byte
	// Settlement is the ledger's statement that the payment is SETTLED: an encoded DSSE envelope.
	Settlement []byte
}

// Encode is the payload as JSON.
func (p *BookPayload) Encode() (json.RawMessage, error) {
	var w writer
	w.words("payment", p.Payment)
	w.words("intent", base64.StdEncoding.EncodeToString(p.Intent))
	w.words("settlement", base64.StdEncoding.EncodeToString(p.Settlement))
	raw := w.object()
	if _, err := ParseBookPayload(raw); err != nil {
		return nil, err
	}
	return raw, nil
}

// ParseBookPayload reads a payload of SchemeBook: its three fields and no other.
func ParseBookPayload(raw json.RawMessage) (*BookPayload, error) {
	const part = "payload"
	o, err := exactly(raw, "payment", "intent", "settlement")
	if err != nil {
		return nil, err
	}
	p := &BookPayload{}
	p.Payment, _ = o.text("payment")
	if _, _, err := resource.ParsePayment(p.Payment); err != nil {
		return nil, refuse(part, "has a payment that is not wallets/{wallet}/payments/{payment}")
	}
	var ok bool
	if p.Intent, ok = o.bytes("intent", IntentMax); !ok {
		return nil, refuse(part, "has an intent that is not base64 of 1 to 8,192 bytes")
	}
	if p.Settlement, ok = o.bytes("settlement", SettlementMax); !ok {
		return nil, refuse(part, "has a settlement that is not base64 of 1 to 4,096 bytes")
	}
	return p, nil
}

// TransactionPayload is what pays by SchemeExact on Solana: {"transaction":"<base64>"}, the wire form of a transaction that lacks
// the fee payer's signature. What is in it is the chain package's to say.
type TransactionPayload struct {
	Transaction []byte
}

// Encode is the payload as JSON.
func (p *TransactionPayload) Encode() (json.RawMessage, error) {
	var w writer
	w.words("transaction", base64.StdEncoding.EncodeToString(p.Transaction))
	raw := w.object()
	if _, err := ParseTransactionPayload(raw); err != nil {
		return nil, err
	}
	return raw, nil
}

// ParseTransactionPayload reads a payload of SchemeExact on Solana: its one field and no other.
func ParseTransactionPayload(raw json.RawMessage) (*TransactionPayload, error) {
	o, err := exactly(raw, "transaction")
	if err != nil {
		return nil, err
	}
	b, ok := o.bytes("transaction", TransactionMax)
	if !ok {
		return nil, refuse("payload", "has a transaction that is not base64 of 1 to 1,232 bytes")
	}
	return &TransactionPayload{Transaction: b}, nil
}

// exactly reads an object that has these members and no other.
func exactly(raw json.RawMessage, names ...string) (object, error) {
	const part = "payload"
	if len(raw) > PayloadMax {
		return nil, refuse(part, "is too long")
	}
	if err := checkJSON(part, raw); err != nil {
		return nil, err
	}
	o, ok := asObject(raw)
	if !ok || len(o) != len(names) {
		return nil, refuse(part, "is not a JSON object of exactly the fields that its scheme has")
	}
	for _, name := range names {
		if !o.has(name) {
			return nil, refuse(part, "is not a JSON object of exactly the fields that its scheme has")
		}
	}
	return o, nil
}

// bytes is a member that is standard base64 with padding, of 1 to most bytes.
func (o object) bytes(name string, most int) ([]byte, bool) {
	s, ok := o.text(name)
	if !ok || len(s) > base64.StdEncoding.EncodedLen(most) || !only(s, lower+upper+"+/=") {
		return nil, false
	}
	b, err := base64.StdEncoding.Strict().DecodeString(s)
	return b, err == nil && len(b) > 0 && len(b) <= most
}
