package x402

import (
	"encoding/base64"
	"strings"

	"github.com/halfkey/halfkey/internal/escape"
)

// Names of the headers. Their case does not matter.
const (
	HeaderRequired   = "PAYMENT-REQUIRED"
	HeaderPayment    = "PAYMENT-SIGNATURE"
	HeaderReceipt    = "PAYMENT-RESPONSE"
	HeaderPaymentV1  = "X-PAYMENT"
	HeaderReceiptV1  = "X-PAYMENT-RESPONSE"
	statusPayment    = 402
	statusAllowance  = 412
	statusBadGateway = 502
)

const (
	// HeaderMax bounds the base64 text of what a server sends in a header: an offer with everything that x402 knows takes 2 kB, and
	// many programs refuse more than 16 KiB of headers.
	HeaderMax = 16 << 10
	// BodyMax bounds the body of a 402 that holds an offer of version 1, where descriptions and schemas stand in each offer.
	BodyMax = 64 << 10
	// PayloadMax bounds the JSON of what proves a payment: the longest BookPayload takes three quarters of it.
	PayloadMax = 24 << 10
	// PaymentHeaderMax bounds the base64 text of a Payment. The parts that come from the server were in HeaderMax, so every payment
	// fits.
	PaymentHeaderMax = 64 << 10
	// OffersMax is how many offers one 402 may hold: each asset that a server takes on each network is one.
	OffersMax = 64
	// depthMax is how deep JSON may be nested: the schema of an extension takes most.
	depthMax = 32
	// TextMax bounds names that are compared and not shown as words: assets, addresses.
	TextMax = 258
)

// Untrusted is text that the other side wrote: it prints quoted, escaped and cut.
type Untrusted = escape.Untrusted

// Error says which part of a message was refused and why. Both are of this package's own words.
type Error struct {
	// Part names what was refused, for example "PAYMENT-REQUIRED" or "accepted".
	Part string
	// Why says what is wrong with it.
	Why string
}

// Error joins both.
func (e *Error) Error() string { return "x402: " + e.Part + " " + e.Why }

func refuse(part, why string) *Error { return &Error{Part: part, Why: why} }

// one finds the only header of a name, in whatever case. It is empty if there is none.
func one(header map[string][]string, name string) (string, error) {
	found, value := 0, ""
	for key, values := range header {
		if strings.EqualFold(key, name) {
			for _, value = range values {
				found++
			}
		}
	}
	if found > 1 {
		return "", refuse(name, "is there more than once")
	}
	return value, nil
}

// decode takes the JSON out of a header.
func decode(part, text string, most int) ([]byte, error) {
	if len(text) > most {
		return nil, refuse(part, "is too long")
	}
	// DecodeString passes over line ends.
	if strings.ContainsAny(text, "\r\n") {
		return nil, refuse(part, "is not standard base64 with padding")
	}
	b, err := base64.StdEncoding.Strict().DecodeString(text)
	if err != nil {
		return nil, refuse(part, "is not standard base64 with padding")
	}
	if err := checkJSON(part, b); err != nil {
		return nil, err
	}
	return b, nil
}

func encode(part string, b []byte, most int) (string, error) {
	text := base64.StdEncoding.EncodeToString(b)
	if len(text) > most {
		return "", refuse(part, "is too long")
	}
	return text, nil
}
