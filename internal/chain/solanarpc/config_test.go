package solanarpc_test

import (
	"crypto/tls"
	"crypto/x509"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/halfkey/halfkey/internal/chain/solanarpc"
	"github.com/halfkey/halfkey/internal/chain/solanarpc/solanarpctest"
)

const mainnet = "solana:5eykt4UsFv8P8NJdTREpY1vzqKqZKvdp"

func TestConfig(t *testing.T) {
	many := strings.Split(strings.Repeat("https://a.example ", 9), " ")[:9]
	rows := []struct {
		name   string
		config solanarpc.Config
		want   string
	}{
		{"one", solanarpc.Config{Network: mainnet, Endpoints: []string{"https://rpc.example.org"}}, ""},
		{"a key in path and query", solanarpc.Config{Network: mainnet, Endpoints: []string{"https://rpc.example.org/v1/key?api-key=key"}}, ""},
		{"loopback", solanarpc.Config{Network: mainnet, Endpoints: []string{"http://127.0.0.1:8899", "http://[::1]:8899"}}, ""},
		{"no network", solanarpc.Config{Endpoints: []string{"https://a.example"}}, "network"},
		{"a whole genesis hash", solanarpc.Config{Network: mainnet + "1234567", Endpoints: []string{"https://a.example"}}, "network"},
		{"another chain", solanarpc.Config{Network: "eip155:1", Endpoints: []string{"https://a.example"}}, "network"},
		{"no endpoint", solanarpc.Config{Network: mainnet}, "0 given"},
		{"nine endpoints", solanarpc.Config{Network: mainnet, Endpoints: many}, "9 given"},
		{"plain http", solanarpc.Config{Network: mainnet, Endpoints: []string{"http://rpc.example.org"}}, "plain http"},
		{"plain http to a name", solanarpc.Config{Network: mainnet, Endpoints: []string{"http://localhost:8899"}}, "plain http"},
		{"another scheme", solanarpc.Config{Network: mainnet, Endpoints: []string{"wss://secret.example"}}, "neither https nor"},
		{"a user", solanarpc.Config{Network: mainnet, Endpoints: []string{"https://user:secret@a.example"}}, "a user before"},
		{"a fragment", solanarpc.Config{Network: mainnet, Endpoints: []string{"https://a.example#secret"}}, "a fragment"},
		{"no URL", solanarpc.Config{Network: mainnet, Endpoints: []string{"https://a.example/%zzsecret"}}, "is not a URL"},
		{"no host", solanarpc.Config{Network: mainnet, Endpoints: []string{"https://:443"}}, "is not a URL"},
		{
			"the same twice",
			solanarpc.Config{Network: mainnet, Endpoints: []string{"https://a.example", "HTTPS://A.example:443/"}},
			"endpoint 2: is given twice",
		},
		{"a negative timeout", solanarpc.Config{Network: mainnet, Endpoints: []string{"https://a.example"}, Timeout: -1}, "timeout"},
		{"a long timeout", solanarpc.Config{Network: mainnet, Endpoints: []string{"https://a.example"}, Timeout: time.Hour}, "timeout"},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			_, err := solanarpc.New(row.config)
			if (err == nil) != (row.want == "") {
				t.Fatalf("%v, want %q", err, row.want)
			}
			if err != nil && (!strings.Contains(err.Error(), row.want) || strings.Contains(err.Error(), "secret")) {
				t.Errorf("%v, want %q and nothing of the URL", err, row.want)
			}
		})
	}
}

// elsewhere is of another network.
var elsewhere = answers("getGenesisHash", newPerson("elsewhere").key.String())

