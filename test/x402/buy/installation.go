// Package buy has halfkey, as it is installed, buy from a seller of other people's software, and pay by itself, on a chain that is
// Solana's own virtual machine. What moved is asked of that machine, never of us.
package buy

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/halfkey/halfkey/internal/chain/solana"
	"github.com/halfkey/halfkey/test/x402/vm"
)

// waitMax bounds every wait for something that comes by itself.
const waitMax = time.Minute

// Installation is one Halfkey in a process of its own, an owner, and the homes of its agents.
type Installation struct {
	t         testing.TB
	node      *vm.Node
	programs  string // a directory with the two programs
	dir       string
	endpoints string // a file
	process   *exec.Cmd
	ended     chan struct{} // closed once the process has ended
	ready     struct {
		InstallationFile   string `json:"installation_file"`
		OwnerBootstrapCode string `json:"owner_bootstrap_code"`
	}
}

// build makes the two programs from this checkout.
func build(dir string) error {
	command := exec.Command("go", "build", "-buildvcs=false", "-o", dir+string(filepath.Separator), "./cmd/halfkey", "./cmd/halfkey-dev")
	command.Dir = vm.Path("../..")
	command.Env = append(os.Environ(), "GOWORK=off")
	if output, err := command.CombinedOutput(); err != nil {
		return errors.Join(err, errors.New(string(output)))
	}
	return nil
}

