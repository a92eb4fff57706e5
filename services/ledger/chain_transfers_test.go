package ledger

import (
	"bytes"
	"crypto/ed25519"
	"fmt"
	"testing"
	"time"

	"github.com/halfkey/halfkey/internal/chain/solana"
	"github.com/halfkey/halfkey/internal/chain/solanarpc/solanarpctest"
	"github.com/halfkey/halfkey/internal/evidence/evidencetest"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// transfers are the ledger's statements of what came in, or left without a payment.
func (f *chainFixture) transfers(kind typev1.EntryKind) (list []*typev1.ChainTransfer) {
	f.t.Helper()
	for _, e := range f.entries(kind) {
		m := new(typev1.ChainTransfer)
		f.Decode(e.GetStatements()[0], m)
		list = append(list, m)
	}
	return list
}

// TestChainDeposits: what comes in is booked once, in order, whoever sent it and however often the chain is looked at.
func TestChainDeposits(t *testing.T) {
	f := startChain(t)
	var want int64 = funded
	for i := range int64(120) { // More than one part of a history.
		f.chain.Fund(f.payer.GroupKey, f.mint, uint64(i+1))
		f.chain.Mention(f.payer.GroupKey, f.mint)
		want += i + 1
		if i%40 == 0 {
			f.chain.Advance(1)
		}
	}
	f.wantUnits(funded, 0)
	f.chain.Finalize()
	for range 3 {
		f.look()
		f.wantUnits(want, 0)
		f.reopen()
	}
	got := f.transfers(typev1.EntryKind_ENTRY_KIND_CHAIN_DEPOSIT)
	if len(got) != 121 {
		t.Fatalf("%d deposits, want 121", len(got))
	}
	for i, m := range got[1:] {
		if m.GetUnits() != fmt.Sprint(i+1) || m.GetOutflow() || m.GetPayment() != "" || m.GetSlot() == 0 || len(m.GetTransaction()) != 64 {
			t.Errorf("deposit %d: %v", i, m)
		}
	}
}

// TestDepositIsSeenByWhoAsks: who asks for a balance, or pays what has just come in, need not wait for the next round.
func TestDepositIsSeenByWhoAsks(t *testing.T) {
	f := startChain(t)
	forget := func() { // The last look was long ago.
		f.ledger.chain.lookout.mu.Lock()
		defer f.ledger.chain.lookout.mu.Unlock()
		clear(f.ledger.chain.lookout.accounts)
	}
	f.chain.Fund(f.payer.GroupKey, f.mint, usdc)
	f.chain.Finalize()
	f.balance(f.payer)
	f.wantUnits(funded, 0) // It was looked at just now.
	forget()
	f.balance(f.payer)
	f.wantUnits(funded+usdc, 0)
	f.chain.Fund(f.payer.GroupKey, f.mint, usdc)
	f.chain.Finalize()
	forget()
	p := f.authorize("p1", funded+2*usdc)
	f.wantUnits(0, funded+2*usdc)
	f.settling(p)
	f.chain.Finalize()
	f.look()
	f.settledBy(p)
}

// TestSilentEndpointDelaysNobody: who asks for a balance waits a little while for an endpoint that answers nothing, the next one perhaps
// for the ledger's own round, and the others not at all.
func TestSilentEndpointDelaysNobody(t *testing.T) {
	f := startChain(t)
	f.nodes[1].Become(solanarpctest.Silent())
	f.reopen() // The first round begins, before or after the first caller.
	began := time.Now()
	for range 20 {
		f.balance(f.payer)
	}
	if took := time.Since(began); took > 2*freshenTimeout+2*time.Second {
		t.Errorf("20 balances took %v", took)
	}
	f.wantUnits(funded, 0)
}

// TestExit: tokens leave by what was signed past the ledger while it was down. It says so when it is back, and the payments that it held
// for fail on the chain without breaking anything: what comes in later makes good for what is missing.
func TestExit(t *testing.T) {
	f := startChain(t)
	held, small := f.authorize("p1", 60*usdc), f.authorize("p2", 10*usdc)
	f.close()
	transaction := f.exit(95*usdc, "exit")
	f.chain.Advance(1)
	f.open()
	f.settling(held)
	f.chain.Finalize()
	f.look()
	// 100 less 95 are there, 70 were held: the 30 that were available and 65 more have left.
	out := f.transfers(typev1.EntryKind_ENTRY_KIND_CHAIN_OUTFLOW)
	if len(out) != 1 || out[0].GetUnits() != fmt.Sprint(95*usdc) || !out[0].GetOutflow() || out[0].GetPayment() != "" ||
		!bytes.Equal(out[0].GetTransaction(), transaction[:]) {
		t.Fatalf("outflows %v", out)
	}
	f.wantState(held, failed)
	f.wantMoved(held, movedNo)
	f.wantBalanceOf(0, 10*usdc, 5*usdc)
	_, err := f.create(f.attempt("p3", 1))
	wantReason(t, err, typev1.Reason_REASON_INSUFFICIENT_FUNDS, movedNo)
	f.chain.Fund(f.payer.GroupKey, f.mint, 4*usdc)
	f.chain.Finalize()
	f.look()
	f.wantBalanceOf(0, 10*usdc, usdc)
	_, err = f.create(f.attempt("p3", 1))
	wantReason(t, err, typev1.Reason_REASON_INSUFFICIENT_FUNDS, movedNo)
	f.chain.Fund(f.payer.GroupKey, f.mint, 3*usdc)
	f.chain.Finalize()
	f.look()
	f.wantBalanceOf(2*usdc, 10*usdc, 0)
	f.settling(small)
	f.chain.Finalize()
	f.look()
	f.settledBy(small)
	f.wantBalanceOf(2*usdc, 0, 0)
	if got := f.chain.Units(f.payer.GroupKey, f.mint); got != 2*usdc {
		t.Errorf("the wallet has %d on the chain", got)
	}
}

// TestFailed: a message that landed with an error has moved nothing, and cannot land again.
func TestFailed(t *testing.T) {
	f := startChain(t)
	p := f.authorize("p1", 50*usdc)
	f.chain.Take(f.payer.GroupKey, f.mint, 80*usdc)
	f.settling(p)
	f.chain.Finalize()
	f.look()
	f.wantState(p, failed)
	f.wantMoved(p, movedNo)
	f.wantUnits(20*usdc, 0)
	e := f.entries(typev1.EntryKind_ENTRY_KIND_PAYMENT)
	dead := new(typev1.DeadMessage)
	f.Decode(e[len(e)-1].GetStatements()[0], dead)
	if block := f.chain.Landed(p.MessageBytes); !bytes.Equal(dead.GetTransaction(), p.Settle()) || dead.GetSlot() != block.Slot {
		t.Errorf("%v, want that of %v", dead, block)
	}
}

// TestOneThatIsDead: every endpoint together has a message called dead that then turns up. The ledger cannot take back what it said; it
// books what has left, and says with which payment.
func TestOneThatIsDead(t *testing.T) {
	f := startChain(t)
	p := f.authorize("p1", usdc)
	f.settling(p)
	f.chain.Advance(1)
	for _, n := range f.nodes {
		n.Become(solanarpctest.Hiding(p.MessageBytes))
	}
	f.pass(p)
	f.look()
	f.wantState(p, ready)
	for _, n := range f.nodes {
		n.Become()
	}
	f.look()
	f.reopen()
	f.look()
	f.wantState(p, ready)
	f.wantUnits(funded-usdc, 0)
	out := f.transfers(typev1.EntryKind_ENTRY_KIND_CHAIN_OUTFLOW)
	if len(out) != 1 || out[0].GetPayment() != p.Name || !bytes.Equal(out[0].GetTransaction(), p.Settle()) {
		t.Errorf("outflows %v", out)
	}
}

// TestSeenInTheHistory: a message that the account's history shows is not taken for dead, whatever is said of it alone.
func TestSeenInTheHistory(t *testing.T) {
	f := startChain(t)
	p := f.authorize("p1", usdc)
	f.settling(p)
	f.chain.Finalize()
	if err := f.ledger.lookAtAccounts(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	f.wantUnits(funded-usdc, usdc)
	for _, n := range f.nodes {
		n.Become(solanarpctest.Hiding(p.MessageBytes))
	}
	f.pass(p)
	if err := f.ledger.lookAtMessages(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	f.wantState(p, authorized)
	for _, n := range f.nodes {
		n.Become()
	}
	f.look()
	f.settledBy(p)
	f.wantUnits(funded-usdc, 0)
}

// TestX402Lands: a payment that the seller sends is found by the account and the bytes, whatever the transaction is called.
func TestX402Lands(t *testing.T) {
	f := startChain(t)
	feePayer := f.Key("fee payer")
	f.chain.Airdrop(evidencetest.Key32(feePayer), 1_000_000_000)
	f.chain.Finalize()
	f.clock.advance(hashShared + time.Second)
	hash, _ := f.blockHash()
	p := f.payment(f.payer, evidencetest.PaymentConfig{
		ID: "p1", To: f.shop, Rail: typev1.Rail_RAIL_SOLANA, Units: usdc, EditIntent: buys("api.example"),
		EditSolana: func(m *solana.Message) { m.BlockHash = hash },
	})
	f.must(p, authorized)
	_, err := f.settle(p)
	wantReason(t, err, typev1.Reason_REASON_INVALID_ARGUMENT, movedUnknown) // The seller may have sent it.
	first := solana.Signature(ed25519.Sign(feePayer, p.MessageBytes))
	wire, err := solana.Wire(p.MessageBytes, first, solana.Signature(p.Settle()))
	if err != nil {
		t.Fatal(err)
	}
	f.chain.Send(wire)
	f.chain.Finalize()
	f.look()
	f.wantState(p, settled)
	f.wantUnits(funded-usdc, 0)
	e := f.entries(typev1.EntryKind_ENTRY_KIND_PAYMENT)
	last := e[len(e)-1]
	s := new(typev1.Settlement)
	f.Decode(last.GetStatements()[0], s)
	if !bytes.Equal(s.GetTransaction(), first[:]) || !bytes.Equal(last.GetSignature(), p.Settle()) {
		t.Errorf("settled by %v with %x", s, last.GetSignature())
	}
}

// TestOneAccountStopsNoOther: accounts that cannot be looked at, here a page of them on a network that nobody knows, keep no other from
// its turn.
func TestOneAccountStopsNoOther(t *testing.T) {
	f := startChain(t)
	const unknown = "a:%02d"
	for i := range accountsPerTick {
		f.sql(`INSERT INTO chain_account (wallet, asset, signature, slot, units) VALUES (?, ?, zeroblob(64), 0, 0)`,
			f.payer.Name, fmt.Sprintf(unknown, i))
	}
	f.chain.Fund(f.payer.GroupKey, f.mint, 5*usdc)
	f.chain.Finalize()
	if err := f.ledger.LookAtChain(t.Context()); err == nil {
		t.Error("nothing is said of accounts that cannot be looked at")
	}
	f.wantUnits(funded+5*usdc, 0)
	for i := range accountsPerTick {
		f.sql(`DELETE FROM chain_account WHERE asset = ?`, fmt.Sprintf(unknown, i))
	}
}

// TestAbortedLookDoesNotCount: somebody who did not wait for the endpoints keeps others from asking them at once, and never the ledger's
// own round.
func TestAbortedLookDoesNotCount(t *testing.T) {
	var l lookout
	k := balanceKey{"wallets/w", evidencetest.USDC}
	for _, aborted := range []bool{false, true} {
		_, look := l.begin(k, noon, 0)
		l.end(look, noon, aborted)
		if own, _ := l.begin(k, noon.Add(accountFresh-1), accountFresh); own {
			t.Errorf("aborted %v: the next caller asks the endpoints again", aborted)
		}
		own, look := l.begin(k, noon.Add(1), accountEvery)
		if own != aborted {
			t.Errorf("aborted %v: the round asks: %v", aborted, own)
		}
		if own {
			l.end(look, noon, false)
		}
	}
}
