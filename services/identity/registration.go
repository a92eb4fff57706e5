package identity

import (
	"context"
	"unicode"
	"unicode/utf8"

	"github.com/halfkey/halfkey/internal/evidence"
	"github.com/halfkey/halfkey/internal/fault"
	"github.com/halfkey/halfkey/internal/resource"
	identityv1 "github.com/halfkey/halfkey/proto/gen/halfkey/identity/v1"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

const (
	// displayNameMax bounds a display name.
	displayNameMax = 64
	// sweepSome is how many overdue rows a call tidies up on its way, sweepMost how many one does that found no place.
	sweepSome, sweepMost = 8, 256
)

// CreateRegistration opens a registration: CREATING. A repeat of the same statement answers the same; another run under the
// same request key takes the place of the last one while the wallet is CREATING. An enrolment token is checked and not used
// up: that is the co-signer's, when it claims the wallet, and until then the bounds hold for it as for everybody.
func (s *Service) CreateRegistration(
	ctx context.Context, req *identityv1.CreateRegistrationRequest,
) (*identityv1.CreateRegistrationResponse, error) {
	m, err := evidence.CheckKeyGenerationStart(s.installation, req.GetStart())
	if err != nil {
		return nil, fault.Wrap(err, typev1.MoneyMoved_MONEY_MOVED_NO)
	}
	if !showable(req.GetDisplayName()) {
		return nil, fault.Invalid(fault.Violation{Field: "display_name", Why: "is not at most 64 bytes of UTF-8 without control characters"})
	}
	digest, p := evidence.EnvelopeDigest(req.GetStart()), placeOf(m.GetOwnerEmail(), req.GetSource())
	w, err := s.open(ctx, m.GetWallet(), func(t *tx, old *wallet) (*wallet, error) {
		if err := s.enrolled(t, m, req); err != nil {
			return nil, err
		}
		return start(old, m, digest, req.GetDisplayName(), p, s.clock())
	})
	if err != nil {
		return nil, err
	}
	return &identityv1.CreateRegistrationResponse{Wallet: w}, nil
}

// CompleteRegistration takes the agent's registration: UNCLAIMED, found by its claim code.
func (s *Service) CompleteRegistration(
	ctx context.Context, req *identityv1.CompleteRegistrationRequest,
) (*identityv1.CompleteRegistrationResponse, error) {
	m, err := evidence.CheckRegistration(s.installation, req.GetRegistration())
	if err != nil {
		return nil, fault.Wrap(err, typev1.MoneyMoved_MONEY_MOVED_NO)
	}
	code := evidence.ClaimCode(s.installation.ID(), m)
	w, err := s.open(ctx, m.GetWallet(), func(t *tx, old *wallet) (*wallet, error) {
		next, err := complete(old, m, req.GetRegistration(), s.clock())
		if err != nil || next == old {
			return next, err
		}
		taken, err := t.get(handleKeys + m.GetHandle())
		if err != nil {
			return nil, err
		}
		if taken != nil {
			return nil, handleTaken(m.GetHandle())
		}
		free, err := t.claimName(claimKeys+code, m.GetWallet())
		if err != nil {
			return nil, err
		}
		if !free {
			return nil, refuse(typev1.Reason_REASON_ALREADY_EXISTS, "another registration has this claim code: register again",
				"field", "registration")
		}
		return next, nil
	})
	if err != nil {
		return nil, err
	}
	return &identityv1.CompleteRegistrationResponse{Wallet: w}, nil
}

// EndRegistration takes the co-signer's statement that a registration ended: ENDED, and its place is free.
func (s *Service) EndRegistration(
	ctx context.Context, req *identityv1.EndRegistrationRequest,
) (*identityv1.EndRegistrationResponse, error) {
	m, err := evidence.CheckRegistrationEnd(s.installation, req.GetEnd())
	if err != nil {
		return nil, fault.Wrap(err, typev1.MoneyMoved_MONEY_MOVED_NO)
	}
	w, err := s.change(ctx, m.GetWallet(), func(_ *tx, old *wallet) (*wallet, error) {
		return end(old, m, req.GetEnd(), s.clock())
	})
	if err != nil {
		return nil, err
	}
	return &identityv1.EndRegistrationResponse{Wallet: w}, nil
}

// GetClaim answers with the wallet of a claim code. Who asks recomputes the code from the registration.
func (s *Service) GetClaim(ctx context.Context, req *identityv1.GetClaimRequest) (*identityv1.GetClaimResponse, error) {
	code, err := evidence.NormalizeClaimCode(req.GetCode())
	if err != nil {
		return nil, fault.Wrap(err, typev1.MoneyMoved_MONEY_MOVED_NO)
	}
	name, err := s.store.indexed(ctx, claimKeys+code)
	if err != nil {
		return nil, err
	}
	w, err := s.named(ctx, name)
	switch {
	case err != nil:
		return nil, err
	case w == nil:
		return nil, refuse(typev1.Reason_REASON_NOT_FOUND, "no registration has this claim code")
	case w.State == ended:
		return nil, endedUnclaimed()
	}
	out, err := w.proto()
	if err != nil {
		return nil, err
	}
	return &identityv1.GetClaimResponse{Wallet: out, OwnerEmail: w.OwnerEmail}, nil
}

// ListExpired lists registrations that nobody claimed in time, for the co-signer to end. First those that identity saw
// completed; then those that it did not, which the co-signer may have seen.
func (s *Service) ListExpired(ctx context.Context, req *identityv1.ListExpiredRequest) (*identityv1.ListExpiredResponse, error) {
	n := pageSize(req.GetPageSize())
	now := s.clock()
	ids, err := s.store.since(ctx, unclaimedKeys, now.Add(-claimLife-evidence.Tolerance).UnixMilli(), n)
	if err != nil {
		return nil, err
	}
	// A run begins up to creatingLife before the registration that the co-signer counts from.
	for _, index := range []string{creatingKeys, unfinishedKeys} {
		if len(ids) == n {
			break
		}
		more, err := s.store.since(ctx, index, now.Add(-claimLife-creatingLife-evidence.Tolerance).UnixMilli(), n-len(ids))
		if err != nil {
			return nil, err
		}
		ids = append(ids, more...)
	}
	resp := &identityv1.ListExpiredResponse{}
	for _, id := range ids {
		resp.Wallets = append(resp.Wallets, resource.Wallet(id))
	}
	return resp, nil
}

// open changes a wallet's row in a way that may take a place among the open registrations. If there is none it frees what
// overdue key generations hold and tries once more.
func (s *Service) open(ctx context.Context, name string, fn func(*tx, *wallet) (*wallet, error)) (*typev1.Wallet, error) {
	if _, err := s.sweep(ctx, sweepSome); err != nil {
		return nil, err
	}
	w, err := s.change(ctx, name, fn)
	if fault.ReasonOf(err) != typev1.Reason_REASON_LIMIT_EXCEEDED {
		return w, err
	}
	freed, sweepErr := s.sweep(ctx, sweepMost)
	if sweepErr != nil {
		return nil, sweepErr
	}
	if freed == 0 {
		return nil, err
	}
	return s.change(ctx, name, fn)
}

// change makes one decision about one wallet's row and answers with what it is after. fn gets nil for a row that is not
// there; it returns the row that it got for no change.
func (s *Service) change(ctx context.Context, name string, fn func(*tx, *wallet) (*wallet, error)) (*typev1.Wallet, error) {
	id, err := resource.ParseWallet(name)
	if err != nil {
		return nil, fault.Wrap(err, typev1.MoneyMoved_MONEY_MOVED_NO)
	}
	done, err := s.count(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	var after *wallet
	err = s.store.decide(ctx, func(t *tx) error {
		old, err := t.wallet(id)
		if err != nil {
			return err
		}
		if after, err = fn(t, old); err != nil {
			return err
		}
		full, err := t.replace(s.bounds, id, old, after)
		if err != nil {
			return err
		}
		if full != "" {
			return refuse(typev1.Reason_REASON_LIMIT_EXCEEDED, "too many registrations are open: claim or let end some of them", "bound", full)
		}
		return nil
	})
	if err != nil {
		return nil, fault.Wrap(err, typev1.MoneyMoved_MONEY_MOVED_NO)
	}
	return after.proto()
}

// count waits for this replica's turn at the counters.
func (s *Service) count(ctx context.Context) (done func(), err error) {
	select {
	case s.counting <- struct{}{}:
		return func() { <-s.counting }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// sweep frees the places of up to n key generations that did not end in time, and forgets up to n that did not end long
// ago. freed counts the places.
func (s *Service) sweep(ctx context.Context, n int) (freed int, err error) {
	now := s.clock()
	overdue, err := s.store.since(ctx, creatingKeys, now.Add(-creatingLife).UnixMilli(), n)
	if err != nil {
		return 0, err
	}
	for _, id := range overdue {
		_, err := s.change(ctx, resource.Wallet(id), func(_ *tx, old *wallet) (*wallet, error) {
			if old == nil || old.State != creating || !old.Placed || now.UnixMilli()-old.Since < creatingLife.Milliseconds() {
				return old, nil
			}
			w := *old
			w.Placed = false
			return &w, nil
		})
		if err != nil {
			return freed, err
		}
		freed++
	}
	old, err := s.store.since(ctx, unfinishedKeys, now.Add(-unfinishedLife).UnixMilli(), n)
	if err != nil {
		return freed, err
	}
	for _, id := range old {
		err := s.store.decide(ctx, func(t *tx) error {
			w, err := t.wallet(id)
			if err != nil || w == nil || w.State != creating || w.Placed || now.UnixMilli()-w.Since < unfinishedLife.Milliseconds() {
				return err
			}
			t.delete(walletKeys + id)
			t.delete(w.timeIndex(id))
			return nil
		})
		if err != nil {
			return freed, err
		}
	}
	return freed, nil
}

func handleTaken(handle string) error {
	return refuse(typev1.Reason_REASON_HANDLE_TAKEN, "another wallet has this handle", "handle", handle)
}

func pageSize(n int32) int {
	if n <= 0 {
		return pageDefault
	}
	return min(int(n), pageMax)
}

// showable is what may stand beside other names on a screen: short, and without what moves or hides them.
func showable(s string) bool {
	if len(s) > displayNameMax || !utf8.ValidString(s) {
		return false
	}
	for _, r := range s {
		if unicode.IsControl(r) || unicode.In(r, unicode.Cf, unicode.Zl, unicode.Zp) {
			return false
		}
	}
	return true
}
