// Package bench measures what a payment costs, and what its irreducible parts cost in the same run: signatures made and
// verified, FROST, hops, durable writes. It reports; it asserts nothing about time.
//
//	go test -bench . ./test/bench
package bench

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"log/slog"
	"net"
	"path/filepath"
	"syscall"
	"time"

	"google.golang.org/grpc/health/grpc_health_v1"

	"github.com/halfkey/halfkey/frost"
	"github.com/halfkey/halfkey/internal/authz"
	"github.com/halfkey/halfkey/internal/rpc"
	"github.com/halfkey/halfkey/internal/rpc/devcert"
)

// part is one irreducible piece of a payment.
type part struct {
	name string
	// counts are how often one payment needs it, by who does it. Both ends of a hop have half of it.
	counts map[string]float64
	why    string
	run    func()
	// prepare, if there is one, makes what n runs use up; it is not measured.
	prepare func(n int)
}

func (p part) count() (n float64) {
	for _, c := range p.counts {
		n += c
	}
	return n
}

// hops are the calls of one payment, from, to: CreatePayment with what it asks of the four services, and SettlePayment.
func hops() [][2]string {
	return [][2]string{
		{agent, gateway},
		{gateway, identity},
		{gateway, policy},
		{gateway, ledger},
		{gateway, cosigner},
		{agent, gateway},
		{gateway, ledger},
	}
}

// ends are how many ends of hops each party has, in hops.
func ends() map[string]float64 {
	n := make(map[string]float64)
	for _, h := range hops() {
		n[h[0]] += 0.5
		n[h[1]] += 0.5
	}
	return n
}

// signatures are how many signatures each party makes or verifies. The agent's first look at the whole signature is left out: it
// is inside the part that finishes FROST's signature.
func signatures(verified bool) map[string]float64 {
	n := make(map[string]float64)
	for _, s := range Signatures() {
		if s.Verified == verified {
			n[s.By] += float64(s.Count)
		}
	}
	if verified {
		n[agent]--
	}
	return n
}

// readsPerPayment are the linearizable reads of etcd.
func readsPerPayment() map[string]float64 {
	return map[string]float64{identity: 1, policy: 1, cosigner: 2}
}

// The parties' durable writes. A batch of payments shares the ledger's, which a load counts.
const (
	transactionPart        = "durable transaction, SQLite"
	transactionsPerPayment = 2
	agentFilesPerPayment   = 5
)

// parts are a GREEN book payment's pieces, create and settle together, agent and services together.
func parts(dir, homes string) (_ []part, done func(), err error) {
	var closers []func()
	done = func() {
		for _, c := range closers {
			c()
		}
	}
	defer func() {
		if err != nil {
			done()
		}
	}()
	public, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	message := make([]byte, 512)
	signature := ed25519.Sign(key, message)
	frosts, err := newFrosts(message)
	if err != nil {
		return nil, nil, err
	}
	hop, closeHop, err := newHop()
	if err != nil {
		return nil, nil, err
	}
	closers = append(closers, closeHop)
	statement, carried, err := samples(key)
	if err != nil {
		return nil, nil, err
	}
	transaction, closeDatabase, err := newTransaction(filepath.Join(dir, "ledger.db"))
	if err != nil {
		return nil, nil, err
	}
	closers = append(closers, closeDatabase)
	read, closeStore, err := newRead(filepath.Join(dir, "etcd"))
	if err != nil {
		return nil, nil, err
	}
	closers = append(closers, closeStore)
	file := make([]byte, 2048)
	return []part{
		{name: "ed25519 sign", counts: signatures(false), why: "the table of signatures", run: func() { ed25519.Sign(key, message) }},
		{
			name: "ed25519 verify", counts: signatures(true), why: "the table of signatures",
			run: func() { ed25519.Verify(public, message, signature) },
		},
		{name: "frost: the agent's commitment", counts: once(agent), why: "two nonces and their points", run: frosts.commit},
		{
			name: "frost: the co-signer's release", counts: once(cosigner), why: "commitment, share and self-check in one answer",
			run: frosts.release,
		},
		{
			name: "frost: the agent's signature", counts: once(agent), why: "the co-signer's share checked, the whole signature made and verified",
			prepare: frosts.prepare, run: frosts.finish,
		},
		{
			name: "statement, in its one encoding", counts: statements(), why: "decoded strictly by who verifies it, encoded by who makes it",
			run: statement,
		},
		{name: "message, encoded and decoded", counts: ends(), why: "a request and its answer for each hop", run: carried},
		{name: "hop, mutual TLS", counts: ends(), why: "agent to gateway twice; identity, policy, ledger twice, co-signer", run: hop},
		{
			name: "linearizable read, etcd", counts: readsPerPayment(),
			why: "the wallet's row; the co-signer's freezes, after the evidence", run: read,
		},
		{
			name: transactionPart, counts: map[string]float64{ledger: transactionsPerPayment},
			why: "hold, settlement; shared by a batch under load", run: transaction,
		},
		{
			name: "durable file", counts: map[string]float64{agent: agentFilesPerPayment},
			why: "in the agent's home: the mark of an unfinished payment, the record three times, what was seen",
			run: func() { must(putFile(homes, file)) },
		},
	}, done, nil
}

func once(party string) map[string]float64 { return map[string]float64{party: 1} }

func must(err error) {
	if err != nil {
		panic(err)
	}
}

// statements are how many statements each party encodes or decodes: each one that it makes or verifies, once.
func statements() map[string]float64 {
	n := make(map[string]float64)
	for _, s := range Signatures() {
		if s.Over != "message" {
			n[s.By] += float64(s.Count)
		}
	}
	return n
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

// frosts makes signatures with a key of its own, step by step.
type frosts struct {
	agent, cosigner *frost.KeyShare
	message         []byte
	commitment      frost.Commitment
	begun           []begun
}

// begun is a signature that only the agent's last step is missing from.
type begun struct {
	nonces  *frost.Nonces
	release frost.Release
}

func newFrosts(message []byte) (*frosts, error) {
	one, two, err := shares()
	if err != nil {
		return nil, err
	}
	f := &frosts{agent: one, cosigner: two, message: message}
	_, f.commitment, err = one.Commit()
	return f, err
}

func (f *frosts) commit() {
	_, _, err := f.agent.Commit()
	must(err)
}

func (f *frosts) release() {
	_, err := frost.CoSign(f.cosigner, f.commitment, f.message, []byte("bench"))
	must(err)
}

func (f *frosts) prepare(n int) {
	for range n {
		nonces, commitment, err := f.agent.Commit()
		must(err)
		release, err := frost.CoSign(f.cosigner, commitment, f.message, []byte("bench"))
		must(err)
		f.begun = append(f.begun, begun{nonces, release})
	}
}

func (f *frosts) finish() {
	last := len(f.begun) - 1
	b := f.begun[last]
	f.begun = f.begun[:last]
	_, err := b.nonces.Finish(f.message, b.release)
	must(err)
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
	conn, err := rpc.Dial(rpc.DialConfig{
		Target: "passthrough:///" + l.Addr().String(), Service: authz.Policy, Credentials: client, Logger: quiet(),
	})
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
