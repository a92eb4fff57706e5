//go:build !race

// The race detector changes nothing that is counted here.

package bench

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/halfkey/halfkey/client"
	"github.com/halfkey/halfkey/halfkeytest"
	"github.com/halfkey/halfkey/internal/chain/book"
)

// observedFile names the file into which the watched standard library writes, testdata/observe.go.txt.
const observedFile = "HALFKEY_BENCH_SIGNATURES"

// TestSignaturesOfOnePayment counts every call of crypto/ed25519 in one payment. The product is built unchanged, on a copy of the
// standard library's package that notes its callers: whoever signs or verifies anything, by whatever way, is seen.
func TestSignaturesOfOnePayment(t *testing.T) {
	if file := os.Getenv(observedFile); file != "" {
		payObserved(t, file)
		return
	}
	file := filepath.Join(t.TempDir(), "signatures")
	run := exec.CommandContext(t.Context(), "go", "test", "-count=1", "-vet=off", "-overlay", watchedLibrary(t),
		"-run", "^TestSignaturesOfOnePayment$", ".")
	run.Env = append(os.Environ(), observedFile+"="+file)
	if out, err := run.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	got, want := make(map[string]int), make(map[string]int)
	for line := range strings.Lines(string(b)) {
		got[observedCall(t, strings.Split(strings.TrimSuffix(line, "\n"), "\t"))]++
	}
	for _, s := range Signatures() {
		want[callName(s.By, s.Verified, s.Over)] += s.Count
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("one payment's signatures (-table +counted):\n%s", diff)
	}
}

// payObserved pays twice and leaves the second payment's calls in the file: the first one looks the recipient up and connects.
func payObserved(t *testing.T, file string) {
	h := halfkeytest.Start(t)
	shop, payer := h.Agent("Shop"), h.Agent("Payer")
	h.GuardRails(payer, client.StandardRules(shop.GroupKey()))
	h.Fund(payer, 10_000_000)
	for range 2 {
		if err := os.Truncate(file, 0); err != nil {
			t.Fatal(err)
		}
		payOnce(t, payer, shop.Wallet())
	}
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	// Stopping the installation must not add to it.
	if err := os.WriteFile(file+".all", b, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(file+".all", file); err != nil {
		t.Fatal(err)
	}
}

// watchedLibrary makes an overlay in which crypto/ed25519 calls observe.
func watchedLibrary(t *testing.T) string {
	out, err := exec.CommandContext(t.Context(), "go", "list", "-f", "{{.Dir}}", "crypto/ed25519").Output()
	if err != nil {
		t.Fatal(err)
	}
	library, dir := strings.TrimSpace(string(out)), t.TempDir()
	source, err := os.ReadFile(filepath.Join(library, "ed25519.go"))
	if err != nil {
		t.Fatal(err)
	}
	watched := string(source)
	for function, call := range map[string]string{
		"func (priv PrivateKey) Sign(rand io.Reader, message []byte, opts crypto.SignerOpts) (signature []byte, err error) {\n": "made",
		"func sign(signature []byte, privateKey PrivateKey, message []byte) {\n":                                                "made",
		"func VerifyWithOptions(publicKey PublicKey, message, sig []byte, opts *Options) error {\n":                             "verified",
	} {
		if strings.Count(watched, function) != 1 {
			t.Fatalf("this Go's crypto/ed25519 has no %q: the test has to follow it", function)
		}
		watched = strings.Replace(watched, function, function+fmt.Sprintf("\tobserve(%q, message)\n", call), 1)
	}
	observe, err := os.ReadFile(filepath.Join("testdata", "observe.go.txt"))
	if err != nil {
		t.Fatal(err)
	}
	replace := map[string]string{
		filepath.Join(library, "ed25519.go"): write(t, filepath.Join(dir, "ed25519.go"), []byte(watched)),
		filepath.Join(library, "observe.go"): write(t, filepath.Join(dir, "observe.go"), observe),
	}
	overlay, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		t.Fatal(err)
	}
	return write(t, filepath.Join(dir, "overlay.json"), overlay)
}

func write(t *testing.T, name string, b []byte) string {
	t.Helper()
	if err := os.WriteFile(name, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// parties are the packages whose functions ask for signatures, by party.
var parties = map[string]string{
	"github.com/halfkey/halfkey/client.":            agent,
	"github.com/halfkey/halfkey/gateway.":           gateway,
	"github.com/halfkey/halfkey/services/identity.": identity,
	"github.com/halfkey/halfkey/services/policy.":   policy,
	"github.com/halfkey/halfkey/services/ledger.":   ledger,
	"github.com/halfkey/halfkey/services/cosigner.": cosigner,
}

// observedCall names a line of the file: what was done, over what, and for whom.
func observedCall(t *testing.T, line []string) string {
	if len(line) < 3 {
		t.Fatalf("a broken line: %q", line)
	}
	did, beginning, callers := line[0], line[1], line[2:]
	over := "something else"
	if rest, ok := strings.CutPrefix(beginning, "DSSEv1 "); ok {
		_, rest, _ = strings.Cut(rest, " application/vnd.halfkey.")
		over, _, _ = strings.Cut(rest, ".v1 ")
	} else if strings.HasPrefix(beginning[1:], book.Prefix[1:]) { // Its first byte is not printable.
		over = "message"
	}
	for _, function := range callers {
		for in, party := range parties {
			if strings.HasPrefix(function, in) {
				return callName(party, did == "verified", over)
			}
		}
	}
	return callName("nobody known, "+strings.Join(callers, " "), did == "verified", over)
}

func callName(by string, verified bool, over string) string {
	if verified {
		return by + " verifies " + over
	}
	return by + " makes " + over
}
