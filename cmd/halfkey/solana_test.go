package main

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/halfkey/halfkey/client"
	"github.com/halfkey/halfkey/halfkeytest"
	"github.com/halfkey/halfkey/internal/chain/solana"
	"github.com/halfkey/halfkey/internal/chain/solanarpc/solanarpctest"
	"github.com/halfkey/halfkey/internal/resource"
	"github.com/halfkey/halfkey/internal/sellertest"
)

// slot is how often the chain of these scripts makes a block: its finality is 32 of them, and a block hash lives for 150.
const slot = 60 * time.Millisecond

// chainScripts is an installation with a rail on Solana, beside a chain that goes by itself.
type chainScripts struct {
	system *halfkeytest.System
	chain  *solanarpctest.Chain
	mint   solana.Key
	shop   solana.Key
	payer  solana.Key
	poor   solana.Key
	owner  *client.Owner
	dir    string
	seller *sellertest.Seller
}

// TestScriptsOnSolana runs the scripts of testdata/solana, each beside a chain of its own, with the environment
//
//	HALFKEY_HOME  the home of an agent with 1,000 USDC and some SOL on devnet, who may pay SHOP
//	OWNER_HOME    the home of its owner
//	SHOP, PAYER   the addresses of a shop that is nobody's in this installation, and of the agent's wallet
//	SHOP_KEY      the shop's key in hexadecimal
//	ACCOUNT       the address of the shop's token account
//	MINT          the address of USDC's mint
//	WALLET        the agent's wallet
//	POOR_HOME     the home of an agent who has the same tokens, may pay the same shop, and has no SOL
//	POOR          the address of its wallet
//	SELLER        the URL of a server that sells by x402's exact: /weather honestly, /late settles and answers 402 but for the second
//	              time, /never does not settle
//	PAYTO, FEES   the addresses that are paid there, and that pays the fee
//
// and besides testscript's own and `exits` and `json` the commands `chain` and `node`.
func TestScriptsOnSolana(t *testing.T) {
	files, err := filepath.Glob("testdata/solana/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			s := newChainScripts(t)
			account, _ := solana.AssociatedTokenAccount(s.shop, s.mint)
			s.chain.Run(slot)
			var wallet string
			wallet, s.payer = s.agent(t, "Chain Buyer", 1_000_000_000)
			_, s.poor = s.agent(t, "Poor Buyer", 0)
			seller := httptest.NewServer(s.sells())
			t.Cleanup(seller.Close)
			testscript.Run(t, testscript.Params{
				Files: []string{file},
				Setup: func(e *testscript.Env) error {
					for name, value := range map[string]string{
						"HALFKEY_HOME": filepath.Join(s.dir, "Chain Buyer"), "OWNER_HOME": s.system.OwnerHome().Dir(),
						"SHOP": s.shop.String(), "SHOP_KEY": keyText(s.shop[:]), "PAYER": s.payer.String(), "ACCOUNT": account.String(),
						"MINT": s.mint.String(), "WALLET": wallet, "POOR": s.poor.String(), "POOR_HOME": filepath.Join(s.dir, "Poor Buyer"), takenOut: os.Getenv(takenOut),
						"SELLER": seller.URL, "PAYTO": s.seller.PayTo.String(), "FEES": s.seller.FeePayer().String(),
					} {
						e.Setenv(name, value)
					}
					return nil
				},
				RequireExplicitExec: true,
				RequireUniqueNames:  true,
				Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
					"exits": scriptExits, "json": scriptJSON, "chain": s.script, "node": s.exitScript,
				},
			})
		})
	}
}

