package gateway

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/halfkey/halfkey/internal/evidence"
	"github.com/halfkey/halfkey/internal/fault"
	cosignerv1 "github.com/halfkey/halfkey/proto/gen/halfkey/cosigner/v1"
	identityv1 "github.com/halfkey/halfkey/proto/gen/halfkey/identity/v1"
	ledgerv1 "github.com/halfkey/halfkey/proto/gen/halfkey/ledger/v1"
	policyv1 "github.com/halfkey/halfkey/proto/gen/halfkey/policy/v1"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// withRepair runs a call; if it fails in a way that holders of the wallet which differ would explain, it brings them
// together and runs the call once more. Every call given to it is idempotent.
func (s *Service) withRepair(ctx context.Context, wallet string, call func() error) error {
	err := call()
	if err == nil || !holdersMayDiffer(err) || !s.repair(ctx, wallet) {
		return err
	}
	return call()
}

// repair brings the holders of a wallet together, and reports whether it has.
func (s *Service) repair(ctx context.Context, wallet string) bool {
	if !s.repairs.allow(wallet) {
		return false
	}
	err := s.converge(ctx, wallet)
	if err != nil {
		s.logger.WarnContext(ctx, "bringing the holders of a wallet together", "wallet", wallet, "error", fault.Of(err).Message)
	}
	return err == nil
}

// holdersMayDiffer says whether an error is what a holder answers that is behind or ahead of the others.
func holdersMayDiffer(err error) bool {
	switch fault.ReasonOf(err) {
	case typev1.Reason_REASON_GUARD_RAILS_CHANGED, typev1.Reason_REASON_GUARD_RAILS_REFUSED,
		typev1.Reason_REASON_NO_GUARD_RAILS, typev1.Reason_REASON_EVIDENCE_MISMATCH,
		typev1.Reason_REASON_NOT_ACTIVE, typev1.Reason_REASON_NOT_FOUND, typev1.Reason_REASON_UNAUTHENTICATED,
		typev1.Reason_REASON_BAD_STATEMENT, typev1.Reason_REASON_FROZEN, typev1.Reason_REASON_REVOKED:
		return true
	default:
		return false
	}
}

// held is what one holder has of a wallet.
type held struct {
	known  bool   // The holder has the wallet at all.
	number uint64 // Its head.
	// record is the wallet record as the holder has it: its content is the same with all, its signature is of the record key then.
	record *typev1.Envelope
	// revocation is the newest revocation that identity has; nil for none.
	revocation *typev1.Envelope
}

// lacks says whether a holder has to be opened: it has not the wallet, or it has the record from before a rotation, and opening
// brings one that is not.
func (s *Service) lacks(h held, opening *typev1.WalletDocuments) bool {
	return !h.known || s.outdated(h.record) && !s.outdated(opening.GetRecord())
}

