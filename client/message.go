package client

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"slices"
	"time"

	"github.com/halfkey/halfkey/internal/chain/book"
	"github.com/halfkey/halfkey/internal/chain/solana"
	"github.com/halfkey/halfkey/internal/evidence"
	"github.com/halfkey/halfkey/internal/fault"
	"github.com/halfkey/halfkey/internal/resource"
	gatewayv1 "github.com/halfkey/halfkey/proto/gen/halfkey/gateway/v1"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

const (
	// messageLife is how long a book message lives: long enough for a co-signer that is slow, well inside what ledger and
	// co-signer accept.
	messageLife = 90 * time.Second
	// messageRest is how much of its life a message must have left to be sent again.
	messageRest = 20 * time.Second
	// blockHashLife is how old a block hash may be in a message that is sent again: the ledger takes none that is older than a
	// minute.
	blockHashLife = 40 * time.Second
	// otherHashEvery is how often another block hash is asked for where it has to be another, and otherHashTries how many times: the ledger
	// hands one out for 5 seconds, and may take as long to find the next.
	otherHashEvery = 500 * time.Millisecond
	otherHashTries = 20
	// memoDomain begins what the memo of a transfer is the hash of.
	memoDomain = "halfkey/memo/v1"
	// deadBlockHashDomain is what the block hash of a dry run's message is the hash of.
	deadBlockHashDomain = "halfkey: the hash of no block, for messages that can never be paid"
)

// railSolana is the rail on Solana, short.
const railSolana = typev1.Rail_RAIL_SOLANA

// chainTerms are what the message of an x402 offer on Solana has besides the intent: who pays the fee, the memo, and the digest of
// the offer, which the bytes do not hold.
type chainTerms struct {
	feePayer    solana.Key
	memo        string
	offerDigest [32]byte
}

// signedMessage is a message and the group key's verified signature over it. It is what moves the money: whoever has both can bring
// them to the chain.
type signedMessage struct {
	message   []byte
	signature solana.Signature
	// offerDigest is that of the offer which the message was made for.
	offerDigest []byte
}

// throughSeller reports whether an intent's message is brought to the chain by who sells the HTTP resource, and not by the ledger.
func throughSeller(m *typev1.Intent) bool { return m.GetRail() == railSolana && m.GetX402() != nil }

// throughSeller reports the same of a stored payment; an intent that does not decode is refused where it is used.
func (r *PaymentRecord) throughSeller() bool {
	m := new(typev1.Intent)
	return evidence.Unmarshal(r.Intent, m) == nil && throughSeller(m)
}

// newMessage encodes the bytes that get signed for an intent on the book, and that settle nothing from expiry on, by the ledger's
// time.
func newMessage(i *evidence.Installation, intent []byte, payer [32]byte, expiry time.Time) ([]byte, error) {
	m, units, err := evidence.CheckIntent(i, intent)
	if err != nil {
		return nil, err
	}
	return book.Message{
		Installation: m.GetInstallation(),
		Payment:      m.GetPayment(),
		Payer:        payer,
		Recipient:    [32]byte(m.GetRecipient()),
		Asset:        m.GetAsset(),
		Units:        units,
		IntentDigest: evidence.IntentDigest(intent),
		ExpiryMillis: expiry.UnixMilli(),
	}.Encode()
}

// newChainMessage encodes the bytes that get signed for an intent on Solana: by terms for a seller, and without any for a transfer.
func newChainMessage(i *evidence.Installation, intent []byte, payer [32]byte, terms *chainTerms, blockHash [32]byte) ([]byte, error) {
	const op = "pay"
	m, units, err := evidence.CheckIntent(i, intent)
	if err != nil {
		return nil, err
	}
	mint, err := mintOf(m.GetAsset())
	if err != nil {
		return nil, err
	}
	message := solana.Message{
		Payer: solana.Key(payer), Recipient: solana.Key(m.GetRecipient()), Mint: mint.Key, Units: units, Decimals: mint.Decimals,
		BlockHash: blockHash,
	}
	switch {
	case !throughSeller(m):
		message.Layout, message.FeePayer = solana.Transfer, message.Payer
		if message.Memo, err = freshMemo(m.GetPayment()); err != nil {
			return nil, err
		}
	case terms == nil:
		return nil, local(op, typev1.Reason_REASON_INVALID_ARGUMENT, unquoted, "field", "x402")
	default:
		message.Layout, message.FeePayer, message.Memo = solana.X402, terms.feePayer, terms.memo
	}
	return message.Encode()
}

