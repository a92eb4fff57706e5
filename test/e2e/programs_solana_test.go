package e2e_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/halfkey/halfkey/internal/chain/solanarpc/solanarpctest"
	"github.com/halfkey/halfkey/internal/resource"
)

// devnetRail is what a ledger's file says of the rail, with the endpoints in a file beside it.
const devnetRail = `
solana:
  network: ` + resource.SolanaDevnet + `
  endpoints_file: solana-endpoints
  tokens:
    - {mint: 4zMMC9srt5Ri5X14GAgXhaHii3GnPAEERYPJgZJDncDU, decimals: 6, program: TokenkegQfeZyiNwAJbNbGKPFXCWuBvf9Ss623VQ5DA, unit: USD}
`

// The section "Solana" of docs/operate.md, what check says: it asks every endpoint for its network, shows no URL's secret, and a ledger
// starts whether its endpoints are there or not.
func TestProgramsSolana(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	ledger := s.programs["ledger"]
	endpoints := filepath.Join(filepath.Dir(ledger.config), "solana-endpoints")
	write(t, ledger.config, read(t, ledger.config)+devnetRail)
	chain, other := solanarpctest.New(t, resource.SolanaDevnet), solanarpctest.New(t, resource.SolanaMainnet)
	node, down, mainnet := chain.Endpoint(), chain.Endpoint(solanarpctest.Down(503)), other.Endpoint()
	const secret = "?key=provider-key-of-ours"
	for _, tt := range []struct {
		name, file string
		mode       os.FileMode
		code       int
		want       []string
	}{
		{"of the network", "# ours\n" + node.URL + "/" + secret + "\n", 0o600, 0, []string{"every file is there and fits."}},
		{"of another network", node.URL + "\n" + mainnet.URL + "/" + secret + "\n", 0o600, 1, []string{"solana endpoint 2", "another network"}},
		{"down", down.URL + "/" + secret + "\n" + node.URL + "\n", 0o600, 1, []string{"solana endpoint 1", "HTTP status 503"}},
		{"that others may read", node.URL + "/" + secret + "\n", 0o644, 1, []string{"solana-endpoints", "chmod 600"}},
		{
			"twice", node.URL + "/" + secret + "\n" + node.URL + "/" + secret, 0o600, 1,
			[]string{"solana-endpoints", "solana endpoint 2: is given twice"},
		},
		{"in plain text over a network", "http://rpc.example.org/" + secret, 0o600, 1, []string{"solana endpoint 1", "use https"}},
		{"none", "\n", 0o600, 1, []string{"holds no URL"}},
	} {
		write(t, endpoints, tt.file)
		if err := os.Chmod(endpoints, tt.mode); err != nil {
			t.Fatal(err)
		}
		code, stdout, stderr := ledger.run("check")
		if code != tt.code {
			t.Errorf("%s: exit code %d, want %d: %q %q", tt.name, code, tt.code, stdout, stderr)
		}
		for _, want := range tt.want {
			if !strings.Contains(stdout+stderr, want) {
				t.Errorf("%s: check says %q %q and not %q", tt.name, stdout, stderr, want)
			}
		}
		if strings.Contains(stdout+stderr, "provider-key") {
			t.Errorf("%s: check shows a provider's key: %q", tt.name, stderr)
		}
	}
	write(t, endpoints, down.URL+"/"+secret)
	if err := os.Chmod(endpoints, 0o600); err != nil {
		t.Fatal(err)
	}
	ledger.start()
	ledger.awaitReady()
	ledger.kill()
	if strings.Contains(ledger.logs.String(), "provider-key") {
		t.Errorf("the log shows a provider's key: %q", ledger.logs.String())
	}
}
