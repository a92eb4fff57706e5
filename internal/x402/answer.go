package x402

// Answer is a server's answer to a paid request, put in words: what the server says happened. It explains and never decides. A
// server may answer anything for any reason, and while a payment can still land, none of these means that it was not paid.
type Answer struct {
	// Kind is the row of the table that fits.
	Kind Kind
	// Receipt is the server's, nil if it sent none that can be read.
	Receipt *Receipt
	// BadReceipt says what is wrong with a receipt that cannot be read.
	BadReceipt error
	// Error is the server's own word for what went wrong, empty if it has none.
	Error Untrusted
}

// Kind is what a server's answer to a paid request amounts to.
type Kind string

// The kinds of answers.
const (
	Settled            Kind = "SETTLED"
	ServedNoReceipt    Kind = "SERVED_NO_RECEIPT"
	ServedUnsettled    Kind = "SERVED_UNSETTLED"
	NotAccepted        Kind = "NOT_ACCEPTED"
	SettlementUnknown  Kind = "SETTLEMENT_UNKNOWN"
	PaidNotServed      Kind = "PAID_NOT_SERVED"
	SettlerUnreachable Kind = "SETTLER_UNREACHABLE"
	AllowanceWanted    Kind = "ALLOWANCE_WANTED"
	NotServed          Kind = "NOT_SERVED"
	SentElsewhere      Kind = "SENT_ELSEWHERE"
	NoAnswer           Kind = "NO_ANSWER"
)

var kinds = map[Kind]string{
	Settled:            "the server served the resource and says that it was paid",
	ServedNoReceipt:    "the server served something and says nothing about the payment",
	ServedUnsettled:    "the server served something and says that it was not paid",
	NotAccepted:        "the server asks for payment again: it did not take this one, or says so",
	SettlementUnknown:  "the server says that it could not settle the payment; it may have, or may yet",
	PaidNotServed:      "the server says that it was paid, and did not serve",
	SettlerUnreachable: "the server could not reach whoever settles for it; it may have been paid, or may yet be",
	AllowanceWanted:    "the server asks for an allowance, which no payment of this kind has",
	NotServed:          "the server did not serve and says nothing about the payment; it holds it, and may settle it yet",
	SentElsewhere:      "the server sends to another address, where a payment is not taken",
	NoAnswer:           "the server did not answer the request",
}

// Words says what the kind means, in words of this package.
func (k Kind) Words() string { return kinds[k] }

// Classify puts a server's answer to a paid request in words. At most BodyMax bytes of the body are looked at, and only where it
// is JSON with a text `error`.
func Classify(status int, header map[string][]string, body []byte) Answer {
	var a Answer
	a.Receipt, a.BadReceipt = ParseReceipt(header)
	a.Kind = kind(status, a.Receipt)
	switch {
	case a.Receipt != nil:
		a.Error = a.Receipt.ErrorReason
	case a.Kind == NotAccepted:
		if r, err := ParseRequired(status, header, body); err == nil {
			a.Error = r.Error
		}
	case status >= 400 && len(body) <= BodyMax && checkJSON("body", body) == nil:
		o, _ := asObject(body)
		a.Error = o.words("error")
	}
	return a
}

func kind(status int, receipt *Receipt) Kind {
	served := status >= 200 && status < 300
	switch {
	case status >= 300 && status < 400:
		return SentElsewhere
	case !served && (status < 400 || status > 599):
		return NoAnswer
	case receipt != nil && receipt.Success && served:
		return Settled
	case receipt != nil && receipt.Success:
		return PaidNotServed
	case receipt != nil && served:
		return ServedUnsettled
	case receipt != nil:
		return SettlementUnknown
	case served:
		return ServedNoReceipt
	case status == statusPayment:
		return NotAccepted
	case status == statusAllowance:
		return AllowanceWanted
	case status == statusBadGateway:
		return SettlerUnreachable
	}
	return NotServed
}
