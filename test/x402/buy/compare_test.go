package buy

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/halfkey/halfkey/test/x402/stock"
	"github.com/halfkey/halfkey/test/x402/vm"
)

var compare = flag.Int("compare", 0, "buy so often, in turn by the stock client and by ours, and print how long it took")

// series is how long one way of buying took: the whole purchase, and what of it was the seller's, in milliseconds.
type series struct {
	name          string
	whole, seller []float64
	buy           func() error
}

// TestCompare prints distributions and asserts no time. The chain confirms at once, so that nobody waits for it; seller, facilitator,
// chain, services and buyers share the machine. All ways of buying take turns, so that what else the machine does bears on all alike.
func TestCompare(t *testing.T) {
	if *compare == 0 {
		t.Skip("it is a measurement: make x402-bench")
	}
	node := vm.Start(t, "--network", "devnet", "--block-milliseconds", "400", "--confirm-at-once")
	seller := stock.Sell(t, node, "a shop")
	agent := install(t, node).agent("agent", seller.PayTo)
	rich := node.Someone("somebody with money", 1_000_000_000, 1_000_000_000)
	agent.fund("45000000", rich, 45_000_000)
	seller.Price(1_000) // So that many days' worth is below the limit of a day.
	url := seller.URL + "/weather"

	sdk := filepath.Join(t.TempDir(), "x402")
	build := exec.Command("go", "build", "-buildvcs=false", "-o", sdk, "./x402")
	build.Dir, build.Env = vm.Path("../bench"), append(os.Environ(), "GOWORK=off")
	if output, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	ours := exec.Command(sdk, "-home", filepath.Join(agent.dir, agent.Handle), url)
	var priced []float64
	all := []*series{
		{name: "stock client, one process", buy: each(t, stock.Buyer(t, node, rich, url), nil)},
		{name: "our SDK, one process", buy: each(t, ours, func(line []byte) error {
			var one struct {
				Price float64 `json:"price_milliseconds"`
			}
			err := json.Unmarshal(line, &one)
			priced = append(priced, one.Price)
			return err
		})},
		{name: "stock client, a process each", buy: func() error {
			command := stock.Buyer(t, node, rich, url)
			command.Stdin, command.Stderr = strings.NewReader("\n"), os.Stderr
			return command.Run()
		}},
		{name: "halfkey x402 fetch --pay", buy: func() error {
			agent.outputs++
			got := agent.run(agent.Handle, "x402", "fetch", url, "--allow-loopback", "--pay", "--output",
				filepath.Join(agent.dir, fmt.Sprintf("compared-%d", agent.outputs)))
			if got.Code != 0 {
				return fmt.Errorf("%+v", got)
			}
			return nil
		}},
	}
	const warm = 3 // The first purchases open connections and fill caches.
	bought := 0
	for n := range warm + *compare {
		for _, s := range all {
			before, began := seller.State().Milliseconds, time.Now()
			if err := s.buy(); err != nil {
				t.Fatalf("%s: %v", s.name, err)
			}
			took, sellers := float64(time.Since(began).Microseconds())/1000, seller.State().Milliseconds-before
			bought++
			if n >= warm {
				s.whole, s.seller = append(s.whole, took), append(s.seller, sellers)
			}
		}
	}
	if got := node.Units(seller.PayTo); got != int64(bought)*1_000 {
		t.Errorf("%d purchases moved %d units", bought, got)
	}
	fmt.Printf("%d purchases each; milliseconds    p50    p90    p99  |  without the seller p50    p90    p99\n", *compare)
	for _, s := range all {
		own := make([]float64, len(s.whole))
		for i := range own {
			own[i] = s.whole[i] - s.seller[i]
		}
		fmt.Printf("%-32s %6.1f %6.1f %6.1f  | %22.1f %6.1f %6.1f\n", s.name,
			at(s.whole, 50), at(s.whole, 90), at(s.whole, 99), at(own, 50), at(own, 90), at(own, 99))
	}
	fmt.Printf("our SDK until the price is there and judged: p50 %.1f\n", at(priced[warm:], 50))
	for _, pair := range [][2]*series{{all[1], all[0]}, {all[3], all[2]}} {
		fmt.Printf("%s / %s, medians: %.2f\n", pair[0].name, pair[1].name, at(pair[0].whole, 50)/at(pair[1].whole, 50))
	}
}

// at is a percentile.
func at(values []float64, percent int) float64 {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[(len(sorted)-1)*percent/100]
}

// each starts a process that buys once for each line, until the test ends; read gets what it prints.
func each(t *testing.T, command *exec.Cmd, read func(line []byte) error) func() error {
	t.Helper()
	command.Stderr = os.Stderr
	input, err := command.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	output, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = input.Close()
		_ = command.Wait()
	})
	lines := bufio.NewReader(output)
	return func() error {
		if _, err := io.WriteString(input, "\n"); err != nil {
			return err
		}
		line, err := lines.ReadBytes('\n')
		if err != nil || read == nil {
			return err
		}
		return read(line)
	}
}
