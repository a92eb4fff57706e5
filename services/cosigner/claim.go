package cosigner

import (
	"context"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/halfkey/halfkey/internal/etcdstore"
	"github.com/halfkey/halfkey/internal/evidence"
	cosignerv1 "github.com/halfkey/halfkey/proto/gen/halfkey/cosigner/v1"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// SealWallet is the claim. One transaction takes the registration's row, the handle and the group key, and the token if one
// claims in the owner's place, and puts share, record and guard rails number 0 in their place: so a wallet is claimed once, a
// token claims one wallet, and a registration is either sealed or ended.
func (s *Service) SealWallet(ctx context.Context, req *cosignerv1.SealWalletRequest) (*cosignerv1.SealWalletResponse, error) {
	registration, claim, err := evidence.CheckClaim(s.installation, req.GetRegistration(), req.GetGuardRails())
	if err != nil {
		return nil, refused(err)
	}
	id, err := walletID(registration.GetWallet())
	if err != nil {
		return nil, err
	}
	owner, err := ownerID(claim.Document.GetOwner())
	if err != nil {
		return nil, err
	}
	terms, err := evidence.EnrolmentOf(claim)
	if err != nil {
		return nil, refused(err)
	}
	c := &claiming{
		id: id, owner: owner, registration: registration, claim: claim, terms: terms,
		registrationDigest: evidence.EnvelopeDigest(req.GetRegistration()),
	}
	var record *typev1.Envelope
	err = etcdstore.Retry(ctx, func(ctx context.Context) (done bool, err error) {
		record, done, err = s.seal(ctx, c)
		return done, err
	})
	if err != nil {
		return nil, refused(err)
	}
	return &cosignerv1.SealWalletResponse{Record: record}, nil
}

// claiming is a claim whose documents were verified.
type claiming struct {
	id, owner          string
	registration       *typev1.Registration
	registrationDigest evidence.Digest
	claim              *evidence.Head
	// terms are those of the token that claims in the owner's place, nil for none.
	terms *typev1.Enrolment
}

// rows are the keys of all that a claim reads, in the order that seal takes them; the token's comes last, if there is one.
func (c *claiming) rows() []string {
	keys := []string{
		keyRegistration(c.id), keyEnd(c.id), keyRecord(c.id), keyHead(c.id),
		keyHandle(c.registration.GetHandle()), keyGroupKey(c.registration.GetGroupKey()),
	}
	if c.terms != nil {
		keys = append(keys, keyEnrolment(c.terms.GetTokenKey()))
	}
	return keys
}

// tokenRefusal refuses a token that has claimed another wallet, or whose deadline has passed. Only here is either decided: a
// repeat of what it claimed was answered before.
func (s *Service) tokenRefusal(c *claiming, token row) error {
	if token.exists() {
		return refusal(typev1.Reason_REASON_CODE_USED, "the enrolment token has claimed another wallet")
	}
	return evidence.CheckEnrolmentTime(c.terms, s.clock())
}

// seal decides a claim once, on what the store holds now.
func (s *Service) seal(ctx context.Context, c *claiming) (record *typev1.Envelope, done bool, err error) {
	rows, err := s.store.read(ctx, c.rows()...)
	if err != nil {
		return nil, false, err
	}
	waiting, end, pinned, handle, groupKey := rows[0], rows[1], rows[2], rows[4], rows[5]
	if pinned.exists() {
		record, err = s.sealedBefore(pinned, c)
		return record, true, err
	}
	switch {
	case end.exists():
		return nil, false, refusal(typev1.Reason_REASON_NOT_ACTIVE, "the registration has ended unclaimed")
	case !waiting.exists():
		return nil, false, refusal(typev1.Reason_REASON_NOT_FOUND, "no registration of this wallet waits for its claim")
	}
	r, err := loadRegistration(waiting)
	if err != nil {
		return nil, false, err
	}
	switch {
	case evidence.EnvelopeDigest(r.envelope) != c.registrationDigest:
		return nil, false, refusal(typev1.Reason_REASON_EVIDENCE_MISMATCH, "the registration is another than the agent completed",
			"evidence", "registration")
	case s.clock().UnixMilli() > r.EndMillis:
		// Past its end it can only be ended. Doing that here makes the answer final.
		if _, ended, err := s.end(ctx, c.registration.GetWallet(), c.id); err != nil || !ended {
			return nil, false, err
		}
		return nil, false, refusal(typev1.Reason_REASON_NOT_ACTIVE, "the registration has ended unclaimed")
	case handle.exists():
		return nil, false, refusal(typev1.Reason_REASON_HANDLE_TAKEN, "the handle was taken meanwhile", "handle", c.registration.GetHandle())
	case groupKey.exists():
		return nil, false, refusal(typev1.Reason_REASON_ALREADY_EXISTS, "the group key is another wallet's", "field", "group_key")
	}
	if c.terms != nil {
		if err := s.tokenRefusal(c, rows[len(rows)-1]); err != nil {
			return nil, false, err
		}
	}
	record, changes, err := s.sealing(c, r)
	if err != nil {
		return nil, false, err
	}
	done, err = s.store.write(ctx, rows, changes...)
	return record, done, err
}

// sealing lists the changes that pin a wallet.
func (s *Service) sealing(c *claiming, r *registered) (*typev1.Envelope, []clientv3.Op, error) {
	record, err := s.sign(&typev1.WalletRecord{
		Installation:       s.installation.ID(),
		Wallet:             c.registration.GetWallet(),
		Handle:             c.registration.GetHandle(),
		GroupKey:           c.registration.GetGroupKey(),
		RegistrationDigest: c.registrationDigest.Bytes(),
		GuardRailsDigest:   c.claim.Digest.Bytes(),
	})
	if err != nil {
		return nil, nil, err
	}
	recordBytes, err := encodeEnvelope(record)
	if err != nil {
		return nil, nil, err
	}
	head, err := encodeEnvelope(c.claim.Envelope)
	if err != nil {
		return nil, nil, err
	}
	changes := []clientv3.Op{
		clientv3.OpDelete(keyRegistration(c.id)),
		s.store.put(keyRecord(c.id), recordBytes),
		s.store.put(keyHead(c.id), head),
		clientv3.OpPut(keyShare(c.id, r.Epoch), string(r.Share)),
		s.store.put(keyHandle(c.registration.GetHandle()), []byte(c.id)),
		s.store.put(keyGroupKey(c.registration.GetGroupKey()), []byte(c.id)),
	}
	if c.terms != nil {
		changes = append(changes, s.store.put(keyEnrolment(c.terms.GetTokenKey()), []byte(c.id)))
	}
	return record, append(changes, s.nameOwnerKeys(c.owner, c.claim)...), nil
}

// sealedBefore answers the repeat of a claim with its record, and a claim with other documents with a refusal.
func (s *Service) sealedBefore(pinned row, c *claiming) (*typev1.Envelope, error) {
	w := new(typev1.WalletRecord)
	record, err := loadStatement(pinned, w)
	if err != nil {
		return nil, err
	}
	if !c.registrationDigest.Is(w.GetRegistrationDigest()) || !c.claim.Digest.Is(w.GetGuardRailsDigest()) {
		return nil, refusal(typev1.Reason_REASON_ALREADY_EXISTS, "the wallet was claimed with other documents", "field", "guard_rails")
	}
	return s.resign(record, w)
}

// EndRegistration ends a registration that nobody claimed in time, or says that somebody did.
func (s *Service) EndRegistration(
	ctx context.Context, req *cosignerv1.EndRegistrationRequest,
) (*cosignerv1.EndRegistrationResponse, error) {
	id, err := walletID(req.GetWallet())
	if err != nil {
		return nil, err
	}
	resp := new(cosignerv1.EndRegistrationResponse)
	err = etcdstore.Retry(ctx, func(ctx context.Context) (done bool, err error) {
		resp, done, err = s.end(ctx, req.GetWallet(), id)
		return done, err
	})
	if err != nil {
		return nil, refused(err)
	}
	return resp, nil
}

// end decides an end once. It takes the row that sealing takes, so that exactly one of the two happens.
func (s *Service) end(ctx context.Context, wallet, id string) (resp *cosignerv1.EndRegistrationResponse, done bool, err error) {
	rows, err := s.store.read(ctx, keyRegistration(id), keyEnd(id), keyRecord(id))
	if err != nil {
		return nil, false, err
	}
	waiting, ended, pinned := rows[0], rows[1], rows[2]
	resp = new(cosignerv1.EndRegistrationResponse)
	switch {
	case pinned.exists():
		resp.Record, err = s.current(pinned, new(typev1.WalletRecord))
		return resp, true, err
	case ended.exists():
		resp.End, err = s.current(ended, new(typev1.RegistrationEnd))
		return resp, true, err
	case !waiting.exists():
		return nil, false, refusal(typev1.Reason_REASON_NOT_FOUND, "no registration of this wallet waits for its claim")
	}
	r, err := loadRegistration(waiting)
	if err != nil {
		return nil, false, err
	}
	now := s.clock().UnixMilli()
	if now <= r.EndMillis {
		return nil, false, refusal(typev1.Reason_REASON_WRONG_STATE, "the registration may still be claimed", "state", "UNCLAIMED")
	}
	resp.End, err = s.sign(&typev1.RegistrationEnd{
		Installation:       s.installation.ID(),
		Wallet:             wallet,
		RegistrationDigest: evidence.EnvelopeDigest(r.envelope).Bytes(),
		TimeMillis:         now,
	})
	if err != nil {
		return nil, false, err
	}
	value, err := encodeEnvelope(resp.GetEnd())
	if err != nil {
		return nil, false, err
	}
	done, err = s.store.write(ctx, rows, clientv3.OpDelete(keyRegistration(id)), s.store.put(keyEnd(id), value))
	return resp, done, err
}

// current loads an own statement and answers with it under the record key in force.
func (s *Service) current(r row, m statement) (*typev1.Envelope, error) {
	e, err := loadStatement(r, m)
	if err != nil {
		return nil, err
	}
	return s.resign(e, m)
}
