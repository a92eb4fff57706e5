package bench

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/halfkey/halfkey/internal/allinone"
	"github.com/halfkey/halfkey/internal/authz"
)

// The ways in which the system runs under load.
const (
	// AllInOne is one process, as halfkey-dev runs it: embedded etcd, SQLite, mutual TLS over loopback between the services.
	AllInOne = "all-in-one"
	// Programs is the five programs and etcd, each a process, mutual TLS over loopback between all of them.
	Programs = "programs"
)

// system is what is under load.
type system struct {
	processes []*process
	access    access
	// database is the ledger's file.
	database string
	// profile is the URL of its CPU profile, empty where there is none.
	profile string
}

// startSystem starts a new installation in dir.
func startSystem(ctx context.Context, mode, dir string) (*system, error) {
	if mode == Programs {
		return startPrograms(ctx, dir)
	}
	return startAllInOne(ctx, dir)
}

// startAllInOne runs an installation in a process of its own, so that its CPU is told apart from the agents'.
func startAllInOne(ctx context.Context, dir string) (_ *system, err error) {
	address, err := freeAddress()
	if err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	data := filepath.Join(dir, "installation")
	p, err := start(AllInOne, "http://"+address+"/metrics", self, childAllInOne, data, address)
	if err != nil {
		return nil, err
	}
	s := &system{processes: []*process{p}, database: filepath.Join(data, "ledger.db"), profile: "http://" + address + "/debug/pprof/profile"}
	if err := p.ready(ctx, "http://"+address+"/readyz"); err != nil {
		return nil, errors.Join(err, s.end())
	}
	code, err := os.ReadFile(filepath.Join(data, "bootstrap.code"))
	if err != nil {
		return nil, errors.Join(err, s.end())
	}
	s.access = accessOf(data, code)
	return s, nil
}

func accessOf(data string, code []byte) access {
	return access{
		InstallationFile: filepath.Join(data, "installation.json"), OperatorKeyFile: filepath.Join(data, "operator.key"),
		BootstrapCode: strings.TrimSpace(string(code)),
	}
}

// etcdUsersMax bounds how long etcd may take to let users be made.
const etcdUsersMax = 30 * time.Second

// startPrograms builds the five programs, makes a deployment for them as halfkey-dev certs does, and runs them beside an etcd.
func startPrograms(ctx context.Context, dir string) (_ *system, err error) {
	binaries, data := filepath.Join(dir, "bin"), filepath.Join(dir, "deployment")
	if err := build(ctx, binaries); err != nil {
		return nil, err
	}
	addresses := make(map[string]string)
	for _, name := range []string{"etcd", "public", "https"} {
		if addresses[name], err = freeAddress(); err != nil {
			return nil, err
		}
	}
	for _, name := range authz.Services() {
		for _, kind := range []string{" listen", " operations"} {
			if addresses[string(name)+kind], err = freeAddress(); err != nil {
				return nil, err
			}
		}
	}
	d := allinone.Deployment{Dir: data, Gateway: addresses["public"], HTTPS: addresses["https"], EtcdHosts: []string{"127.0.0.1", "localhost"}}
	if err := d.Make(time.Now()); err != nil {
		return nil, err
	}
	s := &system{database: filepath.Join(dir, "ledger.db")}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.end())
		}
	}()
	etcd, err := startEtcd(ctx, dir, d, addresses["etcd"])
	if err != nil {
		return nil, err
	}
	s.processes = append(s.processes, etcd)
	for _, name := range authz.Services() {
		file := filepath.Join(data, string(name), string(name)+".yaml")
		if err := configure(file, name, addresses, s.database); err != nil {
			return nil, err
		}
		operations := "http://" + addresses[string(name)+" operations"]
		p, err := start(string(name), operations+"/metrics", filepath.Join(binaries, string(name)), "--config", file, "--log-level", "warn")
		if err != nil {
			return nil, err
		}
		s.processes = append(s.processes, p)
	}
	for _, p := range s.processes[1:] {
		if err := p.ready(ctx, "http://"+addresses[p.name+" operations"]+"/readyz"); err != nil {
			return nil, err
		}
	}
	code, err := os.ReadFile(filepath.Join(data, "bootstrap.code"))
	if err != nil {
		return nil, err
	}
	s.access = accessOf(data, code)
	return s, nil
}

// startEtcd starts an etcd for a deployment, and makes the users that are let in.
func startEtcd(ctx context.Context, dir string, d allinone.Deployment, address string) (*process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	metrics, err := freeAddress()
	if err != nil {
		return nil, err
	}
	etcd, err := start("etcd", "http://"+metrics+"/metrics", self,
		childEtcd, filepath.Join(dir, "etcd"), filepath.Join(d.Dir, "etcd-tls"), address, metrics)
	if err != nil {
		return nil, err
	}
	users, cancel := context.WithTimeout(ctx, etcdUsersMax)
	defer cancel()
	if err := d.MakeEtcdUsers(users, []string{address}); err != nil {
		return nil, errors.Join(err, etcd.end())
	}
	return etcd, nil
}

// configure puts loopback addresses in the place of the example configuration's.
func configure(file string, name authz.Service, addresses map[string]string, database string) error {
	b, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	listen := addresses[string(name)+" listen"]
	if name == authz.Gateway {
		listen = addresses["public"]
	}
	edits := []string{
		"listen: :7443", "listen: " + listen,
		"listen: :8443", "listen: " + listen,
		"https: :8444", "https: " + addresses["https"],
		"operations: :9090", "operations: " + addresses[string(name)+" operations"],
		"[etcd:2379]", "[" + addresses["etcd"] + "]",
		"/var/lib/halfkey/ledger.db", database,
	}
	for _, to := range authz.Services() {
		edits = append(edits, "dns:///"+string(to)+":7443", addresses[string(to)+" listen"])
	}
	return os.WriteFile(file, []byte(strings.NewReplacer(edits...).Replace(string(b))), 0o600) //nolint:gosec // a file of this run
}

// build builds the five programs from the module that this one replaces the product by.
func build(ctx context.Context, to string) error {
	if err := os.MkdirAll(to, 0o700); err != nil {
		return err
	}
	args := []string{"build", "-o", to + string(filepath.Separator)}
	for _, name := range authz.Services() {
		args = append(args, "github.com/halfkey/halfkey/cmd/"+string(name))
	}
	cmd := exec.CommandContext(ctx, "go", args...) //nolint:gosec // the tool chain, on the product
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go build: %w\n%s", err, out)
	}
	return nil
}

// portsFrom and portsTo bound the ports that programs listen on. They lie below those that connections are made from, of which one
// would be in the way of a program that starts later.
const portsFrom, portsTo = 10_000, 15_000

// freeAddress is a loopback address that was free a moment ago.
func freeAddress() (string, error) {
	var err error
	for range portsTo - portsFrom {
		n, random := rand.Int(rand.Reader, big.NewInt(portsTo-portsFrom))
		if random != nil {
			return "", random
		}
		var l net.Listener
		if l, err = net.Listen("tcp", "127.0.0.1:"+strconv.FormatInt(portsFrom+n.Int64(), 10)); err == nil {
			return l.Addr().String(), l.Close()
		}
	}
	return "", fmt.Errorf("no port is free: %w", err)
}

// end stops the programs, the gateway first and etcd last.
func (s *system) end() error {
	var errs []error
	for i := range s.processes {
		errs = append(errs, s.processes[len(s.processes)-1-i].end())
	}
	return errors.Join(errs...)
}
