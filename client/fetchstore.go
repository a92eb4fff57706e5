package client

import (
	"net/http"
	"time"

	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// FetchStore keeps what must survive between fetching the price of a resource and having the resource. Home is one. SaveFetch is
// durable when it returns.
type FetchStore interface {
	// LoadFetch returns a fetch's record, or an error that is fs.ErrNotExist. Any other error says that there is one, which cannot be read.
	LoadFetch(name string) (*FetchRecord, error)
	// SaveFetch puts a record whose Revision is the stored one's (0 for the first) and raises it; else ErrConflict.
	SaveFetch(r *FetchRecord) error
	// Fetches lists the names of a wallet's fetches, ascending.
	Fetches(wallet string) ([]string, error)
}

// FetchState says how far a fetch has come. It is what this home did and not what became of the money: that is the payment's
// state, and the ledger's to say.
type FetchState string

const (
	// FetchQuoted has a price. Nothing was signed, so nothing can be paid.
	FetchQuoted FetchState = "QUOTED"
	// FetchConfirmed was told to pay: there may be a payment of its id.
	FetchConfirmed FetchState = "CONFIRMED"
	// FetchSent was or may have been handed to the server, who may bring it to its chain, and the ledger has not yet proved what became
	// of it. Whatever the server answered, the money counts as spent.
	FetchSent FetchState = "SENT"
	// FetchPaid has the ledger's settlement, and not yet the resource.
	FetchPaid FetchState = "PAID"
	// FetchDelivered has handed the resource over whole. On the book it was paid before; on a chain the record's Money says what the
	// ledger has proved.
	FetchDelivered FetchState = "DELIVERED"
	// FetchEnded was not paid and never will be.
	FetchEnded FetchState = "ENDED"
	// FetchDamaged is one in a list whose record cannot be read: what became of it is not known. No record has this state.
	FetchDamaged FetchState = "DAMAGED"
)

// FetchRecord is what a client keeps of one fetch: the request, what its server asked for, and how far it has come. Header and
// Body are the user's own and may hold secrets: they are sent to the server they were given for, and shown nowhere.
type FetchRecord struct {
	// Name is the name that the fetch's payment has, or would have: `wallets/{wallet}/payments/{fetch}`. One fetch has one name,
	// so there is never more than one payment for it.
	Name string
	// Revision counts the saves.
	Revision uint64
	// Method, URL, Header and Body are the request, the same for ever; the URL in the form that is sent and digested.
	Method, URL string
	Header      http.Header
	Body        []byte
	// Reach says which addresses the request may be sent to.
	Reach Reach
	// Created is when it was fetched first, Quoted when its quote was, by this machine's clock.
	Created, Quoted time.Time
	// Required is what the server asked for, byte for byte, by Version of x402; Offer is the place of the chosen offer in it.
	Version  int
	Required []byte
	Offer    int
	// Asset, Units, PayTo and Recipient are what the offer comes to: the price and whom to pay, PayTo in the server's words and
	// Recipient as the key that these resolved to.
	Asset     string
	Units     int64
	PayTo     string
	Recipient [32]byte
	// Memo is the memo of the payment's next message on a chain where its server asks for none.
	Memo string
	// Judged is the state that the payment would have come to first when the price was fetched, by a dry run.
	Judged typev1.PaymentState
	// State is how far it has come.
	State FetchState
	// Ended says why, once ENDED.
	Ended string
	// Money is whether money moved, where State does not say it: of what was DELIVERED and paid on a chain.
	Money typev1.MoneyMoved
	// LastValidHeight and Until are until when a payment on a chain can land: by the ledger's receipt, and estimated.
	LastValidHeight uint64
	Until           time.Time
	// PaymentHeader and PaymentValue are the header that pays, once SENT or PAID: the same for every attempt, and stored before the first.
	PaymentHeader, PaymentValue string
	// Attempts counts the times that the header was, or may have been, sent.
	Attempts int
	// Delivered is when the resource had been handed over whole, by this machine's clock; zero before, and in records of before it was kept.
	Delivered time.Time
	// Answer is what the server answered to the last of them, as far as it is known.
	Answer FetchAnswer
}

// FetchAnswer is a server's answer to a paid request. Nothing in it says whether money moved: that is the ledger's to say.
type FetchAnswer struct {
	// Status is the HTTP status, or 0 if no answer came.
	Status int
	// Problem says in this program's words why the resource was not had; empty once it was.
	Problem string
	// Claim is what the server's receipt claims, escaped and shortened; empty if it sent none.
	Claim string
	// Bytes counts the resource's bytes that were handed over.
	Bytes int64
}

// Reach says which addresses besides public ones a fetch may connect to. The zero value is public addresses over HTTPS alone.
type Reach struct {
	// Loopback allows this machine itself, also over plain HTTP.
	Loopback bool
	// Private allows the networks that are not on the internet, such as 10.0.0.0/8.
	Private bool
}
