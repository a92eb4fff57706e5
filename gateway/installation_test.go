package gateway_test

import (
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/proto"

	"github.com/halfkey/halfkey/gateway"
	"github.com/halfkey/halfkey/internal/evidence"
	"github.com/halfkey/halfkey/internal/evidence/evidencetest"
	gatewayv1 "github.com/halfkey/halfkey/proto/gen/halfkey/gateway/v1"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// of makes a gateway of installation files, whose services nobody calls.
func of(t *testing.T, chain []*evidence.Installation) (*gateway.Service, error) {
	t.Helper()
	conn, err := grpc.NewClient("passthrough:///nobody", grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return gateway.New(gateway.Config{Installations: chain, Identity: conn, Policy: conn, Ledger: conn, Cosigner: conn})
}

// A client at any file of the chain is given every later one, over answers that stay small however large the files are.
func TestGetInstallations(t *testing.T) {
	w := evidencetest.New(t)
	large := strings.Repeat(evidencetest.CA, evidence.CAMax/len(evidencetest.CA))
	for range 12 {
		w.Follow(func(m *typev1.Installation) { m.CaPem = large })
	}
	s, err := of(t, w.Installations)
	if err != nil {
		t.Fatal(err)
	}
	for from := range uint64(15) {
		got := from
		if from == 0 { // Nothing is asked for by number: everything.
			got = 1
		}
		for answers := 0; ; answers++ {
			resp, err := s.GetInstallations(t.Context(), &gatewayv1.GetInstallationsRequest{FromNumber: got})
			if err != nil {
				t.Fatal(err)
			}
			if size := proto.Size(resp); size > 256<<10 {
				t.Errorf("from %d: an answer of %d bytes", from, size)
			}
			if len(resp.GetInstallations()) == 0 {
				break
			}
			for _, e := range resp.GetInstallations() {
				if want := w.Installations[got-1].Digest(); evidence.EnvelopeDigest(e) != want {
					t.Fatalf("from %d: number %d is another file", from, got)
				}
				got++
			}
			if answers > 12 {
				t.Fatalf("from %d: no end", from)
			}
		}
		if want := max(from, uint64(len(w.Installations))+1); got != want {
			t.Errorf("from %d: got up to %d, want %d", from, got, want)
		}
	}
}

func TestNewRefusesABrokenChain(t *testing.T) {
	w := evidencetest.New(t)
	w.Follow(nil)
	w.Follow(nil)
	for name, row := range map[string]struct {
		chain []*evidence.Installation
		about string
	}{
		"none":              {nil, "no installation file"},
		"a gap":             {[]*evidence.Installation{w.Installations[0], w.Installations[2]}, "not the next one"},
		"without the first": {w.Installations[1:], "from number 1 on"},
	} {
		if _, err := of(t, row.chain); err == nil || !strings.Contains(err.Error(), row.about) {
			t.Errorf("%s: got %v, want a refusal about %q", name, err, row.about)
		}
	}
}