// unquoted is why an order for an HTTP resource on Solana is not paid without its seller's terms.
const unquoted = "an HTTP resource that is sold on Solana is paid by fetching it and confirming that, for its seller says who pays the fee"

// mintOf is the token of an asset, as the codec takes it.
func mintOf(asset string) (solana.Mint, error) {
	token, known := resource.TokenOf(asset)
	if !known {
		return solana.Mint{}, local("pay", typev1.Reason_REASON_INVALID_ARGUMENT, "the asset is not a token that is paid on Solana", "field", "asset")
	}
	key, err := solana.ParseKey(token.Mint)
	return solana.Mint{Key: key, Decimals: uint8(token.Decimals)}, err
}

// decodeChain reads a message on Solana that was made for an intent.
func decodeChain(m *typev1.Intent, message []byte) (solana.Message, error) {
	mint, err := mintOf(m.GetAsset())
	if err != nil {
		return solana.Message{}, err
	}
	return solana.Decode(message, solana.Key(m.GetRecipient()), []solana.Mint{mint})
}

// addedTo is what a request adds to an intent for a message: on the book nothing. offer is the digest of the offer that it was made for.
func addedTo(intent, message, offer []byte) (*typev1.Request, error) {
	r, m := new(typev1.Request), new(typev1.Intent)
	if err := evidence.Unmarshal(intent, m); err != nil || m.GetRail() != railSolana {
		return r, err
	}
	said, err := decodeChain(m, message)
	if err != nil {
		return nil, err
	}
	r.Memo = said.Memo
	if throughSeller(m) {
		r.FeePayer, r.OfferDigest = said.FeePayer[:], offer
	}
	return r, nil
}

// freshMemo is the memo of one transfer, by which no two messages are equal. Nobody can tell from it what it was for.
func freshMemo(payment string) (string, error) {
	var random [16]byte
	if _, err := rand.Read(random[:]); err != nil {
		return "", err
	}
	h := sha256.New()
	for _, part := range [][]byte{[]byte(memoDomain), {0}, []byte(payment), {0}, random[:]} {
		h.Write(part)
	}
	return hex.EncodeToString(h.Sum(nil)[:16]), nil
}

// deadBlockHash stands in the message of a dry run. No block has it, so whoever got hold of the bytes and of both shares could not
// bring them to the chain.
func deadBlockHash() [32]byte { return sha256.Sum256([]byte(deadBlockHashDomain)) }

// blockHash asks the ledger for the hash of a recent block of an asset's chain.
func (a *Agent) blockHash(ctx context.Context, asset string) ([32]byte, error) {
	const op = "get block hash"
	token, _ := resource.TokenOf(asset)
	resp, err := invoke(ctx, a.c, rpc{op: op, method: gatewayv1.GatewayService_GetBlockHash_FullMethodName, who: a.who, about: a.wallet},
		&gatewayv1.GetBlockHashRequest{Wallet: a.wallet, Network: token.Network}, gatewayv1.GatewayServiceClient.GetBlockHash)
	if err != nil {
		return [32]byte{}, err
	}
	hash := resp.GetBlockHash()
	if len(hash) != 32 || bytes.Equal(hash, make([]byte, 32)) || resp.GetLastValidHeight() == 0 {
		return [32]byte{}, distrust(op, notMoved, "the answer is not a block hash", nil)
	}
	return [32]byte(hash), nil
}

