package plain_test

import (
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"example.com/halfkey-examples/plain"
	"github.com/halfkey/halfkey/client"
	"github.com/halfkey/halfkey/halfkeytest"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// TestPay makes a wallet, lets its owner claim it, and pays: without the SDK.
func TestPay(t *testing.T) {
	h := halfkeytest.Start(t)
	shop := h.Agent("Shop")

	i, err := plain.ReadInstallation(h.InstallationFile())
	if err != nil {
		t.Fatal(err)
	}
	conn, err := i.Dial()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	agent, code, err := plain.Register(t.Context(), i, conn, "plain", halfkeytest.Email)
	if err != nil {
		t.Fatal(err)
	}

	// Owner and operator do their part.
	if _, err := h.Owner().Claim(t.Context(), code); err != nil {
		t.Fatal(err)
	}
	if _, err := h.Owner().SetGuardRails(t.Context(), agent.Wallet(), client.StandardRules(shop.GroupKey())); err != nil {
		t.Fatal(err)
	}
	if _, err := h.Operator().Deposit(t.Context(), agent.Wallet(), "first", 10_000_000); err != nil {
		t.Fatal(err)
	}

	order := plain.Order{ID: "invoice-7", Recipient: shop.GroupKey(), Units: 2_000_000, Purpose: "weather data"}
	settlement, err := agent.Pay(t.Context(), order)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("paid %s for %s", settlement.GetUnits(), settlement.GetPayment())
	again := order
	again.Units = 3_000_000
	if _, err := agent.Pay(t.Context(), again); err == nil {
		t.Error("another payment went by the same id")
	}
	six := plain.Order{ID: "invoice-8", Recipient: shop.GroupKey(), Units: 6_000_000}
	if _, err := agent.Pay(t.Context(), six); !errors.Is(err, plain.ErrWaits) {
		t.Errorf("over the auto-approve threshold: %v", err)
	}
	tooMuch := plain.Order{ID: "invoice-9", Recipient: shop.GroupKey(), Units: 101_000_000}
	if _, err := agent.Pay(t.Context(), tooMuch); err == nil || !strings.Contains(err.Error(), "DENIED") {
		t.Errorf("over the hard cap: %v", err)
	}
	account, err := shop.Account(t.Context())
	if err != nil || account.Balances[0].Available != 2_000_000 {
		t.Errorf("the shop has %v, want 2 USD: %v", account, err)
	}
}

// TestForged shows whom the plain client does not believe.
func TestForged(t *testing.T) {
	h := halfkeytest.Start(t)
	file := h.InstallationFile()
	i, err := plain.ReadInstallation(file)
	if err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(string) string{
		"another member": func(s string) string { return strings.Replace(s, `"payloadType"`, `"more":1,"payloadType"`, 1) },
		"another type":   func(s string) string { return strings.Replace(s, "installation.v1", "installation.v2", 1) },
		"cut off":        func(s string) string { return s[:len(s)/2] },
		"nothing":        func(string) string { return "" },
	} {
		if _, err := plain.ReadInstallation([]byte(change(string(file)))); err == nil {
			t.Errorf("installation file, %s: it was taken", name)
		}
	}

	agent, shop := h.Agent("Research Agent"), h.Agent("Shop")
	h.GuardRails(agent, client.StandardRules(shop.GroupKey()))
	h.Fund(agent, 10_000_000)
	p, err := agent.Pay(t.Context(), client.Order{Recipient: "@shop", Units: 1_000_000})
	if err != nil {
		t.Fatal(err)
	}
	good := p.Proto.GetSettlement()
	if _, err := i.CheckSettlement(good); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*typev1.Envelope){
		"a byte of the payload":   func(e *typev1.Envelope) { e.Payload[len(e.Payload)-1] ^= 1 },
		"a byte of the signature": func(e *typev1.Envelope) { e.Signatures[0].Signature[5] ^= 1 },
		"no signature":            func(e *typev1.Envelope) { e.Signatures = nil },
		"another's signature":     func(e *typev1.Envelope) { e.Signatures[0].PublicKey[5] ^= 1 },
		"another statement":       func(e *typev1.Envelope) { proto.Reset(e); proto.Merge(e, p.Proto.GetVerdict()) },
	} {
		forged := proto.Clone(good).(*typev1.Envelope)
		change(forged)
		if _, err := i.CheckSettlement(forged); err == nil {
			t.Errorf("settlement, %s: it was believed", name)
		}
	}
}

// TestImports shows that the plain client gets by with what is there for everybody, and that nothing else can be had: the
// compiler refuses the product's internal packages to a module outside of it.
func TestImports(t *testing.T) {
	out, err := exec.Command("go", "list", "-f", "{{range .Imports}}{{println .}}{{end}}", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	for imported := range strings.FieldsSeq(string(out)) {
		ours, is := strings.CutPrefix(imported, "github.com/halfkey/halfkey/")
		if is && ours != "frost" && !strings.HasPrefix(ours, "proto/gen/") {
			t.Errorf("it imports %s", imported)
		}
	}
	here, err := filepath.Abs(".")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	inside := filepath.Join(dir, "inside.go")
	if err := os.WriteFile(inside, []byte("package plain\n\nimport _ \"github.com/halfkey/halfkey/internal/evidence\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	overlay, err := json.Marshal(map[string]map[string]string{"Replace": {filepath.Join(here, "inside.go"): inside}})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "overlay.json"), overlay, 0o600); err != nil {
		t.Fatal(err)
	}
	refused, err := exec.Command("go", "build", "-overlay", filepath.Join(dir, "overlay.json"), ".").CombinedOutput()
	if err == nil || !strings.Contains(string(refused), "use of internal package github.com/halfkey/halfkey/internal/evidence not allowed") {
		t.Errorf("an import of internal/evidence: %v %s", err, refused)
	}
}
