// Command x402 buys a resource with the SDK, once for each line of its standard input, and prints for each a line of JSON: how many
// milliseconds it took until the price was there and until the resource was. test/x402 times it beside a buyer of other people's
// software.
//
//	x402 -home DIR URL
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/halfkey/halfkey/client"
)

func main() {
	home := flag.String("home", "", "the home of an agent with a claimed wallet")
	flag.Parse()
	if err := buy(*home, flag.Arg(0)); err != nil {
		fmt.Fprintln(os.Stderr, "x402: error:", err)
		os.Exit(1)
	}
}

// bought is one purchase.
type bought struct {
	Price    float64 `json:"price_milliseconds"`
	Resource float64 `json:"resource_milliseconds"` // From the beginning, too.
}

func buy(dir, url string) (err error) {
	ctx := context.Background()
	home, err := client.OpenHome(dir)
	if err != nil {
		return err
	}
	c, err := client.Open(home, client.Options{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	agent, err := c.Agent("")
	if err != nil {
		return err
	}
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		began := time.Now()
		f, err := agent.Fetch(ctx, client.FetchRequest{URL: url, Reach: client.Reach{Loopback: true}})
		if err != nil {
			return err
		}
		price := time.Since(began)
		if f, err = agent.ConfirmFetch(ctx, f.ID, io.Discard); err != nil {
			return err
		}
		if f.State != client.FetchDelivered {
			return fmt.Errorf("the fetch of %s is %s", f.ID, f.State)
		}
		err = json.NewEncoder(os.Stdout).Encode(bought{milliseconds(price), milliseconds(time.Since(began))})
		if err != nil {
			return err
		}
	}
	return lines.Err()
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
