// Package bench measures what a payment costs, and what its irreducible parts cost in the same run: signatures made and
// verified, FROST, hops, durable writes. It reports; it asserts nothing about time.
//
//	go test -bench . ./test/bench
package bench

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"github.com/halfkey/halfkey/frost"
)

// part is one irreducible piece of a payment.
type part struct {
	name string
	// counts are how often one payment needs it, by who does it. Both ends of a hop have half of it.
	counts map[string]float64
	why    string
	run    func()
	// server is who else has a row of its own in a report and does what of it other processes do; the parties of counts do the rest.
	server string
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

// ends are how many ends of hops each party has, in hops: of those between processes, or of those within one. All-in-one, agents are
// processes of their own; in one process with them (no mode) nobody is.
func ends(mode string, apart bool) map[string]float64 {
	n := make(map[string]float64)
	for _, h := range hops() {
		if apart == (mode == Programs || mode == AllInOne && h[0] == agent) {
			n[h[0]] += 0.5
			n[h[1]] += 0.5
		}
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

// parts are a GREEN book payment's pieces, create and settle together, agent and services together, each done where it is done in
// this mode: elsewhere are the processes that do some of it.
func parts(ctx context.Context, mode, dir, homes string) (_ []part, elsewhere []*process, done func(), err error) {
	var closers []func()
	closeAll := func() {
		for _, c := range closers {
			c()
		}
	}
	defer func() {
		if err != nil {
			closeAll()
		}
	}()
	public, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, nil, nil, err
	}
	message := make([]byte, 512)
	signature := ed25519.Sign(key, message)
	frosts, err := newFrosts(message)
	if err != nil {
		return nil, nil, nil, err
	}
	s, err := newSamples(key)
	if err != nil {
		return nil, nil, nil, err
	}
	hops := []part{
		{name: "hop within a process", counts: ends(mode, false), why: "a plain call by gRPC over mutual TLS, its messages encoded and decoded"},
		{name: "hop between processes", counts: ends(mode, true), why: "the same, to a process of its own"},
	}
	hops = slices.DeleteFunc(hops, func(p part) bool { return p.count() == 0 })
	for i := range hops {
		hop, server, closeHop, err := newHop(ctx, filepath.Join(dir, fmt.Sprint("hop-", i)), s, hops[i].name == "hop between processes")
		if err != nil {
			return nil, nil, nil, err
		}
		hops[i].run = hop
		closers = append(closers, closeHop)
		if server != nil {
			elsewhere = append(elsewhere, server)
		}
	}
	transaction, closeDatabase, err := newTransaction(filepath.Join(dir, "ledger.db"))
	if err != nil {
		return nil, nil, nil, err
	}
	closers = append(closers, closeDatabase)
	newRead := newRead
	if mode == Programs {
		newRead = newReadApart
	}
	read, etcd, closeStore, err := newRead(ctx, filepath.Join(dir, "etcd"))
	if err != nil {
		return nil, nil, nil, err
	}
	closers = append(closers, closeStore)
	store := ""
	if etcd != nil {
		store = etcd.name
		elsewhere = append(elsewhere, etcd)
	}
	file := make([]byte, 2048)
	return append(hops, []part{
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
			run: s.peek,
		},
		{
			name: "linearizable read, etcd", counts: readsPerPayment(),
			why: "the wallet's row; the co-signer's freezes, after the evidence", run: read, server: store,
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
	}...), elsewhere, closeAll, nil
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

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// cpu is the processor time that this process has used.
func cpu() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
