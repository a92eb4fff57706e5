package evidence_test

import (
	"bytes"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/halfkey/halfkey/internal/chain/solana"
	"github.com/halfkey/halfkey/internal/evidence"
	"github.com/halfkey/halfkey/internal/evidence/evidencetest"
	"github.com/halfkey/halfkey/internal/resource"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

const (
	usdt       = resource.SolanaMainnet + "/token:Es9vMFrzaCERmJfrF4H2FYD4KCoNkY11McCe8BenwNYB"
	devnetUSDC = resource.SolanaDevnet + "/token:4zMMC9srt5Ri5X14GAgXhaHii3GnPAEERYPJgZJDncDU"
)

// buys makes the payment one for an HTTP resource, changed by edits of its message.
func (s *scene) buys(edits ...func(*solana.Message)) {
	s.pay.EditIntent = asksFor("api.example")
	s.says(edits...)
}

// says changes what the bytes say; the request names the changed bytes.
func (s *scene) says(edits ...func(*solana.Message)) {
	s.pay.EditSolana = func(m *solana.Message) {
		for _, edit := range edits {
			edit(m)
		}
	}
	s.again(s.Wallet)
}

// asks changes the request, last of all.
func (s *scene) asks(edit func(*typev1.Request)) {
	s.pay.EditRequest = edit
	s.again(s.Wallet)
}

// mintOf is the mint of a known token.
func mintOf(asset string) solana.Key {
	token, _ := resource.TokenOf(asset)
	key, err := solana.ParseKey(token.Mint)
	if err != nil {
		panic(err)
	}
	return key
}

func otherPayer(m *solana.Message) {
	m.Payer[0] ^= 1
	if m.Layout == solana.Transfer {
		m.FeePayer = m.Payer
	}
}

func otherRecipient(m *solana.Message) { m.Recipient[0] ^= 1 }

func otherMint(m *solana.Message) { m.Mint = mintOf(usdt) }

func otherNetwork(m *solana.Message) { m.Mint = mintOf(devnetUSDC) }

func otherDecimals(m *solana.Message) { m.Decimals = 9 }

func otherUnits(m *solana.Message) { m.Units++ }

func otherMemo(m *solana.Message) { m.Memo += "x" }

// solanaRefusals are the ways that one rail has and the other has not, beside the table that runs on both.
var solanaRefusals = []struct {
	rail typev1.Rail
	refusal
}{
	// 1: the bytes.
	{onSolana, refusal{
		"bytes", "another payment's, requested", func(s *scene) { s.bytes(s.other().MessageBytes) },
		isMismatch, "message", "memo",
	}},
	{onSolana, refusal{"bytes", "a book message's, requested", func(s *scene) {
		c := s.pay
		c.Rail = onBook
		s.bytes(s.Wallet.Payment(c).MessageBytes)
	}, badStatement, "message", ""}},
	{onBook, refusal{"bytes", "a message on Solana, requested", func(s *scene) {
		c := s.pay
		c.Rail = onSolana
		s.bytes(s.Wallet.Payment(c).MessageBytes)
	}, badStatement, "message", ""}},
	{onSolana, refusal{
		"bytes", "of version 1, requested", func(s *scene) { s.bytes(firstByte(s.MessageBytes, 0x81)) },
		badStatement, "message", "",
	}},
	{onSolana, refusal{"bytes", "of no version, requested", func(s *scene) { s.bytes(s.MessageBytes[1:]) }, badStatement, "message", ""}},
	{onSolana, refusal{
		"bytes", "that begin like ours, requested", func(s *scene) { s.bytes(firstByte(s.MessageBytes, 0xff)) },
		badStatement, "message", "",
	}},
	{onSolana, refusal{"bytes", "transfer by another payer", func(s *scene) { s.says(otherPayer) }, isMismatch, "message", "payer"}},
	{onSolana, refusal{"bytes", "x402 by another payer", func(s *scene) { s.buys(otherPayer) }, isMismatch, "message", "payer"}},
	{onSolana, refusal{
		"bytes", "transfer to another recipient", func(s *scene) { s.says(otherRecipient) },
		isMismatch, "message", "recipient",
	}},
	{onSolana, refusal{"bytes", "x402 to another recipient", func(s *scene) { s.buys(otherRecipient) }, isMismatch, "message", "recipient"}},
	{onSolana, refusal{"bytes", "transfer of another token", func(s *scene) { s.says(otherMint) }, isMismatch, "message", "asset"}},
	{onSolana, refusal{"bytes", "x402 in another token", func(s *scene) { s.buys(otherMint) }, isMismatch, "message", "asset"}},
	{onSolana, refusal{"bytes", "another network's token", func(s *scene) { s.says(otherNetwork) }, isMismatch, "message", "asset"}},
	{onSolana, refusal{"bytes", "other decimals", func(s *scene) { s.says(otherDecimals) }, badStatement, "message", ""}},
	{onSolana, refusal{"bytes", "transfer of other units", func(s *scene) { s.says(otherUnits) }, isMismatch, "message", "units"}},
	{onSolana, refusal{"bytes", "x402 of other units", func(s *scene) { s.buys(otherUnits) }, isMismatch, "message", "units"}},
	{onSolana, refusal{"bytes", "transfer with another memo", func(s *scene) {
		s.pay.EditRequest = func(r *typev1.Request) { r.Memo = "as the agent asked" }
		s.says(otherMemo)
	}, isMismatch, "message", "memo"}},
	{onSolana, refusal{"bytes", "x402 with another memo", func(s *scene) {
		s.pay.EditRequest = func(r *typev1.Request) { r.Memo = "as the seller offered" }
		s.buys(otherMemo)
	}, isMismatch, "message", "memo"}},
	{onSolana, refusal{"bytes", "another fee payer", func(s *scene) {
		s.pay.EditRequest = func(r *typev1.Request) { r.FeePayer = digestOf(9) }
		s.buys()
	}, isMismatch, "message", "fee_payer"}},
	{onSolana, refusal{"bytes", "the wallet pays x402's fee, requested", func(s *scene) {
		s.buys()
		b := bytes.Replace(s.MessageBytes, s.Solana.FeePayer[:], s.GroupKey[:], 1)
		s.asks(func(r *typev1.Request) {
			r.MessageDigest, r.FeePayer = evidence.MessageDigest(b).Bytes(), s.GroupKey[:]
		})
		s.bundleNow().Message = b
	}, badStatement, "message", ""}},
	{onSolana, refusal{"bytes", "x402's layout for no HTTP resource", func(s *scene) {
		s.pay.EditRequest = func(r *typev1.Request) { r.FeePayer, r.OfferDigest = nil, nil }
		s.says(func(m *solana.Message) { m.Layout, m.FeePayer = solana.X402, s.FeePayer() })
	}, isMismatch, "message", "layout"}},
	{onSolana, refusal{"bytes", "a transfer for an HTTP resource", func(s *scene) {
		s.pay.EditRequest = func(r *typev1.Request) { r.FeePayer, r.OfferDigest = s.GroupKey[:], digestOf(1) }
		s.buys(func(m *solana.Message) { m.Layout, m.FeePayer = solana.Transfer, m.Payer })
	}, isMismatch, "message", "layout"}},

	// 2: the request.
	{onSolana, refusal{"request", "without a memo", func(s *scene) {
		s.asks(func(r *typev1.Request) { r.Memo = "" })
	}, isMismatch, "request", "memo"}},
	{onSolana, refusal{"request", "fee payer for no HTTP resource", func(s *scene) {
		s.asks(func(r *typev1.Request) { r.FeePayer = s.GroupKey[:] })
	}, isMismatch, "request", "fee_payer"}},
	{onSolana, refusal{"request", "offer for no HTTP resource", func(s *scene) {
		s.asks(func(r *typev1.Request) { r.OfferDigest = digestOf(1) })
	}, isMismatch, "request", "offer_digest"}},
	{onSolana, refusal{"request", "for an HTTP resource without a fee payer", func(s *scene) {
		s.pay.EditRequest = func(r *typev1.Request) { r.FeePayer = nil }
		s.buys()
	}, isMismatch, "request", "fee_payer"}},
	{onSolana, refusal{"request", "for an HTTP resource without an offer", func(s *scene) {
		s.pay.EditRequest = func(r *typev1.Request) { r.OfferDigest = nil }
		s.buys()
	}, isMismatch, "request", "offer_digest"}},
	{onBook, refusal{"request", "memo on the book", func(s *scene) {
		s.asks(func(r *typev1.Request) { r.Memo = "m" })
	}, isMismatch, "request", "memo"}},
	{onBook, refusal{"request", "fee payer on the book", func(s *scene) {
		s.pay.EditIntent = asksFor("api.example")
		s.asks(func(r *typev1.Request) { r.FeePayer = digestOf(1) })
	}, isMismatch, "request", "fee_payer"}},
	{onBook, refusal{"request", "offer on the book", func(s *scene) {
		s.pay.EditIntent = asksFor("api.example")
		s.asks(func(r *typev1.Request) { r.OfferDigest = digestOf(1) })
	}, isMismatch, "request", "offer_digest"}},
	{onSolana, refusal{"request", "intent with a token that nobody knows", func(s *scene) {
		s.pay.EditIntent = func(i *typev1.Intent) {
			i.Asset = resource.SolanaMainnet + "/token:4zMMC9srt5Ri5X14GAgXhaHii3GnPAEERYPJgZJDncDU"
		}
		s.again(s.Wallet)
	}, invalidArg, "intent", "asset"}},
	{onSolana, refusal{"request", "intent with another known token", func(s *scene) {
		s.pay.EditIntent = func(i *typev1.Intent) { i.Asset = usdt }
		s.again(s.Wallet)
	}, isMismatch, "message", "asset"}},
	{onSolana, refusal{"request", "intent with book money", func(s *scene) {
		s.pay.EditIntent = func(i *typev1.Intent) { i.Asset = s.Installation.BookUSD() }
		s.again(s.Wallet)
	}, invalidArg, "intent", "asset"}},
	{onBook, refusal{"request", "intent with a token", func(s *scene) {
		s.pay.EditIntent = func(i *typev1.Intent) { i.Asset = evidencetest.USDC }
		s.again(s.Wallet)
	}, invalidArg, "intent", "asset"}},

	// 3: the guard rails.
	{onSolana, refusal{"guard rails", "without the rail, policy and ledger say green", func(s *scene) {
		s.rules(func(doc *typev1.GuardRails) { doc.Rails = []typev1.Rail{onBook} })
	}, rulesChanged, "guard-rails", ""}},
	{onSolana, refusal{"guard rails", "without the token, policy and ledger say green", func(s *scene) {
		s.rules(func(doc *typev1.GuardRails) { doc.Assets = []string{s.Installation.BookUSD(), usdt} })
	}, rulesChanged, "guard-rails", ""}},
	{onBook, refusal{"guard rails", "with Solana alone, policy and ledger say green", func(s *scene) {
		s.rules(func(doc *typev1.GuardRails) { doc.Rails = []typev1.Rail{onSolana} })
	}, rulesChanged, "guard-rails", ""}},

	// 5: the ledger's receipt.
	{onSolana, refusal{"receipt", "without a last valid height", func(s *scene) {
		s.Record(start, func(r *typev1.Receipt) { r.LastValidHeight = 0 })
	}, isMismatch, "receipt", "last_valid_height"}},
	{onSolana, refusal{"receipt", "with a height that no chain reaches", func(s *scene) {
		s.Record(start, func(r *typev1.Receipt) { r.LastValidHeight = 1 << 63 })
	}, badStatement, "receipt", "last_valid_height"}},
	{onBook, refusal{"receipt", "with a last valid height on the book", func(s *scene) {
		s.Record(start, func(r *typev1.Receipt) { r.LastValidHeight = 1 })
	}, isMismatch, "receipt", "last_valid_height"}},
}

func firstByte(b []byte, first byte) []byte {
	b = bytes.Clone(b)
	b[0] = first
	return b
}

// rules puts guard rails in force that policy and ledger take no notice of.
func (s *scene) rules(edit func(*typev1.GuardRails)) {
	s.SetGuardRails(edit)
	s.again(s.Wallet)
	s.Judge(start, func(v *typev1.Verdict) { v.Light, v.Results = typev1.Light_LIGHT_GREEN, nil })
	s.Record(start, nil)
}

func TestVerifyRefusesOnSolana(t *testing.T) {
	for _, row := range solanaRefusals {
		t.Run(row.piece+"/"+row.way, func(t *testing.T) { refuses(t, row.rail, row.refusal) })
	}
}

// TestVerifyOpensOnSolana: what a wallet signs there, edges included.
func TestVerifyOpensOnSolana(t *testing.T) {
	for _, row := range []opening{
		{"transfer", func(s *scene) { s.says() }},
		{"x402", func(s *scene) { s.buys() }},
		{"x402 whose seller pays the fee", func(s *scene) {
			s.buys(func(m *solana.Message) { m.FeePayer = m.Recipient })
		}},
		{"memo as a seller offered it", func(s *scene) {
			s.buys(func(m *solana.Message) { m.Memo = "order 7 \u2014 f\u00fcr Zo\u00eb\n" })
		}},
		{"another block hash", func(s *scene) { s.says(func(m *solana.Message) { m.BlockHash[0] ^= 1 }) }},
		{"last moment of the intent, which has no other", func(s *scene) {
			s.pay.Deadline = start
			s.says()
		}},
		{"the lowest height", func(s *scene) { s.Record(start, func(r *typev1.Receipt) { r.LastValidHeight = 1 }) }},
		{"the highest height", func(s *scene) { s.Record(start, func(r *typev1.Receipt) { r.LastValidHeight = 1<<63 - 1 }) }},
	} {
		t.Run(row.name, func(t *testing.T) {
			s := newSceneOn(t, onSolana)
			row.set(s)
			if _, err := s.verify(); err != nil {
				t.Errorf("Verify: %v", err)
			}
		})
	}
}

// TestCheckMessageReads: what everybody who judges the bytes is told that they say.
func TestCheckMessageReads(t *testing.T) {
	for _, rail := range rails {
		s := newSceneOn(t, rail)
		if rail == onSolana {
			s.buys()
		}
		a := attemptOf(t, s)
		m, err := evidence.CheckMessage(s.MessageBytes, a, s.GroupKey)
		if err != nil {
			t.Fatalf("CheckMessage: %v", err)
		}
		want := evidence.Message{
			Rail: rail, Payer: s.GroupKey, Recipient: s.payee.GroupKey, Asset: s.Intent.GetAsset(), Units: usd, ExpiryMillis: s.Message.ExpiryMillis,
			Layout: s.Solana.Layout, FeePayer: s.Solana.FeePayer, Memo: s.Solana.Memo, BlockHash: s.Solana.BlockHash,
		}
		if m != want {
			t.Errorf("%v: read %+v, want %+v", rail, m, want)
		}
		f := a.Facts(m)
		if f.Rail != rail || f.Asset != want.Asset || f.Units != usd || f.Recipient != want.Recipient ||
			!proto.Equal(f.X402, s.Intent.GetX402()) {
			t.Errorf("%v: facts %+v", rail, f)
		}
	}
}

// TestCheckIntentOnSolana: an intent is of a token that is known, before anybody has seen a message.
func TestCheckIntentOnSolana(t *testing.T) {
	s := newSceneOn(t, onSolana)
	for asset, ok := range map[string]bool{
		evidencetest.USDC: true, usdt: true,
		devnetUSDC: true, resource.SolanaMainnet + "/token:4zMMC9srt5Ri5X14GAgXhaHii3GnPAEERYPJgZJDncDU": false,
		resource.SolanaMainnet + "/slip44:501": false, s.Installation.BookUSD(): false,
	} {
		intent := proto.CloneOf(s.Intent)
		intent.Asset = asset
		b, err := evidence.Marshal(intent)
		if err != nil {
			t.Fatalf("Marshal: %v", err)
		}
		_, units, err := evidence.CheckIntent(s.Installation, b)
		switch {
		case ok && (err != nil || units != usd):
			t.Errorf("%s: %d, %v", asset, units, err)
		case !ok:
			wantRefusal(t, err, invalidArg, "intent", "asset")
		}
	}
}

func attemptOf(t *testing.T, s *scene) *evidence.Attempt {
	t.Helper()
	a, err := evidence.CheckRequest(s.Installation, s.Request, evidencetest.Public(s.RequestKey))
	if err != nil {
		t.Fatalf("CheckRequest: %v", err)
	}
	return a
}

// TestTokensHaveMints: every token of the table can be paid, with the decimals that the table says.
func TestTokensHaveMints(t *testing.T) {
	s := newSceneOn(t, onSolana)
	for _, token := range resource.Tokens() {
		s.pay.EditIntent = func(m *typev1.Intent) { m.Asset = token.Asset() }
		s.says(func(m *solana.Message) { m.Mint, m.Decimals = mintOf(token.Asset()), uint8(token.Decimals) })
		m, err := evidence.CheckMessage(s.MessageBytes, attemptOf(t, s), s.GroupKey)
		if err != nil || m.Asset != token.Asset() {
			t.Errorf("%s on %s: %+v, %v", token.Symbol, token.Network, m, err)
		}
	}
}

// TestMessageTypes: the first byte decides under which type bytes are hashed, and each rail's decoder refuses the other's.
func TestMessageTypes(t *testing.T) {
	b := newSceneOn(t, onSolana).MessageBytes
	if evidence.MessageDigest(b) != evidence.DigestOf("application/vnd.halfkey.message.solana.v1", b) {
		t.Error("a message on Solana is hashed as another type")
	}
	for _, first := range []byte{0x00, 0x7f, 0x81, 0xff} {
		other := firstByte(b, first)
		if evidence.MessageDigest(other) != evidence.DigestOf("application/vnd.halfkey.message.unknown.v1", other) {
			t.Errorf("bytes that begin with %#x are hashed as some rail's", first)
		}
	}
}