// converge brings the holders of one wallet together: it collects the documents that policy and ledger keep, and
// delivers to each holder what it lacks, in order, oldest first. It decides nothing: each holder accepts a document
// only under the owner keys of its own head.
func (s *Service) converge(ctx context.Context, wallet string) error {
	inPolicy, fromPolicy, err := s.policyDocuments(ctx, wallet)
	if err != nil {
		return err
	}
	inLedger, fromLedger, err := s.ledgerDocuments(ctx, wallet)
	if err != nil {
		return err
	}
	documents, versions := merge(fromPolicy, fromLedger)
	if len(versions) == 0 {
		return nil // Nobody pinned this wallet: there is nothing to deliver.
	}
	inCosigner, err := s.cosignerHolds(ctx, wallet)
	if err != nil {
		return err
	}
	inIdentity, err := s.identityHolds(ctx, wallet)
	if err != nil {
		return err
	}

	opening := &typev1.WalletDocuments{
		Registration: documents.GetRegistration(), Record: documents.GetRecord(), GuardRails: []*typev1.Envelope{versions[0]},
	}
	if inCosigner.record != nil && s.outdated(opening.GetRecord()) {
		opening.Record = inCosigner.record // Signed again by the record key of now.
	}
	if s.lacks(inPolicy, opening) {
		if _, err := s.policy.OpenWallet(ctx, &policyv1.OpenWalletRequest{Documents: opening}); err != nil {
			return err
		}
	}
	if s.lacks(inLedger, opening) {
		if _, err := s.ledger.OpenAccount(ctx, &ledgerv1.OpenAccountRequest{Documents: opening}); err != nil {
			return err
		}
	}
	if s.lacks(inIdentity, opening) {
		if _, err := s.identity.ActivateWallet(ctx, &identityv1.ActivateWalletRequest{Documents: opening}); err != nil {
			return err
		}
	}

	// A gateway that died while all three were asked may have reached identity alone.
	if inIdentity.revocation != nil {
		alone := []*typev1.Envelope{inIdentity.revocation}
		if err := deliver(alone, s.revokeInLedger(ctx)); err != nil {
			return err
		}
		if inCosigner.known {
			if err := deliver(alone, s.revokeInCosigner(ctx)); err != nil {
				return err
			}
		}
	}

	numbers := slices.Sorted(maps.Keys(versions))
	var revoked revocations
	if newest := numbers[len(numbers)-1]; inLedger.number < newest || inCosigner.number < newest || inIdentity.number < newest {
		if revoked, err = s.revocations(ctx, wallet, inCosigner.known); err != nil {
			return err
		}
	}
	for _, number := range numbers {
		version := versions[number]
		if number > inPolicy.number {
			if _, err := s.policy.SetGuardRails(ctx, &policyv1.SetGuardRailsRequest{GuardRails: version}); err != nil {
				return err
			}
		}
		if number > inLedger.number {
			if err := deliver(revoked.inForce, s.revokeInLedger(ctx)); err != nil {
				return err
			}
			if _, err := s.ledger.SetGuardRails(ctx, &ledgerv1.SetGuardRailsRequest{GuardRails: version}); err != nil {
				return err
			}
		}
		if inCosigner.known && number > inCosigner.number {
			if err := deliver(revoked.inForce, s.revokeInCosigner(ctx)); err != nil {
				return err
			}
			if _, err := s.cosigner.SetGuardRails(ctx, &cosignerv1.SetGuardRailsRequest{GuardRails: version}); err != nil {
				return err
			}
		}
		if number > inIdentity.number {
			if err := deliver(revoked.all, s.revokeInIdentity(ctx)); err != nil {
				return err
			}
			if _, err := s.identity.SetGuardRails(ctx, &identityv1.SetGuardRailsRequest{GuardRails: version}); err != nil {
				return err
			}
		}
	}
	return s.convergeFreezes(ctx, wallet, inCosigner.known)
}

// convergeFreezes carries the freezes that concern a wallet, its revocations and their ends from each of ledger and co-signer to
// the other: a gateway that died between the two left them apart. An id whose end the other holds already is refused there, and
// that is what both then agree on. Identity gets the revocations. A co-signer that has lost the wallet stops all of it, and is passed
// over, so that identity gets them all the same.
func (s *Service) convergeFreezes(ctx context.Context, wallet string, cosignerKnows bool) error {
	inLedger, err := s.ledger.ListFreezes(ctx, &ledgerv1.ListFreezesRequest{Wallet: wallet})
	if err != nil {
		return err
	}
	if !cosignerKnows {
		return deliver(revocationsOf(inLedger.GetFreezes()).all, s.revokeInIdentity(ctx))
	}
	if err := carryFreezes(inLedger.GetFreezes(), holder{
		freeze: func(f *typev1.Freeze) error {
			_, err := s.cosigner.Freeze(ctx, &cosignerv1.FreezeRequest{Freeze: f})
			return err
		},
		revoke: s.revokeInCosigner(ctx),
		unfreeze: func(e *typev1.Envelope) error {
			_, err := s.cosigner.Unfreeze(ctx, &cosignerv1.UnfreezeRequest{Unfreeze: e})
			return err
		},
	}); err != nil {
		return err
	}
	inCosigner, err := s.cosigner.ListFreezes(ctx, &cosignerv1.ListFreezesRequest{Wallet: wallet})
	if err != nil {
		return err
	}
	if err := carryFreezes(inCosigner.GetFreezes(), holder{
		freeze: func(f *typev1.Freeze) error {
			_, err := s.ledger.Freeze(ctx, &ledgerv1.FreezeRequest{Freeze: f})
			return err
		},
		revoke: s.revokeInLedger(ctx),
		unfreeze: func(e *typev1.Envelope) error {
			_, err := s.ledger.Unfreeze(ctx, &ledgerv1.UnfreezeRequest{Unfreeze: e})
			return err
		},
	}); err != nil {
		return err
	}
	return deliver(revocationsOf(inLedger.GetFreezes(), inCosigner.GetFreezes()).all, s.revokeInIdentity(ctx))
}

// revocations are an owner's revocations of a wallet's agents: those whose freeze is in force, and all. Whatever became of the
// freeze, a key that was revoked stays so with identity.
type revocations struct{ inForce, all []*typev1.Envelope }

func revocationsOf(lists ...[]*typev1.Freeze) (r revocations) {
	for _, f := range slices.Concat(lists...) {
		if f.GetRevocation() == nil {
			continue
		}
		r.all = append(r.all, f.GetRevocation())
		if len(f.GetUnfreezes()) == 0 {
			r.inForce = append(r.inForce, f.GetRevocation())
		}
	}
	return r
}

