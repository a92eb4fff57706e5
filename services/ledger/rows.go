package ledger

import (
	"math"

	"github.com/halfkey/halfkey/internal/evidence"
	"github.com/halfkey/halfkey/internal/resource"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// Rows as decisions see them. Each is a value: a decision takes a copy, changes it and puts it back.

const (
	// redemption is the account that redeemed money is paid to: the ledger's own, so it has no wallet's name.
	redemption = ""
	// installationChain is the journal of freezes that concern no single wallet.
	installationChain = ""
)

const (
	pending    = typev1.PaymentState_PAYMENT_STATE_PENDING_REVIEW
	ready      = typev1.PaymentState_PAYMENT_STATE_READY
	authorized = typev1.PaymentState_PAYMENT_STATE_AUTHORIZED
	settled    = typev1.PaymentState_PAYMENT_STATE_SETTLED
	failed     = typev1.PaymentState_PAYMENT_STATE_FAILED
	denied     = typev1.PaymentState_PAYMENT_STATE_DENIED
	expired    = typev1.PaymentState_PAYMENT_STATE_EXPIRED
	canceled   = typev1.PaymentState_PAYMENT_STATE_CANCELED
)

// wallet is what is pinned, and the guard rails in force.
type wallet struct {
	name, handle, owner  string
	groupKey             [32]byte
	registration, record *typev1.Envelope
	head                 *evidence.Head
}

// chain is the tip of a journal, and the time of its wallet.
type chain struct {
	number      int64
	hash        []byte
	clockMillis int64
	open        int64
}

// balance is one asset of one account. Available minus deficit plus held is what the ledger knows to be there: a deficit is what left
// the account on a chain past the ledger, beyond what was available.
type balance struct {
	available, held, deficit int64
}

type balanceKey struct {
	account, asset string
}

type paymentKey struct {
	wallet, id string
}

func (k paymentKey) name() string { return resource.Payment(k.wallet, k.id) }

// payment is one payment's row. Statements are not in it: they are in the journal, and the row says in which entries.
type payment struct {
	wallet, id  string
	state       typev1.PaymentState
	intent      []byte
	message     []byte // Pinned while AUTHORIZED and SETTLED.
	rail        typev1.Rail
	asset, unit string
	units       int64
	recipient   [32]byte
	payee       string // The recipient's wallet, or redemption.
	owner       string // The paying wallet's.
	payeeOwner  string // The recipient's wallet's; empty where that is the redemption account.

	deadlineMillis int64
	expiryMillis   int64 // The message's.
	quarter        int64 // The quarter hour it was counted in, while AUTHORIZED and SETTLED.

	review *typev1.Envelope // The owner's answer.
	light  typev1.Light

	judgedEntry   int64   // Holds the latest request and verdict.
	deadEntries   []int64 // Hold the statements that messages are dead.
	settledEntry  int64   // Holds the settlement, once SETTLED.
	incomingEntry int64   // The entry in the payee's journal, once SETTLED to a wallet.
	createdEntry  int64
	createdMillis int64
	updatedMillis int64
}

func (p payment) key() paymentKey { return paymentKey{p.wallet, p.id} }

func (p payment) name() string { return resource.Payment(p.wallet, p.id) }

func (p payment) ended() bool { return !p.open() }

// open payments have not ended.
func (p payment) open() bool { return p.state == pending || p.state == ready || p.state == authorized }

// onChain payments settle by a chain's proof, and not in the ledger's own book.
func (p payment) onChain() bool { return p.rail != typev1.Rail_RAIL_BOOK }

// messageKey names the pinned message of a payment on a chain.
func (p payment) messageKey() messageKey {
	return messageKey{p.wallet, evidence.MessageDigest(p.message)}
}

// counted payments stand in the windows: from AUTHORIZED on the share may be out.
func (p payment) counted() bool { return p.state == authorized || p.state == settled }

// dueMillis is when an open payment ends or changes by itself. One that is AUTHORIZED on a chain never does: only the chain's proof
// ends its hold.
func (p payment) dueMillis() int64 {
	switch {
	case p.state == authorized && p.onChain():
		return math.MaxInt64
	case p.state == authorized:
		return p.expiryMillis
	}
	return p.deadlineMillis + 1
}

// messageState is what is proven of a message on a chain.
type messageState int

const (
	messageLive messageState = iota + 1
	messageLanded
	messageFailed
	messageDead
)

// messageKey names a message that a wallet has pinned on a chain. Its bytes name no payment: its digest stands for one payment for ever.
type messageKey struct {
	wallet string
	digest evidence.Digest
}

// chainMessage is a message that was pinned on a chain, and what became of it.
type chainMessage struct {
	id      string // Its payment's.
	message []byte
	// slot and lastValidHeight are its block hash's, as it was handed out.
	slot, lastValidHeight int64
	// signature is the group key's, 64 bytes, or nil while the ledger does not know it.
	signature []byte
	// seen says that an endpoint has shown it finalised: it is never taken for dead afterwards.
	seen  bool
	state messageState
}

// paymentChange is one change of a payment's state as it stands in a journal: its wallet's or, once it has settled, its payee's.
type paymentChange struct {
	owner, wallet string
	entry         int64
	payment       paymentKey
	state         typev1.PaymentState
	judgedEntry   int64
	incoming      bool
}

// subject is what a freeze stops.
type subject struct {
	scope typev1.Scope
	name  string // Wallet, owner, or empty for the installation.
}

// freezes are a subject's, by id. The map is not changed once it is in a row.
type freezes map[string]freeze

// freeze is a freeze, its end, or both, in whichever order they arrived.
type freeze struct {
	held          bool // The freeze itself is there.
	caller        string
	createdMillis int64
	signers       [][]byte    // Who signed its end.
	revocation    *revocation // What it is besides a freeze, or nil.
}

// revocation is an owner's statement that makes a freeze one.
type revocation struct {
	content *typev1.Revocation
	digest  evidence.Digest
}

type newFreeze struct {
	subject       subject
	id, caller    string
	createdMillis int64
	revocation    *typev1.Envelope // Nil for a freeze that is none.
}

type newUnfreeze struct {
	subject  subject
	id       string
	signer   []byte
	envelope *typev1.Envelope
}

type entryKey struct {
	chain  string
	number int64
}

type lossKey struct {
	wallet string
	number int64
	hash   evidence.Digest
}

type versionKey struct {
	wallet string
	digest evidence.Digest
}

type setTimeKey struct {
	wallet, id string
}

type ownerKey struct {
	owner string
	key   [32]byte
}

// deposit and redeemed are statements that count once.
type deposit struct {
	digest        evidence.Digest
	wallet, asset string
	units         int64
}

type redeemed struct {
	digest evidence.Digest
	asset  string
	units  int64
}
