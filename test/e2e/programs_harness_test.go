package e2e_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/halfkey/halfkey/client"
	example "github.com/halfkey/halfkey/deploy/config"
	"github.com/halfkey/halfkey/internal/allinone"
	"github.com/halfkey/halfkey/internal/canary"
	"github.com/halfkey/halfkey/internal/evidence"
)

const (
	// comesUp bounds what takes a second or two: the rest is for slow machines.
	comesUp = time.Minute
	// lookEvery is how often a test looks at another process, of which it can only see files, ports and log lines.
	lookEvery = 20 * time.Millisecond
)

// programNames are the five, in the order in which their calls go.
var programNames = []string{"gateway", "identity", "policy", "ledger", "cosigner"}

// built is where the programs of this run are, made once.
var built = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "halfkey-programs-")
	if err != nil {
		return "", err
	}
	args := []string{"build", "-buildvcs=false", "-o", dir + string(filepath.Separator)}
	for _, name := range programNames {
		args = append(args, "github.com/halfkey/halfkey/cmd/"+name)
	}
	if out, err := exec.Command("go", args...).CombinedOutput(); err != nil {
		return dir, fmt.Errorf("build: %w\n%s", err, out)
	}
	return dir, nil
})

// wasBuilt is set by the first test that needs programs.
var wasBuilt sync.Once

// removeBuilt is called when all tests have ended.
var removeBuilt = func() {}

// TestMain also makes this binary an etcd, for tests that kill one or fill its disk.
func TestMain(m *testing.M) {
	if config := os.Getenv(etcdConfig); config != "" {
		if err := serveEtcd(config); err != nil {
			fmt.Fprintln(os.Stderr, "etcd:", err)
			os.Exit(1)
		}
		return
	}
	code := m.Run()
	removeBuilt()
	os.Exit(code)
}

func binary(t testing.TB, name string) string {
	t.Helper()
	dir, err := built()
	wasBuilt.Do(func() { removeBuilt = func() { _ = os.RemoveAll(dir) } })
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, name)
}

// program is one of the five, or etcd, in a process of its own.
type program struct {
	t    testing.TB
	name string
	// command makes the process.
	command func(args ...string) *exec.Cmd
	// config is its file, and operations the address of its health; both empty for etcd.
	config, operations string
	// logs are of all processes that it was.
	logs  canary.Said
	cmd   *exec.Cmd
	ended chan struct{}
}

// start starts the process and waits for nothing.
func (p *program) start() {
	p.t.Helper()
	p.cmd = p.command()
	p.cmd.Stderr = &p.logs
	if err := p.cmd.Start(); err != nil {
		p.t.Fatalf("%s: %v", p.name, err)
	}
	p.ended = make(chan struct{})
	go func(cmd *exec.Cmd, ended chan struct{}) {
		_ = cmd.Wait() // What it ended with stands in cmd.ProcessState.
		close(ended)
	}(p.cmd, p.ended)
}

func (p *program) running() bool {
	if p.cmd == nil {
		return false
	}
	select {
	case <-p.ended:
		return false
	default:
		return true
	}
}

// wait waits for the process's end and returns its exit code.
func (p *program) wait(t testing.TB) int {
	t.Helper()
	select {
	case <-p.ended:
		return p.cmd.ProcessState.ExitCode()
	case <-time.After(comesUp):
		t.Fatalf("%s does not end:\n%s", p.name, p.tail())
		return 0
	}
}

// kill ends the process by SIGKILL: no handler runs, nothing is flushed.
func (p *program) kill() {
	if p.running() {
		_ = p.cmd.Process.Kill()
		<-p.ended
	}
}

func (p *program) signal(t testing.TB, s syscall.Signal) {
	t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		t.Fatalf("%s: %v", p.name, err)
	}
}

// get asks the operations listener, and returns 0 if nobody answers.
func (p *program) get(path string) (code int, body string) {
	c := http.Client{Timeout: time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := c.Get("http://" + p.operations + path)
	if err != nil {
		return 0, ""
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, ""
	}
	return resp.StatusCode, string(b)
}

func (p *program) ready() bool {
	code, _ := p.get("/readyz")
	return code == http.StatusOK
}

func (p *program) awaitReady() {
	p.t.Helper()
	for end := time.Now().Add(comesUp); !p.ready(); time.Sleep(lookEvery) {
		if !p.running() || time.Now().After(end) {
			p.t.Fatalf("%s does not come up:\n%s", p.name, p.tail())
		}
	}
}

// run runs a command of the program on its configuration to its end. One that does not end, because it serves, is killed.
func (p *program) run(args ...string) (code int, stdout, stderr string) {
	var out, errs bytes.Buffer
	cmd := p.command(args...)
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Start(); err != nil {
		p.t.Fatalf("%s %v: %v", p.name, args, err)
	}
	stop := time.AfterFunc(comesUp, func() { _ = cmd.Process.Kill() })
	defer stop.Stop()
	err := cmd.Wait()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		p.t.Fatalf("%s %v: %v", p.name, args, err)
	}
	return cmd.ProcessState.ExitCode(), out.String(), errs.String()
}

