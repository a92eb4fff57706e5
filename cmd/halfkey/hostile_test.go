package main

import (
	"crypto/ed25519"
	"encoding/hex"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/alecthomas/kong"

	"github.com/halfkey/halfkey/client"
	hidden "github.com/halfkey/halfkey/internal/canary"
)

// hugeOutputMax bounds what a failure prints, whatever it was given.
const hugeOutputMax = 8 << 10

// An argument of any size is refused in a few words, and stores nothing.
func TestHugeArguments(t *testing.T) {
	home := filepath.Join(t.TempDir(), "home")
	if _, err := newAgent(home, "huge-agent", true); err != nil {
		t.Fatal(err)
	}
	huge := strings.Repeat("x", 1<<20)
	env := map[string]string{client.HomeVariable: home}
	for _, args := range [][]string{
		{"pay", "@huge-shop", "5", "--memo", huge},
		{"pay", huge, "5"},
		{"pay", "@" + huge, "5"},
		{"pay", "wallets/" + huge, "5"},
		{"pay", "@huge-shop", huge},
		{"pay", "@huge-shop", strings.Repeat("9", 1<<20)},
		{"pay", "@huge-shop", "5", huge},
		{"pay", "@huge-shop", "5", "--id", huge},
		{"pay", "@huge-shop", "5", "--asset", huge},
		{"pay", "@huge-shop", "5", huge, huge},
		{"--wallet", huge, "balance"},
		{"payments", "show", huge},
		{"payments", "list", "--state", huge},
		{"freeze", "--id", huge},
		{"wallet", "use", huge},
		{"register", "--name", huge, "--owner", ownerEmail},
		{"register", "--name", "x", "--owner", huge + "@company.com"},
		{"register", "--name", "x", "--owner", ownerEmail, "--handle", huge},
		{"refresh", huge},
		{"token", huge, "x"},
		{huge},
		{"--" + huge},
		{"connect", huge},
		{"operator", "deposit", huge, "5", "--key", world.system.OperatorKeyFile()},
	} {
		for _, more := range []string{"", "--json"} {
			name := strings.Join(args, " ")[:20]
			got := inProcess(t.Context(), env, "", append(slices.DeleteFunc([]string{more}, func(s string) bool { return s == "" }), args...)...)
			if got.code != exitUsage || got.stdout != "" || len(got.stderr) > hugeOutputMax {
				t.Errorf("%s…: got exit code %d, %d bytes of output, %.300q", name, got.code, len(got.stderr), got.stderr)
			}
			if more != "" && object(t, got.stderr)["money_moved"] != "NO" {
				t.Errorf("%s…: got %.300q", name, got.stderr)
			}
		}
	}
	if found, _ := filepath.Glob(filepath.Join(home, "payments", "*", "*.json")); len(found) != 0 {
		t.Errorf("stored %v", found)
	}
}

// canary is one secret, in every form in which it could slip out.
func canary(secret []byte) []string { return hidden.Needles(secret) }

// secretsIn are the secrets of a home: every value of its keys' files that is one.
func secretsIn(t testing.TB, home string) [][]byte {
	t.Helper()
	found := make(hidden.Secrets)
	if err := found.AddHome("home", home); err != nil {
		t.Fatal(err)
	}
	return slices.Collect(maps.Values(found))
}