// revocations reads what ledger and co-signer hold, for a holder that is behind. It gets them before each version of the guard
// rails: one that names another request key makes it refuse them as too late, and a revocation that was in force would be missing there
// from then on.
func (s *Service) revocations(ctx context.Context, wallet string, inCosigner bool) (revocations, error) {
	ledger, err := s.ledger.ListFreezes(ctx, &ledgerv1.ListFreezesRequest{Wallet: wallet})
	if err != nil || !inCosigner {
		return revocationsOf(ledger.GetFreezes()), err
	}
	cosigner, err := s.cosigner.ListFreezes(ctx, &cosignerv1.ListFreezesRequest{Wallet: wallet})
	return revocationsOf(ledger.GetFreezes(), cosigner.GetFreezes()), err
}

// deliver brings revocations to a holder, which keeps those that its own head lets it.
func deliver(revocations []*typev1.Envelope, to func(*typev1.Envelope) error) error {
	for _, e := range revocations {
		if err := to(e); err != nil && !refusedFreeze(err) {
			return err
		}
	}
	return nil
}

func (s *Service) revokeInLedger(ctx context.Context) func(*typev1.Envelope) error {
	return func(e *typev1.Envelope) error {
		_, err := s.ledger.Revoke(ctx, &ledgerv1.RevokeRequest{Revocation: e})
		return err
	}
}

func (s *Service) revokeInCosigner(ctx context.Context) func(*typev1.Envelope) error {
	return func(e *typev1.Envelope) error {
		_, err := s.cosigner.Revoke(ctx, &cosignerv1.RevokeRequest{Revocation: e})
		return err
	}
}

func (s *Service) revokeInIdentity(ctx context.Context) func(*typev1.Envelope) error {
	return func(e *typev1.Envelope) error {
		_, err := s.identity.Revoke(ctx, &identityv1.RevokeRequest{Revocation: e})
		return err
	}
}

// holder takes what concerns the freezes of a wallet.
type holder struct {
	freeze           func(*typev1.Freeze) error
	revoke, unfreeze func(*typev1.Envelope) error
}

// carryFreezes delivers freezes, revocations and their ends to a holder. All are idempotent there. A freeze of a wallet or of the
// installation that has ended is delivered as its end alone, which the holder keeps against the freeze; an owner's, which
// ends for some wallets and stays for others, as both. What the holder refuses by its own documents stays as it is there:
// it stops what it stopped, and a new statement of the owner ends that.
func carryFreezes(freezes []*typev1.Freeze, to holder) error {
	for _, f := range freezes {
		switch ended := len(f.GetUnfreezes()) > 0; {
		case ended && f.GetScope() != typev1.Scope_SCOPE_OWNER:
		case f.GetRevocation() != nil:
			if err := to.revoke(f.GetRevocation()); err != nil && !refusedFreeze(err) {
				return err
			}
		default:
			asked := &typev1.Freeze{
				FreezeId: f.GetFreezeId(), Scope: f.GetScope(), Wallet: f.GetWallet(), Owner: f.GetOwner(), Caller: f.GetCaller(),
			}
			if err := to.freeze(asked); err != nil && !refusedFreeze(err) {
				return err
			}
		}
		for _, e := range f.GetUnfreezes() {
			if err := to.unfreeze(e); err != nil && !refusedFreeze(err) {
				return err
			}
		}
	}
	return nil
}

// refusedFreeze reports whether a holder refuses a freeze, a revocation or an end by what it holds itself: an id whose end or
// whose other content it has, an owner key or a request key that its head does not name, a revocation that may not end yet.
func refusedFreeze(err error) bool {
	switch fault.ReasonOf(err) {
	case typev1.Reason_REASON_FREEZE_ID_USED, typev1.Reason_REASON_BAD_STATEMENT,
		typev1.Reason_REASON_EVIDENCE_MISMATCH, typev1.Reason_REASON_REVOKED:
		return true
	default:
		return false
	}
}

// versionsPage is how many versions of the guard rails one read asks for.
const versionsPage = 100

// policyDocuments reads every document of a wallet from policy.
func (s *Service) policyDocuments(ctx context.Context, wallet string) (held, *typev1.WalletDocuments, error) {
	return allDocuments(func(from uint64) (*typev1.WalletDocuments, uint64, error) {
		resp, err := s.policy.GetDocuments(ctx, &policyv1.GetDocumentsRequest{Wallet: wallet, FromNumber: from, PageSize: versionsPage})
		return resp.GetDocuments(), resp.GetHeadNumber(), err
	})
}

