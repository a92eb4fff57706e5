package evidence

import (
	"bytes"
	"errors"
	"time"

	"github.com/halfkey/halfkey/internal/chain/book"
	"github.com/halfkey/halfkey/internal/chain/solana"
	"github.com/halfkey/halfkey/internal/guardrails"
	"github.com/halfkey/halfkey/internal/resource"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// Message is what the bytes to be signed say, read by the decoder of the intent's rail and found equal to intent and request.
type Message struct {
	// Rail is whose bytes they are.
	Rail typev1.Rail
	// Payer and Recipient are keys: the wallet's, and that of who is paid.
	Payer, Recipient [32]byte
	// Asset is a CAIP-19 id, and Units the amount in its smallest unit.
	Asset string
	Units int64
	// ExpiryMillis is the ledger's time from which a book message settles nothing. A message on Solana has none: it ends with its
	// block hash, at the height that the receipt names.
	ExpiryMillis int64
	// Layout, FeePayer, Memo and BlockHash are what a message on Solana says besides. FeePayer is the payer in a transfer.
	Layout    solana.Layout
	FeePayer  [32]byte
	Memo      string
	BlockHash [32]byte
}

// Facts is what guard rails judge. What is paid comes from the decoded bytes, for these move the money; what it is paid for stands in
// the intent alone.
func (a *Attempt) Facts(m Message) guardrails.Facts {
	return guardrails.Facts{Rail: m.Rail, Asset: m.Asset, Units: m.Units, Recipient: m.Recipient, X402: a.Intent.GetX402()}
}

// CheckMessage decodes the bytes to be signed and checks that they say what intent and request say, in every field, and that
// payer is who pays. Whether they have expired is for whoever has a trusted time.
func CheckMessage(message []byte, a *Attempt, payer [32]byte) (Message, error) {
	const piece = "message"
	if len(message) == 0 {
		return Message{}, missing(piece)
	}
	if len(message) > MessageMax {
		return Message{}, bad(piece, "", "is too large")
	}
	if MessageDigest(message) != a.MessageDigest {
		return Message{}, mismatch(piece, "", "is not the one that the request names")
	}
	var m Message
	var err error
	switch a.Intent.GetRail() {
	case typev1.Rail_RAIL_BOOK:
		m, err = bookMessage(message, a)
	case typev1.Rail_RAIL_SOLANA:
		m, err = solanaMessage(message, a)
	default:
		return Message{}, mismatch(piece, "rail", "is not the intent's")
	}
	if err != nil {
		return Message{}, err
	}
	refuse := func(field, why string) (Message, error) { return Message{}, mismatch(piece, field, why) }
	switch {
	case m.Payer != payer:
		return refuse("payer", "is not the wallet's group key")
	case !bytes.Equal(m.Recipient[:], a.Intent.GetRecipient()):
		return refuse("recipient", "is not the intent's")
	case m.Asset != a.Intent.GetAsset():
		return refuse("asset", "is not the intent's")
	case m.Units != a.Units:
		return refuse("units", "is not the intent's")
	}
	return m, nil
}

// bookMessage reads a book message and compares what only this rail has: it names installation, payment and intent.
func bookMessage(b []byte, a *Attempt) (Message, error) {
	const piece = "message"
	m, err := book.Decode(b)
	if err != nil {
		return Message{}, &Error{
			Reason: typev1.Reason_REASON_BAD_STATEMENT, Piece: piece, Why: "is not a book message in its one encoding", err: err,
		}
	}
	switch {
	case m.Installation != a.Intent.GetInstallation():
		return Message{}, mismatch(piece, "installation", "is not the intent's")
	case m.Payment != a.Intent.GetPayment():
		return Message{}, mismatch(piece, "payment", "is not the intent's")
	case Digest(m.IntentDigest) != a.IntentDigest:
		return Message{}, mismatch(piece, "intent_digest", "is another intent")
	}
	return Message{
		Rail: typev1.Rail_RAIL_BOOK, Payer: m.Payer, Recipient: m.Recipient, Asset: m.Asset, Units: m.Units, ExpiryMillis: m.ExpiryMillis,
	}, nil
}

// solanaMessage reads a message on Solana. It pays the intent's recipient in the intent's token and no other, for the bytes hold token
// accounts, which are derived from these two. It has the layout that the intent asks for, with fee payer and memo of the request.
func solanaMessage(b []byte, a *Attempt) (Message, error) {
	const piece = "message"
	token, known := resource.TokenOf(a.Intent.GetAsset())
	if !known {
		return Message{}, invalid("intent", "asset", "is not a token that is paid on Solana")
	}
	mint, err := solana.ParseKey(token.Mint)
	if err != nil {
		return Message{}, &Error{
			Reason: typev1.Reason_REASON_INTERNAL, Piece: "intent", Field: "asset", Why: "has a mint that is no address", err: err,
		}
	}
	m, err := solana.Decode(b, solana.Key(a.Intent.GetRecipient()), []solana.Mint{{Key: mint, Decimals: uint8(token.Decimals)}})
	if err != nil {
		return Message{}, refuseSolana(err)
	}
	layout, feePayer := solana.Transfer, m.Payer[:]
	if a.Intent.GetX402() != nil {
		layout, feePayer = solana.X402, a.Request.GetFeePayer()
	}
	switch {
	case m.Layout != layout:
		return Message{}, mismatch(piece, "layout", "is not x402's for an HTTP resource, or not a transfer for anything else")
	case !bytes.Equal(m.FeePayer[:], feePayer):
		return Message{}, mismatch(piece, "fee_payer", "is not the request's")
	case m.Memo != a.Request.GetMemo():
		return Message{}, mismatch(piece, "memo", "is not the request's")
	}
	return Message{
		Rail: typev1.Rail_RAIL_SOLANA, Payer: m.Payer, Recipient: m.Recipient, Asset: token.Asset(), Units: m.Units,
		Layout: m.Layout, FeePayer: m.FeePayer, Memo: m.Memo, BlockHash: m.BlockHash,
	}, nil
}

// refuseSolana says of bytes that pay somebody else, or in something else, that they do; the decoder was told whom and what to expect.
func refuseSolana(err error) error {
	const piece = "message"
	var refused *solana.Error
	if errors.As(err, &refused) {
		switch refused.Field {
		case "recipient", "destination":
			return &Error{Reason: typev1.Reason_REASON_EVIDENCE_MISMATCH, Piece: piece, Field: "recipient", Why: "is not the intent's", err: err}
		case "mint":
			return &Error{Reason: typev1.Reason_REASON_EVIDENCE_MISMATCH, Piece: piece, Field: "asset", Why: "is not the intent's", err: err}
		}
	}
	return &Error{
		Reason: typev1.Reason_REASON_BAD_STATEMENT, Piece: piece,
		Why: "is not a message on Solana of a layout that is signed, in its one encoding", err: err,
	}
}

// CheckMessageTime checks that at the ledger's time the intent's deadline has not passed and is not too far, and that a book message
// has not expired and does so soon. A message on Solana has no time: the height in the receipt ends it.
func CheckMessageTime(m Message, a *Attempt, at time.Time) error {
	expired := func(reason typev1.Reason, piece, field, why string) error {
		return &Error{Reason: reason, Piece: piece, Field: field, Why: why}
	}
	now := at.UnixMilli()
	const message, deadline = typev1.Reason_REASON_MESSAGE_EXPIRED, typev1.Reason_REASON_DEADLINE_EXPIRED
	switch {
	case now > a.Intent.GetDeadlineMillis():
		return expired(deadline, "intent", "deadline_millis", "has passed")
	case a.Intent.GetDeadlineMillis()-now > (DeadlineMax + Tolerance).Milliseconds():
		return expired(deadline, "intent", "deadline_millis", "is more than 7 days ahead")
	case m.Rail == typev1.Rail_RAIL_SOLANA:
		return nil
	case m.ExpiryMillis <= now:
		return expired(message, "message", "expiry", "has passed")
	case m.ExpiryMillis-now > book.ExpiryMax.Milliseconds():
		return expired(message, "message", "expiry", "is more than 2 minutes ahead")
	}
	return nil
}
