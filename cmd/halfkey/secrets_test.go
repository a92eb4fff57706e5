package main

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/halfkey/halfkey/client"
)

// searched are commands' outputs, in which secrets are looked for once all are known.
type searched struct {
	t       *testing.T
	dir     string
	outputs map[string]ran
	secrets []string
}

// run runs a command on a home and keeps what it printed, under what was typed.
func (s *searched) run(home string, code int, args ...string) ran {
	s.t.Helper()
	env := map[string]string{client.HomeVariable: s.path(home), envInstallation: world.system.InstallationFile()}
	got := inProcess(s.t.Context(), env, "", args...)
	if got.code != code {
		s.t.Fatalf("%v: got exit code %d, want %d: %+v", args, got.code, code, got)
	}
	s.outputs[fmt.Sprintf("%d %s", len(s.outputs), strings.Join(args, " "))] = got
	return got
}

func (s *searched) path(name string) string { return filepath.Join(s.dir, name) }

// write plants a file of a person's.
func (s *searched) write(name, content string) string {
	s.t.Helper()
	if err := os.WriteFile(s.path(name), []byte(content), 0o600); err != nil {
		s.t.Fatal(err)
	}
	return s.path(name)
}

// home takes what the keys of a home are now for secrets.
func (s *searched) home(name string) {
	s.t.Helper()
	for _, secret := range secretsIn(s.t, s.path(name)) {
		s.secrets = append(s.secrets, canary(secret)...)
	}
}

// seed takes the seed of a token or an invitation for one.
func (s *searched) seed(name string) {
	s.t.Helper()
	b, err := os.ReadFile(s.path(name))
	if err != nil {
		s.t.Fatal(err)
	}
	var file struct {
		Seed []byte `json:"seed"`
	}
	if err := json.Unmarshal(b, &file); err != nil || len(file.Seed) != 32 {
		s.t.Fatalf("%s holds no seed: %v", name, err)
	}
	s.secrets = append(s.secrets, canary(file.Seed)...)
}

// search fails the test for each secret that was printed.
func (s *searched) search() {
	s.t.Helper()
	for what, got := range s.outputs {
		for _, secret := range s.secrets {
			if strings.Contains(got.stdout+got.stderr, secret) {
				s.t.Errorf("%s prints the secret %q", what, secret)
			}
		}
	}
}

