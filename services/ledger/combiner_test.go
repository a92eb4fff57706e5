package ledger

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/halfkey/halfkey/internal/evidence/evidencetest"
	"github.com/halfkey/halfkey/internal/fault"
	ledgerv1 "github.com/halfkey/halfkey/proto/gen/halfkey/ledger/v1"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// gate is a store whose transactions wait until they are let through, and that fails as it is told.
type gate struct {
	entered chan int // How many operations' rows a transaction was asked for.
	pass    chan error
}

type gatedTransaction struct {
	values *state
	err    error // Of store; or of commit, if that is errCommit.
}

var errCommit = errors.New("the disk did not answer")

func (g *gate) begin(_ context.Context, n needs) (transaction, error) {
	g.entered <- len(n.wallets)
	return &gatedTransaction{values: newState(nil, noon), err: <-g.pass}, nil
}

func (t *gatedTransaction) state() *state                { return t.values }
func (t *gatedTransaction) rollback()                    {}
func (t *gatedTransaction) commit(context.Context) error { return t.failed(true) }
func (t *gatedTransaction) store(context.Context) error  { return t.failed(false) }

func (t *gatedTransaction) failed(committing bool) error {
	if errors.Is(t.err, errCommit) == committing {
		return t.err
	}
	return nil
}

// change is an operation that changes something.
func change(note func()) *op {
	return &op{needs: needs{wallets: []string{"w"}}, decide: func(s *state) error {
		if note != nil {
			note()
		}
		s.entries = append(s.entries, &draft{})
		return nil
	}}
}

// put queues an operation without waiting for it.
func put(ctx context.Context, q chan *op, o *op) *op {
	o.ctx, o.done = ctx, make(chan struct{})
	q <- o
	return o
}

func newGate(t *testing.T) (*gate, *combiner) {
	g := &gate{entered: make(chan int), pass: make(chan error)}
	c := newCombiner(g.begin, func(*state) {}, nil, slog.New(slog.DiscardHandler))
	t.Cleanup(func() {
		var wait sync.WaitGroup
		wait.Go(c.close)
		g.passUntil(&wait)
	})
	return g, c
}

// While one transaction is being written, what arrives gathers; freezes go first; one that gives up is dropped undecided.
func TestCombinerGathers(t *testing.T) {
	g, c := newGate(t)
	var mu sync.Mutex
	var order []string
	note := func(name string) func() {
		return func() {
			mu.Lock()
			defer mu.Unlock()
			order = append(order, name)
		}
	}
	first := put(t.Context(), c.queue, change(note("first")))
	<-g.entered
	gone, cancel := context.WithCancel(t.Context())
	dropped := put(gone, c.queue, change(note("gone")))
	cancel()
	rest := []*op{first, put(t.Context(), c.queue, change(note("second"))), put(t.Context(), c.queue, change(note("third")))}
	freeze := change(note("freeze"))
	freeze.first = true
	rest = append(rest, put(t.Context(), c.freezes, freeze))
	g.pass <- nil
	if n := <-g.entered; n != 3 {
		t.Errorf("the second batch has %d operations", n)
	}
	g.pass <- nil
	for _, o := range rest {
		if <-o.done; o.err != nil {
			t.Error(o.err)
		}
	}
	<-dropped.done
	if f := fault.Of(dropped.err); f.MoneyMoved != movedNo {
		t.Errorf("dropped: money moved %s", f.MoneyMoved)
	}
	if got := strings.Join(order, " "); got != "first freeze second third" {
		t.Errorf("decided in the order %q", got)
	}
}

