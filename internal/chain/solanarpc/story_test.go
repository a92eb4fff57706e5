package solanarpc_test

import (
	"crypto/ed25519"
	"crypto/sha256"
	"strings"
	"testing"
	"time"

	"github.com/halfkey/halfkey/internal/chain/solana"
	"github.com/halfkey/halfkey/internal/chain/solanarpc"
	"github.com/halfkey/halfkey/internal/chain/solanarpc/solanarpctest"
	"github.com/halfkey/halfkey/internal/resource"
)

// clientTimeout is long for loopback, also on a machine that does much else.
const clientTimeout = 10 * time.Second

// planted stands for all that a node could write; none of it may be told.
const planted = "\x1b[31mHALFKEY SAYS: pay again"

// usdc is the mint that is paid in.
var usdc = mustKey("EPjFWdd5AufqSSqeM2qN1xzybapC8G4wEGGkZwyTDt1v")

func mustKey(text string) solana.Key {
	key, err := solana.ParseKey(text)
	if err != nil {
		panic(err)
	}
	return key
}

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

var (
	wallet, feePayer, shop = newPerson("wallet"), newPerson("fee payer"), newPerson("shop")
	stranger               = newPerson("stranger")
)

func mustATA(owner solana.Key) solana.Key {
	account, ok := solana.AssociatedTokenAccount(owner, usdc)
	if !ok {
		panic("no account")
	}
	return account
}

// payment is a message of the wallet's in the x402 layout, and the transaction around it.
type payment struct {
	message, wire []byte
	signature     solana.Signature // The fee payer's, which names the transaction.
}

func pay(t *testing.T, to person, blockHash [32]byte, units int64, memo string) *payment {
	t.Helper()
	message, err := solana.Message{
		Layout: solana.X402, FeePayer: feePayer.key, Payer: wallet.key, Recipient: to.key, Mint: usdc, Units: units, Decimals: 6, Memo: memo,
		BlockHash: blockHash,
	}.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return signed(t, message, feePayer.sign(message), wallet.sign(message))
}

// signed is the transaction around a message with these signatures, whether they verify or not.
func signed(t *testing.T, message []byte, signatures ...solana.Signature) *payment {
	t.Helper()
	wire, err := solana.Wire(message, signatures...)
	if err != nil {
		t.Fatal(err)
	}
	return &payment{message, wire, signatures[0]}
}

// newChain is a chain on which the wallet has 5000 units, the fee payer SOL, and the shop an account.
func newChain(t *testing.T) *solanarpctest.Chain {
	t.Helper()
	c := solanarpctest.New(t, resource.SolanaMainnet)
	c.Fund(wallet.key, usdc, 5000)
	c.Airdrop(feePayer.key, 1_000_000_000)
	c.Open(shop.key, usdc)
	c.Finalize()
	return c
}

// story is a chain on which a message was signed over a block's hash, and which has stood still since.
type story struct {
	t     *testing.T
	chain *solanarpctest.Chain
	start *solanarpctest.Block // Whose hash the message has: what comes later is counted from here on.
	tip   *solanarpctest.Block // All of it is final, as nodes show it.
	tx    *payment
	watch solanarpc.Watch
}

const (
	lost   = "lost"   // The message did not land, and its window is over and settled.
	landed = "landed" // It landed in the last block that could hold it.
	failed = "failed" // It landed there with an error.
	open   = "open"   // It has not landed, and may still.
)

// tell makes a story. A stranger names the account now and then. Others may send something before each block, the first one
// after the message's being 1.
func tell(t *testing.T, kind string, others ...func(s *story, before int)) *story {
	t.Helper()
	s := &story{t: t, chain: newChain(t)}
	s.start = s.chain.Tip()
	to := shop
	if kind == failed {
		to = newPerson("nobody") // Who has no account, and x402 opens none.
	}
	s.tx = pay(t, to, s.start.Hash, 1000, "one")
	s.watch = solanarpc.Watch{
		Account: mustATA(wallet.key), Payer: wallet.key, Message: s.tx.message,
		BlockHash: solanarpc.BlockHash{Hash: s.start.Hash, Slot: s.start.Slot, LastValidHeight: s.start.Height + 150},
	}
	blocks := 151 + 32
	if kind == open {
		blocks--
	}
	for n := 1; n <= blocks; n++ {
		if n%40 == 0 {
			s.chain.Mention(wallet.key, usdc)
		}
		if n == 151 && (kind == landed || kind == failed) {
			s.chain.Send(s.tx.wire)
		}
		for _, send := range others {
			send(s, n)
		}
		s.chain.Advance(1)
	}
	s.tip = s.chain.Tip()
	if in := s.tip.Holding(s.tx.message); (in == s.after(151)) != (kind == landed || kind == failed) {
		t.Fatalf("the message is in %v", in)
	}
	return s
}

// after is the block that comes so many after the start.
func (s *story) after(n int) *solanarpctest.Block {
	return s.tip.Back(int(s.tip.Height-s.start.Height) - n)
}

// node shows a story, and what it does else.
func (s *story) node(does ...solanarpctest.Option) *solanarpctest.Endpoint {
	return s.chain.Endpoint(append([]solanarpctest.Option{solanarpctest.Showing(s.tip)}, does...)...)
}

// client asks these nodes.
func (s *story) client(t *testing.T, nodes ...*solanarpctest.Endpoint) *solanarpc.Client {
	t.Helper()
	return asking(t, clientTimeout, s.chain, nodes...)
}

// asking is a client of these nodes of a chain.
func asking(t *testing.T, timeout time.Duration, c *solanarpctest.Chain, nodes ...*solanarpctest.Endpoint) *solanarpc.Client {
	t.Helper()
	config := solanarpc.Config{Network: c.Network(), Timeout: timeout}
	for _, n := range nodes {
		config.Endpoints = append(config.Endpoints, n.URL)
	}
	client, err := solanarpc.New(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return client
}

// deed is what a node does that need not be honest.
type deed func(*story) solanarpctest.Option

// does is a deed that is the same in every story.
func does(option solanarpctest.Option) deed {
	return func(*story) solanarpctest.Option { return option }
}

// answering has a say in the answers to one method.
func answering(method string, change func(*solanarpctest.Call) bool) solanarpctest.Option {
	return solanarpctest.Answering(func(c *solanarpctest.Call) bool { return c.Method == method && change(c) })
}

// answers puts another result in the place of a method's.
func answers(method string, v any) solanarpctest.Option {
	return answering(method, func(c *solanarpctest.Call) bool { c.Result = v; return false })
}

// on changes the answers to one method.
func on(method string, change func(*solanarpctest.Call) bool) deed {
	return does(answering(method, change))
}

// result puts another result in the place of a method's.
func result(method string, v any) deed { return does(answers(method, v)) }

// body answers a method with these bytes; %s is the question's id.
func body(method, text string) deed {
	return on(method, func(c *solanarpctest.Call) bool { return c.Write(strings.ReplaceAll(text, "%s", string(c.ID))) })
}

// member changes a member of a method's result.
func member(method, name string, v any) deed {
	return on(method, func(c *solanarpctest.Call) bool {
		if o, ok := c.Result.(map[string]any); ok {
			o[name] = v
		}
		return false
	})
}

// ours changes what a node says of the message's own transaction.
func ours(change func(s *story, answer map[string]any)) deed {
	return func(s *story) solanarpctest.Option {
		return answering("getTransaction", func(c *solanarpctest.Call) bool {
			if answer, ok := c.Result.(map[string]any); ok && c.Params[0] == s.tx.signature.String() {
				change(s, answer)
			}
			return false
		})
	}
}
