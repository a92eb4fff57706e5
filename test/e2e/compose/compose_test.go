//go:build compose

// Package compose_test brings docker-compose.yml up under podman, and does to it what happens to an installation. It has a build
// tag because it builds images and takes minutes: `make compose-test` runs it.
package compose_test

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// containersConf keeps podman to the test's own directory, and works in a container without systemd, where control groups are
// hybrid: runc takes those, where it is there.
const containersConf = `[containers]
default_ulimits = ["nofile=1024:1024", "nproc=4096:4096"]
log_driver = "k8s-file"
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
tmp_dir = %[1]q
%[3]s
[network]
network_backend = "netavark"
network_config_dir = %[2]q
`

const storageConf = `[storage]
driver = "vfs"
graphroot = %q
runroot = %q
`

const (
	// user is who the programs run as when the caller is root.
	user = "65532"
	// missedMax is how long an agent may have to repeat a payment once a program that was started anew serves: the gateway tries its
	// old address for some seconds.
	missedMax = 20 * time.Second
	// servesMax is how long a program may take from its start until it serves.
	servesMax = time.Minute
	// settlesMax is how long a payment may be without an outcome while something is started anew.
	settlesMax = 90 * time.Second
	// project is what Compose names containers, network and volumes after.
	project = "halfkey-compose-test"
	// usd is a book dollar in units.
	usd   = 1_000_000
	cents = usd / 100
)

// programs are the five, in the order in which docs/operate.md rolls them.
var programs = []string{"identity", "policy", "cosigner", "ledger", "gateway"}

// stack is an installation that docker-compose.yml has brought up under podman.
type stack struct {
	root, dir string // the repository; what podman and the installation have to themselves
	env       []string
}

// TestCompose does what docs/operate.md says about Compose, under podman: it brings the programs up by the script that an
// operator runs, pays, takes away a co-signer and then etcd, starts everything anew under payments, and brings it down.
func TestCompose(t *testing.T) {
	if out, err := exec.Command("podman", "info").CombinedOutput(); err != nil {
		t.Skipf("podman info: %v\n%s", err, out)
	}
	s := newStack(t)
	s.run(t, "deploy/up.sh")
	for _, service := range programs {
		s.serves(t, s.container(service))
	}
	t.Log(s.run(t, "deploy/first-payment.sh"))
	s.wantBalance(t, "agent", 198*usd)

	t.Run("images hold one program each", s.testImages)
	t.Run("programs have nothing that they need not", s.testPrivileges)
	t.Run("a co-signer dies", s.testCosignerDies)
	t.Run("etcd stops", s.testEtcdStops)
	t.Run("each program in turn, under payments", s.testRoll)
	t.Run("down and up", s.testDownUp)
}

