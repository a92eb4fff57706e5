package book

import (
	"bytes"
	"encoding/binary"
	"math"
	"time"

	"github.com/halfkey/halfkey/internal/resource"
)

const (
	// Prefix begins every book message: 0xff, then the name and version of this encoding.
	Prefix = "\xffhalfkey/book/v1"
	// ExpiryMax is how far ahead of the ledger's time a message may expire: a hold whose share never arrived ends then.
	ExpiryMax = 2 * time.Minute
	// Size is the largest encoding.
	Size = len(Prefix) + 1 + resource.InstallationMax + 1 + resource.PaymentNameMax + keySize + keySize +
		2 + resource.BookAssetMax + 8 + digestSize + 8

	// millisMax is the last millisecond of the year 9999: it keeps sums of times far from overflow.
	millisMax  = 253402300799999
	keySize    = 32
	digestSize = 32
)

// Message is what a book message says.
type Message struct {
	// Installation is the installation's id.
	Installation string
	// Payment is the payment's name, `wallets/{wallet}/payments/{payment}`.
	Payment string
	// Payer and Recipient are group keys. Whether payer is the key of the payment's wallet is for whoever has its record.
	Payer, Recipient [32]byte
	// Asset is a book asset of the installation.
	Asset string
	// Units is the amount in the asset's smallest unit.
	Units int64
	// IntentDigest names the intent that a person reviews.
	IntentDigest [32]byte
	// ExpiryMillis is the ledger's time from which the message settles nothing any more.
	ExpiryMillis int64
}

// Error says which field of a message was refused, and why; both are constants of this package.
type Error struct {
	// Field is the field, or empty where the bytes are not framed as a message.
	Field string
	// Why says what is wrong.
	Why string
}

// Error joins field and why.
func (e *Error) Error() string {
	if e.Field == "" {
		return "book message " + e.Why
	}
	return "book message: " + e.Field + " " + e.Why
}

// Expiry is the ledger's time from which the message settles nothing any more.
func (m Message) Expiry() time.Time { return time.UnixMilli(m.ExpiryMillis) }

// check is the allow-list that both directions share.
func (m Message) check() error {
	refuse := func(field, why string) error { return &Error{Field: field, Why: why} }
	if resource.ValidInstallation(m.Installation) != nil {
		return refuse("installation", "is not 1 to 32 of [a-z0-9-]")
	}
	if _, _, err := resource.ParsePayment(m.Payment); err != nil {
		return refuse("payment", "is not wallets/{wallet}/payments/{payment}")
	}
	if m.Asset != resource.BookUSD(m.Installation) {
		return refuse("asset", "is not this installation's book money")
	}
	switch {
	case m.Payer == [32]byte{}:
		return refuse("payer", "is not given")
	case m.Recipient == [32]byte{}:
		return refuse("recipient", "is not given")
	case m.Recipient == m.Payer:
		return refuse("recipient", "is the payer")
	case m.Units <= 0:
		return refuse("units", "is not 1 to 2^63-1")
	case m.IntentDigest == [32]byte{}:
		return refuse("intent_digest", "is not given")
	case m.ExpiryMillis <= 0 || m.ExpiryMillis > millisMax:
		return refuse("expiry", "is not a time between 1970 and the year 9999")
	}
	return nil
}

// Encode returns the bytes to be signed, or an Error where the message says something it may not.
func (m Message) Encode() ([]byte, error) {
	if err := m.check(); err != nil {
		return nil, err
	}
	b := make([]byte, 0, Size)
	b = append(b, Prefix...)
	// check bounds both names below 256 bytes, and the asset below 65,536.
	b = append(b, byte(len(m.Installation)))
	b = append(b, m.Installation...)
	b = append(b, byte(len(m.Payment)))
	b = append(b, m.Payment...)
	b = append(b, m.Payer[:]...)
	b = append(b, m.Recipient[:]...)
	b = binary.BigEndian.AppendUint16(b, uint16(len(m.Asset)))
	b = append(b, m.Asset...)
	b = binary.BigEndian.AppendUint64(b, uint64(m.Units))
	b = append(b, m.IntentDigest[:]...)
	return binary.BigEndian.AppendUint64(b, uint64(m.ExpiryMillis)), nil
}

// Decode reads the bytes of a message. It keeps no reference to them.
func Decode(b []byte) (Message, error) {
	if len(b) > Size {
		return Message{}, &Error{Why: "is too long"}
	}
	rest, ok := bytes.CutPrefix(b, []byte(Prefix))
	if !ok {
		return Message{}, &Error{Why: "does not begin like one"}
	}
	r := reader{rest: rest}
	m := Message{
		Installation: string(r.take(int(r.uint8()))),
		Payment:      string(r.take(int(r.uint8()))),
		Payer:        r.array(),
		Recipient:    r.array(),
		Asset:        string(r.take(int(r.uint16()))),
		Units:        r.int64(),
		IntentDigest: r.array(),
		ExpiryMillis: r.int64(),
	}
	switch {
	case r.short:
		return Message{}, &Error{Why: "ends early or holds a number too large"}
	case len(r.rest) != 0:
		return Message{}, &Error{Why: "goes on after its end"}
	}
	// Encode checks every field. The comparison holds by construction; it stands here because a second encoding of one
	// content would be a second signature for one payment.
	again, err := m.Encode()
	if err != nil {
		return Message{}, err
	}
	if !bytes.Equal(again, b) {
		return Message{}, &Error{Why: "is not in its one encoding"}
	}
	return m, nil
}

// reader takes fields from the front. After the first that does not fit it is short and yields zeros.
type reader struct {
	rest  []byte
	short bool
}

func (r *reader) take(n int) []byte {
	if r.short || n > len(r.rest) {
		r.short = true
		return nil
	}
	field := r.rest[:n]
	r.rest = r.rest[n:]
	return field
}

func (r *reader) uint8() uint8 {
	if b := r.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (r *reader) uint16() uint16 {
	if b := r.take(2); b != nil {
		return binary.BigEndian.Uint16(b)
	}
	return 0
}

// int64 takes eight bytes and refuses what int64 does not hold.
func (r *reader) int64() int64 {
	b := r.take(8)
	if b == nil {
		return 0
	}
	v := binary.BigEndian.Uint64(b)
	if v > math.MaxInt64 {
		r.short = true
		return 0
	}
	return int64(v)
}

func (r *reader) array() (a [32]byte) {
	copy(a[:], r.take(len(a)))
	return a
}
