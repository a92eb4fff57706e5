package main

import (
	"bufio"
	"context"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/halfkey/halfkey/client"
)

// TestSell runs a sandbox seller for an agent of an installation that serves, and asks it for its prices.
func TestSell(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	dir := t.TempDir()
	_, r := serve(ctx, t, filepath.Join(dir, "data"), filepath.Join(dir, "ready.json"))
	open := func(name string) *client.Client {
		t.Helper()
		h, err := client.OpenHome(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		file, err := os.ReadFile(r.InstallationFile)
		if err != nil {
			t.Fatal(err)
		}
		if err := h.Connect(file); err != nil {
			t.Fatal(err)
		}
		c, err := client.Open(h, client.Options{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		return c
	}
	owner, err := open("owner").CreateOwner(ctx, r.OwnerBootstrapCode, demoEmail)
	if err != nil {
		t.Fatal(err)
	}
	registered, err := open("shop").Register(ctx, client.RegisterOptions{Name: "Sandbox Shop", OwnerEmail: demoEmail})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := owner.Claim(ctx, registered.ClaimCode); err != nil {
		t.Fatal(err)
	}

	if out, err := command(ctx, t, "sell", "--home", filepath.Join(dir, "shop"), "--listen", "0.0.0.0:0").CombinedOutput(); err == nil {
		t.Errorf("sells to everybody: %s", out)
	}
	cmd := command(ctx, t, "sell", "--home", filepath.Join(dir, "shop"), "--price", "0.20")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	said, err := bufio.NewReader(out).ReadString('\n')
	if err != nil || !strings.HasPrefix(said, "@sandbox-shop sells on http://127.0.0.1:") || !strings.Contains(said, "/prices costs 0.2 USD") {
		t.Fatalf("says %q, %v", said, err)
	}
	_, rest, _ := strings.Cut(said, " sells on ")
	origin, _, _ := strings.Cut(rest, ": ")
	for path, want := range map[string]int{"/": 200, "/prices": 402, "/everything": 402, "/nothing": 404} {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, origin+path, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		if resp.StatusCode != want || (want == 402) != (resp.Header.Get("PAYMENT-REQUIRED") != "") {
			t.Errorf("%s: %d, want %d", path, resp.StatusCode, want)
		}
		if err := resp.Body.Close(); err != nil {
			t.Error(err)
		}
	}
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("it ended with %v", err)
	}
}
