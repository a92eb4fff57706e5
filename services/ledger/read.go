package ledger

import (
	"context"
	"database/sql"
	"errors"

	"google.golang.org/protobuf/proto"

	"github.com/halfkey/halfkey/internal/evidence"
	"github.com/halfkey/halfkey/internal/resource"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// view is a look at the database as it is after some batch, whole.
type view struct {
	store *store
	tx    *sql.Tx
}

// look runs f on one view. Nothing that f sees decides about money: it is for answers, and for finding the keys that
// signatures are verified with, which the writer's decision checks again.
func (s *store) look(ctx context.Context, f func(*view) error) error {
	tx, err := s.reader.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return err
	}
	defer tx.Rollback()
	return f(&view{s, tx})
}

func (v *view) row(ctx context.Context, text string, args ...any) *sql.Row {
	stmt := v.tx.StmtContext(ctx, v.store.reading[text]) //nolint:sqlclosecheck // A transaction's statement ends with it.
	return stmt.QueryRowContext(ctx, args...)
}

func (v *view) each(ctx context.Context, text string, scan func(scanner) error, args ...any) error {
	stmt := v.tx.StmtContext(ctx, v.store.reading[text]) //nolint:sqlclosecheck // A transaction's statement ends with it.
	rows, err := stmt.QueryContext(ctx, args...)
	if err != nil {
		return err
	}
	return each(rows, scan)
}

// pin is a wallet with its guard rails in force, and its time's row.
func (v *view) pin(ctx context.Context, name string) (w wallet, clockMillis int64, err error) {
	var envelope []byte
	w, _, digest, err := scanWallet(v.row(ctx, v.store.dialect.readPin, name), &envelope, &clockMillis)
	if errors.Is(err, sql.ErrNoRows) {
		return wallet{}, 0, errNotActive
	}
	if err != nil {
		return wallet{}, 0, err
	}
	if w.head = v.store.heads.get(digest); w.head == nil {
		w.head, err = v.store.heads.decode(envelope)
	}
	return w, clockMillis, err
}

func (v *view) tip(ctx context.Context, name string) (c chain, err error) {
	err = v.row(ctx, v.store.dialect.readTip, name).Scan(&c.number, &c.hash, &c.clockMillis, &c.open)
	if errors.Is(err, sql.ErrNoRows) {
		err = errNotActive
	}
	return c, err
}

func (v *view) payment(ctx context.Context, k paymentKey) (payment, error) {
	p, err := scanPayment(v.row(ctx, v.store.dialect.readPayment, k.id, k.wallet))
	if errors.Is(err, sql.ErrNoRows) {
		err = errNotFound
	}
	return p, err
}

func (v *view) payments(ctx context.Context, text string, args ...any) (out []payment, err error) {
	err = v.each(ctx, text, func(r scanner) error {
		p, err := scanPayment(r)
		out = append(out, p)
		return err
	}, args...)
	return out, err
}

// entry decodes a journal entry of our own.
func (v *view) entry(ctx context.Context, chainName string, number int64) (*typev1.Entry, error) {
	var b []byte
	if err := v.row(ctx, v.store.dialect.readEntry, chainName, number).Scan(&b); err != nil {
		return nil, err
	}
	e := new(typev1.Entry)
	return e, proto.Unmarshal(b, e)
}

// freezes are a subject's: all for deciding whether one is in force, the newest for showing.
func (v *view) freezes(ctx context.Context, sub subject) ([]*typev1.Freeze, freezes, error) {
	var out []*typev1.Freeze
	set := make(freezes)
	byID := make(map[string]*typev1.Freeze)
	d := v.store.dialect
	err := v.each(ctx, d.readListedFreezes, func(r scanner) error {
		var scope typev1.Scope
		var name, id string
		var envelope []byte
		row := freeze{held: true}
		if err := r.Scan(&scope, &name, &id, &row.caller, &row.createdMillis, &envelope); err != nil {
			return err
		}
		var revoked *typev1.Envelope
		if envelope != nil {
			var err error
			if row.revocation, revoked, err = decodeRevocation(envelope); err != nil {
				return err
			}
		}
		f := &typev1.Freeze{FreezeId: id, Scope: scope, Caller: row.caller, CreateTime: timestamp(row.createdMillis), Revocation: revoked}
		switch scope {
		case typev1.Scope_SCOPE_WALLET:
			f.Wallet = name
		case typev1.Scope_SCOPE_OWNER:
			f.Owner = name
		}
		if set[id] = row; len(out) < listedFreezesMax {
			out, byID[id] = append(out, f), f
		}
		return nil
	}, int(sub.scope), sub.name)
	if err != nil {
		return nil, nil, err
	}
	err = v.each(ctx, d.readEnds, func(r scanner) error {
		var id string
		var signer, envelope []byte
		if err := r.Scan(&id, &signer, &envelope); err != nil {
			return err
		}
		if row, ok := set[id]; ok { // Else it is the end of a freeze that has not arrived.
			row.signers = append(row.signers, signer)
			set[id] = row
		}
		f, ok := byID[id]
		if !ok {
			return nil
		}
		e := new(typev1.Envelope)
		if err := proto.Unmarshal(envelope, e); err != nil {
			return err
		}
		f.Unfreezes = append(f.Unfreezes, e)
		return nil
	}, int(sub.scope), sub.name)
	return out, set, err
}

