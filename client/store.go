package client

import (
	"errors"
	"time"

	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// KeyStore keeps secrets: an agent's share and request key, an owner's keys. Home is one; a program that has a keychain or
// a secret manager brings its own. After registering, an agent only reads, so a store may refuse to write from then on.
//
// Names are 1 to 80 of [a-z0-9-].
type KeyStore interface {
	// Load returns a secret, or an error that is fs.ErrNotExist. The caller wipes what it gets.
	Load(name string) ([]byte, error)
	// Save puts a secret, replacing one of that name: afterwards it is durable whole, or the old one is. It keeps no
	// reference to secret.
	Save(name string, secret []byte) error
	// Delete removes a secret; removing none is no error.
	Delete(name string) error
	// List returns the names in ascending order.
	List() ([]string, error)
}

// ErrConflict says that a payment's record was changed since it was read, by another process on the same home.
var ErrConflict = errors.New("halfkey: the payment was changed by another process")

// ErrDamaged says that a record is there and cannot be read, so that nothing is known of what it says: neither can the payment go on
// from it, nor is it one that was never made.
var ErrDamaged = errors.New("halfkey: the record is damaged")

// PaymentStore keeps what must survive between two calls about one payment, and what was seen and may not be unseen. Home
// is one. Every method that writes is durable when it returns.
type PaymentStore interface {
	// LoadPayment returns a payment's record, or an error that is fs.ErrNotExist. Any other error says that there is one, which cannot be
	// read.
	LoadPayment(name string) (*PaymentRecord, error)
	// SavePayment puts a record whose Revision is the stored one's (0 for the first) and raises it; else ErrConflict.
	SavePayment(r *PaymentRecord) error
	// Unfinished lists the names of a wallet's payments that have not ended, those whose record cannot be read among them, ascending.
	Unfinished(wallet string) ([]string, error)
	// Seen returns number and hash of the newest journal entry of a wallet that this store has seen; 0 if none.
	Seen(wallet string) (entry uint64, hash []byte, err error)
	// SetSeen moves it forward; a lower entry, or the same one, changes nothing.
	SetSeen(wallet string, entry uint64, hash []byte) error
	// AcceptLoss moves it back to entry, if what was seen is exactly lost: the operator has signed that the ledger lost it.
	AcceptLoss(wallet string, lost uint64, lostHash []byte, entry uint64, hash []byte) error
	// Pinned returns what was pinned under a name, or an error that is fs.ErrNotExist: the content of a recipient's wallet
	// record, the newest guard rails of an own wallet.
	Pinned(name string) ([]byte, error)
	// Pin puts it.
	Pin(name string, content []byte) error
}

// PaymentRecord is what a client keeps of one payment. It holds no secret: a signature here moves the money that it was
// made to move, to the recipient it names, once.
type PaymentRecord struct {
	// Name is `wallets/{wallet}/payments/{payment}`.
	Name string
	// Revision counts the saves.
	Revision uint64
	// Intent is the intent's encoded bytes: the same for ever.
	Intent []byte
	// RecipientName is the recipient as the order named it.
	RecipientName string
	// Messages are the messages that were or may have been sent, oldest first, at most messagesMax.
	Messages [][]byte
	// Pinned is the digest of the message that a verified receipt named last; empty before.
	Pinned []byte
	// Signature is the group key's signature over that message, once it was made.
	Signature []byte
	// State is the state seen last.
	State typev1.PaymentState
	// Settlement is the ledger's verified settlement, an encoded Envelope, once SETTLED.
	Settlement []byte
	// Chain is what is kept besides of a payment on Solana; nil on the book, and before the first message.
	Chain *ChainRecord
}

// ChainRecord is what a client keeps of a payment on Solana besides.
type ChainRecord struct {
	// Offers are the digests of the x402 offers that Messages were made for, one for each of them, an empty one for a transfer.
	Offers [][]byte
	// HashTime is when the last message's block hash was got, by this machine's clock.
	HashTime time.Time
	// Further counts the messages that were made after one that had been pinned and was called dead.
	Further int
}

// messagesMax bounds the messages that a record keeps. Each one before the last had expired when the next was made, so that
// the ones dropped are dead beyond any clock's error.
const messagesMax = 64

// Ended reports whether the payment was last seen in a state that it does not leave.
func (r *PaymentRecord) Ended() bool { return ended(r.State) }

func ended(s typev1.PaymentState) bool {
	switch s {
	case typev1.PaymentState_PAYMENT_STATE_SETTLED, typev1.PaymentState_PAYMENT_STATE_DENIED,
		typev1.PaymentState_PAYMENT_STATE_EXPIRED, typev1.PaymentState_PAYMENT_STATE_CANCELED,
		typev1.PaymentState_PAYMENT_STATE_FAILED:
		return true
	default:
		return false
	}
}
