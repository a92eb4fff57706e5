package e2e_test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// shell runs the commands of docs/operate.md.
type shell struct {
	*site
	t   testing.TB
	bin string
}

// shell builds halfkey and halfkey-dev.
func (s *site) shell(t testing.TB) *shell {
	t.Helper()
	bin := t.TempDir()
	out, err := exec.Command("go", "build", "-buildvcs=false", "-o", bin+string(filepath.Separator),
		"github.com/halfkey/halfkey/cmd/halfkey", "github.com/halfkey/halfkey/cmd/halfkey-dev").CombinedOutput()
	if err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	return &shell{site: s, t: t, bin: bin}
}

// run runs a command line in the deployment's directory, and returns what it printed.
func (s *shell) run(line string) string {
	s.t.Helper()
	out, err := s.try(line)
	if err != nil {
		s.t.Fatalf("%s: %v\n%s", line, err, out)
	}
	return out
}

func (s *shell) try(line string) (string, error) {
	words := strings.Fields(line)
	cmd := exec.Command(filepath.Join(s.bin, words[0]), words[1:]...)
	cmd.Dir = s.made.Dir
	cmd.Env = append(os.Environ(), "HALFKEY_INSTALLATION="+filepath.Join(s.made.Dir, "installation.json"))
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// register registers an agent, and the owner claims it and sets its guard rails.
func (s *shell) register(handle string) {
	s.t.Helper()
	var made struct {
		ClaimCode string `json:"claim_code"`
	}
	out := s.run("halfkey --home home-" + handle + " register --name " + handle + " --owner you@company.com --json")
	if err := json.Unmarshal([]byte(out), &made); err != nil {
		s.t.Fatalf("%v: %s", err, out)
	}
	s.run("halfkey --home home-owner owner claim " + made.ClaimCode + " --yes")
}

// fund gives an agent guard rails under which it pays the shop, and money, by an operator's key.
func (s *shell) fund(handle, key string) {
	s.t.Helper()
	s.run("halfkey --home home-owner guardrails set @" + handle + " --auto-approve 5 --daily 50 --hard-cap 100 --allow @shop")
	s.run("halfkey --home home-operator operator --key " + key + " deposit @" + handle + " 20 --id for-" + handle)
}

// restart ends a program, and starts it again.
func (s *shell) restart(names ...string) {
	s.t.Helper()
	for _, name := range names {
		s.programs[name].stop(s.t)
		s.programs[name].start()
		s.programs[name].awaitReady()
	}
}

// installations makes every program's configuration name the installation files up to a number, oldest first.
func (s *shell) installations(number int) {
	s.t.Helper()
	files := "installation.json"
	for n := 2; n <= number; n++ {
		files += fmt.Sprintf(", installation.%d.json", n)
	}
	for _, p := range s.programs {
		lines := strings.Split(read(s.t, p.config), "\n")
		for n, line := range lines {
			if strings.HasPrefix(line, "installation:") {
				lines[n] = "installation: [" + files + "]"
			}
		}
		write(s.t, p.config, strings.Join(lines, "\n"))
	}
	s.run("halfkey-dev certs .") // Which gives each directory the files that are new, and fresh certificates.
}

// The sections "Installing" and "Keys" of docs/operate.md, command by command: an installation from nothing, with a second operator's
// key from the start; a first owner, two agents and a payment; the first operator's key lost and taken out; and the key-encryption key
// rotated, with what is said of a keyset that lacks a key.
func TestOperateInstallAndKeys(t *testing.T) {
	t.Parallel()
	site := newSite(t)
	s := site.shell(t)

	const second, offline = "offline/operator-2.key", "elsewhere-operator-2.key"
	if said := s.run("halfkey-dev certs ."); !strings.Contains(said, "still here: "+filepath.Join(s.made.Dir, second)) {
		t.Errorf("certs says nothing of the second operator's key, which is to be taken away:\n%s", said)
	}
	if err := os.Rename(filepath.Join(s.made.Dir, second), filepath.Join(s.made.Dir, offline)); err != nil {
		t.Fatal(err)
	}
	if said := s.run("halfkey-dev certs ."); strings.Contains(said, second) || !strings.Contains(said, "lost the last one") {
		t.Errorf("certs, after the second operator's key was taken away:\n%s", said)
	}
	for _, p := range s.programs {
		p.start()
	}
	s.etcd.start()
	s.run("halfkey-dev etcd-users . --endpoints " + s.member.Address)
	s.awaitReady()
	s.run("halfkey --home home-owner owner init --code-file bootstrap.code --email you@company.com --second-key-file second-owner.key")
	again := "halfkey --home home-thief owner init --code-file bootstrap.code --email thief@company.com --second-key-file thief.key"
	if out, err := s.try(again); err == nil {
		t.Errorf("a second owner by the bootstrap code:\n%s", out)
	}
	s.register("shop")
	s.register("first")
	s.fund("first", offline)
	s.run("halfkey --home home-first pay @shop 2")

	// The first operator's key is lost: the second takes it out.
	lost := strings.TrimSpace(s.run("halfkey installation key operator.key"))
	s.run("halfkey installation succeed --current installation.json --key " + offline + " --remove-operator-key " + lost +
		" --out installation.2.json")
	s.installations(2)
	s.restart("gateway", "identity", "policy", "cosigner", "ledger")
	if out, err := s.try("halfkey --home home-operator operator --key operator.key deposit @first 20"); err == nil {
		t.Errorf("a deposit by the operator's key that was taken out:\n%s", out)
	}
	s.run("halfkey --home home-operator operator --key " + offline + " deposit @first 1")

	s.rotateKEK(t, offline)
}

// rotateKEK is "The key-encryption key", by an operator's key.
func (s *shell) rotateKEK(t *testing.T, operator string) {
	t.Helper()
	one := read(t, filepath.Join(s.made.Dir, "kek.json"))
	fields := strings.Fields(s.run("halfkey-dev kek add kek.json"))
	number := strings.TrimSuffix(fields[1], ".")
	s.run("halfkey-dev certs .")
	s.restart("cosigner")
	s.run("halfkey --home home-first pay @shop 1")
	s.run("halfkey-dev kek promote kek.json " + number)
	s.run("halfkey-dev certs .")
	s.restart("cosigner")
	s.run("halfkey --home home-first pay @shop 1") // Its share is sealed under the first key.
	s.register("next")                             // Its share is sealed under the second.
	s.fund("next", operator)
	s.run("halfkey --home home-next pay @shop 1")

	// A replica that was left with the keyset of before loses nothing; it cannot open what is newer.
	file := filepath.Join(s.made.Dir, "cosigner", "kek.json")
	both := read(t, file)
	write(t, file, one)
	s.restart("cosigner")
	s.run("halfkey --home home-first pay @shop 1")
	if out, err := s.try("halfkey --home home-next pay @shop 1 --id waits"); err == nil || !strings.Contains(out, "KEY_LOST") {
		t.Errorf("a share that is sealed under a key which the keyset lacks: %v, want KEY_LOST\n%s", err, out)
	}
	write(t, file, both)
	s.restart("cosigner")
	s.run("halfkey --home home-next pay @shop 1 --id waits")

	// Another keyset altogether does not start.
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	s.run("halfkey-dev kek new cosigner/kek.json")
	s.programs["cosigner"].stop(t)
	s.programs["cosigner"].start()
	if code := s.programs["cosigner"].wait(t); code == 0 ||
		!strings.Contains(s.programs["cosigner"].tail(), "sealed under another key-encryption key") {
		t.Errorf("a co-signer with another keyset ends with %d:\n%s", code, s.programs["cosigner"].tail())
	}
	write(t, file, both)
	s.programs["cosigner"].start()
	s.awaitReady()
	s.run("halfkey --home home-first pay @shop 1")
}
