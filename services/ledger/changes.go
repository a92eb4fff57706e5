package ledger

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/hex"
	"errors"
	"strconv"

	"google.golang.org/grpc"

	"github.com/halfkey/halfkey/internal/evidence"
	"github.com/halfkey/halfkey/internal/guardrails"
	ledgerv1 "github.com/halfkey/halfkey/proto/gen/halfkey/ledger/v1"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

const (
	// changesPage is how many changes a stream reads at once. They are small: a stream holds these and one payment, whatever
	// its reader is behind by.
	changesPage = 64
	// tokenHashBytes is how much of an entry's hash a resume token names: enough to tell the ledger's history from another.
	tokenHashBytes = 8
)

// position is where a stream stands: after this change of an owner, or this entry of a wallet's journal. The hash of the entry
// there shows whether the ledger still has it: one that was restored from a backup says so and skips nothing.
type position struct {
	number int64
	hash   []byte
}

// row is a change as it is read.
type row struct {
	paymentChange
	at position
}

// WatchPayments streams every change of state of a wallet's or an owner's payments from a token on.
func (s *Service) WatchPayments(
	req *ledgerv1.WatchPaymentsRequest, stream grpc.ServerStreamingServer[ledgerv1.WatchPaymentsResponse],
) error {
	ctx := stream.Context()
	return s.answer(ctx, "WatchPayments", s.watchPayments(ctx, req, stream.Send))
}

