package solana

import (
	"strings"
	"unicode/utf8"
)

// Layout says which of the two payments a message is.
type Layout uint8

const (
	// X402 is the payment of x402's scheme `exact`: somebody else pays the fee and signs first.
	X402 Layout = iota + 1
	// Transfer is a payment that the wallet sends by itself: it pays the fee, and for the recipient's token account where there
	// is none yet.
	Transfer
)

// String names the layout.
func (l Layout) String() string {
	switch l {
	case X402:
		return "x402"
	case Transfer:
		return "transfer"
	}
	return "unknown"
}

// MemoMax is the largest memo in bytes, which is x402's bound.
const MemoMax = 256

// Message is what a payment's message says.
type Message struct {
	// Layout says who sends it.
	Layout Layout
	// FeePayer pays the fee in SOL: under X402 not the payer, under Transfer the payer.
	FeePayer Key
	// Payer and Recipient own the token accounts that the units leave and reach. Whether payer is the wallet that is asked to
	// sign is for whoever has its record.
	Payer, Recipient Key
	// Mint is the token, of the classic Token program.
	Mint Key
	// Units is the amount in the mint's smallest unit.
	Units int64
	// Decimals is the mint's, and the chain refuses another.
	Decimals uint8
	// Memo is 1 to MemoMax bytes of UTF-8 without NUL, public for ever. It makes equal payments in one block different
	// transactions. It may hold control characters: whoever shows it escapes it.
	Memo string
	// BlockHash is a recent block's; the message lands within about 150 blocks after it, or never.
	BlockHash [32]byte
}

// Mint is a token that a reader takes payments of.
type Mint struct {
	// Key is the mint's account, owned by the classic Token program.
	Key Key
	// Decimals is how many its account says.
	Decimals uint8
}

// Error says which part was refused, and why; both are constants of this package.
type Error struct {
	// Field is a field of Message, a part of its bytes, or "message", "transaction", "address", "signature" for the whole.
	Field string
	// Why says what is wrong.
	Why string
}

// Error joins field and why.
func (e *Error) Error() string { return "solana " + e.Field + " " + e.Why }

// refuse makes an Error.
func refuse(field, why string) error { return &Error{Field: field, Why: why} }

// check is what both directions demand of a message before its accounts are derived.
func (m *Message) check() error {
	switch {
	case m.Layout != X402 && m.Layout != Transfer:
		return refuse("layout", "is neither x402 nor transfer")
	case m.Payer == Key{}:
		return refuse("payer", "is not given")
	case m.FeePayer == Key{}:
		return refuse("fee_payer", "is not given")
	case m.Layout == X402 && m.FeePayer == m.Payer:
		return refuse("fee_payer", "is the payer, who pays no fee in x402")
	case m.Layout == Transfer && m.FeePayer != m.Payer:
		return refuse("fee_payer", "is not the payer, who sends a transfer alone")
	case m.Recipient == Key{}:
		return refuse("recipient", "is not given")
	case m.Recipient == m.Payer:
		return refuse("recipient", "is the payer")
	case m.Mint == Key{}:
		return refuse("mint", "is not given")
	case m.Units <= 0:
		return refuse("units", "is not 1 to 2^63-1")
	case m.Memo == "" || len(m.Memo) > MemoMax:
		return refuse("memo", "is not 1 to 256 bytes")
	case !utf8.ValidString(m.Memo):
		return refuse("memo", "is not UTF-8")
	case strings.Contains(m.Memo, "\x00"):
		return refuse("memo", "holds a NUL, which other readers leave out")
	case m.BlockHash == [32]byte{}:
		return refuse("block_hash", "is not given")
	}
	return nil
}
