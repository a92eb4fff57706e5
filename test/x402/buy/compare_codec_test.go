package buy

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"testing"

	"github.com/halfkey/halfkey/internal/chain/solana"
	"github.com/halfkey/halfkey/test/x402/vm"
)

// TestCompareCodec prints how long our codec and @solana/kit take for x402's layout, one after the other in one run. Ours derives the token
// accounts each time; kit is given them, and takes for deriving them what is printed apart.
func TestCompareCodec(t *testing.T) {
	if *compare == 0 {
		t.Skip("it is a measurement: make x402-bench")
	}
	random := exec.Command("go", "run", "./messages", "-seed", "3", "-n", strconv.Itoa(20**compare))
	random.Dir, random.Env, random.Stderr = vm.Path(""), append(os.Environ(), "GOWORK=off"), os.Stderr
	lines, err := random.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	kit := exec.Command("node", vm.Path("kit-time.mjs"))
	kit.Stdin, kit.Stderr = lines, os.Stderr
	if err := random.Start(); err != nil {
		t.Fatal(err)
	}
	text, err := kit.Output()
	if err != nil {
		t.Fatal(err)
	}
	if err := random.Wait(); err != nil {
		t.Fatal(err)
	}
	var theirs struct{ Build, Derive, Read float64 }
	if err := json.Unmarshal(text, &theirs); err != nil {
		t.Fatalf("%s: %v", text, err)
	}

	key := func(digit byte) (k solana.Key) {
		for i := range k {
			k[i] = digit + byte(i)
		}
		return k
	}
	m := solana.Message{
		Layout: solana.X402, FeePayer: key(1), Payer: key(2), Recipient: key(3), Mint: key(4), Units: 10_000, Decimals: 6,
		Memo: hex.EncodeToString(make([]byte, 16)), BlockHash: key(5),
	}
	message, err := m.Encode()
	if err != nil {
		t.Fatal(err)
	}
	mints := []solana.Mint{{Key: m.Mint, Decimals: m.Decimals}}
	encode := testing.Benchmark(func(b *testing.B) {
		for b.Loop() {
			if _, err := m.Encode(); err != nil {
				b.Fatal(err)
			}
		}
	})
	decode := testing.Benchmark(func(b *testing.B) {
		for b.Loop() {
			if _, err := solana.Decode(message, m.Recipient, mints); err != nil {
				b.Fatal(err)
			}
		}
	})
	microseconds := func(r testing.BenchmarkResult) float64 { return float64(r.NsPerOp()) / 1000 }
	fmt.Printf("microseconds: kit builds in %.0f and derives in %.0f, we do both in %.1f: %.3f of it\n",
		theirs.Build, theirs.Derive, microseconds(encode), microseconds(encode)/(theirs.Build+theirs.Derive))
	fmt.Printf("microseconds: kit takes a message apart in %.0f, we do and check all of it, token accounts too, in %.1f: %.2f of it\n",
		theirs.Read, microseconds(decode), microseconds(decode)/theirs.Read)
}