// tail is the end of its log.
func (p *program) tail() string {
	const most = 4000
	s := p.logs.String()
	return s[max(0, len(s)-most):]
}

// awaits waits until something holds that other processes bring about.
func awaits(t testing.TB, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(comesUp); !holds(); time.Sleep(lookEvery) {
		if time.Now().After(end) {
			t.Fatalf("does not come about: %s", what)
		}
	}
}

// site is a deployment: five programs, two of some where asked for, and etcd, on addresses of this host that were free.
type site struct {
	*process // Who uses it.
	t        testing.TB
	made     allinone.Deployment
	etcd     *program
	member   member
	programs map[string]*program
	// listens is where a client of each reaches it.
	listens      map[string]string
	installation string
}

// name of a replica: gateway, gateway-2.
func replica(name string, n int) string {
	if n == 0 {
		return name
	}
	return fmt.Sprintf("%s-%d", name, n+1)
}

// newSite lays a deployment out and starts nothing. replicas are the services of which there are two.
func newSite(t testing.TB, replicas ...string) *site {
	t.Helper()
	if raced {
		t.Skip("the programs are built without the race detector, and are run without it in go test")
	}
	gateway := slices.Contains(replicas, "gateway")
	addresses := free(t, 3+4*len(programNames)+2)
	next := func() string {
		a := addresses[0]
		addresses = addresses[1:]
		return a
	}
	s := &site{t: t, programs: make(map[string]*program), listens: make(map[string]string)}
	dir := filepath.Join(t.TempDir(), "site")
	public, https := next(), next()
	s.made = allinone.Deployment{Dir: dir, Gateway: public, HTTPS: https, EtcdHosts: []string{"127.0.0.1"}}
	if err := s.made.Make(time.Now()); err != nil {
		t.Fatal(err)
	}
	s.member = member{Dir: filepath.Join(dir, "etcd"), TLS: filepath.Join(dir, "etcd-tls"), Address: next()}
	s.etcd = s.newEtcd()
	first, err := evidence.LoadInstallation([]byte(read(t, filepath.Join(dir, "installation.json"))))
	if err != nil {
		t.Fatal(err)
	}
	s.installation = first.ID()
	installations := "[installation.json]"
	publics := []string{public}
	if gateway {
		publics = append(publics, next())
		s.succeed(publics)
		installations = "[installation.json, installation.2.json]"
	}
	targets := make(map[string][]string)
	for _, name := range slices.Backward(programNames) { // The gateway last: it knows the others' addresses.
		for n := range 2 {
			if n == 1 && !slices.Contains(replicas, name) {
				break
			}
			listen, operations := next(), next()
			overJSON := https
			if n == 1 {
				overJSON = listen // A gateway has no internal listener, so the address is free.
			}
			targets[name] = append(targets[name], listen)
			s.listens[replica(name, n)] = listen
			if name == "gateway" {
				s.listens[replica(name, n)] = publics[n]
			}
			changes := []string{
				"installation: [installation.json]", "installation: " + installations, "operations: :9090", "operations: " + operations,
				"listen: :7443", "listen: " + listen, "endpoints: [etcd:2379]", "endpoints: [" + s.member.Address + "]",
				"database: /var/lib/halfkey/ledger.db", "database: ledger.db", "listen: :8443", "listen: " + publics[min(n, len(publics)-1)],
				"https: :8444", "https: " + overJSON, "drain_pause: 2s", "drain_pause: 0s",
			}
			for to, at := range targets {
				changes = append(changes, fmt.Sprintf("%s: dns:///%s:7443", to, to), to+": "+strings.Join(at, ","))
			}
			file := filepath.Join(dir, name, replica(name, n)+".yaml")
			text, err := example.Files.ReadFile(name + ".yaml")
			if err != nil {
				t.Fatal(err)
			}
			write(t, file, strings.NewReplacer(changes...).Replace(string(text)))
			s.add(replica(name, n), binary(t, name), file, operations)
		}
	}
	s.process = &process{dir: dir, ready: readyFile{
		InstallationFile: filepath.Join(dir, "installation.json"), OperatorKeyFile: filepath.Join(dir, "operator.key"),
		OwnerBootstrapCode: strings.TrimSpace(read(t, filepath.Join(dir, "bootstrap.code"))),
	}}
	if gateway {
		s.process.ready.InstallationFile = filepath.Join(dir, "installation.2.json")
	}
	t.Cleanup(s.end)
	return s
}

// succeed makes the second installation file, which names every gateway, and gives it to the programs.
func (s *site) succeed(gateways []string) {
	s.t.Helper()
	dir := s.made.Dir
	first, err := evidence.LoadInstallation([]byte(read(s.t, filepath.Join(dir, "installation.json"))))
	if err != nil {
		s.t.Fatal(err)
	}
	next := first.Content()
	next.Number, next.Predecessor, next.GatewayAddresses = 2, first.Digest().Bytes(), gateways
	e, err := evidence.Sign(operatorKey(s.t, dir), next)
	if err != nil {
		s.t.Fatal(err)
	}
	second, err := evidence.Succeed(first, e)
	if err != nil {
		s.t.Fatal(err)
	}
	file, err := second.MarshalFile()
	if err != nil {
		s.t.Fatal(err)
	}
	write(s.t, filepath.Join(dir, "installation.2.json"), string(file))
	if err := s.made.Make(time.Now()); err != nil {
		s.t.Fatal(err)
	}
}