// TestAnotherNetworkIsRefusedForGood: also after it has changed its mind.
func TestAnotherNetworkIsRefusedForGood(t *testing.T) {
	s := tell(t, lost)
	right, wrong := s.node(), s.node(elsewhere)
	client := s.client(t, right, wrong)
	err := client.Check(t.Context())
	if err == nil || !strings.Contains(err.Error(), "endpoint 2") || strings.Contains(err.Error(), "endpoint 1") {
		t.Fatalf("%v", err)
	}
	wrong.Become(solanarpctest.Showing(s.tip))
	if err := client.Check(t.Context()); err == nil || !strings.Contains(err.Error(), "is not asked") {
		t.Errorf("Check: %v", err)
	}
	if _, err := client.BlockHash(t.Context()); err == nil {
		t.Error("a block hash that one endpoint did not confirm")
	}
	if got, err := client.Outcome(t.Context(), s.watch); err != nil || got.State != solanarpc.Unknown {
		t.Errorf("%+v, %v", got, err)
	}
	if b, err := client.Balance(t.Context(), wallet.key, usdc); err != nil || b.Sure {
		t.Errorf("%+v, %v", b, err)
	}
	if n := wrong.Questions(); n != 1 {
		t.Errorf("it was asked %d times, want once", n)
	}
}

// TestAnotherNetworkLater: what stands behind an address has changed since it was checked, and nothing is proven by it any more.
func TestAnotherNetworkLater(t *testing.T) {
	s := tell(t, lost)
	n := s.node()
	client := s.client(t, n)
	if err := client.Check(t.Context()); err != nil {
		t.Fatal(err)
	}
	n.Become(solanarpctest.Showing(s.tip), elsewhere)
	got, err := client.Outcome(t.Context(), s.watch)
	if err != nil || got.State != solanarpc.Unknown || !strings.Contains(got.Why, "another network") {
		t.Errorf("%+v, %v", got, err)
	}
}

// TestUnreachableAtFirst: an endpoint that was down is asked for its network before anything else.
func TestUnreachableAtFirst(t *testing.T) {
	s := tell(t, lost)
	n := s.node(solanarpctest.Down(http.StatusServiceUnavailable))
	client := s.client(t, n)
	if err := client.Check(t.Context()); err == nil || !strings.Contains(err.Error(), "HTTP status 503") {
		t.Fatalf("%v", err)
	}
	n.Become(solanarpctest.Showing(s.tip), elsewhere)
	if _, err := client.BlockHash(t.Context()); err == nil || !strings.Contains(err.Error(), "another network") {
		t.Errorf("%v", err)
	}
}

// TestTLS: an endpoint has to show a certificate that counts, by the authorities that were given.
func TestTLS(t *testing.T) {
	s := tell(t, landed)
	server := httptest.NewUnstartedServer(s.node())
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	defer server.Close()
	roots := x509.NewCertPool()
	roots.AddCert(server.Certificate())
	for _, row := range []struct {
		name string
		tls  *tls.Config
		want string
	}{
		{"its authority", &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS13}, ""},
		{"the system's authorities", nil, "certificate"},
		{"another name", &tls.Config{RootCAs: roots, ServerName: "rpc.halfkey.test"}, "certificate"},
	} {
		t.Run(row.name, func(t *testing.T) {
			client, err := solanarpc.New(solanarpc.Config{
				Network: s.chain.Network(), Endpoints: []string{server.URL + "/key-in-path"}, TLS: row.tls, Timeout: clientTimeout,
			})
			if err != nil {
				t.Fatal(err)
			}
			defer client.Close()
			err = client.Check(t.Context())
			if (err == nil) != (row.want == "") {
				t.Fatalf("%v, want %q", err, row.want)
			}
			if err != nil && (!strings.Contains(err.Error(), row.want) || strings.Contains(err.Error(), "key-in")) {
				t.Errorf("%v, want %q and not the path", err, row.want)
			}
			got, err := client.Outcome(t.Context(), s.watch)
			if want := row.want == ""; err != nil || (got.State == solanarpc.Landed) != want {
				t.Errorf("%+v, %v", got, err)
			}
		})
	}
}
