package client

import (
	"bytes"
	"crypto/sha256"
	"strings"
	"testing"
	"time"

	"github.com/halfkey/halfkey/internal/chain/solana"
	"github.com/halfkey/halfkey/internal/evidence"
	"github.com/halfkey/halfkey/internal/evidence/evidencetest"
	"github.com/halfkey/halfkey/internal/resource"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// messages is a wallet whose messages are made.
type messages struct {
	world *evidencetest.World
	payer [32]byte
	terms chainTerms
}

func newMessages(t *testing.T) *messages {
	t.Helper()
	w := evidencetest.New(t)
	return &messages{
		world: w, payer: evidencetest.Key32(w.Key("payer")),
		terms: chainTerms{feePayer: solana.Key(w.FeePayer()), memo: "what the seller said", offerDigest: sha256.Sum256([]byte("an offer"))},
	}
}

// intent encodes what an order wants.
func (m *messages) intent(t *testing.T, asset string, x402 *typev1.X402Context) []byte {
	t.Helper()
	b, err := newIntent(m.world.Installation, "wallets/w", Order{ID: "p", Asset: asset, Units: 7, X402: x402},
		evidencetest.Key32(m.world.Key("recipient")), time.UnixMilli(1_800_000_000_000))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// checked demands that services take a message for its intent, with what the request adds, and returns what it says.
func (m *messages) checked(t *testing.T, intent, message, offer []byte) evidence.Message {
	t.Helper()
	added, err := addedTo(intent, message, offer)
	if err != nil {
		t.Fatal(err)
	}
	said := new(typev1.Intent)
	if err := evidence.Unmarshal(intent, said); err != nil {
		t.Fatal(err)
	}
	added.Installation, added.Wallet, added.Payment, added.Intent = m.world.Installation.ID(), said.GetWallet(), said.GetPayment(), intent
	added.MessageDigest, added.Commitment, added.TimeMillis = evidence.MessageDigest(message).Bytes(), make([]byte, 64), 1_800_000_000_000
	key := m.world.Key("request")
	att, err := evidence.CheckRequest(m.world.Installation, m.world.Sign(key, added), evidencetest.Public(key))
	if err != nil {
		t.Fatal(err)
	}
	out, err := evidence.CheckMessage(message, att, m.payer)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

const devnetUSDC = resource.SolanaDevnet + "/token:4zMMC9srt5Ri5X14GAgXhaHii3GnPAEERYPJgZJDncDU"

// bought is the request that a payment buys the answer to.
func bought() *typev1.X402Context {
	url, body := sha256.Sum256([]byte("https://api.example.com/v1")), sha256.Sum256(nil)
	return &typev1.X402Context{Method: "GET", Scheme: "https", Host: "api.example.com", Path: "/v1", UrlDigest: url[:], BodyDigest: body[:]}
}

// TestMessagesOfBothRails: the rail follows the asset, the layout what is paid for, and services read what was meant.
func TestMessagesOfBothRails(t *testing.T) {
	m := newMessages(t)
	i := m.world.Installation
	hash := [32]byte{9}

	book := m.intent(t, i.BookUSD(), nil)
	b, err := newMessage(i, book, m.payer, time.UnixMilli(1_800_000_090_000))
	if err != nil {
		t.Fatal(err)
	}
	if got := m.checked(t, book, b, nil); got.Rail != typev1.Rail_RAIL_BOOK || got.Units != 7 {
		t.Errorf("on the book: got %+v", got)
	}

	transfer := m.intent(t, devnetUSDC, nil)
	b, err = newChainMessage(i, transfer, m.payer, nil, hash)
	if err != nil {
		t.Fatal(err)
	}
	if got := m.checked(t, transfer, b, nil); got.Layout != solana.Transfer || got.FeePayer != m.payer || got.BlockHash != hash || got.Units != 7 {
		t.Errorf("a transfer: got %+v", got)
	}
	if again, err := newChainMessage(i, transfer, m.payer, nil, hash); err != nil || bytes.Equal(again, b) {
		t.Errorf("two messages of one payment with one block hash are equal: %v", err)
	}

	purchase := m.intent(t, devnetUSDC, bought())
	b, err = newChainMessage(i, purchase, m.payer, &m.terms, hash)
	if err != nil {
		t.Fatal(err)
	}
	if got := m.checked(t, purchase, b, m.terms.offerDigest[:]); got.Layout != solana.X402 || got.FeePayer != m.terms.feePayer || got.Memo != m.terms.memo {
		t.Errorf("a purchase: got %+v", got)
	}
	if _, err := newChainMessage(i, purchase, m.payer, nil, hash); ReasonOf(err) != typev1.Reason_REASON_INVALID_ARGUMENT {
		t.Errorf("a purchase without its seller's terms: got %v", err)
	}
	own := m.terms
	own.feePayer = solana.Key(m.payer)
	if _, err := newChainMessage(i, purchase, m.payer, &own, hash); err == nil {
		t.Error("the wallet pays the fee of a purchase")
	}
}

// TestDryRunMessageIsDead: no block has its hash, and it is the same for every dry run, so that whoever sees one knows it.
func TestDryRunMessageIsDead(t *testing.T) {
	m := newMessages(t)
	a := &Agent{c: &Client{installation: m.world.Installation}, groupKey: m.payer}
	for _, row := range []struct {
		x402  *typev1.X402Context
		terms *chainTerms
	}{{nil, nil}, {bought(), &m.terms}} {
		intent := m.intent(t, devnetUSDC, row.x402)
		message, offer, err := a.dryRunMessage(intent, row.terms)
		if err != nil {
			t.Fatal(err)
		}
		got := m.checked(t, intent, message, offer)
		if got.BlockHash != sha256.Sum256([]byte("halfkey: the hash of no block, for messages that can never be paid")) {
			t.Errorf("got block hash %x", got.BlockHash)
		}
	}
}

// TestUsableChain: a message on Solana is sent again only while its hash is young by this machine's clock, and only for the same offer.
func TestUsableChain(t *testing.T) {
	m := newMessages(t)
	now := time.Now()
	purchase := new(typev1.Intent)
	b := m.intent(t, devnetUSDC, bought())
	if err := evidence.Unmarshal(b, purchase); err != nil {
		t.Fatal(err)
	}
	message, err := newChainMessage(m.world.Installation, b, m.payer, &m.terms, [32]byte{1})
	if err != nil {
		t.Fatal(err)
	}
	changed := func(f func(*chainTerms)) *chainTerms {
		terms := m.terms
		f(&terms)
		return &terms
	}
	for _, row := range []struct {
		name  string
		age   time.Duration
		terms *chainTerms
		want  bool
	}{
		{"fresh", 0, &m.terms, true},
		{"at the end of its life", 40 * time.Second, &m.terms, true},
		{"older", 40*time.Second + 1, &m.terms, false},
		{"of the future", -1, &m.terms, false},
		{"without terms", 0, nil, false},
		{"of another fee payer", 0, changed(func(c *chainTerms) { c.feePayer[0] ^= 1 }), false},
		{"of another memo", 0, changed(func(c *chainTerms) { c.memo += "x" }), false},
		{"of another offer", 0, changed(func(c *chainTerms) { c.offerDigest[0] ^= 1 }), false},
	} {
		r := &PaymentRecord{
			Messages: [][]byte{{1}, message}, Chain: &ChainRecord{Offers: [][]byte{{1}, m.terms.offerDigest[:]}, HashTime: now.Add(-row.age)},
		}
		if got := r.usableChain(purchase, row.terms, now); got != row.want {
			t.Errorf("%s: got %v, want %v", row.name, got, row.want)
		}
		r.staleHash(local("test", typev1.Reason_REASON_MESSAGE_EXPIRED, "refused"))
		if r.usableChain(purchase, row.terms, now) {
			t.Errorf("%s: it is used again after its hash was refused", row.name)
		}
		r.Chain = nil
		if r.usableChain(purchase, row.terms, now) {
			t.Errorf("%s: it is used again though nobody knows how old its hash is", row.name)
		}
	}
}

// TestFreshMemo: what the chain shows of a transfer for ever says nothing of it, and never twice the same.
func TestFreshMemo(t *testing.T) {
	seen := make(map[string]bool)
	for range 100 {
		memo, err := freshMemo("wallets/w/payments/invoice-17")
		if err != nil || len(memo) != 32 || strings.Trim(memo, "0123456789abcdef") != "" || seen[memo] {
			t.Fatalf("got %q, %v", memo, err)
		}
		seen[memo] = true
	}
}