// An owner's life from the invitation to the last takeover prints none of the keys, tokens, passphrases and shares in it.
func TestOwnersSecretsAreNotPrinted(t *testing.T) {
	if raced {
		t.Skip("it looks at files and output of processes, of which the race detector sees no more")
	}
	t.Parallel()
	s := &searched{t: t, dir: t.TempDir(), outputs: make(map[string]ran)}
	const passphrase, wrong = "canary horse battery staple", "canary horse battery stable"
	words, others := s.write("words", passphrase+"\n"), s.write("others", wrong+"\n")
	s.secrets = append(slices.Concat(canary([]byte(passphrase)), canary([]byte(wrong))), "canary horse")

	inviting := inProcess(t.Context(), map[string]string{client.HomeVariable: world.ownerHome}, "",
		"owner", "invite", "canary@example.com", "--output", s.path("invitation"), "--json")
	if inviting.code != exitDone {
		t.Fatalf("inviting: %+v", inviting)
	}
	s.outputs["inviting"] = inviting
	s.seed("invitation")
	b, err := os.ReadFile(s.path("invitation"))
	if err != nil {
		t.Fatal(err)
	}
	cut := s.write("cut", string(b[:len(b)-20]))
	s.run("owner", exitUsage, "owner", "init", "--code-file", cut, "--no-second-key")
	s.run("owner", exitUsage, "owner", "init", "--code-file", words, "--no-second-key", "--json")
	s.run("owner", exitDone, "owner", "init", "--code-file", s.path("invitation"), "--second-key-file", s.path("second"))
	s.home("owner")
	second, err := os.ReadFile(s.path("second"))
	if err != nil {
		t.Fatal(err)
	}
	s.secrets = append(s.secrets, secondKey(t, second)...)
	s.run("owner", exitDone, "owner", "keys", "--json")

	s.run("owner", exitDone, "enrol", "--output", s.path("token"), "--json")
	s.seed("token")
	s.run("agent", exitDone, "register", "--name", "Canary Enrolled", "--enrolment-token-file", s.path("token"))
	s.run("late", exitRefused, "register", "--name", "Canary Late", "--enrolment-token-file", s.path("token"), "--json")
	s.home("agent")
	s.run("owner", exitDone, "guardrails", "set", "@canary-enrolled", "--auto-approve", "5", "--daily", "50", "--hard-cap", "100", "--unknown", "review", "--json")

	s.run("owner", exitDone, "recovery", "create", "@canary-enrolled", s.path("share"), "--passphrase-file", words)
	s.run("agent", exitDone, "reshare", "--json")
	s.home("agent")
	s.run("owner", exitUsage, "recovery", "open", s.path("share"), "--passphrase-file", others, "--json")
	s.run("owner", exitDone, "recovery", "open", s.path("share"), "--passphrase-file", words, "--json")

	offer := object(t, s.run("agent", exitDone, "offer", "--json").stdout)["offer"].(string)
	s.home("agent")
	s.run("owner", exitDone, "agents", "rotate", offer)
	s.run("owner", exitDone, "owner", "rotate", "--renew", "--yes", "--json")
	s.home("owner")
	s.run("owner", exitDone, "agents", "revoke", "@canary-enrolled", "--yes")
	s.run("owner", exitDone, "recovery", "replace", "@canary-enrolled", s.path("share"), "--passphrase-file", words)
	s.home("owner")
	s.run("owner", exitDone, "recovery", "exit", "@canary-enrolled", s.path("share"), "--passphrase-file", words, "--message", cut, "--yes")
	s.run("owner", exitDone, "audit", "verify", "@canary-enrolled", "--json")
	s.search()
}

// secondKey are the forms of the key in a second owner key's file.
func secondKey(t *testing.T, file []byte) []string {
	t.Helper()
	var fields map[string]any
	if json.Unmarshal(file, &fields) != nil {
		return canary(bytes.TrimSpace(file))
	}
	for name, value := range fields {
		if text, ok := value.(string); ok && strings.Contains(name, "seed") {
			seed, err := base64.StdEncoding.DecodeString(text)
			if err != nil {
				t.Fatal(err)
			}
			return canary(seed)
		}
	}
	t.Fatal("a second key's file holds no seed")
	return nil
}

// A process that works with an agent's keys shows none of them to who lists processes, nor in the traces of all its goroutines
// that it leaves when it crashes.
func TestCrashShowsNoSecret(t *testing.T) {
	t.Parallel()
	buyer, _ := buyerAndShop(t, "crash")
	var secrets []string
	for _, secret := range secretsIn(t, buyer) {
		secrets = append(secrets, canary(secret)...)
	}
	c := process(t, buyer, "pay", "@crash-shop", "6", "--id", "waits", "--wait")
	c.Env = append(c.Env, "GOTRACEBACK=all")
	stderr, err := c.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	var told bytes.Buffer
	for b := make([]byte, 1024); !strings.Contains(told.String(), "waiting for the owner"); {
		n, err := stderr.Read(b)
		if err != nil {
			t.Fatalf("%v after %q", err, told.String())
		}
		told.Write(b[:n])
	}
	shown := make(map[string]string)
	for _, file := range []string{"cmdline", "environ"} { // Where there is a /proc.
		if b, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", c.Process.Pid, file)); err == nil {
			shown[file] = string(b)
		}
	}
	if err := c.Process.Signal(syscall.SIGQUIT); err != nil {
		t.Fatal(err)
	}
	if _, err := told.ReadFrom(stderr); err != nil {
		t.Fatal(err)
	}
	_ = c.Wait() // It crashed: its output says so.
	shown["crash"] = told.String()
	if !strings.Contains(told.String(), "goroutine ") {
		t.Fatalf("no crash: %q", told.String())
	}
	for where, text := range shown {
		for _, secret := range secrets {
			if strings.Contains(text, secret) {
				t.Errorf("%s shows the secret %q", where, secret)
			}
		}
	}
}
