package ledger

import (
	"bytes"
	"testing"
	"time"

	"github.com/halfkey/halfkey/internal/chain/solanarpc/solanarpctest"
	"github.com/halfkey/halfkey/internal/evidence"
	"github.com/halfkey/halfkey/internal/evidence/evidencetest"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// settledBy checks a settlement's proof: the transaction and its slot in the ledger's statement, the group key's signature beside it.
func (f *chainFixture) settledBy(p *evidencetest.Payment) {
	f.t.Helper()
	f.wantState(p, settled)
	block := f.chain.Landed(p.MessageBytes)
	for _, e := range f.entries(typev1.EntryKind_ENTRY_KIND_PAYMENT) {
		if e.GetPayment() != p.Name || e.GetPaymentState() != settled {
			continue
		}
		s := new(typev1.Settlement)
		f.Decode(e.GetStatements()[0], s)
		if block == nil || s.GetSlot() != block.Slot || !bytes.Equal(s.GetTransaction(), p.Settle()) ||
			!bytes.Equal(e.GetSignature(), p.Settle()) {
			f.t.Errorf("settlement %v with signature %x, want that of %v", s, e.GetSignature(), block)
		}
		return
	}
	f.t.Errorf("no entry says that %s has settled", p.Name)
}

// TestLands: a transfer that the ledger sends is settled when it is final, and not before.
func TestLands(t *testing.T) {
	f := startChain(t)
	p := f.authorize("p1", 30*usdc)
	f.wantUnits(70*usdc, 30*usdc)
	f.settling(p)
	f.chain.Advance(solanarpctest.FinalityBlocks)
	f.look()
	f.wantState(p, authorized)
	f.chain.Advance(2)
	f.look()
	f.settledBy(p)
	f.wantUnits(70*usdc, 0)
	if got := f.chain.Units(f.shop, f.mint); got != 30*usdc {
		t.Errorf("the shop has %d", got)
	}
	if got, err := f.settle(p); err != nil || got.GetState() != settled {
		t.Errorf("repeat: %v, %v", got, err)
	}
	f.look()
	f.wantUnits(70*usdc, 0)
	if got := f.entries(typev1.EntryKind_ENTRY_KIND_CHAIN_OUTFLOW); len(got) != 0 {
		t.Errorf("a payment is an outflow, too: %v", got)
	}
}

// TestLandsAtTheLastValidHeight: in the last block that may hold it, long after everything else says that it is over.
func TestLandsAtTheLastValidHeight(t *testing.T) {
	f := startChain(t)
	p := f.authorize("p1", usdc)
	f.chain.AdvanceTo(f.heights[p.Name])
	f.look()
	f.wantState(p, authorized)
	f.chain.Send(f.wire(p))
	f.chain.Advance(1)
	if block := f.chain.Landed(p.MessageBytes); block == nil || block.Height != f.heights[p.Name]+1 {
		t.Fatalf("landed in %v, want height %d", block, f.heights[p.Name]+1)
	}
	for range 70 {
		f.chain.Advance(1)
		f.look()
		if got := f.get(p.Name).GetState(); got != authorized && got != settled {
			t.Fatalf("%s at %v", got, f.chain.Tip())
		}
	}
	f.settledBy(p)
}

// TestAgentGaveUp: the intent's deadline passes, the agent cancels and pays no more, and what it had signed lands all the same.
func TestAgentGaveUp(t *testing.T) {
	f := startChain(t)
	p := f.authorize("p1", usdc)
	f.clock.advance(8 * 24 * time.Hour)
	if err := f.ledger.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	f.wantState(p, authorized)
	f.wantUnits(funded-usdc, usdc)
	f.chain.Send(f.wire(p))
	f.chain.Finalize()
	f.look()
	f.settledBy(p)
	f.wantUnits(funded-usdc, 0)
}

// TestNeverSent: what nobody sent is dead when the chain says so. Before the deadline the intent may be paid by a fresh message, and
// after it the payment is over.
func TestNeverSent(t *testing.T) {
	for _, row := range []struct {
		name string
		late time.Duration
		want typev1.PaymentState
	}{{"before the deadline", 0, ready}, {"after the deadline", 8 * 24 * time.Hour, expired}} {
		t.Run(row.name, func(t *testing.T) {
			f := startChain(t)
			p := f.authorize("p1", usdc)
			f.clock.advance(row.late)
			f.chain.AdvanceTo(f.heights[p.Name] + 32 + solanarpctest.FinalityBlocks)
			f.look()
			f.wantState(p, authorized)
			f.chain.Advance(1)
			f.look()
			f.wantState(p, row.want)
			f.wantUnits(funded, 0)
			if row.want == expired {
				return
			}
			again := f.authorize("p1", usdc)
			f.settling(again)
			f.chain.Finalize()
			f.look()
			f.settledBy(again)
			if got := f.chain.Units(f.shop, f.mint); got != usdc {
				t.Errorf("the shop has %d, want it paid once", got)
			}
		})
	}
}

// TestLandsAcrossRestarts: the ledger is away while the message is sent, lands and becomes final.
func TestLandsAcrossRestarts(t *testing.T) {
	f := startChain(t)
	p := f.authorize("p1", usdc)
	f.reopen()
	f.settling(p)
	f.close()
	f.pass(p)
	f.open()
	f.look()
	f.settledBy(p)
}

// TestSentAgain: a transfer that got lost is sent again until it has landed, also after a restart, and by nobody once its wallet is frozen.
func TestSentAgain(t *testing.T) {
	f := startChain(t)
	p := f.authorize("p1", usdc)
	f.look()
	if got := f.chain.Sent(p.MessageBytes); got != 0 {
		t.Fatalf("sent %d times before its signature is known", got)
	}
	f.chain.Lose(true)
	f.settling(p)
	f.look()
	f.reopen()
	before := f.chain.Sent(p.MessageBytes)
	f.look()
	if got := f.chain.Sent(p.MessageBytes); before < 2 || got <= before {
		t.Errorf("sent %d times, then %d", before, got)
	}
	f.freeze(f.payer, "f1")
	f.look()
	before = f.chain.Sent(p.MessageBytes)
	f.look()
	if got := f.chain.Sent(p.MessageBytes); got != before {
		t.Errorf("sent %d times by a frozen wallet", got-before)
	}
	if err := f.unfreeze(f.payer, "f1"); err != nil {
		t.Fatal(err)
	}
	f.chain.Lose(false)
	f.look()
	f.chain.Finalize()
	f.look()
	f.settledBy(p)
	before = f.chain.Sent(p.MessageBytes)
	f.look()
	if got := f.chain.Sent(p.MessageBytes); got != before {
		t.Error("sent after it had settled")
	}
}

// TestSentWhileOneShowsIt: an endpoint that has been sent a transfer can show it in a chain of its own, and nobody calls it dead then.
// So it is sent on to the others, until it has landed.
func TestSentWhileOneShowsIt(t *testing.T) {
	f := startChain(t)
	p := f.authorize("p1", usdc)
	f.chain.Lose(true)
	f.settling(p)
	f.nodes[1].Become(solanarpctest.Showing(f.chain.Branch(f.chain.Final(), 50, f.wire(p))))
	f.look()
	f.chain.Lose(false)
	f.look()
	f.nodes[1].Become()
	f.chain.Finalize()
	f.look()
	f.settledBy(p)
}

// TestFrozenLands: a freeze stops what comes after it. What the chain has done is booked.
func TestFrozenLands(t *testing.T) {
	f := startChain(t)
	landing, dying := f.authorize("p1", usdc), f.authorize("p2", 2*usdc)
	f.settling(landing)
	f.freeze(f.payer, "f1")
	f.pass(dying)
	f.look()
	f.settledBy(landing)
	f.wantState(dying, ready)
	f.wantUnits(funded-usdc, 0)
}

// TestFork: a block with the message is left. It lands again, or never, and only what is final counts.
func TestFork(t *testing.T) {
	for _, row := range []struct {
		name string
		lost bool
		want typev1.PaymentState
	}{{"lands again", false, settled}, {"is lost", true, ready}} {
		t.Run(row.name, func(t *testing.T) {
			f := startChain(t)
			p := f.authorize("p1", usdc)
			f.settling(p)
			f.chain.Advance(3)
			first := f.chain.Landed(p.MessageBytes)
			if first == nil {
				t.Fatal("it has not landed")
			}
			f.look()
			f.chain.Lose(row.lost)
			f.chain.Fork(10)
			f.look()
			f.wantState(p, authorized)
			if f.chain.Landed(p.MessageBytes) != nil {
				t.Fatal("the fork holds it")
			}
			f.pass(p)
			f.look()
			f.wantState(p, row.want)
			if row.want == settled {
				f.settledBy(p)
			}
		})
	}
}

// TestSeenThenDenied: one endpoint has shown the message finalised. From then on nobody can have it called dead, not all of them together.
func TestSeenThenDenied(t *testing.T) {
	f := startChain(t)
	p := f.authorize("p1", usdc)
	f.settling(p)
	f.nodes[1].Become(solanarpctest.Behind(300))
	f.chain.Finalize()
	f.look()
	f.wantState(p, authorized)
	for _, n := range f.nodes {
		n.Become(solanarpctest.Hiding(p.MessageBytes))
	}
	f.pass(p)
	for range 3 {
		f.look()
		f.reopen()
	}
	f.wantState(p, authorized)
	f.wantUnits(funded-usdc, usdc)
	for _, n := range f.nodes {
		n.Become()
	}
	f.look()
	f.settledBy(p)
}

// TestClockBehind: while the ledger's clock is behind the wallet's time nothing is decided, and afterwards what was proven is taken over.
func TestClockBehind(t *testing.T) {
	f := startChain(t)
	p := f.authorize("p1", usdc)
	f.settling(p)
	f.chain.Fund(f.payer.GroupKey, f.mint, usdc)
	f.chain.Finalize()
	f.clock.advance(-time.Hour)
	if err := f.ledger.LookAtChain(t.Context()); err == nil {
		t.Error("nobody is told that the clock is behind")
	}
	f.wantUnits(funded-usdc, usdc)
	f.clock.advance(time.Hour)
	f.look()
	f.settledBy(p)
	f.wantUnits(funded, 0)
}

// TestByItself: with its own interval and a chain that goes on, nobody has to ask.
func TestByItself(t *testing.T) {
	f := newChainFixture(t, evidencetest.New(t), t.TempDir()+"/ledger.db")
	rail := f.fixture.solana
	f.fixture.solana = func() *Solana {
		r := rail()
		r.WatchInterval = 20 * time.Millisecond
		return r
	}
	f.open()
	defer f.close()
	f.fund()
	p := f.authorize("p1", usdc)
	f.chain.Run(5 * time.Millisecond)
	f.settling(p)
	deadline := time.Now().Add(30 * time.Second)
	for f.get(p.Name).GetState() != settled {
		if time.Now().After(deadline) {
			t.Fatalf("%s after 30 s", f.get(p.Name).GetState())
		}
		time.Sleep(20 * time.Millisecond)
	}
	f.settledBy(p)
}

// TestPace: a message is looked at each time while it is young, and ever more rarely when nothing comes of it.
func TestPace(t *testing.T) {
	var l lookout
	now := time.Unix(1_800_000_000, 0)
	live := []liveMessage{{key: messageKey{wallet: "wallets/w"}}}
	looks := 0
	for range 3600 {
		now = now.Add(time.Second)
		due, next := l.due(messageKey{}, live, now, false)
		if len(due) == 1 {
			l.looked(live[0].key, now, 1)
			looks++
		}
		if next != (messageKey{}) {
			t.Fatalf("the next round begins after the only message: %v", next)
		}
	}
	// Each time by the age's eighth, up to a minute.
	if looks < 70 || looks > 130 {
		t.Errorf("looked %d times in an hour", looks)
	}
	l.over(live[0].key)
	if got := l.oldestMillis(); got != 0 {
		t.Errorf("the oldest of none is of %d", got)
	}
	l.looked(live[0].key, now, 1) // By a look that was under way meanwhile.
	l.due(messageKey{}, nil, now, false)
	if got := l.oldestMillis(); got != 0 {
		t.Errorf("what is live no more is remembered, of %d", got)
	}
}

// TestRoundsAreBounded: however many messages wait, a round reads a page and asks about a part of it; each message has its turn before any
// has a second one, also after a restart. A message among few is looked at by the next round.
func TestRoundsAreBounded(t *testing.T) {
	f := startChain(t)
	p := f.authorize("p1", usdc)
	round := func() {
		t.Helper()
		if err := f.ledger.lookAtMessages(t.Context(), false); err != nil {
			t.Fatal(err)
		}
	}
	// What the rounds have read, and what they have looked at once and more often.
	counts := func() (read, once, again int) {
		l := &f.ledger.chain.lookout
		l.mu.Lock()
		defer l.mu.Unlock()
		for _, p := range l.messages {
			switch {
			case p.last.IsZero():
			case p.last.Equal(p.first):
				once++
			default:
				again++
			}
		}
		return len(l.messages), once, again
	}
	before := f.nodes[0].Asked("getSignaturesForAddress")
	if round(); f.nodes[0].Asked("getSignaturesForAddress") == before {
		t.Error("a round has not looked at the only message")
	}
	// The thousands that wait are one payment's message under other digests. The endpoints are down, so that nothing comes of them.
	const many = 2000
	f.sql(`WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?)
		INSERT INTO chain_message (wallet, digest, id, message, slot, last_valid_height, signature, seen, state)
		SELECT wallet, unhex(printf('%064x', i)), id, message, slot, last_valid_height, signature, seen, state FROM chain_message, n`, many-1)
	for _, n := range f.nodes {
		n.Become(solanarpctest.Down(503))
	}
	for range 2 {
		f.reopen()
		for read := 0; read == 0; read, _, _ = counts() { // The ledger's own first round.
			time.Sleep(time.Millisecond)
		}
		for i := 1; i <= many/messagesPerTick; i++ {
			round()
			read, once, again := counts()
			if rounds := i + 1; read > i*messagesPerTick+livePage || once+again > rounds*messagesPerTick {
				t.Fatalf("%d rounds have read %d messages and looked at %d", rounds, read, once+again)
			}
			if again != 0 && once+again < many {
				t.Fatalf("%d messages had a second turn, and only %d of %d a first one", again, once+again, many)
			}
		}
		if _, once, again := counts(); once+again != many {
			t.Errorf("%d of %d messages had a turn in as many rounds as that takes", once+again, many)
		}
	}
	digest := evidence.MessageDigest(p.MessageBytes)
	f.sql(`DELETE FROM chain_message WHERE digest <> ?`, digest[:])
	for _, n := range f.nodes {
		n.Become()
	}
	f.settling(p)
	f.chain.Finalize()
	round()
	f.settledBy(p)
}
