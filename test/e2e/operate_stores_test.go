package e2e_test

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/etcdutl/v3/snapshot"
	"go.uber.org/zap"
	_ "modernc.org/sqlite" // the driver named sqlite

	"github.com/halfkey/halfkey/internal/config"
	"github.com/halfkey/halfkey/internal/etcdstore"
)

// cluster is the etcd of one service that has it to itself.
type cluster struct {
	*program
	member member
	s      *site
}

// inEtcd are the services whose store is etcd.
var inEtcd = []string{"identity", "policy", "cosigner"}

// apart gives each service that stores in etcd one of its own. It comes before the site is up.
func (s *site) apart() map[string]*cluster {
	s.t.Helper()
	clusters := make(map[string]*cluster)
	for _, name := range inEtcd {
		p := s.programs[name]
		m := member{Dir: filepath.Join(s.made.Dir, "etcd-"+name), TLS: s.member.TLS, Address: free(s.t, 1)[0]}
		write(s.t, p.config, strings.ReplaceAll(read(s.t, p.config), s.member.Address, m.Address))
		clusters[name] = s.newCluster("etcd of "+name, m)
	}
	return clusters
}

// newCluster is an etcd beside the site's own.
func (s *site) newCluster(name string, m member) *cluster {
	c := &cluster{member: m, s: s, program: &program{t: s.t, name: name}}
	c.command = func(...string) *exec.Cmd {
		b, err := json.Marshal(m)
		if err != nil {
			s.t.Fatal(err)
		}
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), etcdConfig+"="+string(b))
		return cmd
	}
	s.t.Cleanup(func() {
		c.kill()
		if s.t.Failed() {
			s.t.Logf("%s said:\n%s", name, c.tail())
		}
	})
	return c
}

// users gives each service its user.
func (c *cluster) users(ctx context.Context) {
	c.t.Helper()
	if err := c.s.made.MakeEtcdUsers(ctx, []string{c.member.Address}); err != nil {
		c.t.Fatal(err)
	}
}

// root is how etcdctl is configured that runs as the user root.
func (c *cluster) root() clientv3.Config {
	c.t.Helper()
	return c.member.root(c.t)
}

// root is for a client of etcd's administrator.
func (m member) root(t testing.TB) clientv3.Config {
	t.Helper()
	dir := filepath.Join(filepath.Dir(m.TLS), "etcd-root")
	c, err := etcdstore.Configured(config.Etcd{Endpoints: []string{m.Address}, TLS: config.TLS{
		Certificate: filepath.Join(dir, "root.pem"), Key: filepath.Join(dir, "root.key"), Authorities: filepath.Join(dir, "ca.pem"),
	}}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Credentials.Close() })
	cluster, err := c.Client()
	if err != nil {
		t.Fatal(err)
	}
	return cluster
}

// save is `etcdctl snapshot save FILE`, while everything runs.
func (c *cluster) save(ctx context.Context, file string) {
	c.t.Helper()
	if _, err := snapshot.NewV3(zap.NewNop()).Save(ctx, c.root(), file); err != nil {
		c.t.Fatal(err)
	}
}

// putBack is `etcdutl snapshot restore FILE --bump-revision 1000000000 --mark-compacted --data-dir DIR`, of an etcd that is stopped.
func (c *cluster) putBack(file string) {
	c.t.Helper()
	if err := os.RemoveAll(c.member.Dir); err != nil {
		c.t.Fatal(err)
	}
	const peer = "http://localhost:2380"
	err := snapshot.NewV3(zap.NewNop()).Restore(snapshot.RestoreConfig{
		SnapshotPath: file, Name: "default", OutputDataDir: c.member.Dir, PeerURLs: []string{peer}, InitialCluster: "default=" + peer,
		InitialClusterToken: "etcd-cluster", RevisionBump: 1_000_000_000, MarkCompacted: true,
	})
	if err != nil {
		c.t.Fatal(err)
	}
}

// stop ends a process by SIGTERM, as an operator does.
func (p *program) stop(t testing.TB) {
	t.Helper()
	p.signal(t, syscall.SIGTERM)
	p.wait(t)
}

// ledgerFile is where the ledger's database is.
func (s *site) ledgerFile() string { return filepath.Join(s.made.Dir, "ledger", "ledger.db") }

// saveLedger is `sqlite3 ledger.db "VACUUM INTO 'FILE'"`, while the ledger runs.
func (s *site) saveLedger(ctx context.Context, file string) {
	s.t.Helper()
	db, err := sql.Open("sqlite", s.ledgerFile())
	if err != nil {
		s.t.Fatal(err)
	}
	_, err = db.ExecContext(ctx, "VACUUM INTO ?", file)
	if err = errors.Join(err, db.Close()); err != nil {
		s.t.Fatal(err)
	}
}

// putLedgerBack puts a copy in the place of a stopped ledger's database, and takes the log away that belongs to what was there.
func (s *site) putLedgerBack(file string) {
	s.t.Helper()
	for _, end := range []string{"", "-wal", "-shm"} {
		if err := os.Remove(s.ledgerFile() + end); err != nil && !errors.Is(err, os.ErrNotExist) {
			s.t.Fatal(err)
		}
	}
	write(s.t, s.ledgerFile(), read(s.t, file))
}