// frozen reports whether a wallet is stopped, for an answer.
func (v *view) frozen(ctx context.Context, w wallet) ([]*typev1.Freeze, bool, error) {
	s := newState(v.store.installation, v.store.clock())
	var all []*typev1.Freeze
	for _, sub := range []subject{
		{typev1.Scope_SCOPE_WALLET, w.name}, {typev1.Scope_SCOPE_OWNER, w.owner}, {typev1.Scope_SCOPE_INSTALLATION, ""},
	} {
		listed, set, err := v.freezes(ctx, sub)
		if err != nil {
			return nil, false, err
		}
		s.freezes.found(sub, set)
		all = append(all, listed...)
	}
	_, _, is := s.frozen(w)
	return all, is, nil
}

// show is a payment as callers see it, with the statements that stand in the journal.
func (v *view) show(ctx context.Context, p payment, tip chain) (*typev1.Payment, error) {
	out := p.show(tip, v.store.clock().UnixMilli())
	judgedEntry, err := v.entry(ctx, p.wallet, p.judgedEntry)
	if err != nil {
		return nil, err
	}
	if err := showJudged(out, judgedEntry); err != nil {
		return nil, err
	}
	if err := v.showSettled(ctx, p, out); err != nil {
		return nil, err
	}
	for _, number := range p.deadEntries {
		e, err := v.entry(ctx, p.wallet, number)
		if err != nil {
			return nil, err
		}
		out.DeadMessages = append(out.DeadMessages, e.GetStatements()...)
	}
	return out, nil
}

// showIncoming is a settled payment as its recipient sees it: what was paid, for what, and the proof. How the payer's guard rails
// judged it, what was left of them, what its agent asked for and when, and whether a person answered is nobody's business but the
// payer's. A field that is added to payments is the payer's too, until it is named here.
func (v *view) showIncoming(ctx context.Context, p payment, tip chain) (*typev1.Payment, error) {
	row := p.show(tip, v.store.clock().UnixMilli())
	out := &typev1.Payment{
		Name: row.GetName(), State: row.GetState(), Intent: row.GetIntent(), Message: row.GetMessage(),
		UpdateTime: row.GetUpdateTime(), LedgerTime: row.GetLedgerTime(), Entry: row.GetEntry(), EntryHash: row.GetEntryHash(),
	}
	return out, v.showSettled(ctx, p, out)
}

// showSettled adds what settled a payment, if it is.
func (v *view) showSettled(ctx context.Context, p payment, out *typev1.Payment) error {
	if p.settledEntry == 0 {
		return nil
	}
	e, err := v.entry(ctx, p.wallet, p.settledEntry)
	if err != nil {
		return err
	}
	showPaid(out, e)
	return nil
}

// showJudged adds what a payment was judged by, from the entry that holds it.
func showJudged(out *typev1.Payment, e *typev1.Entry) error {
	if s := e.GetStatements(); len(s) >= 2 {
		out.Request, out.Verdict = s[0], s[1]
	}
	verdict := new(typev1.Verdict)
	if err := evidence.Peek(out.Verdict, verdict); err != nil {
		return err
	}
	out.Results = append(verdict.GetResults(), e.GetResults()...)
	return nil
}

// showPaid adds what settled a payment, from the entry that holds it.
func showPaid(out *typev1.Payment, e *typev1.Entry) {
	out.Signature = e.GetSignature()
	if s := e.GetStatements(); len(s) == 1 {
		out.Settlement = s[0]
	}
}

// show is what the row itself says.
func (p payment) show(tip chain, now int64) *typev1.Payment {
	return &typev1.Payment{
		Name: p.name(), State: p.state, Intent: p.intent, Message: p.message, Light: p.light, Review: p.review,
		CreateTime: timestamp(p.createdMillis), UpdateTime: timestamp(p.updatedMillis),
		LedgerTime: timestamp(max(tip.clockMillis, now)), Entry: uint64(tip.number), EntryHash: tip.hash,
	}
}

// paymentOf takes a payment's name apart.
func paymentOf(name string) (paymentKey, error) {
	w, id, err := resource.ParsePayment(name)
	return paymentKey{w, id}, err
}