// newChainScripts starts it.
func newChainScripts(t *testing.T) *chainScripts {
	t.Helper()
	s := &chainScripts{chain: solanarpctest.New(t, resource.SolanaDevnet), dir: t.TempDir()}
	seed := sha256.Sum256([]byte("a shop on the chain"))
	s.shop = solana.Key(ed25519.NewKeyFromSeed(seed[:]).Public().(ed25519.PublicKey))
	token, _ := resource.TokenOf(devnetUSDC)
	var err error
	if s.mint, err = solana.ParseKey(token.Mint); err != nil {
		t.Fatal(err)
	}
	s.system = halfkeytest.Start(t, halfkeytest.WithSolana(resource.SolanaDevnet, s.chain.Endpoint().URL))
	s.owner = s.system.Owner()
	seed = sha256.Sum256([]byte("a seller on the chain"))
	payTo := solana.Key(ed25519.NewKeyFromSeed(seed[:]).Public().(ed25519.PublicKey))
	s.seller = sellertest.New(resource.SolanaDevnet, s.mint, payTo, s.chain)
	s.chain.Open(payTo, s.mint)
	s.chain.Airdrop(s.seller.FeePayer(), 1_000_000_000)
	return s
}

// sells is the server of the scripts.
func (s *chainScripts) sells() http.Handler {
	var late atomic.Int64
	mux := http.NewServeMux()
	mux.Handle("/weather", s.seller)
	mux.HandleFunc("/late", func(w http.ResponseWriter, r *http.Request) {
		p, err := s.seller.Read(r)
		if err != nil || late.Add(1) > 1 {
			s.seller.ServeHTTP(w, r)
			return
		}
		s.seller.Settle(p)
		s.seller.Require(w, "settlement_pending", s.seller.Offer())
	})
	mux.HandleFunc("/never", func(w http.ResponseWriter, _ *http.Request) {
		s.seller.Require(w, "Payment required", s.seller.Offer())
	})
	return mux
}

// agent makes an agent in a home of its name, with tokens and some SOL, and returns its wallet and address.
func (s *chainScripts) agent(t *testing.T, name string, lamports uint64) (wallet string, address solana.Key) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), stepMax)
	defer cancel()
	home, err := client.OpenHome(filepath.Join(s.dir, name))
	if err == nil {
		err = home.Connect(s.system.InstallationFile())
	}
	if err != nil {
		t.Fatal(err)
	}
	c := s.system.Client(home)
	r, err := c.Register(ctx, client.RegisterOptions{Name: name, OwnerEmail: halfkeytest.Email})
	if err == nil {
		_, err = s.owner.Claim(ctx, r.ClaimCode)
	}
	if err != nil {
		t.Fatal(err)
	}
	// The ledger looks at the account as soon as the guard rails allow its token.
	s.chain.Fund(r.GroupKey, s.mint, 1_000_000_000)
	if lamports > 0 {
		s.chain.Airdrop(r.GroupKey, lamports)
	}
	s.chain.Finalize()
	rules := client.StandardRules(s.shop, s.seller.PayTo)
	rules.Assets = []string{devnetUSDC, s.system.Installation().BookUSD()}
	if _, err := s.owner.SetGuardRails(ctx, r.Wallet, rules); err != nil {
		t.Fatal(err)
	}
	agent, err := c.Agent("")
	if err != nil {
		t.Fatal(err)
	}
	for {
		acc, err := agent.Account(ctx)
		if err != nil {
			t.Fatal(err)
		}
		for _, b := range acc.Balances {
			if b.Asset == devnetUSDC && b.Available > 0 {
				return r.Wallet, r.GroupKey
			}
		}
	}
}

// script does something on the chain: `chain lose` has all that is sent disappear, `chain take` takes it again, `chain freeze` freezes the
// shop's token account, `chain thaw` thaws it, `chain sol` gives the poor agent SOL, and `chain paid UNITS` demands what the shop has.
func (s *chainScripts) script(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: chain lose|take|freeze|thaw|sol|paid UNITS")
	}
	switch args[0] {
	case "lose", "take":
		s.chain.Lose(args[0] == "lose")
	case "freeze", "thaw":
		s.chain.Open(s.shop, s.mint)
		s.chain.Freeze(s.shop, s.mint, args[0] == "freeze")
	case "sol":
		s.chain.Airdrop(s.poor, 1_000_000_000)
		s.chain.Finalize()
	case "paid":
		if got := resource.FormatUnits(int64(s.chain.Units(s.shop, s.mint))); len(args) != 2 || got != args[1] {
			ts.Fatalf("the shop has %s", got)
		}
	default:
		ts.Fatalf("there is no chain %s", args[0])
	}
}