// ledgerDocuments reads every document of a wallet from the ledger.
func (s *Service) ledgerDocuments(ctx context.Context, wallet string) (held, *typev1.WalletDocuments, error) {
	return allDocuments(func(from uint64) (*typev1.WalletDocuments, uint64, error) {
		resp, err := s.ledger.GetDocuments(ctx, &ledgerv1.GetDocumentsRequest{Wallet: wallet, FromNumber: from, PageSize: versionsPage})
		return resp.GetDocuments(), resp.GetHeadNumber(), err
	})
}

func allDocuments(page func(from uint64) (*typev1.WalletDocuments, uint64, error)) (held, *typev1.WalletDocuments, error) {
	all := &typev1.WalletDocuments{}
	for from := uint64(0); ; {
		documents, head, err := page(from)
		if unknownWallet(err) {
			return held{}, all, nil
		}
		if err != nil {
			return held{}, nil, err
		}
		all.Registration, all.Record = documents.GetRegistration(), documents.GetRecord()
		all.GuardRails = append(all.GuardRails, documents.GetGuardRails()...)
		last, ok := newestNumber(documents.GetGuardRails())
		if !ok || last >= head {
			return held{known: true, number: head, record: all.GetRecord()}, all, nil
		}
		from = last + 1
	}
}

// newestNumber is the number of the last document of a page in ascending order.
func newestNumber(page []*typev1.Envelope) (uint64, bool) {
	if len(page) == 0 {
		return 0, false
	}
	var last typev1.GuardRails
	if err := evidence.Peek(page[len(page)-1], &last); err != nil {
		return 0, false
	}
	return last.GetNumber(), true
}

// merge unites what two holders have, by number. Where they differ, policy's stands: it gets each version first, and a
// holder that has another under the same number refuses it and says so.
func merge(policy, ledger *typev1.WalletDocuments) (*typev1.WalletDocuments, map[uint64]*typev1.Envelope) {
	versions := make(map[uint64]*typev1.Envelope)
	for _, documents := range []*typev1.WalletDocuments{ledger, policy} {
		for _, e := range documents.GetGuardRails() {
			var d typev1.GuardRails
			if evidence.Peek(e, &d) == nil {
				versions[d.GetNumber()] = e
			}
		}
	}
	if policy.GetRecord() != nil {
		return policy, versions
	}
	return ledger, versions
}

func (s *Service) cosignerHolds(ctx context.Context, wallet string) (held, error) {
	resp, err := s.cosigner.GetWallet(ctx, &cosignerv1.GetWalletRequest{Wallet: wallet})
	if unknownWallet(err) {
		return held{}, nil
	}
	if err != nil {
		return held{}, err
	}
	h := headOf(resp.GetGuardRails())
	h.record = resp.GetRecord()
	return h, nil
}

func (s *Service) identityHolds(ctx context.Context, wallet string) (held, error) {
	resp, err := s.identity.GetWallet(ctx, &identityv1.GetWalletRequest{Name: wallet})
	if unknownWallet(err) {
		return held{}, nil
	}
	if err != nil {
		return held{}, err
	}
	h := headOf(resp.GetWallet().GetGuardRails())
	h.record, h.revocation = resp.GetWallet().GetRecord(), resp.GetRevocation()
	return h, nil
}

// headOf reads a head's number; a holder without a readable head is one that has to be opened first.
func headOf(e *typev1.Envelope) held {
	var d typev1.GuardRails
	if evidence.Peek(e, &d) != nil {
		return held{}
	}
	return held{known: true, number: d.GetNumber()}
}

// unknownWallet says whether a holder answered that it does not have the wallet.
func unknownWallet(err error) bool {
	if err == nil {
		return false
	}
	f := fault.Of(err)
	return f.Code == codes.NotFound || f.Reason == typev1.Reason_REASON_NOT_ACTIVE
}

const (
	// repairInterval and repairsBurst space out repairs of one wallet: a stranger's bad calls cost a few rounds of reads
	// a second, while one honest call may meet several holders that are behind.
	repairInterval = time.Second
	repairsBurst   = 8
	// repairsMax bounds how many wallets are remembered; beyond it the memory is dropped whole.
	repairsMax = 10_000
)

// throttle counts the repairs of a wallet in the present interval. It is a brake on real time, no state: losing it costs
// a few reads.
type throttle struct {
	mu      sync.Mutex
	started time.Time
	repairs map[string]int
}

func (t *throttle) allow(wallet string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if now := time.Now(); now.Sub(t.started) >= repairInterval || len(t.repairs) >= repairsMax {
		t.started, t.repairs = now, make(map[string]int)
	}
	t.repairs[wallet]++
	return t.repairs[wallet] <= repairsBurst
}
