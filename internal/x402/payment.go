package x402

import (
	"encoding/json"
	"errors"
	"slices"
)

// Payment is what the client sends with the same request again: the offer that it took and what proves or makes the payment.
type Payment struct {
	// Version is that of x402, 1 or 2.
	Version int
	// Resource and Extensions are what the server sent, in version 2; the extensions with the client's answers.
	Resource, Extensions json.RawMessage
	// Accepted is the offer that was taken. In version 1 nothing of it goes back but scheme and network.
	Accepted Offer
	// Payload is the scheme's own, a JSON object of at most PayloadMax bytes: TransactionPayload, BookPayload.
	Payload json.RawMessage
}

// Paid is the payment of one of r's offers. The identifier names it to a server that asks for one, and must be the same when the
// payment is sent again.
func (r *Required) Paid(offer int, payload json.RawMessage, identifier string) (*Payment, error) {
	const part = "payment"
	switch {
	case offer < 0 || offer >= len(r.Offers) || r.Offers[offer].Problem != "":
		return nil, refuse(part, "is for an offer that cannot be paid")
	case len(payload) > PayloadMax:
		return nil, refuse(part, "has a payload that is too long")
	}
	if err := ValidIdentifier(identifier); err != nil {
		return nil, err
	}
	if err := checkJSON(part, payload); err != nil {
		return nil, err
	}
	if _, ok := asObject(payload); !ok {
		return nil, refuse(part, "has a payload that is not a JSON object")
	}
	p := &Payment{Version: r.Version, Accepted: r.Offers[offer], Payload: slices.Clone(payload)}
	if r.Version == 2 {
		p.Resource = r.Resource.encode()
		p.Extensions = answerExtensions(r.Extensions, identifier)
	}
	return p, nil
}

// Header is the header that carries the payment: PAYMENT-SIGNATURE, in version 1 X-PAYMENT.
func (p *Payment) Header() (name, value string, err error) {
	var w writer
	w.member("x402Version", integer(int64(p.Version)))
	name = HeaderPayment
	if p.Version == 1 {
		o, _ := asObject(p.Accepted.Raw)
		name = HeaderPaymentV1
		w.member("scheme", o["scheme"])
		w.member("network", o["network"])
		w.member("payload", p.Payload)
	} else {
		w.member("resource", p.Resource)
		w.member("accepted", p.Accepted.encode())
		w.member("payload", p.Payload)
		w.member("extensions", p.Extensions)
	}
	value, err = encode(name, w.object(), PaymentHeaderMax)
	return name, value, err
}

// ErrNoPayment is returned for a request that carries no payment: a seller asks for one.
var ErrNoPayment = errors.New("x402: the request has no header PAYMENT-SIGNATURE")

// ParsePayment reads the header PAYMENT-SIGNATURE, for a seller. The error is ErrNoPayment if there is none.
func ParsePayment(header map[string][]string) (*Payment, error) {
	text, err := one(header, HeaderPayment)
	switch {
	case err != nil:
		return nil, err
	case text == "":
		return nil, ErrNoPayment
	}
	raw, err := decode(HeaderPayment, text, PaymentHeaderMax)
	if err != nil {
		return nil, err
	}
	o, ok := asObject(raw)
	switch {
	case !ok:
		return nil, refuse(HeaderPayment, "is not a JSON object")
	case o.version() != 2:
		return nil, refuse(HeaderPayment, "is not of version 2")
	case !o.has("accepted"):
		return nil, refuse(HeaderPayment, "names no offer")
	}
	p := &Payment{Version: 2, Accepted: readOffer(2, o["accepted"]), Payload: o["payload"]}
	if p.Accepted.Problem != "" {
		return nil, refuse(HeaderPayment, "accepts an offer that nobody could have made: "+string(p.Accepted.Problem))
	}
	if _, ok := asObject(p.Payload); !ok || len(p.Payload) > PayloadMax {
		return nil, refuse(HeaderPayment, "has a payload that is not a JSON object of at most 24 KiB")
	}
	if o.has("resource") {
		if _, ok := asObject(o["resource"]); !ok {
			return nil, refuse(HeaderPayment, "has a resource that is not a JSON object")
		}
		p.Resource = o["resource"]
	}
	if o.has("extensions") {
		p.Extensions = o["extensions"]
		if err := checkExtensions(HeaderPayment, p.Extensions); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// Identifier is the name that the client gave its payment, empty if it gave none that is valid.
func (p *Payment) Identifier() string {
	o, _ := asObject(p.Extensions)
	info, _ := info(o)
	if s, ok := info.text("id"); ok && ValidIdentifier(s) == nil {
		return s
	}
	return ""
}
