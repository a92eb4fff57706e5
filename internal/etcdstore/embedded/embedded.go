// Package embedded runs one etcd member inside this process: the default store on a laptop, and the real store of every
// test. Production runs a cluster and etcdstore.Open. No other package imports etcd's server, but for deploy/etcd, which is
// that server as a program.
//
// The member listens nowhere: clients of this process call it directly, so no other user of the machine can reach it, and
// its directory admits only its owner. What etcd promises holds all the same: each write is on disk before it is answered.
// A full disk makes etcd end the process; a start with room again has everything that was answered.
package embedded

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3client"
	"go.uber.org/zap"

	"github.com/halfkey/halfkey/internal/etcdstore"
)

const (
	// quotaBytes is the size at which etcd takes no further writes; its documentation advises against more.
	quotaBytes = 8 << 30
	// compaction keeps an hour of old revisions, which nothing of ours reads.
	compaction = "1h"
	// heartbeatMillis and electionMillis are short because there is nobody to elect: a start waits for one timeout.
	heartbeatMillis = 20
	electionMillis  = 200
	// keepSnapshots bounds snapshot and log files on a laptop.
	keepSnapshots = 3
)

// Config says where the member lives.
type Config struct {
	// Dir is its directory, made with mode 0700 if absent. Required.
	Dir string
	// Logger gets etcd's errors. Nil means slog.Default.
	Logger *slog.Logger
	// Locked, if set, is called once the directory is this process's alone, before the member starts.
	Locked func() error
}

// Server is a running member.
type Server struct {
	etcd   *embed.Etcd
	client *clientv3.Client
	lock   *os.File
	close  func() error
}

// Start starts the member and waits until it answers or ctx ends. It refuses a directory that another process uses, or
// that others can read.
func Start(ctx context.Context, c Config) (*Server, error) {
	if c.Dir == "" {
		return nil, errors.New("embedded: no directory")
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if err := prepare(c.Dir); err != nil {
		return nil, err
	}
	lock, err := lockDir(filepath.Join(c.Dir, "lock"))
	if err != nil {
		return nil, err
	}
	if c.Locked != nil {
		if err := c.Locked(); err != nil {
			return nil, errors.Join(err, lock.Close())
		}
	}
	s := &Server{lock: lock}
	if s.etcd, err = embed.StartEtcd(memberConfig(c)); err != nil {
		return nil, errors.Join(fmt.Errorf("embedded: starting etcd: %w", err), lock.Close())
	}
	s.close = sync.OnceValue(s.stop)
	select {
	case <-s.etcd.Server.ReadyNotify():
	case err := <-s.etcd.Err():
		return nil, errors.Join(fmt.Errorf("embedded: etcd ended: %w", err), s.closeMember())
	case <-ctx.Done():
		return nil, errors.Join(fmt.Errorf("embedded: waiting for etcd: %w", ctx.Err()), s.closeMember())
	}
	s.client = v3client.New(s.etcd.Server)
	return s, nil
}

func memberConfig(c Config) *embed.Config {
	e := embed.NewConfig()
	e.Dir = filepath.Join(c.Dir, "member-data")
	// No listener at all. The advertised addresses stay what they are by default: they name the member in its own log and
	// nobody dials them.
	e.ListenPeerUrls, e.ListenClientUrls = nil, nil
	e.EnableGRPCGateway = false
	e.TickMs, e.ElectionMs = heartbeatMillis, electionMillis
	// A member that has data applies its log while it starts. An election that comes before it has may look for entries of which
	// etcd 3.7 has let go, and that ends the process: so it waits for a whole timeout instead of nearly none.
	_, err := os.Stat(filepath.Join(e.Dir, "member"))
	e.InitialElectionTickAdvance = errors.Is(err, fs.ErrNotExist)
	e.QuotaBackendBytes = quotaBytes
	e.AutoCompactionMode, e.AutoCompactionRetention = embed.CompactorModePeriodic, compaction
	e.MaxSnapFiles, e.MaxWalFiles = keepSnapshots, keepSnapshots
	e.ZapLoggerBuilder = embed.NewZapLoggerBuilder(zap.New(&core{to: c.Logger.Handler()}))
	return e
}

// prepare makes the directory, and refuses one that others can read: the rows are sealed or signed, but whose they are is
// nobody else's business.
func prepare(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("embedded: %w", err)
	}
	info, err := os.Stat(dir)
	if err != nil {
		return fmt.Errorf("embedded: %w", err)
	}
	if !info.IsDir() || info.Mode().Perm()&0o077 != 0 {
		return fmt.Errorf("embedded: %s: %w: must be a directory of mode 0700", dir, fs.ErrPermission)
	}
	return nil
}

// Client is a client of the member; calls are function calls.
func (s *Server) Client() *clientv3.Client { return s.client }

// KV is one service's namespace, for example "cosigner".
func (s *Server) KV(name string) (clientv3.KV, error) { return etcdstore.Namespace(s.client.KV, name) }

// Close stops the member. Nothing that was answered is lost without it.
func (s *Server) Close() error { return s.close() }

func (s *Server) stop() error {
	err := s.client.Close()
	if errors.Is(err, context.Canceled) {
		err = nil // What a client in the same process answers when it is closed.
	}
	return errors.Join(err, s.closeMember())
}

func (s *Server) closeMember() error {
	s.etcd.Close()
	return s.lock.Close()
}
