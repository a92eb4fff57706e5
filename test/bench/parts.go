// Package bench measures what a payment costs, and what its irreducible parts cost in the same run: signatures made and
// verified, FROST, hops, durable writes. It reports; it asserts nothing about time.
//
//	go test -bench . ./test/bench
package bench

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"google.golang.org/grpc/health/grpc_health_v1"

	"github.com/halfkey/halfkey/frost"
	"github.com/halfkey/halfkey/internal/authz"
	"github.com/halfkey/halfkey/internal/rpc"
	"github.com/halfkey/halfkey/internal/rpc/devcert"
)

// part is one irreducible piece of a payment: how often one payment needs it, and for what.
type part struct {
	name  string
	count int
	why   string
	run   func()
}

// parts are a GREEN book payment's pieces, create and settle together, agent and services together.
func parts(dir string) ([]part, func(), error) {
	public, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	message := make([]byte, 512)
	signature := ed25519.Sign(key, message)
	agent, cosigner, err := shares()
	if err != nil {
		return nil, nil, err
	}
	hop, closeHop, err := newHop()
	if err != nil {
		return nil, nil, err
	}
	file, err := os.OpenFile(filepath.Join(dir, "durable"), os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, nil, err
	}
	page := make([]byte, 4096)
	return []part{
		{"ed25519 sign", 4, "request, verdict, receipt, settlement", func() { ed25519.Sign(key, message) }},
		{
			"ed25519 verify", 9, "request ×4 (identity, policy, ledger, co-signer), verdict ×2 (ledger, co-signer), receipt ×2 (co-signer, agent), settlement (agent)",
			func() { ed25519.Verify(public, message, signature) },
		},
		{"frost 2-of-2", 1, "commitment, release with self-check, the agent's check and whole signature", func() { coSign(agent, cosigner, message) }},
		{"ledger verifies the whole signature", 1, "proof of settlement", func() { ed25519.Verify(public, message, signature) }},
		{"mTLS hop", 7, "agent to gateway ×2; identity, policy, ledger ×2, co-signer", hop},
		{"durable write", 2, "hold, settlement; shared by a batch under load", func() {
			if _, err := file.WriteAt(page, 0); err != nil {
				panic(err)
			}
			if err := syscall.Fdatasync(int(file.Fd())); err != nil {
				panic(err)
			}
		}},
		{"agent's durable file", 5, "in its home: the mark of an unfinished payment, the record ×3 (intent and message, signature, settlement), what was seen", func() {
			if err := putFile(dir, page[:2048]); err != nil {
				panic(err)
			}
		}},
	}, func() { closeHop(); _ = file.Close() }, nil
}

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

// shares makes a key by a key generation in memory.
func shares() (agent, cosigner *frost.KeyShare, err error) {
	var keys [2]*frost.StaticKey
	run := frost.Run{Session: []byte("halfkey/test/bench/session"), Threshold: 2}
	for i := range keys {
		if keys[i], err = frost.NewStaticKey(); err != nil {
			return nil, nil, err
		}
		run.StaticKeys = append(run.StaticKeys, keys[i].Public())
	}
	var sides [2]*frost.KeyGeneration
	var messages [][]byte
	for i, id := range []frost.Identifier{frost.Agent, frost.CoSigner} {
		if sides[i], err = frost.NewKeyGeneration(id, keys[i], run); err != nil {
			return nil, nil, err
		}
		messages = append(messages, sides[i].Round1())
	}
	var certificates [][64]byte
	for _, side := range sides {
		c, err := side.Round2(messages)
		if err != nil {
			return nil, nil, err
		}
		certificates = append(certificates, c)
	}
	if agent, err = sides[0].Finish(certificates); err != nil {
		return nil, nil, err
	}
	cosigner, err = sides[1].Finish(certificates)
	return agent, cosigner, err
}

// coSign makes one signature by both sides.
func coSign(agent, cosigner *frost.KeyShare, message []byte) {
	nonces, commitment, err := agent.Commit()
	if err != nil {
		panic(err)
	}
	release, err := frost.CoSign(cosigner, commitment, message, []byte("bench"))
	if err != nil {
		panic(err)
	}
	if _, err := nonces.Finish(message, release); err != nil {
		panic(err)
	}
}

// newHop is one call over mutual TLS 1.3 on loopback, through our own interceptors.
func newHop() (call, done func(), err error) {
	const installation = "bench"
	authority, err := devcert.NewAuthority(installation, time.Now())
	if err != nil {
		return nil, nil, err
	}
	credentials := func(s authz.Service) (*rpc.Credentials, error) {
		pair, err := authority.Service(installation, s, time.Now(), "127.0.0.1")
		if err != nil {
			return nil, err
		}
		return rpc.NewCredentials(installation, rpc.Material{Certificate: pair.Certificate, Key: pair.Key, Authorities: authority.Certificate()})
	}
	server, err := credentials(authz.Policy)
	if err != nil {
		return nil, nil, err
	}
	client, err := credentials(authz.Gateway)
	if err != nil {
		return nil, nil, err
	}
	s, err := rpc.NewServer(rpc.Config{Installation: installation, Listener: authz.Internal, Credentials: server, Logger: quiet()})
	if err != nil {
		return nil, nil, err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, nil, err
	}
	go func() { _ = s.Serve(l) }()
	conn, err := rpc.Dial(rpc.DialConfig{Target: "passthrough:///" + l.Addr().String(), Service: authz.Policy, Credentials: client, Logger: quiet()})
	if err != nil {
		return nil, nil, err
	}
	health := grpc_health_v1.NewHealthClient(conn)
	return func() {
			ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
			defer cancel()
			if _, err := health.Check(ctx, &grpc_health_v1.HealthCheckRequest{}); err != nil {
				panic(err)
			}
		}, func() {
			_ = conn.Close()
			s.Stop()
		}, nil
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// cpu is the processor time that this process has used.
func cpu() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
