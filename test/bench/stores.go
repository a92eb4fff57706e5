package bench

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"database/sql"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"time"

	_ "modernc.org/sqlite" // the ledger's engine

	"github.com/halfkey/halfkey/internal/allinone"
	"github.com/halfkey/halfkey/internal/config"
	"github.com/halfkey/halfkey/internal/etcdstore"
	"github.com/halfkey/halfkey/internal/etcdstore/embedded"
	"github.com/halfkey/halfkey/internal/evidence"
	ledgerv1 "github.com/halfkey/halfkey/proto/gen/halfkey/ledger/v1"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// putFile puts a file whole, as an agent's home does: written and synced under another name, renamed, its directory synced.
func putFile(dir string, b []byte) error {
	temp := filepath.Join(dir, "temporary")
	f, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	err = errors.Join(err, f.Sync(), f.Close())
	if err != nil {
		return err
	}
	if err := os.Rename(temp, filepath.Join(dir, "record")); err != nil {
		return err
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// newTransaction is one durable transaction of the ledger's engine under the ledger's settings, in as few statements as a hold or a
// settlement can do with: a wallet's row moved on, a payment, a journal entry.
func newTransaction(path string) (run, done func(), err error) {
	db, err := sql.Open("sqlite", "file:"+path+"?_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)&_txlock=immediate")
	if err != nil {
		return nil, nil, err
	}
	db.SetMaxOpenConns(1)
	closing := func(err error) error { return errors.Join(err, db.Close()) }
	for _, statement := range []string{
		"CREATE TABLE wallet (id TEXT PRIMARY KEY, row BLOB NOT NULL, moved INTEGER NOT NULL) STRICT",
		"CREATE TABLE payment (id INTEGER PRIMARY KEY, row BLOB NOT NULL) STRICT",
		"CREATE TABLE entry (id INTEGER PRIMARY KEY, row BLOB NOT NULL) STRICT",
		"INSERT INTO wallet VALUES ('w', x'00', 0)",
	} {
		if _, err := db.ExecContext(context.Background(), statement); err != nil {
			return nil, nil, closing(err)
		}
	}
	var prepared []*sql.Stmt
	for _, statement := range []string{
		"SELECT row FROM wallet WHERE id = 'w'",
		"UPDATE wallet SET row = ?, moved = moved + 1 WHERE id = 'w'",
		"INSERT INTO payment (row) VALUES (?)",
		"INSERT INTO entry (row) VALUES (?)",
	} {
		p, err := db.PrepareContext(context.Background(), statement) //nolint:sqlclosecheck // closed with the database
		if err != nil {
			return nil, nil, closing(err)
		}
		prepared = append(prepared, p)
	}
	wallet, payment, entry := make([]byte, 256), make([]byte, 1024), make([]byte, 1536)
	return func() {
		ctx := context.Background()
		tx, err := db.BeginTx(ctx, nil)
		must(err)
		var row []byte
		must(tx.StmtContext(ctx, prepared[0]).QueryRowContext(ctx).Scan(&row)) //nolint:sqlclosecheck // closed with the transaction
		for i, b := range [][]byte{wallet, payment, entry} {
			_, err := tx.StmtContext(ctx, prepared[i+1]).ExecContext(ctx, b) //nolint:sqlclosecheck // the same
			must(err)
		}
		must(tx.Commit())
	}, func() { _ = db.Close() }, nil
}

// walChangesAt is where the index of SQLite's log counts the transactions written, in four bytes of the machine's order
// (sqlite.org/walformat.html, "WAL-Index Header").
const walChangesAt = 8

// transactions is how many write transactions a database in WAL mode has seen since it was opened: each was synced to the log.
func transactions(database string) (uint32, error) {
	f, err := os.Open(database + "-shm")
	if err != nil {
		return 0, err
	}
	var b [4]byte
	_, err = f.ReadAt(b[:], walChangesAt)
	return binary.NativeEndian.Uint32(b[:]), errors.Join(err, f.Close())
}

// newRead is one linearizable read of a wallet's row from an etcd in this process.
func newRead(ctx context.Context, dir string) (run func(), _ *process, done func(), err error) {
	ctx, cancel := context.WithTimeout(ctx, readyMax)
	defer cancel()
	etcd, err := embedded.Start(ctx, embedded.Config{Dir: dir, Logger: quiet()})
	if err != nil {
		return nil, nil, nil, err
	}
	kv, err := etcd.KV("bench")
	if err == nil {
		_, _, err = etcdstore.Create(ctx, kv, "wallets/w", make([]byte, 2048))
	}
	if err != nil {
		return nil, nil, nil, errors.Join(err, etcd.Close())
	}
	return func() {
		_, err := etcdstore.Get(context.Background(), kv, "wallets/w")
		must(err)
	}, nil, func() { _ = etcd.Close() }, nil
}

// newReadApart is the same from an etcd that is a process, over mutual TLS, as policy: by its certificate, its user and its
// namespace of a deployment like that of the five programs.
func newReadApart(ctx context.Context, dir string) (run func(), etcd *process, done func(), err error) {
	address, err := freeAddress()
	if err != nil {
		return nil, nil, nil, err
	}
	d := allinone.Deployment{Dir: filepath.Join(dir, "deployment"), Gateway: address, HTTPS: address, EtcdHosts: []string{"127.0.0.1"}}
	if err := d.Make(time.Now()); err != nil {
		return nil, nil, nil, err
	}
	if etcd, err = startEtcd(ctx, dir, d, address); err != nil {
		return nil, nil, nil, err
	}
	file := filepath.Join(d.Dir, policy, policy+".yaml")
	c := new(config.Policy)
	// It listens nowhere, so any address will do.
	addresses := map[string]string{"etcd": address, policy + " listen": address, policy + " operations": address}
	if err = configure(file, policy, addresses, ""); err == nil {
		err = config.Load(file, c)
	}
	var store *etcdstore.Store
	if err == nil {
		var as etcdstore.Config
		if as, err = etcdstore.Configured(c.Etcd, quiet()); err == nil {
			store, err = etcdstore.Open(ctx, as)
		}
	}
	if err == nil {
		_, _, err = etcdstore.Create(ctx, store.KV(), "wallets/w", make([]byte, 2048))
	}
	if err != nil {
		return nil, nil, nil, errors.Join(err, etcd.end())
	}
	return func() {
			_, err := etcdstore.Get(context.Background(), store.KV(), "wallets/w")
			must(err)
		}, etcd, func() {
			_ = store.Close() // Nothing is pending.
			_ = etcd.end()
		}, nil
}

// samples are a statement, and a request and its answer of a hop: about what the middle ones of a payment are.
type samples struct {
	statement *typev1.Envelope
	request   *ledgerv1.CreatePaymentRequest
	answer    *ledgerv1.CreatePaymentResponse
}

func newSamples(key ed25519.PrivateKey) (*samples, error) {
	digest := bytes.Repeat([]byte{7}, 32)
	now := time.Now().UnixMilli()
	const name = "wallets/0123456789abcdef0123456789abcdef/payments/0199f0a0-0000-7000-8000-000000000000"
	v, err := evidence.Sign(key, &typev1.Verdict{
		Installation: "bench", Wallet: name[:40], Payment: name, IntentDigest: digest, MessageDigest: digest, GuardRailsDigest: digest,
		Light: typev1.Light_LIGHT_GREEN, TimeMillis: now, ExpiryMillis: now + 60_000,
		Results: []*typev1.RuleResult{
			{Rule: typev1.Rule_RULE_RAIL, Light: typev1.Light_LIGHT_GREEN},
			{Rule: typev1.Rule_RULE_ASSET, Light: typev1.Light_LIGHT_GREEN},
			{Rule: typev1.Rule_RULE_RECIPIENT, Light: typev1.Light_LIGHT_GREEN},
			{Rule: typev1.Rule_RULE_LIMIT, Light: typev1.Light_LIGHT_GREEN},
		},
	})
	if err != nil {
		return nil, err
	}
	return &samples{
		statement: v,
		request:   &ledgerv1.CreatePaymentRequest{Request: v, Message: make([]byte, 360), Verdict: v},
		answer: &ledgerv1.CreatePaymentResponse{Payment: &typev1.Payment{
			Name: name, Intent: make([]byte, 320), Message: make([]byte, 360), Receipt: v, Request: v, Verdict: v,
		}},
	}, evidence.Peek(v, new(typev1.Verdict))
}

// peek decodes the statement strictly.
func (s *samples) peek() { must(evidence.Peek(s.statement, new(typev1.Verdict))) }