// add makes a program, whose processes work in a directory that has nothing to do with it.
func (s *site) add(name, binary, config, operations string) *program {
	p := &program{t: s.t, name: name, config: config, operations: operations}
	p.command = func(args ...string) *exec.Cmd {
		cmd := exec.Command(binary, append([]string{"--config", config}, args...)...)
		cmd.Dir = "/"
		return cmd
	}
	s.programs[name] = p
	return p
}

// end kills everything, and shows what was said if the test has failed.
func (s *site) end() {
	for _, p := range s.programs {
		p.kill()
	}
	s.etcd.kill()
	if !s.t.Failed() {
		return
	}
	for _, p := range s.programs {
		s.t.Logf("%s said:\n%s", p.name, p.tail())
	}
	s.t.Logf("etcd said:\n%s", s.etcd.tail())
}

// up starts everything and waits until it serves.
func (s *site) up() {
	s.t.Helper()
	s.etcd.start()
	s.users()
	for _, p := range s.programs {
		p.start()
	}
	s.awaitReady()
}

func (s *site) awaitReady() {
	s.t.Helper()
	for _, p := range s.programs {
		p.awaitReady()
	}
}

// users gives each service its user in etcd.
func (s *site) users() {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), comesUp)
	defer cancel()
	if err := s.made.MakeEtcdUsers(ctx, []string{s.member.Address}); err != nil {
		s.t.Fatal(err)
	}
}

// newEtcd makes the program that etcd is: this test's binary, run again.
func (s *site) newEtcd() *program {
	return &program{t: s.t, name: "etcd", command: func(...string) *exec.Cmd {
		config, err := json.Marshal(s.member)
		if err != nil {
			s.t.Fatal(err)
		}
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), etcdConfig+"="+string(config))
		return cmd
	}}
}

// people are an owner, payers under the standard guard rails with money, and a shop that they pay.
type people struct {
	owner  *client.Owner
	payers []*client.Agent
	shop   *client.Agent
}

// deposited is what each payer begins with.
const deposited = 1000 * usd

// people makes them through the site.
func (s *site) people(ctx context.Context, t *testing.T, payers int) *people {
	t.Helper()
	owner, err := s.client(t, "owner").CreateOwner(ctx, s.process.ready.OwnerBootstrapCode, "you@company.com")
	if err != nil {
		t.Fatal(err)
	}
	p := &people{owner: owner, shop: s.agent(ctx, t, owner, "shop")}
	operator := s.client(t, "operator").Operator(operatorKey(t, s.made.Dir))
	rules := client.StandardRules(p.shop.GroupKey())
	rules.Daily = deposited
	for n := range payers {
		a := s.agent(ctx, t, owner, fmt.Sprintf("payer-%d", n))
		if _, err := owner.SetGuardRails(ctx, a.Wallet(), rules); err != nil {
			t.Fatal(err)
		}
		if _, err := operator.Deposit(ctx, a.Wallet(), a.Handle(), deposited); err != nil {
			t.Fatal(err)
		}
		p.payers = append(p.payers, a)
	}
	return p
}

func operatorKey(t testing.TB, dir string) ed25519.PrivateKey {
	t.Helper()
	seed, err := hex.DecodeString(strings.TrimSpace(read(t, filepath.Join(dir, "operator.key"))))
	if err != nil {
		t.Fatal(err)
	}
	return ed25519.NewKeyFromSeed(seed)
}

// order is what everybody pays the shop for.
func (p *people) order(id string) client.Order {
	return client.Order{ID: id, Recipient: p.shop.Wallet(), Units: usd, Purpose: "load"}
}

// pay pays, and demands that it was paid.
func (p *people) pay(ctx context.Context, t *testing.T, payer int, id string) {
	t.Helper()
	if paid, err := p.payers[payer].Pay(ctx, p.order(id)); err != nil || paid.State != settled {
		t.Fatalf("%s: %v, %v, want SETTLED", id, paid, err)
	}
}

// taken are the ports that free has given away in this process.
var taken sync.Map

// free are addresses on which nobody listens now. They lie below the ports that connections are made from, of which one would be
// in the way of a program that starts again.
func free(t testing.TB, n int) []string {
	t.Helper()
	const from, to = 15000, 20000
	var addresses []string
	c := chooser{seed: newSeed()}
	for range to - from {
		if len(addresses) == n {
			return addresses
		}
		port := from + c.below(to-from)
		if _, is := taken.LoadOrStore(port, true); is {
			continue
		}
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			continue
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		addresses = append(addresses, l.Addr().String())
	}
	t.Fatal("there are no free ports")
	return nil
}

func read(t testing.TB, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func write(t testing.TB, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}