func newStack(t *testing.T) *stack {
	root, err := filepath.Abs("../../..")
	if err != nil {
		t.Fatal(err)
	}
	// Not t.TempDir: its long name does not fit into the paths of sockets.
	dir, err := os.MkdirTemp("", "hk-compose-")
	if err != nil {
		t.Fatal(err)
	}
	s := &stack{root: root, dir: dir}
	runtime := ""
	if _, err := exec.LookPath("runc"); err == nil {
		runtime = `runtime = "runc"`
	}
	at := func(name string) string { return filepath.Join(dir, name) }
	for file, content := range map[string]string{
		"containers.conf": fmt.Sprintf(containersConf, at("tmp"), at("networks"), runtime),
		"storage.conf":    fmt.Sprintf(storageConf, at("graph"), at("run")),
	} {
		if err := os.WriteFile(at(file), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	grpc, https := freePort(t), freePort(t)
	s.env = append(os.Environ(),
		"CONTAINERS_CONF="+at("containers.conf"), "CONTAINERS_STORAGE_CONF="+at("storage.conf"), "BUILDAH_ISOLATION=chroot",
		"COMPOSE=podman-compose --project-name "+project, "HALFKEY_DOCKERFILE=deploy/Dockerfile.prebuilt",
		"HALFKEY_DIR="+at("installation"), "HALFKEY_PORT="+grpc, "HALFKEY_HTTPS_PORT="+https, "HALFKEY_USER="+user+":"+user,
		"HALFKEY_HOME="+at("home"),
	)
	t.Cleanup(func() { s.remove(t) })
	return s
}

// remove takes away every container, network, volume and image that the test has made, whatever has become of it.
func (s *stack) remove(t *testing.T) {
	if t.Failed() {
		for _, name := range strings.Fields(s.try("podman", "ps", "--all", "--format", "{{.Names}}")) {
			t.Logf("%s:\n%s", name, s.try("podman", "logs", "--tail", "20", name))
		}
	}
	s.try("podman", "rm", "--all", "--force", "--time", "0")
	s.try("podman", "network", "rm", "--force", project+"_default")
	s.try("podman", "volume", "rm", "--all", "--force")
	s.try("podman", "rmi", "--all", "--force")
	if left := strings.TrimSpace(s.try("podman", "ps", "--all", "--quiet")); left != "" {
		t.Errorf("containers are left: %s", left)
	}
	if err := os.RemoveAll(s.dir); err != nil {
		t.Error(err)
	}
}

// command runs in the repository with the test's podman.
func (s *stack) command(ctx context.Context, name string, args ...string) *exec.Cmd {
	c := exec.CommandContext(ctx, name, args...)
	c.Dir, c.Env = s.root, s.env
	return c
}

// run returns what a command prints, which must succeed.
func (s *stack) run(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := s.command(t.Context(), name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// try runs what may fail, also after the test's own context has ended.
func (s *stack) try(name string, args ...string) string {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	out, _ := s.command(ctx, name, args...).CombinedOutput()
	return string(out)
}

func (s *stack) container(service string) string { return project + "_" + service + "_1" }

// service is whose container it is.
func (s *stack) service(container string) string {
	return strings.Split(strings.TrimPrefix(container, project+"_"), "_")[0]
}

// serves waits until a program's own health command says so, as Compose's health check asks it.
func (s *stack) serves(t *testing.T, container string) {
	t.Helper()
	name := s.service(container)
	args := []string{"exec", container, "/" + name, "health", "-c", "/etc/halfkey/" + name + ".yaml"}
	if name == "etcd" {
		args = []string{"exec", container, "/etcd", "health", "http://localhost:2381/readyz"}
	}
	ctx, cancel := context.WithTimeout(t.Context(), servesMax)
	defer cancel()
	for {
		out, err := s.command(ctx, "podman", args...).CombinedOutput()
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("%s does not serve: %s", container, out)
		case <-time.After(200 * time.Millisecond): // Another process: there is nothing to wait on but its answer.
		}
	}
}

// stop drains a program: it must end by itself and without an error.
func (s *stack) stop(t *testing.T, container string) {
	t.Helper()
	s.run(t, "podman", "stop", "--time", "30", container)
	if code := strings.TrimSpace(s.run(t, "podman", "inspect", "--format", "{{.State.ExitCode}}", container)); code != "0" {
		t.Errorf("%s ended with %s after SIGTERM", container, code)
	}
}

func (s *stack) start(t *testing.T, container string) {
	t.Helper()
	s.run(t, "podman", "start", container)
	s.serves(t, container)
}

// halfkey runs the command line on one of the homes that the first payment has made.
func (s *stack) halfkey(ctx context.Context, t *testing.T, home string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	args = append([]string{"--home", filepath.Join(s.dir, "installation/homes", home)}, args...)
	c := s.command(ctx, filepath.Join(s.root, "bin/halfkey"), args...)
	var out, errs bytes.Buffer
	c.Stdout, c.Stderr = &out, &errs
	err := c.Run()
	var ended *exec.ExitError
	if err != nil && !errors.As(err, &ended) {
		t.Error(err)
		return -1, "", err.Error()
	}
	return c.ProcessState.ExitCode(), out.String(), errs.String()
}

// Exit codes of the command line that a caller repeats on.
const (
	exitUnknown     = 6
	exitUnavailable = 7
)

// pay pays a cent, repeating the same payment until it has an outcome, which must be SETTLED. It returns how long that took.
func (s *stack) pay(t *testing.T, id string) time.Duration {
	t.Helper()
	began := time.Now()
	ctx, cancel := context.WithTimeout(t.Context(), settlesMax)
	defer cancel()
	for {
		code, stdout, stderr := s.halfkey(ctx, t, "agent", "pay", "@data-shop", "0.01", "--id", id)
		switch {
		case code == 0 && strings.Contains(stdout, "SETTLED"):
			return time.Since(began)
		case code != exitUnknown && code != exitUnavailable, ctx.Err() != nil:
			t.Errorf("payment %s after %v: exit code %d\n%s%s", id, time.Since(began), code, stdout, stderr)
			return time.Since(began)
		}
	}
}

// available is what a home's wallet has in units, while nothing is held.
func (s *stack) available(t *testing.T, home string) int64 {
	t.Helper()
	code, stdout, stderr := s.halfkey(t.Context(), t, home, "balance", "--json")
	var account struct {
		Balances []struct {
			Available int64 `json:"available_units,string"`
			Held      int64 `json:"held_units,string"`
		} `json:"balances"`
	}
	if err := json.Unmarshal([]byte(stdout), &account); code != 0 || err != nil || len(account.Balances) != 1 {
		t.Fatalf("balance of %s: exit code %d, %v\n%s%s", home, code, err, stdout, stderr)
	}
	if held := account.Balances[0].Held; held != 0 {
		t.Errorf("%s holds %d", home, held)
	}
	return account.Balances[0].Available
}

// wantBalance demands what a home's wallet has, to the unit.
func (s *stack) wantBalance(t *testing.T, home string, want int64) {
	t.Helper()
	if got := s.available(t, home); got != want {
		t.Errorf("%s has %d available, want %d", home, got, want)
	}
}

// testImages demands that an image is one executable file on an otherwise empty file system, and that it runs there as a user who
// owns nothing, by itself and not only because docker-compose.yml says so.
func (s *stack) testImages(t *testing.T) {
	says := map[string][]string{"etcd": {"--version"}, "halfkey-dev": {"--help"}}
	for _, name := range programs {
		says[name] = []string{"version"}
	}
	for _, name := range append([]string{"etcd", "halfkey-dev"}, programs...) {
		if got := strings.TrimSpace(s.run(t, "podman", "image", "inspect", "--format", "{{.User}}", "halfkey/"+name)); got != user+":"+user {
			t.Errorf("the image of %s runs as %q", name, got)
		}
		alone := []string{"run", "--rm", "--read-only", "--read-only-tmpfs=false", "--network", "none", "--cap-drop", "ALL", "halfkey/" + name}
		s.run(t, "podman", append(alone, says[name]...)...)
		id := strings.TrimSpace(s.run(t, "podman", "create", "halfkey/"+name))
		exported, err := s.command(t.Context(), "podman", "export", id).Output()
		if err != nil {
			t.Fatal(err)
		}
		s.run(t, "podman", "rm", id)
		var files []string
		for r := tar.NewReader(bytes.NewReader(exported)); ; {
			h, err := r.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			if h.Typeflag != tar.TypeDir {
				files = append(files, fmt.Sprintf("/%s %04o", strings.TrimPrefix(h.Name, "/"), h.Mode&0o7777))
			}
		}
		if want := []string{"/" + name + " 0755"}; !slices.Equal(files, want) {
			t.Errorf("the image of %s holds %v, want %v", name, files, want)
		}
	}
}

// testPrivileges looks at the running programs from outside: what the kernel says about the process, and what it is given.
func (s *stack) testPrivileges(t *testing.T) {
	for _, service := range append([]string{"etcd"}, programs...) {
		pid := strings.TrimSpace(s.run(t, "podman", "inspect", "--format", "{{.State.Pid}}", s.container(service)))
		status, err := os.ReadFile(filepath.Join("/proc", pid, "status"))
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{
			"Uid:\t" + strings.Repeat(user+"\t", 3) + user, "Gid:\t" + strings.Repeat(user+"\t", 3) + user,
			"CapEff:\t0000000000000000", "CapPrm:\t0000000000000000", "CapBnd:\t0000000000000000", "NoNewPrivs:\t1",
		} {
			if !strings.Contains(string(status), want+"\n") {
				t.Errorf("%s: want %q in\n%s", service, want, status)
			}
		}
		mounts, err := os.ReadFile(filepath.Join("/proc", pid, "mountinfo"))
		if err != nil {
			t.Fatal(err)
		}
		for mount := range strings.Lines(string(mounts)) {
			fields := strings.Fields(mount)
			at, options := fields[4], strings.Split(fields[5], ",")
			if slices.Contains([]string{"/", "/etc/halfkey", "/etc/etcd"}, at) && !slices.Contains(options, "ro") {
				t.Errorf("%s can write to %s", service, at)
			}
		}
		type bind struct{ Type, Source, Destination string }
		var binds []bind
		given := s.run(t, "podman", "inspect", "--format", "{{json .Mounts}}", s.container(service))
		if err := json.Unmarshal([]byte(given), &binds); err != nil {
			t.Fatal(err)
		}
		own, at := service, "/etc/halfkey"
		if service == "etcd" {
			own, at = "etcd-tls", "/etc/etcd"
		}
		want := []bind{{"bind", filepath.Join(s.dir, "installation", own), at}}
		if got := slices.DeleteFunc(binds, func(b bind) bool { return b.Type != "bind" }); !slices.Equal(got, want) {
			t.Errorf("%s is given %v, want %v", service, got, want)
		}
		published := strings.Fields(s.run(t, "podman", "port", s.container(service)))
		switch {
		case service != "gateway" && len(published) > 0:
			t.Errorf("%s is published: %v", service, published)
		case service == "gateway" && (strings.Contains(strings.Join(published, " "), "0.0.0.0") || len(published) != 6):
			t.Errorf("the gateway is published as %v, want two ports on loopback", published)
		}
	}
}

// testCosignerDies has two co-signers, and kills one: payments go on.
func (s *stack) testCosignerDies(t *testing.T) {
	first, second := s.container("cosigner"), project+"_cosigner_2"
	compose := strings.Fields("--project-name " + project)
	// As `docker compose up --scale cosigner=2` does, which this Compose does not know.
	s.run(t, "podman-compose", append(compose, "run", "-d", "-T", "--no-deps", "--name", second, "cosigner")...)
	s.serves(t, second)
	// The gateway looks the name up anew when it starts.
	s.stop(t, s.container("gateway"))
	s.start(t, s.container("gateway"))
	s.pay(t, "two-cosigners-1")
	s.pay(t, "two-cosigners-2")
	s.run(t, "podman", "kill", first)
	for n := range 4 {
		if took := s.pay(t, fmt.Sprintf("one-cosigner-%d", n)); took > 10*time.Second {
			t.Errorf("with one co-signer of two a payment took %v", took)
		}
	}
	s.start(t, first)
	s.run(t, "podman", "kill", second)
	s.pay(t, "the-other-cosigner")
	s.run(t, "podman", "rm", "--force", second)
	s.wantBalance(t, "agent", 198*usd-7*cents)
}

// testEtcdStops pays without etcd, which must be refused, and again with it, which must pay once.
func (s *stack) testEtcdStops(t *testing.T) {
	etcd := s.container("etcd")
	s.stop(t, etcd)
	code, stdout, stderr := s.halfkey(t.Context(), t, "agent", "pay", "@data-shop", "0.01", "--id", "without-etcd")
	if code != exitUnavailable && code != exitUnknown {
		t.Errorf("paying without etcd: exit code %d\n%s%s", code, stdout, stderr)
	}
	if strings.Contains(stderr, "money moved: YES") {
		t.Errorf("paying without etcd:\n%s", stderr)
	}
	s.start(t, etcd)
	s.pay(t, "without-etcd")
	s.pay(t, "without-etcd")
	s.wantBalance(t, "agent", 198*usd-8*cents)
	s.wantBalance(t, "shop", 2*usd+8*cents)
}

// testRoll starts each program anew, one after the other, while an agent pays.
func (s *stack) testRoll(t *testing.T) {
	var enough atomic.Bool
	var paid atomic.Int64
	done := make(chan time.Duration)
	go func() {
		var longest time.Duration
		for n := 0; !enough.Load() && !t.Failed(); n++ {
			longest = max(longest, s.pay(t, fmt.Sprintf("roll-%d", n)))
			paid.Add(1)
		}
		done <- longest
	}()
	for _, service := range append([]string{"etcd"}, programs...) {
		container := s.container(service)
		s.stop(t, container)
		s.start(t, container)
		// It pays again before the next one goes: the second payment from here on began after the program served.
		began, before := time.Now(), paid.Load()
		for paid.Load() < before+2 && time.Since(began) < settlesMax {
			time.Sleep(50 * time.Millisecond)
		}
		missed := time.Since(began)
		t.Logf("%s: two payments went through within %v of its start", service, missed.Round(100*time.Millisecond))
		if missed > missedMax {
			t.Errorf("%s was missed for %v after it served", service, missed)
		}
	}
	enough.Store(true)
	t.Logf("%d payments, the longest took %v", paid.Load(), <-done)
	s.wantBalance(t, "agent", 198*usd-(8+paid.Load())*cents)
	s.wantBalance(t, "shop", 2*usd+(8+paid.Load())*cents)
}

// testDownUp brings everything down and up again: money and keys are where they were.
func (s *stack) testDownUp(t *testing.T) {
	compose := strings.Fields("--project-name " + project)
	before := s.available(t, "agent")
	s.run(t, "podman-compose", append(compose, "down")...)
	if left := strings.TrimSpace(s.run(t, "podman", "ps", "--all", "--quiet")); left != "" {
		t.Fatalf("containers are left: %s", left)
	}
	s.run(t, "podman-compose", append(compose, "up", "--detach")...)
	for _, service := range programs {
		s.serves(t, s.container(service))
	}
	if after := s.available(t, "agent"); after != before {
		t.Errorf("%d available, and %d before", after, before)
	}
	if code, stdout, stderr := s.halfkey(t.Context(), t, "owner", "audit", "verify", "@research-agent"); code != 0 {
		t.Errorf("audit verify: exit code %d\n%s%s", code, stdout, stderr)
	}
	s.run(t, "podman-compose", append(compose, "down", "--volumes")...)
	if left := strings.TrimSpace(s.run(t, "podman", "volume", "ls", "--quiet")); left != "" {
		t.Errorf("volumes are left: %s", left)
	}
}

// freePort is a port of loopback that nobody listens on.
func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}
