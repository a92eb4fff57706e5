package x402

import (
	"encoding/json"
	"slices"
)

// Receipt is what the server says became of the payment: a claim, each word of it. The transaction may be invented, and a
// payment that failed by the server's word may land a minute later. What happened is what ledger and chain say.
type Receipt struct {
	// Raw is the receipt as the server wrote it.
	Raw json.RawMessage
	// Success is whether the server says that it was paid.
	Success bool
	// Transaction names the payment on its network: on Solana the fee payer's signature, which the payer cannot know otherwise.
	Transaction Untrusted
	Network     Untrusted
	Payer       Untrusted
	Amount      Untrusted
	// ErrorReason and ErrorMessage say why not.
	ErrorReason  Untrusted
	ErrorMessage Untrusted
}

// ParseReceipt reads the header PAYMENT-RESPONSE, or version 1's X-PAYMENT-RESPONSE. It is nil without an error if there is
// neither.
func ParseReceipt(header map[string][]string) (*Receipt, error) {
	part := HeaderReceipt
	text, err := one(header, HeaderReceipt)
	if err != nil {
		return nil, err
	}
	old, err := one(header, HeaderReceiptV1)
	switch {
	case err != nil:
		return nil, err
	case text != "" && old != "":
		return nil, refuse(HeaderReceipt, "is there beside X-PAYMENT-RESPONSE")
	case text == "" && old == "":
		return nil, nil
	case text == "":
		part, text = HeaderReceiptV1, old
	}
	raw, err := decode(part, text, HeaderMax)
	if err != nil {
		return nil, err
	}
	return readReceipt(part, raw)
}

func readReceipt(part string, raw json.RawMessage) (*Receipt, error) {
	o, ok := asObject(raw)
	if !ok {
		return nil, refuse(part, "is not a JSON object")
	}
	r := &Receipt{Raw: slices.Clone(raw)}
	switch string(o["success"]) {
	case "true":
		r.Success = true
	case "false":
	default:
		return nil, refuse(part, "does not say whether it was a success")
	}
	for name, to := range map[string]*Untrusted{
		"transaction": &r.Transaction, "network": &r.Network, "payer": &r.Payer, "amount": &r.Amount,
		"errorReason": &r.ErrorReason, "errorMessage": &r.ErrorMessage,
	} {
		s, ok := o.text(name)
		if !ok {
			return nil, refuse(part, "has a "+name+" that is not a text")
		}
		*to = Untrusted(s)
	}
	return r, nil
}

// Encode is the value of the header PAYMENT-RESPONSE, for a seller.
func (r *Receipt) Encode() (string, error) {
	var w writer
	success := "false"
	if r.Success {
		success = "true"
	}
	w.member("success", json.RawMessage(success))
	w.words("errorReason", string(r.ErrorReason))
	w.words("errorMessage", string(r.ErrorMessage))
	w.words("payer", string(r.Payer))
	w.member("transaction", text(string(r.Transaction)))
	w.member("network", text(string(r.Network)))
	w.words("amount", string(r.Amount))
	return encode(HeaderReceipt, w.object(), HeaderMax)
}