// No command prints a secret, in any form: not when it works, not when it fails, not when the secret itself is what is wrong.
func TestSecretsAreNotPrinted(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	home := filepath.Join(dir, "home")
	if _, err := newAgent(filepath.Join(dir, "shop"), "canary-shop", false); err != nil {
		t.Fatal(err)
	}
	if _, err := newAgent(home, "canary-buyer", false, "canary-shop"); err != nil {
		t.Fatal(err)
	}
	operator, err := world.system.OperatorKey()
	if err != nil {
		t.Fatal(err)
	}
	// A key that is one character short, and one that is not the operator's.
	planted := []byte("canary5ecret0123456789abcdef0123456789abcdef0123456789abcdef012")
	wrong := ed25519.NewKeyFromSeed([]byte("canary-canary-canary-canary-cana")).Seed()
	write := func(name, content string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	short, other := write("short", string(planted)+"\n"), write("other", hex.EncodeToString(wrong)+"\n")
	key := world.system.OperatorKeyFile()

	var secrets []string
	for _, s := range append(secretsIn(t, home), planted, wrong, operator.Seed(), []byte(hex.EncodeToString(operator.Seed()))) {
		secrets = append(secrets, canary(s)...)
	}
	env := map[string]string{client.HomeVariable: home}
	for _, args := range [][]string{
		{"whoami"},
		{"wallet", "list"},
		{"wallet", "show"},
		{"balance"},
		{"limits"},
		{"pay", "@canary-shop", "1", "--id", "canary"},
		{"pay", "@canary-shop", "2", "--id", "canary"},
		{"pay", "@canary-shop", "6"},
		{"payments", "list"},
		{"payments", "show", "canary"},
		{"payments", "show", "nosuch"},
		{"offer"},
		{"reshare"},
		{"register", "--name", "Canary Buyer", "--owner", ownerEmail},
		{"token", "GetAccount", "wallets/x"},
		{"token", "GetAccount", "wallets/x", "--as", "operator", "--key", key},
		{"token", "GetAccount", "wallets/x", "--as", "operator", "--key", short},
		{"operator", "deposit", "@canary-buyer", "1", "--key", key},
		{"operator", "deposit", "@canary-buyer", "1", "--key", other},
		{"operator", "deposit", "@canary-buyer", "1", "--key", short},
		{"operator", "deposit", "@canary-buyer", "1", "--key", "-"},
		{"operator", "deposit", "nosuch", "1", "--key", key},
		{"connect", key},
		{"connect", short},
		{"connect", filepath.Join(home, "keys", filepath.Base(firstFile(t, filepath.Join(home, "keys"))))},
		{"freeze", "--id", "canary-stop"},
		{"__complete", "--", "wallet", "use", ""},
		{"version"},
	} {
		for _, form := range [][]string{nil, {"--json"}} {
			got := inProcess(t.Context(), env, string(planted), append(form, args...)...)
			for _, s := range secrets {
				if strings.Contains(got.stdout, s) || strings.Contains(got.stderr, s) {
					t.Errorf("%v %v prints the secret %q: %+v", form, args, s, got)
				}
			}
		}
	}
}

func firstFile(t testing.TB, dir string) string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) == 0 {
		t.Fatal("no files", err)
	}
	return entries[0].Name()
}

// publicWords are flags and arguments whose names sound like secrets and are none: a claim code is shown to both sides, and
// of a second owner key, a service's new key and an operator's key the public half is taken.
var publicWords = []string{
	"owner claim <code>", "owner init --second-key",
	"installation succeed --cosigner-key", "installation succeed --policy-key", "installation succeed --ledger-key",
	"installation succeed --add-operator-key", "installation succeed --remove-operator-key",
}

// Whatever is secret comes from a file or standard input: no flag or argument takes one.
func TestNoArgumentIsSecret(t *testing.T) {
	parser, err := newParser(new(cli), &app{})
	if err != nil {
		t.Fatal(err)
	}
	check := func(path string, v *kong.Value) {
		for _, word := range []string{"key", "secret", "pass", "token", "code", "seed", "share"} {
			if strings.Contains(strings.ToLower(v.Name), word) && !v.IsBool() && !slices.Contains(publicWords, path) &&
				!strings.Contains(v.Tag.PlaceHolder, "FILE") && !strings.Contains(v.Help, "file") {
				t.Errorf("%s takes what sounds like a secret, and does not say that it is a file's name", path)
			}
		}
	}
	for _, leaf := range parser.Model.Leaves(false) {
		for _, p := range leaf.Positional {
			check(leaf.Path()+" "+p.Summary(), p)
		}
		for _, flags := range leaf.AllFlags(false) {
			for _, f := range flags {
				check(leaf.Path()+" --"+f.Name, f.Value)
			}
		}
	}
}
