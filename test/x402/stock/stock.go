// Package stock buys over x402 with other people's software on both sides: seller.mjs is the express middleware and the facilitator as
// their packages have them, buyer.mjs the client, and the chain is ../vm. The tests here need nothing of ours but the funding of a key:
// they show that what our wallet is tried against elsewhere does what its makers say.
package stock

import (
	"bytes"
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"github.com/halfkey/halfkey/test/x402/vm"
)

// Seller is seller.mjs, running.
type Seller struct {
	t testing.TB
	// URL is where it sells, and Facilitator who settles for it.
	URL         string `json:"url"`
	Facilitator string `json:"facilitator"`
	// FeePayer is the facilitator's key.
	FeePayer string `json:"feePayer"`
	// PayTo is whom it has paid.
	PayTo string
	// Payer is who has FeePayer's key.
	Payer vm.Person
}

// Sell runs a seller until the test ends. Its facilitator has SOL, and it a token account with nothing in it.
func Sell(t testing.TB, node *vm.Node, name string) *Seller {
	t.Helper()
	feePayer, shop := node.Someone("facilitator of "+name, 1_000_000_000, nil), node.Someone(name, 0, 0)
	s := &Seller{t: t, PayTo: shop.Key.String(), Payer: feePayer}
	vm.Program(t, "stock/seller.mjs", s, "--rpc", node.URL, "--network", node.Network, "--asset", node.Mint, "--pay-to", s.PayTo,
		"--fee-payer-seed", feePayer.Seed)
	return s
}

// State is what a seller has done.
type State struct {
	// Made is how often each resource was made, by its path.
	Made map[string]int `json:"made"`
	// Milliseconds is how long all requests for a resource took, from their arrival to their answer.
	Milliseconds float64 `json:"milliseconds"`
	// Settled are the transactions that its facilitator says are settled.
	Settled []string `json:"settled"`
}

// State asks it.
func (s *Seller) State() State {
	s.t.Helper()
	response, err := http.Get(s.URL + "/test/state")
	if err != nil {
		s.t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	var state State
	if err := json.NewDecoder(response.Body).Decode(&state); err != nil {
		s.t.Fatal(err)
	}
	return state
}

// Price sets what /weather costs from now on.
func (s *Seller) Price(units int64) {
	s.t.Helper()
	body, err := json.Marshal(map[string]string{"units": strconv.FormatInt(units, 10)})
	if err != nil {
		s.t.Fatal(err)
	}
	request, err := http.NewRequest(http.MethodPut, s.URL+"/test/price", bytes.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		s.t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		s.t.Fatal(response.Status)
	}
}

// Bought is what the stock buyer got.
type Bought struct {
	Status  int    `json:"status"`
	Body    string `json:"body"`
	Receipt *struct {
		Success     bool   `json:"success"`
		Transaction string `json:"transaction"`
		Payer       string `json:"payer"`
	} `json:"receipt"`
	Milliseconds float64 `json:"milliseconds"`
}

// Buyer is a process that buys once for each line of its standard input, with a person's key. Further arguments are buyer.mjs's.
func Buyer(t testing.TB, node *vm.Node, buyer vm.Person, url string, arguments ...string) *exec.Cmd {
	return exec.CommandContext(t.Context(), "node",
		append([]string{vm.Path("stock/buyer.mjs"), "--rpc", node.URL, "--seed", buyer.Seed}, append(arguments, url)...)...)
}

// Buy has the stock buyer buy once.
func Buy(t testing.TB, node *vm.Node, buyer vm.Person, url string, arguments ...string) Bought {
	t.Helper()
	command := Buyer(t, node, buyer, url, arguments...)
	command.Stdin, command.Stderr = strings.NewReader("\n"), os.Stderr
	output, err := command.Output()
	if err != nil {
		t.Fatalf("buyer.mjs: %v, after %s", err, output)
	}
	var one Bought
	if err := json.Unmarshal(output, &one); err != nil {
		t.Fatalf("%s: %v", output, err)
	}
	return one
}