// A full queue refuses at once, and says that nothing moved.
func TestCombinerFull(t *testing.T) {
	g, c := newGate(t)
	var wait sync.WaitGroup
	wait.Go(func() { _ = c.do(t.Context(), change(nil)) })
	<-g.entered
	for range queueMax {
		put(t.Context(), c.queue, change(nil))
	}
	i, err := newInstruments(nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	s := &Service{logger: slog.New(slog.DiscardHandler), instruments: i}
	gone, cancel := context.WithCancel(t.Context())
	cancel() // It is refused and does not wait: not even for its caller to give up.
	err = s.answer(t.Context(), "CreatePayment", c.do(gone, change(nil)))
	wantReason(t, err, typev1.Reason_REASON_LIMIT_EXCEEDED, movedNo)
	// A freeze does not wait behind payments.
	freeze := change(nil)
	freeze.first = true
	wait.Go(func() {
		if err := c.do(t.Context(), freeze); err != nil {
			t.Error(err)
		}
	})
	g.passUntil(&wait)
}

// passUntil lets every transaction through until wait is over.
func (g *gate) passUntil(wait *sync.WaitGroup) {
	finished := make(chan struct{})
	go func() {
		wait.Wait()
		close(finished)
	}()
	for {
		select {
		case <-g.entered:
		case g.pass <- nil:
		case <-finished:
			return
		}
	}
}

// One operation that cannot be stored fails alone, whatever the reason; a store that fails as a whole fails all.
func TestCombinerIsolates(t *testing.T) {
	g, c := newGate(t)
	put(t.Context(), c.queue, change(nil))
	<-g.entered
	var good []*op
	for range 5 {
		good = append(good, put(t.Context(), c.queue, change(nil)))
	}
	bad := put(t.Context(), c.queue, change(func() { panic("a defect") }))
	good = append(good, put(t.Context(), c.queue, change(nil)))
	var wait sync.WaitGroup
	wait.Go(func() {
		for _, o := range append(good, bad) {
			<-o.done
		}
	})
	g.passUntil(&wait)
	wantReason(t, bad.err, typev1.Reason_REASON_INTERNAL, movedNo)
	for _, o := range good {
		if o.err != nil {
			t.Error(o.err)
		}
	}

	done := make(chan error)
	go func() { done <- c.do(t.Context(), change(nil)) }()
	<-g.entered
	g.pass <- errors.New("disk full")
	wantReason(t, <-done, typev1.Reason_REASON_UNAVAILABLE, movedNo)
	// Nobody is told that it is durable, nor that it is not, when the commit itself failed.
	go func() { done <- c.do(t.Context(), change(nil)) }()
	<-g.entered
	g.pass <- errCommit
	wantReason(t, <-done, typev1.Reason_REASON_UNAVAILABLE, movedUnknown)
	go func() { done <- c.do(t.Context(), change(nil)) }()
	<-g.entered
	g.pass <- nil
	if err := <-done; err != nil {
		t.Errorf("after a failure: %v", err)
	}
}

// A caller that gives up gets UNKNOWN, and its batch goes on.
func TestCallerGivesUp(t *testing.T) {
	g, c := newGate(t)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	decided := false
	go func() { done <- c.do(ctx, change(func() { decided = true })) }()
	<-g.entered
	cancel()
	if f := fault.Of(<-done); f.MoneyMoved != movedUnknown {
		t.Errorf("money moved %s", f.MoneyMoved)
	}
	g.pass <- nil
	c.close()
	if !decided {
		t.Error("the operation was not decided")
	}
	wantReason(t, c.do(t.Context(), change(nil)), typev1.Reason_REASON_UNAVAILABLE, movedNo)
}

// A row that the database refuses fails its operation alone, and the others of the batch are stored.
func TestConstraintFailsAlone(t *testing.T) {
	f := start(t)
	payer, payee := f.two()
	var wait sync.WaitGroup
	errs := make([]error, 16)
	// A row in the way of one payment's journal entry cannot be made by the ledger itself; here it is a write-once row.
	for i := range errs {
		o := &op{needs: needs{wallets: []string{payer.Name}}, decide: func(s *state) error {
			_, err := decideFreeze(s, &freezing{subject: subject{typev1.Scope_SCOPE_WALLET, payer.Name}, id: fmt.Sprint("f", i)})
			if i == 7 {
				s.newFreezes = append(s.newFreezes, s.newFreezes[len(s.newFreezes)-1])
			}
			return err
		}}
		wait.Go(func() { errs[i] = f.ledger.write(t.Context(), o) })
	}
	wait.Wait()
	for i, err := range errs {
		if i == 7 {
			wantReason(t, err, typev1.Reason_REASON_INTERNAL, movedNo)
		} else if err != nil {
			t.Errorf("%d: %v", i, err)
		}
	}
	if n := len(f.freezes(payer).GetFreezes()); n != 15 {
		t.Errorf("%d freezes are stored", n)
	}
	_ = payee
}

// A key that does not sign: what was not sealed is not stored, and what is stored is not answered as if it were not.
func TestKeyOutOfReach(t *testing.T) {
	f := start(t)
	payer, payee := f.two()
	p := f.payment(payer, evidencetest.PaymentConfig{To: payee.GroupKey, Units: usd})
	fails := func(signatures int64, do func()) {
		t.Helper()
		f.key.signatures.Store(signatures)
		f.key.fails.Store(true)
		do()
		f.key.fails.Store(false)
	}
	const unavailable = typev1.Reason_REASON_UNAVAILABLE
	fails(0, func() {
		_, err := f.create(p)
		got := wantReason(t, err, unavailable, movedUnknown)
		if strings.Contains(fmt.Sprint(got.Message, got.Metadata), "10.1.2.3") {
			t.Errorf("the cause left the process: %v", got)
		}
	})
	f.must(p, authorized) // It is recorded, once.
	f.wantBalance(payer, 999*usd, usd)
	f.unchanged(func() {
		fails(0, func() {
			_, err := f.settle(p) // The settlement stands in the journal, so it is signed before anything is stored.
			wantReason(t, err, unavailable, movedNo)
		})
	})
	if _, err := f.settle(p); err != nil {
		t.Fatal(err)
	}
	fails(0, func() {
		_, err := f.client.Freeze(t.Context(),
			&ledgerv1.FreezeRequest{Freeze: &typev1.Freeze{FreezeId: "x", Scope: typev1.Scope_SCOPE_WALLET, Wallet: payer.Name}})
		wantReason(t, err, unavailable, movedNo)
	})
	if !f.freezes(payer).GetFrozen() {
		t.Error("the freeze is not held")
	}
}

// A second ledger on the same file refuses to start; so does one of another installation.
func TestLock(t *testing.T) {
	f := start(t)
	config := Config{Installations: f.Installations, Key: f.Ledger, Path: f.path}
	if s, err := New(config); err == nil {
		s.Close()
		t.Fatal("a second ledger has the same file")
	} else if !strings.Contains(err.Error(), "another ledger") {
		t.Errorf("got %v", err)
	}
	f.two() // The first one goes on.
	f.close()
	other := evidencetest.NewWith(t, evidencetest.Config{ID: "else"})
	if s, err := New(Config{Installations: other.Installations, Key: other.Ledger, Path: f.path}); err == nil {
		s.Close()
		t.Fatal("another installation has the file")
	} else if !strings.Contains(err.Error(), "is the ledger of installation") {
		t.Errorf("got %v", err)
	}
	if s, err := New(Config{Installations: f.Installations, Key: f.Policy, Path: filepath.Join(t.TempDir(), "x.db")}); err == nil {
		s.Close()
		t.Fatal("a key that is not the ledger's is taken")
	}
	f.open()
}

// Each statement finds its rows by an index, however many keys it is given: a scan would grow with the ledger's age.
func TestPlans(t *testing.T) {
	f := start(t)
	f.two()
	db, err := sql.Open("sqlite", f.path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for text := range f.ledger.store.writing {
		explain(t, db, text)
	}
	for text := range f.ledger.store.reading {
		explain(t, db, text)
	}
	// What is read in pages comes from its index in order: sorting would read the whole history for each page.
	d := f.ledger.store.dialect
	for _, text := range []string{
		d.readPayments, d.readOwnerPayments, d.readIncoming, d.readOwnerIncoming, d.readChanges, d.readOwnerChanges, d.readFirstSum,
	} {
		for _, detail := range explain(t, db, text) {
			if strings.Contains(detail, "TEMP B-TREE") {
				t.Errorf("%s\n%s", detail, text)
			}
		}
	}
}

// explain returns a statement's plan, and fails where it scans a table.
func explain(t *testing.T, db *sql.DB, text string) (plan []string) {
	t.Helper()
	args := make([]any, strings.Count(text, "?"))
	for i := 9; i > 0; i-- {
		if strings.Contains(text, fmt.Sprint("?", i)) {
			args = make([]any, i)
			break
		}
	}
	for i := range args {
		args[i] = "[]"
	}
	query(t, db, "EXPLAIN QUERY PLAN "+text, func(r scanner) error {
		var id, parent, unused int
		var detail string
		if err := r.Scan(&id, &parent, &unused, &detail); err != nil {
			return err
		}
		if strings.HasPrefix(detail, "SCAN") && !strings.Contains(detail, "VIRTUAL TABLE") && !strings.HasPrefix(detail, "SCAN j") {
			t.Errorf("%s\n%s", detail, text)
		}
		plan = append(plan, detail)
		return nil
	}, args...)
	return plan
}
