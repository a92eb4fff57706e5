package httpjson_test

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/halfkey/halfkey/client"
	"github.com/halfkey/halfkey/halfkeytest"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

var update = flag.Bool("update", false, "write what the commands of docs/http.md print into it")

const page = "../../docs/http.md"

// The commands of docs/http.md print what it says.
func TestDocs(t *testing.T) {
	for _, tool := range []string{"bash", "curl", "jq"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("the page's commands need %s", tool)
		}
	}
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	build := exec.Command("go", "build", "-o", filepath.Join(dir, "halfkey"), "github.com/halfkey/halfkey/cmd/halfkey")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	w := newWorld(t)
	agent := payOnce(t, w, filepath.Join(dir, "home"))
	if err := os.WriteFile(filepath.Join(dir, "ca.pem"), []byte(w.Installation().Content().GetCaPem()), 0o600); err != nil {
		t.Fatal(err)
	}

	parts := commands(string(text))
	var script strings.Builder
	for i, p := range parts {
		if p.command != "" {
			fmt.Fprintf(&script, "echo '<<%d>>'\n%s\n", i, p.command)
		}
	}
	run := exec.CommandContext(t.Context(), "bash", "-c", script.String())
	run.Dir = dir
	run.Env = append(os.Environ(), "PATH="+dir+":"+os.Getenv("PATH"), "HALFKEY_HOME="+filepath.Join(dir, "home"), "GATEWAY="+w.HTTPS(),
		"WALLET="+agent.Wallet(), "HALFKEY_WALLET=", "HALFKEY_INSTALLATION=")
	out, err := run.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	printed := strings.NewReplacer(agent.Wallet(), "wallets/"+sample, strings.TrimPrefix(agent.Wallet(), "wallets/"), sample,
		w.Installation().ID(), "dev-5c7dc4cba4").Replace(string(out))
	var got strings.Builder
	for i, p := range parts {
		if p.command == "" {
			got.WriteString(p.text)
			continue
		}
		_, rest, _ := strings.Cut(printed, fmt.Sprintf("<<%d>>\n", i))
		output, _, _ := strings.Cut(rest, "<<")
		fmt.Fprintf(&got, "$ %s\n%s", p.command, output)
	}
	if *update {
		if err := os.WriteFile(page, []byte(got.String()), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(string(text), got.String()); diff != "" {
		t.Errorf("docs/http.md says other than its commands (-page +printed); go test ./gateway/httpjson -run TestDocs -update:\n%s", diff)
	}
}

// sample stands for ids that are drawn anew each time.
const sample = "019f1c2e-7b3a-7c54-9d10-5e8a2f6b4c71"

// payOnce makes an agent in a home, funded with 10 USD, that has paid 2 of them.
func payOnce(t *testing.T, w *world, dir string) *client.Agent {
	t.Helper()
	shop := w.Agent("Data Shop")
	home, err := client.OpenHome(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := home.Connect(w.InstallationFile()); err != nil {
		t.Fatal(err)
	}
	c := w.Client(home)
	r, err := c.Register(t.Context(), client.RegisterOptions{Name: "Research Agent", OwnerEmail: halfkeytest.Email})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Owner().Claim(t.Context(), r.ClaimCode); err != nil {
		t.Fatal(err)
	}
	agent, err := c.Agent(r.Wallet)
	if err != nil {
		t.Fatal(err)
	}
	w.GuardRails(agent, client.StandardRules(shop.GroupKey()))
	w.Fund(agent, 10_000_000)
	p, err := agent.Pay(t.Context(), client.Order{ID: "invoice-7", Recipient: "@data-shop", Units: 2_000_000})
	if err != nil || p.State != typev1.PaymentState_PAYMENT_STATE_SETTLED {
		t.Fatalf("%v %v", p, err)
	}
	return agent
}

// part is a command of a page, or text between two; what a command printed is in neither.
type part struct{ text, command string }

var console = regexp.MustCompile("(?s)```console\n(.*?)```\n")

func commands(text string) []part {
	var parts []part
	for {
		at := console.FindStringSubmatchIndex(text)
		if at == nil {
			return append(parts, part{text: text})
		}
		parts = append(parts, part{text: text[:at[2]]})
		for line := range strings.Lines(text[at[2]:at[3]]) {
			if command, ok := strings.CutPrefix(strings.TrimRight(line, "\n"), "$ "); ok {
				parts = append(parts, part{command: command})
			}
		}
		parts = append(parts, part{text: "```\n"})
		text = text[at[1]:]
	}
}