// install starts an installation on the node's chain, which it asks at two addresses, one of them late; and its owner.
func install(t testing.TB, node *vm.Node) *Installation {
	t.Helper()
	i := &Installation{t: t, node: node, programs: programs, dir: t.TempDir()}
	i.endpoints = filepath.Join(i.dir, "endpoints")
	if err := os.WriteFile(i.endpoints, []byte(node.URL+"\n"+node.URL+"/behind/3\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(i.stop)
	i.serve()
	i.owner("owner", "init", "--code-file", "-", "--email", "owner@example.com", "--second-key-file", filepath.Join(i.dir, "second.key"))
	return i
}

// serve starts the services, and waits until they serve.
func (i *Installation) serve() {
	i.t.Helper()
	ready := filepath.Join(i.dir, "ready.json")
	if err := os.Remove(ready); err != nil && !errors.Is(err, fs.ErrNotExist) {
		i.t.Fatal(err) // One that a crash left behind would tell of services that do not run.
	}
	i.process = exec.Command(filepath.Join(i.programs, "halfkey-dev"), "serve", "--data-dir", filepath.Join(i.dir, "data"),
		"--ready-file", ready, "--solana-network", i.node.Network, "--solana-endpoints-file", i.endpoints)
	var output bytes.Buffer // Read once the process has ended.
	i.process.Stdout, i.process.Stderr = &output, &output
	if err := i.process.Start(); err != nil {
		i.t.Fatal(err)
	}
	process, ended := i.process, make(chan struct{})
	i.ended = ended
	go func() {
		_ = process.Wait()
		close(ended)
	}()
	for end := time.Now().Add(waitMax); ; time.Sleep(20 * time.Millisecond) {
		if b, err := os.ReadFile(ready); err == nil {
			if err := json.Unmarshal(b, &i.ready); err != nil {
				i.t.Fatalf("%s: %v", b, err)
			}
			return
		}
		select {
		case <-ended:
		default:
			if time.Now().Before(end) {
				continue
			}
			i.stop()
		}
		i.t.Fatalf("halfkey-dev does not serve:\n%s", output.String())
	}
}

// stop ends the services, if they run.
func (i *Installation) stop() { i.end(syscall.SIGTERM) }

// kill ends them as a machine does that loses its power.
func (i *Installation) kill() { i.end(syscall.SIGKILL) }

func (i *Installation) end(signal os.Signal) {
	if i.process == nil {
		return
	}
	_ = i.process.Process.Signal(signal)
	<-i.ended
	i.process = nil
}

// Result is what a command of halfkey did.
type Result struct {
	Code        int
	Out, Errors string
}

// command is a command of halfkey in a home. Standard input is the owner's bootstrap code, which one command reads.
func (i *Installation) command(home string, arguments ...string) *exec.Cmd {
	command := exec.CommandContext(i.t.Context(), filepath.Join(i.programs, "halfkey"), arguments...)
	command.Dir = i.dir
	command.Env = append(os.Environ(), "HALFKEY_HOME="+filepath.Join(i.dir, home), "HALFKEY_INSTALLATION="+i.ready.InstallationFile)
	command.Stdin = strings.NewReader(i.ready.OwnerBootstrapCode + "\n")
	return command
}

// run runs it.
func (i *Installation) run(home string, arguments ...string) Result {
	i.t.Helper()
	command := i.command(home, arguments...)
	var out, problems bytes.Buffer
	command.Stdout, command.Stderr = &out, &problems
	err := command.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		i.t.Fatal(err)
	}
	return Result{Code: command.ProcessState.ExitCode(), Out: out.String(), Errors: problems.String()}
}

// ask runs a command that must end with a code, and reads the JSON that it prints.
func (i *Installation) ask(answer any, code int, home string, arguments ...string) {
	i.t.Helper()
	got := i.run(home, append(arguments, "--json")...)
	if got.Code != code {
		i.t.Fatalf("halfkey %s: exit code %d, want %d\n%s%s", strings.Join(arguments, " "), got.Code, code, got.Out, got.Errors)
	}
	if err := json.Unmarshal([]byte(got.Out), answer); err != nil {
		i.t.Fatalf("halfkey %s: %v\n%s%s", strings.Join(arguments, " "), err, got.Out, got.Errors)
	}
}

// owner runs a command of the owner's that must succeed.
func (i *Installation) owner(arguments ...string) Result {
	i.t.Helper()
	got := i.run("owner", arguments...)
	if got.Code != 0 {
		i.t.Fatalf("halfkey %s: exit code %d\n%s%s", strings.Join(arguments, " "), got.Code, got.Out, got.Errors)
	}
	return got
}

// Agent is an agent with a claimed wallet.
type Agent struct {
	*Installation
	Handle, Wallet string
	// Address is the wallet's on the chain.
	Address string
	outputs int // how many files it has had written
}

// agent registers and claims one, with guard rails: over 1 USD a payment waits, over 5 it is refused, and it may pay these addresses.
func (i *Installation) agent(name string, allow ...string) *Agent {
	i.t.Helper()
	var made struct {
		Wallet    string `json:"wallet"`
		ClaimCode string `json:"claim_code"`
		GroupKey  string `json:"group_key"`
	}
	i.ask(&made, 0, name, "register", "--name", name, "--owner", "owner@example.com")
	i.owner("owner", "claim", made.ClaimCode, "--yes")
	rules := []string{
		"guardrails", "set", made.Wallet, "--asset", "USDC-devnet", "--auto-approve", "1", "--daily-deny", "50", "--hard-cap", "5",
	}
	for _, address := range allow {
		rules = append(rules, "--allow", address)
	}
	i.owner(rules...)
	key, err := hex.DecodeString(made.GroupKey)
	if err != nil || len(key) != len(solana.Key{}) {
		i.t.Fatalf("%q is no key", made.GroupKey)
	}
	return &Agent{Installation: i, Handle: name, Wallet: made.Wallet, Address: solana.Key(key).String()}
}

// Account is what `halfkey balance` says.
type Account struct {
	Balances []struct {
		Asset     string `json:"asset"`
		Available string `json:"available_units"`
		Held      string `json:"held_units"`
	} `json:"balances"`
}

// fund sends the wallet units by a transaction of the chain, and waits until `halfkey balance` has seen it.
func (a *Agent) fund(units string, from vm.Person, send int64) {
	a.t.Helper()
	a.node.Transfer(from, a.Address, send)
	a.wait("the deposit in the balance", func() bool { return a.available() == units })
}

// available are the units of the network's USDC that `halfkey balance` says can be paid.
func (a *Agent) available() string {
	a.t.Helper()
	var account Account
	a.ask(&account, 0, a.Handle, "balance")
	for _, b := range account.Balances {
		if b.Asset == a.node.Network+"/token:"+a.node.Mint {
			return b.Available
		}
	}
	return ""
}

// wait waits for what comes by itself.
func (i *Installation) wait(what string, is func() bool) {
	i.t.Helper()
	for end := time.Now().Add(waitMax); !is(); time.Sleep(100 * time.Millisecond) {
		if time.Now().After(end) {
			i.t.Fatalf("%s does not come", what)
		}
	}
}

// verified audits the wallet from its first entry to its last, as its owner.
func (a *Agent) verified(code int) Result {
	a.t.Helper()
	got := a.run("owner", "audit", "verify", a.Wallet)
	if got.Code != code {
		a.t.Fatalf("audit verify: exit code %d, want %d\n%s%s", got.Code, code, got.Out, got.Errors)
	}
	return got
}
