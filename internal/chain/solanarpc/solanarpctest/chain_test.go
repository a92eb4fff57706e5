package solanarpctest_test

import (
	"crypto/ed25519"
	"crypto/sha256"
	"testing"

	"github.com/halfkey/halfkey/internal/chain/solana"
	"github.com/halfkey/halfkey/internal/chain/solanarpc"
	"github.com/halfkey/halfkey/internal/chain/solanarpc/solanarpctest"
	"github.com/halfkey/halfkey/internal/resource"
)

// person is an ordinary key.
type person struct {
	private ed25519.PrivateKey
	key     solana.Key
}

func newPerson(name string) person {
	seed := sha256.Sum256([]byte(name))
	private := ed25519.NewKeyFromSeed(seed[:])
	return person{private, solana.Key(private.Public().(ed25519.PublicKey))}
}

func (p person) sign(message []byte) solana.Signature {
	return solana.Signature(ed25519.Sign(p.private, message))
}

// scene is a chain on which a wallet has tokens and SOL, and a client of one node.
type scene struct {
	chain                *solanarpctest.Chain
	client               *solanarpc.Client
	wallet, seller, shop person
	mint                 solana.Key
	account              solana.Key
}

func newScene(t *testing.T) *scene {
	t.Helper()
	c := solanarpctest.New(t, resource.SolanaDevnet)
	s := &scene{chain: c, wallet: newPerson("wallet"), seller: newPerson("fee payer"), shop: newPerson("shop")}
	for _, token := range resource.Tokens() {
		if token.Network == c.Network() {
			s.mint, _ = solana.ParseKey(token.Mint)
		}
	}
	s.account, _ = solana.AssociatedTokenAccount(s.wallet.key, s.mint)
	c.Fund(s.wallet.key, s.mint, 5_000)
	c.Airdrop(s.wallet.key, 10_000_000)
	c.Airdrop(s.seller.key, 10_000_000)
	c.Finalize()
	var err error
	s.client, err = solanarpc.New(solanarpc.Config{Network: c.Network(), Endpoints: []string{c.Endpoint().URL}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.client.Close)
	return s
}

// pay makes a message and what is looked for.
func (s *scene) pay(t *testing.T, layout solana.Layout, units int64) (wire []byte, watch solanarpc.Watch) {
	t.Helper()
	hash, err := s.client.BlockHash(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	m := solana.Message{
		Layout: layout, FeePayer: s.wallet.key, Payer: s.wallet.key, Recipient: s.shop.key, Mint: s.mint, Units: units, Decimals: 6,
		Memo: "one", BlockHash: hash.Hash,
	}
	if layout == solana.X402 {
		m.FeePayer = s.seller.key
	}
	message, err := m.Encode()
	if err != nil {
		t.Fatal(err)
	}
	signatures := []solana.Signature{s.wallet.sign(message)}
	if layout == solana.X402 {
		signatures = []solana.Signature{s.seller.sign(message), s.wallet.sign(message)}
	}
	wire, err = solana.Wire(message, signatures...)
	if err != nil {
		t.Fatal(err)
	}
	return wire, solanarpc.Watch{Account: s.account, Payer: s.wallet.key, Message: message, BlockHash: hash}
}

func (s *scene) outcome(t *testing.T, w solanarpc.Watch) solanarpc.State {
	t.Helper()
	o, err := s.client.Outcome(t.Context(), w)
	if err != nil {
		t.Fatal(err)
	}
	return o.State
}

// TestPayments: both layouts move exactly their units, what moved is a transfer in the account's history, and fees and rent are paid by who
// has to.
func TestPayments(t *testing.T) {
	for _, row := range []struct {
		name           string
		layout         solana.Layout
		units          int64
		open           bool // The recipient has a token account.
		state          solanarpc.State
		wallet, seller uint64 // What they pay in SOL.
	}{
		{"transfer", solana.Transfer, 1_000, true, solanarpc.Landed, solanarpctest.TransferFee, 0},
		{
			"transfer that opens the recipient's account", solana.Transfer, 1_000, false, solanarpc.Landed,
			solanarpctest.TransferFee + solanarpctest.TokenAccountRent, 0,
		},
		{"transfer of more than there is", solana.Transfer, 5_001, true, solanarpc.Failed, solanarpctest.TransferFee, 0},
		{"x402", solana.X402, 5_000, true, solanarpc.Landed, 0, 10_001},
		{"x402 without the recipient's account", solana.X402, 1, false, solanarpc.Failed, 0, 10_001},
	} {
		t.Run(row.name, func(t *testing.T) {
			s := newScene(t)
			if row.open {
				s.chain.Open(s.shop.key, s.mint)
			}
			wire, watch := s.pay(t, row.layout, row.units)
			s.chain.Send(wire)
			if got := s.outcome(t, watch); got != solanarpc.Unknown {
				t.Errorf("before it landed: %v", got)
			}
			s.chain.Finalize()
			s.chain.Send(wire) // It lands once.
			s.chain.Finalize()
			if got := s.outcome(t, watch); got != row.state {
				t.Errorf("%v, want %v", got, row.state)
			}
			moved := row.units
			if row.state == solanarpc.Failed {
				moved = 0
			}
			if got := s.chain.Units(s.shop.key, s.mint); got != uint64(moved) {
				t.Errorf("the shop has %d", got)
			}
			if got := 10_000_000 - s.chain.Lamports(s.wallet.key); got != row.wallet {
				t.Errorf("the wallet paid %d lamports, want %d", got, row.wallet)
			}
			if got := 10_000_000 - s.chain.Lamports(s.seller.key); got != row.seller {
				t.Errorf("the fee payer paid %d lamports, want %d", got, row.seller)
			}
			page, err := s.client.Transfers(t.Context(), s.account, solanarpc.Cursor{})
			if err != nil || page.More || page.Next.Units != 5_000-moved || page.Transfers[0].Change != 5_000 {
				t.Fatalf("%+v, %v", page, err)
			}
			if moved != 0 && (len(page.Transfers) != 2 || page.Transfers[1].Change != -moved) {
				t.Errorf("%+v", page.Transfers)
			}
		})
	}
}

// TestNeverSent: what nobody sends is dead once its time is over, and not before.
func TestNeverSent(t *testing.T) {
	s := newScene(t)
	wire, watch := s.pay(t, solana.Transfer, 1)
	s.chain.AdvanceTo(watch.BlockHash.LastValidHeight + 32 + solanarpctest.FinalityBlocks)
	if got := s.outcome(t, watch); got != solanarpc.Unknown {
		t.Errorf("%v", got)
	}
	s.chain.Advance(1)
	if got := s.outcome(t, watch); got != solanarpc.Dead {
		t.Errorf("%v", got)
	}
	s.chain.Send(wire)
	s.chain.Finalize()
	if s.chain.Landed(watch.Message) != nil {
		t.Error("it landed when its time was over")
	}
}

// TestLastBlock: a message lands in the last block that may hold it, and in none after it.
func TestLastBlock(t *testing.T) {
	for _, late := range []uint64{0, 1} {
		s := newScene(t)
		wire, watch := s.pay(t, solana.Transfer, 1)
		s.chain.AdvanceTo(watch.BlockHash.LastValidHeight + late)
		s.chain.Send(wire)
		s.chain.Advance(1)
		if landed := s.chain.Landed(watch.Message); (landed != nil) != (late == 0) {
			t.Errorf("%d late: %v", late, landed)
		}
	}
}

// TestForks: a block that is left is gone, what was in it lands again by itself or never.
func TestForks(t *testing.T) {
	for _, lost := range []bool{false, true} {
		s := newScene(t)
		wire, watch := s.pay(t, solana.Transfer, 1)
		s.chain.Send(wire)
		s.chain.Advance(2)
		if s.chain.Landed(watch.Message) == nil {
			t.Fatal("it has not landed")
		}
		s.chain.Lose(lost)
		s.chain.Fork(5)
		if s.chain.Landed(watch.Message) != nil || s.chain.Units(s.shop.key, s.mint) != 0 {
			t.Fatal("it is in a block that was left")
		}
		s.chain.AdvanceTo(watch.BlockHash.LastValidHeight + 100)
		want := solanarpc.Landed
		if lost {
			want = solanarpc.Dead
		}
		if got := s.outcome(t, watch); got != want {
			t.Errorf("lost %v: %v, want %v", lost, got, want)
		}
	}
}