func (s *Service) watchPayments(
	ctx context.Context, req *ledgerv1.WatchPaymentsRequest, send func(*ledgerv1.WatchPaymentsResponse) error,
) error {
	owner, err := parseParent(req.GetParent())
	if err != nil {
		return err
	}
	// Watching begins before the first look, so that nothing between the two is missed.
	woken, closed, leave, ok := s.watchers.watch(req.GetParent())
	if !ok {
		return errWatchers
	}
	defer leave()
	at, err := s.startOfWatch(ctx, req, owner)
	if err != nil {
		return err
	}
	if req.GetResumeToken() == "" {
		if err := send(&ledgerv1.WatchPaymentsResponse{ResumeToken: at.token()}); err != nil {
			return err
		}
	}
	for {
		var page []row
		err := s.store.look(ctx, func(v *view) (err error) {
			page, err = v.changes(ctx, req.GetParent(), owner, at.number)
			return err
		})
		if err != nil {
			return err
		}
		for _, c := range page {
			if at = c.at; c.incoming != req.GetIncoming() {
				continue
			}
			if err := s.sendChange(ctx, c, send); err != nil {
				return err
			}
		}
		if len(page) == changesPage {
			continue // There may be more.
		}
		select {
		case <-woken:
		case <-closed:
			return unavailable(errClosed, movedNo)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// sendChange sends one change. Nothing of the database is held while a slow reader is waited for.
func (s *Service) sendChange(ctx context.Context, c row, send func(*ledgerv1.WatchPaymentsResponse) error) error {
	resp := &ledgerv1.WatchPaymentsResponse{ResumeToken: c.at.token()}
	err := s.store.look(ctx, func(v *view) (err error) {
		resp.Payment, err = v.changed(ctx, c.paymentChange)
		return err
	})
	if err != nil {
		return err
	}
	return send(resp)
}

// startOfWatch is where a stream begins: now, or where its token says, if the ledger still has that.
func (s *Service) startOfWatch(ctx context.Context, req *ledgerv1.WatchPaymentsRequest, owner bool) (at position, err error) {
	err = s.store.look(ctx, func(v *view) error {
		if !owner {
			if _, err := v.tip(ctx, req.GetParent()); err != nil {
				return err
			}
		}
		if req.GetResumeToken() == "" {
			at, err = v.newest(ctx, req.GetParent(), owner)
			return err
		}
		if at, err = readPosition(req.GetResumeToken()); err != nil || at.number == 0 {
			return err
		}
		hash, err := v.hashAt(ctx, req.GetParent(), owner, at.number)
		if errors.Is(err, sql.ErrNoRows) || err == nil && !bytes.Equal(hash, at.hash) {
			return refuse(typev1.Reason_REASON_LEDGER_BEHIND,
				"the ledger lacks the entry that the resume token names: list the payments, and watch from now on",
				"field", "resume_token")
		}
		return err
	})
	return at, err
}

// newest is the position after everything that has happened.
func (v *view) newest(ctx context.Context, parent string, owner bool) (at position, err error) {
	if !owner {
		tip, err := v.tip(ctx, parent)
		if err != nil || tip.number == 0 {
			return position{}, err
		}
		return position{tip.number, tip.hash[:tokenHashBytes]}, nil
	}
	if err := v.row(ctx, v.store.dialect.readLastChange, parent).Scan(&at.number); err != nil || at.number == 0 {
		return position{}, err
	}
	at.hash, err = v.hashAt(ctx, parent, owner, at.number)
	return at, err
}

// hashAt is the beginning of the hash of the entry at a position.
func (v *view) hashAt(ctx context.Context, parent string, owner bool, number int64) ([]byte, error) {
	text := v.store.dialect.readEntryHash
	if owner {
		text = v.store.dialect.readChangeHash
	}
	var hash []byte
	if err := v.row(ctx, text, parent, number).Scan(&hash); err != nil {
		return nil, err
	}
	return hash[:tokenHashBytes], nil
}

// changes reads the changes after a position.
func (v *view) changes(ctx context.Context, parent string, owner bool, after int64) (page []row, err error) {
	text := v.store.dialect.readChanges
	if owner {
		text = v.store.dialect.readOwnerChanges
	}
	err = v.each(ctx, text, func(r scanner) error {
		var c row
		var hash []byte
		err := r.Scan(&c.at.number, &c.wallet, &c.entry, &hash, &c.payment.wallet, &c.payment.id, &c.state, &c.judgedEntry, &c.incoming)
		if err != nil {
			return err
		}
		c.at.hash = hash[:tokenHashBytes]
		page = append(page, c)
		return nil
	}, parent, after, changesPage)
	return page, err
}

// changed is a payment as a change left it.
func (v *view) changed(ctx context.Context, c paymentChange) (*typev1.Payment, error) {
	p, err := v.payment(ctx, c.payment)
	if err != nil {
		return nil, err
	}
	tip, err := v.tip(ctx, c.wallet)
	if err != nil {
		return nil, err
	}
	switch {
	case c.incoming:
		return v.showIncoming(ctx, p, tip)
	case hasEnded(c.state):
		return v.show(ctx, p, tip) // It has not changed since.
	}
	if p, err = v.asOf(ctx, p, c); err != nil {
		return nil, err
	}
	return v.show(ctx, p, tip)
}

// asOf is a payment's row as it was after a change to a state that is not its last: the journal has what the row no longer says.
func (v *view) asOf(ctx context.Context, p payment, c paymentChange) (payment, error) {
	judgedEntry, err := v.entry(ctx, p.wallet, c.judgedEntry)
	if err != nil {
		return payment{}, err
	}
	changeEntry, err := v.entry(ctx, p.wallet, c.entry)
	if err != nil {
		return payment{}, err
	}
	p.state, p.judgedEntry, p.settledEntry, p.updatedMillis = c.state, c.judgedEntry, 0, changeEntry.GetTimeMillis()
	p.message, p.review = judgedEntry.GetMessage(), nil
	switch statements := judgedEntry.GetStatements(); {
	case changeEntry.GetKind() == typev1.EntryKind_ENTRY_KIND_REVIEW && len(changeEntry.GetStatements()) == 1:
		p.review = changeEntry.GetStatements()[0]
	case len(statements) > 2:
		p.review = statements[2]
	}
	var dead []int64
	for _, number := range p.deadEntries {
		if number <= c.entry {
			dead = append(dead, number)
		}
	}
	p.deadEntries = dead
	verdict := new(typev1.Verdict)
	if len(judgedEntry.GetStatements()) < 2 {
		return payment{}, errors.New("a payment's entry lacks its statements")
	}
	if err := evidence.Peek(judgedEntry.GetStatements()[1], verdict); err != nil {
		return payment{}, err
	}
	p.light = guardrails.Stricter(verdict.GetLight(), judgedEntry.GetLight())
	return p, nil
}

func (p position) token() string {
	return makeToken(strconv.FormatInt(p.number, 10), hex.EncodeToString(p.hash))
}

var errResumeToken = refuse(typev1.Reason_REASON_INVALID_ARGUMENT, "the resume token is not from an answer before", "field", "resume_token")

func readPosition(token string) (p position, err error) {
	fields, err := readToken(token, 2)
	if err != nil {
		return position{}, errResumeToken
	}
	if p.number, err = strconv.ParseInt(fields[0], 10, 64); err != nil || p.number < 0 {
		return position{}, errResumeToken
	}
	if p.hash, err = hex.DecodeString(fields[1]); err != nil || p.number > 0 && len(p.hash) != tokenHashBytes ||
		p.number == 0 && len(p.hash) != 0 {
		return position{}, errResumeToken
	}
	return p, nil
}
