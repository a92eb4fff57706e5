package ledger

import (
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/halfkey/halfkey/internal/chain/solana"
	"github.com/halfkey/halfkey/internal/evidence/evidencetest"
	"github.com/halfkey/halfkey/internal/fault"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// pinCrashRound tells this test's binary, run again, to be the ledger that is killed while it is paid through, and which payment it is.
const pinCrashRound = "HALFKEY_LEDGER_PIN_CRASH_ROUND"

// pinCrashUnits is each payment's.
const pinCrashUnits = 3

// TestPinCrash: a ledger that is killed at any question that it asks between handing out a block hash and sending the transfer has one
// hold for what it authorized, and the repeat of every call with the same bytes pays once.
func TestPinCrash(t *testing.T) {
	if round := os.Getenv(pinCrashRound); round != "" {
		payOnChainUntilKilled(t, round)
		return
	}
	path := filepath.Join(t.TempDir(), "ledger.db")
	f := newChainFixture(t, evidencetest.NewWith(t, evidencetest.Config{Seed: "pin crash"}), path)
	f.open()
	f.fund()
	units, known, fresh := int64(funded), 0, 0
	for n := 1; ; n++ {
		f.close()
		killed, hash := f.killedPaying(path, n)
		f.check()
		f.chain.Advance(2)
		f.clock.set(noon.Add(time.Duration(n)*time.Minute + 30*time.Second))
		f.open()
		id := fmt.Sprint("r", n)
		p := f.attempt(id, pinCrashUnits)
		if hash != nil {
			p = f.overHash(id, [32]byte(hash))
		}
		got, err := f.create(p)
		if hash != nil && fault.ReasonOf(err) == typev1.Reason_REASON_MESSAGE_EXPIRED {
			p = f.attempt(id, pinCrashUnits) // The ledger ended before it had recorded anything, and has forgotten the hash.
			got, err = f.create(p)
			fresh++
		} else if hash != nil {
			known++
		}
		if err != nil {
			t.Fatalf("killed at question %d: %v", n, err)
		}
		if got.GetState() == authorized {
			f.wantUnits(units-pinCrashUnits, pinCrashUnits)
			f.settling(p)
		}
		f.chain.Finalize()
		f.look()
		f.settledBy(p)
		units -= pinCrashUnits
		f.wantUnits(units, 0)
		if paid := f.chain.Units(f.shop, f.mint); paid != uint64(funded-units) {
			t.Fatalf("killed at question %d: the shop has %d, want %d", n, paid, funded-units)
		}
		if t.Failed() || !killed {
			break
		}
	}
	if known == 0 || fresh == 0 {
		t.Errorf("%d payments were recorded when the ledger was killed, and %d were not: want some of both", known, fresh)
	}
	f.close()
	f.check()
}

// overHash makes the attempt that the ledger's process made over a block hash.
func (f *chainFixture) overHash(id string, hash [32]byte) *evidencetest.Payment {
	f.t.Helper()
	return f.payment(f.payer, evidencetest.PaymentConfig{
		ID: id, To: f.shop, Rail: typev1.Rail_RAIL_SOLANA, Units: pinCrashUnits, Deadline: noon.Add(24 * time.Hour),
		EditSolana: func(m *solana.Message) { m.BlockHash, m.Memo = hash, fmt.Sprintf("%s %x", id, hash[:8]) },
	})
}

// killedPaying runs the ledger as another process until it is killed at its n-th question. It returns the block hash that it was about to
// be asked to pay over, if it got so far, and whether it was killed at all.
func (f *chainFixture) killedPaying(path string, n int) (killed bool, hash []byte) {
	f.t.Helper()
	var said strings.Builder
	cmd := exec.Command(os.Args[0], "-test.run=^TestPinCrash$", "-test.timeout=60s")
	cmd.Env = append(os.Environ(), pinCrashRound+"="+fmt.Sprint(n), chainCrashPath+"="+path,
		chainCrashNodes+"="+f.nodes[0].URL+" "+f.nodes[1].URL)
	cmd.Stdout = &said
	if err := cmd.Start(); err != nil {
		f.t.Fatal(err)
	}
	k := &killer{process: cmd.Process, left: n}
	for _, node := range f.nodes {
		node.Become(k.option())
	}
	err := cmd.Wait()
	k.mu.Lock()
	k.process = nil
	k.mu.Unlock()
	for _, node := range f.nodes {
		node.Become()
	}
	if strings.Contains(said.String(), "failed ") {
		f.t.Fatalf("the ledger's process: %s", said.String())
	}
	_, rest, ok := strings.Cut(said.String(), "hash ")
	if text, _, whole := strings.Cut(rest, "\n"); ok && whole {
		if hash, err := hex.DecodeString(text); err == nil {
			return cmd.ProcessState.ExitCode() != 0, hash
		}
	}
	return err != nil, nil
}

func payOnChainUntilKilled(t *testing.T, round string) {
	f := newChainFixture(t, evidencetest.NewWith(t, evidencetest.Config{Seed: "pin crash"}), os.Getenv(chainCrashPath))
	f.fixture.solana = func() *Solana { return f.rail(strings.Fields(os.Getenv(chainCrashNodes))...) }
	var n int
	if _, err := fmt.Sscan(round, &n); err != nil {
		t.Fatal(err)
	}
	f.clock.set(noon.Add(time.Duration(n) * time.Minute))
	f.open()
	f.payer = f.World.ClaimedWallet(evidencetest.WalletConfig{ID: "payer"})
	f.payer.SetGuardRails(func(doc *typev1.GuardRails) {
		evidencetest.AllowSolana(f.shop)(doc)
		loose(doc)
	})
	hash, _ := f.blockHash()
	fmt.Println("hash", hex.EncodeToString(hash[:]))
	p := f.overHash(fmt.Sprint("r", n), hash)
	if _, err := f.create(p); err != nil {
		fmt.Println("failed", err)
		os.Exit(3)
	}
	if _, err := f.settle(p); err != nil {
		fmt.Println("failed", err)
		os.Exit(3)
	}
	os.Exit(0)
}