// nextChainMessage makes a fresh message on Solana and notes in the record what is kept of it besides. After one that was pinned it
// makes at most furtherMessagesMax in the whole life of the payment: what the ledger calls dead without being so may land, and a
// ledger that was broken into gets no more out of a client than these.
func (a *Agent) nextChainMessage(ctx context.Context, r *PaymentRecord, terms *chainTerms) ([]byte, error) {
	const op = "pay"
	m, _, err := evidence.CheckIntent(a.c.Installation(), r.Intent)
	if err != nil {
		return nil, wrap(op, err, notMoved)
	}
	next := ChainRecord{}
	if r.Chain != nil {
		next = *r.Chain
	}
	if throughSeller(m) && terms == nil {
		return nil, local(op, typev1.Reason_REASON_WRONG_STATE, unquoted, "payment", r.Name)
	}
	if len(r.Pinned) > 0 {
		if next.Further >= furtherMessagesMax {
			return nil, exhausted(op)
		}
		next.Further++
	}
	message, got, err := a.unlikeBefore(ctx, r, m.GetAsset(), terms)
	if err != nil {
		return nil, wrap(op, err, notMoved)
	}
	next.HashTime = got
	var offer []byte
	if throughSeller(m) {
		offer = bytes.Clone(terms.offerDigest[:])
	}
	next.Offers = append(slices.Clone(next.Offers[max(0, len(next.Offers)-messagesMax+1):]), offer)
	r.Chain = &next
	return message, nil
}

// unlikeBefore makes a message on Solana that the payment did not have before, and says when its block hash was got. The ledger hands the
// same hash out for a while. If a seller's memo is the same for all, another payment at the same price can have had the very bytes,
// which land once: then it waits for another hash, as long as that takes by rights.
func (a *Agent) unlikeBefore(ctx context.Context, r *PaymentRecord, asset string, terms *chainTerms) (message []byte, got time.Time, err error) {
	for try := 1; ; try++ {
		got = a.c.clock()
		hash, err := a.blockHash(ctx, asset)
		if err != nil {
			return nil, got, err
		}
		message, err = newChainMessage(a.c.Installation(), r.Intent, a.groupKey, terms, hash)
		if err != nil {
			return nil, got, err
		}
		if try == otherHashTries || !slices.ContainsFunc(r.Messages, func(m []byte) bool { return bytes.Equal(m, message) }) {
			return message, got, nil
		}
		if err := pause(ctx, otherHashEvery); err != nil {
			return nil, got, err
		}
	}
}

// exhausted ends a payment on Solana whose messages are called dead one after the other.
func exhausted(op string) error {
	const why = "the ledger has called every signed message of this payment dead, and no further one is made without a person"
	// By its cause no repeat within the call is tried.
	err := wrap(op, fault.Caused(errMessages, typev1.Reason_REASON_WRONG_STATE, unknown, why), unknown)
	var e *Error
	if errors.As(err, &e) {
		e.Next = "look at the wallet's token account on the chain; if none of the messages has landed there, make a new payment under another id"
	}
	return err
}

// staleHash forgets when the block hash was got that the ledger has just refused, so that a repeat asks for another.
func (r *PaymentRecord) staleHash(refused error) {
	if r.Chain != nil && ReasonOf(refused) == typev1.Reason_REASON_MESSAGE_EXPIRED {
		r.Chain.HashTime = time.Time{}
	}
}

// usable reports whether a book message sent before can be sent again: it lives a while yet, and not too far ahead.
func usable(message []byte, now time.Time) bool {
	m, err := book.Decode(message)
	if err != nil {
		return false
	}
	left := m.Expiry().Sub(now)
	return left >= messageRest && left <= book.ExpiryMax-evidence.Tolerance
}

// usableChain reports whether the last message on Solana can be sent again: its block hash was got a moment ago by this machine's
// clock, and it says what the terms say now.
func (r *PaymentRecord) usableChain(m *typev1.Intent, terms *chainTerms, now time.Time) bool {
	if r.Chain == nil {
		return false
	}
	if age := now.Sub(r.Chain.HashTime); age < 0 || age > blockHashLife {
		return false
	}
	last := r.Messages[len(r.Messages)-1]
	message, err := decodeChain(m, last)
	switch {
	case err != nil:
		return false
	case message.Layout == solana.Transfer:
		return true
	case terms == nil:
		return false
	default:
		return message.FeePayer == terms.feePayer && message.Memo == terms.memo && bytes.Equal(r.offerDigest(last), terms.offerDigest[:])
	}
}

// offerDigest is the digest of the offer that a stored message was made for; nil if it was made for none.
func (r *PaymentRecord) offerDigest(message []byte) []byte {
	if r.Chain == nil {
		return nil
	}
	for i, m := range r.Messages {
		if i < len(r.Chain.Offers) && bytes.Equal(m, message) {
			return r.Chain.Offers[i]
		}
	}
	return nil
}
