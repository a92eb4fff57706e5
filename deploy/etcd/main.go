// Command etcd is etcd's server from the module version that go.mod pins, so that an image of it needs nothing from elsewhere.
// It takes etcd's own flags; `etcd health URL` asks a running one for its readiness.
package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"

	"go.etcd.io/etcd/server/v3/etcdmain"
)

const (
	// healthTimeout bounds the health command: a probe is asked for every few seconds.
	healthTimeout = 3 * time.Second
	// answerBytesMax bounds what is shown of etcd's answer, which names each check on a line.
	answerBytesMax = 4 << 10
)

func main() {
	if len(os.Args) == 3 && os.Args[1] == "health" {
		if err := health(os.Args[2]); err != nil {
			fmt.Fprintln(os.Stderr, "etcd: error:", err)
			os.Exit(1)
		}
		return
	}
	etcdmain.Main(os.Args)
}

// health asks etcd's metrics listener, for example http://localhost:2381/readyz: the image has no shell and no curl to do it.
func health(url string) error {
	ctx, cancel := context.WithTimeout(context.Background(), healthTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil) //nolint:gosec // whoever sets up the probe says where etcd is
	if err != nil {
		return err
	}
	// No proxy: this asks the process beside it.
	resp, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, answerBytesMax))
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", resp.Status, answer)
	}
	return nil
}
