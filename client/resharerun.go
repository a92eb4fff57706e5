package client

import (
	"bytes"
	"context"

	"google.golang.org/protobuf/proto"

	"github.com/halfkey/halfkey/frost"
	"github.com/halfkey/halfkey/internal/evidence"
	gatewayv1 "github.com/halfkey/halfkey/proto/gen/halfkey/gateway/v1"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// run is one resharing as whoever gets share 1 carries it out: the agent, or an owner who takes the wallet over and is the
// recovery share's participant too.
type run struct {
	c  *Client
	op string
	// key is the secret that gets the share; save stores it changed.
	key  *agentKey
	save func(*agentKey) error
	// order is the owner's, verified, and m what it says.
	order *typev1.Envelope
	m     *typev1.ResharingOrder
	// recovery is the recovery share's file, with an order that replaces share 1.
	recovery *recoveryFile
}

// carry brings a run that was ordered or started to its record. A share that is stored is what the run goes on with, if the
// co-signer still has it where that share was made.
func (r *run) carry(ctx context.Context, told *typev1.Resharing) (*typev1.Resharing, error) {
	p := r.key.pending
	if p == nil || told.GetState() != reshareStarted || !p.isOf(r.order) || !sameEnvelope(p.run.GetStart(), told.GetStart()) {
		if err := r.makeShare(ctx, told); err != nil {
			return nil, err
		}
	}
	return r.prove(ctx)
}

// isOf reports whether the share was made in a run of this order.
func (p *pendingShare) isOf(order *typev1.Envelope) bool {
	return sameEnvelope(p.run.GetOrder(), order)
}

func sameEnvelope(a, b *typev1.Envelope) bool {
	return evidence.EnvelopeDigest(a) == evidence.EnvelopeDigest(b)
}

// put stores a changed secret.
func (r *run) put(change func(next *agentKey)) error {
	next := r.key.copy()
	change(next)
	if err := r.save(next); err != nil {
		return wrap(r.op, err, notMoved)
	}
	r.key = next
	return nil
}

// openAttempt finds the attempt to go on with, or makes one and stores it. A run that the co-signer has not started, or began
// again because what reached it did not check, takes a new one.
func (r *run) openAttempt(told *typev1.Resharing) (*attempt, error) {
	if a := r.key.attempt; a != nil && sameEnvelope(a.order, r.order) {
		dealt := len(a.dealer()) > 0 || r.recovery.dealt(a.start)
		if told.GetState() == reshareStarted || !dealt {
			return a, nil
		}
	}
	static, err := frost.NewStaticKey()
	if err != nil {
		return nil, wrap(r.op, err, notMoved)
	}
	own := static.Public()
	start, err := evidence.Sign(r.key.request, &typev1.ResharingStart{
		Installation: r.c.Installation().ID(), Wallet: r.m.GetWallet(), Run: r.m.GetRun(),
		OrderDigest: evidence.EnvelopeDigest(r.order).Bytes(), StaticKey: own[:],
	})
	if err != nil {
		return nil, wrap(r.op, err, notMoved)
	}
	a := &attempt{order: r.order, start: start, static: static, dealer: func() []byte { return nil }}
	return a, r.put(func(next *agentKey) { next.attempt = a })
}

// sides are a run's participants at home: participant 1, and who deals, which is the same one but with an order that replaces
// share 1.
type sides struct {
	share1, dealer *frost.Reshare
}

func (s *sides) zero() {
	s.share1.Zero()
	s.dealer.Zero()
}

// inOrder puts what is the own dealer's and what is the co-signer's into the order of the dealers.
func inOrder[T any](m *typev1.ResharingOrder, own, cosigner T) [2]T {
	if m.GetReplace() {
		return [2]T{cosigner, own} // Co-signer, recovery share.
	}
	return [2]T{own, cosigner} // Agent, co-signer.
}

// makeShare runs the protocol up to the new share and stores that beside the old one. From then on the co-signer may put the
// new sharing in force.
func (r *run) makeShare(ctx context.Context, told *typev1.Resharing) error {
	a, err := r.openAttempt(told)
	if err != nil {
		return err
	}
	i := r.c.Installation()
	started, err := invoke(ctx, r.c, rpc{op: r.op}, &gatewayv1.StartResharingRequest{Start: a.start}, gatewayv1.GatewayServiceClient.StartResharing)
	if ReasonOf(err) == typev1.Reason_REASON_ALREADY_EXISTS {
		return advised(err, "the run was begun by a home that has lost it: the owner orders the new shares again")
	}
	if err != nil {
		return err
	}
	answer, err := evidence.CheckResharingAnswer(r.c.Installation(), a.start, started.GetAnswer())
	if err != nil {
		return distrust(r.op, notMoved, "the co-signer's answer to the resharing does not verify", err)
	}
	agreed, err := agree(i, r.m, a.static.Public(), answer)
	if err != nil {
		return distrust(r.op, notMoved, "the co-signer's sharing is not the one that the order ends", err)
	}
	s, err := r.sides(a, agreed)
	if err != nil {
		return err
	}
	defer s.zero()
	// What came is verified before anything of one's own leaves.
	dealings := inOrder(r.m, s.dealer.Deal(), started.GetDealing())
	certificate, err := s.dealer.Accept(dealings)
	if err == nil {
		_, err = s.share1.Accept(dealings)
	}
	if err != nil {
		return distrust(r.op, notMoved, "the co-signer's part of the resharing does not verify", err)
	}
	exchanged, err := invoke(ctx, r.c, rpc{op: r.op}, &gatewayv1.ExchangeResharingRequest{
		Wallet: r.m.GetWallet(), Run: r.m.GetRun(), Dealing: s.dealer.Deal(),
	}, gatewayv1.GatewayServiceClient.ExchangeResharing)
	if err != nil {
		return alteredRun(err)
	}
	if len(exchanged.GetCertificate()) != len(certificate) {
		return distrust(r.op, notMoved, "the co-signer's certificate is malformed", frost.ErrCertificate)
	}
	run := &typev1.Resharing{Order: r.order, Start: a.start, Answer: started.GetAnswer(), Dealings: dealings[:]}
	return r.keepShares(s, run, certificate, [64]byte(exchanged.GetCertificate()))
}

// alteredRun says what to do about a run that the co-signer does not go on with.
func alteredRun(err error) error {
	if ReasonOf(err) != typev1.Reason_REASON_KEY_GENERATION_FAILED {
		return err
	}
	return advised(err, "something altered the run on its way: repeat the call; if it is refused again, the owner orders the new shares again")
}

// agree is what both sides of a run agree on. The sharing that ends is the co-signer's signed word, held to the order here and
// to the own shares by sides.
func agree(i *evidence.Installation, m *typev1.ResharingOrder, own [32]byte, answer *typev1.ResharingAnswer) (frost.Resharing, error) {
	old, err := frost.ParseSharing(answer.GetSharing())
	if err != nil {
		return frost.Resharing{}, err
	}
	if old.Epoch() != m.GetFromEpoch() {
		return frost.Resharing{}, refusal("resharing-answer", "sharing", "is of another epoch than the order's")
	}
	agreed := frost.Resharing{
		Session:    evidence.ResharingSession(i.ID(), m.GetWallet(), m.GetRun()),
		Old:        old,
		Dealers:    [2]frost.Identifier{frost.Agent, frost.CoSigner},
		StaticKeys: [][32]byte{own, [32]byte(answer.GetStaticKey())},
	}
	if m.GetReplace() {
		agreed.Dealers = [2]frost.Identifier{frost.CoSigner, frost.Recovery}
	}
	if len(m.GetRecoveryKey()) > 0 {
		agreed.StaticKeys = append(agreed.StaticKeys, [32]byte(m.GetRecoveryKey()))
	}
	return agreed, nil
}

// sides makes this home's sides of a run, or takes them up again, and stores the dealing before it is sent.
func (r *run) sides(a *attempt, agreed frost.Resharing) (*sides, error) {
	if r.m.GetReplace() {
		return r.replacingSides(a, agreed)
	}
	share, err := r.shareOf(agreed.Old)
	if err != nil {
		return nil, err
	}
	if state := a.dealer(); len(state) > 0 {
		x, err := frost.ParseReshare(state)
		return &sides{x, x}, wrap(r.op, err, notMoved)
	}
	x, err := frost.NewReshare(frost.Agent, a.static, share, agreed)
	if err != nil {
		return nil, wrap(r.op, err, notMoved)
	}
	state := x.Secret()
	dealt := &attempt{order: a.order, start: a.start, static: a.static, dealer: func() []byte { return state }}
	return &sides{x, x}, r.put(func(next *agentKey) { next.attempt = dealt })
}

// shareOf is the share of the sharing that ends: the present one, or a pending one of a run before, which is in force then: the
// co-signer has just signed that it is.
func (r *run) shareOf(old *frost.Sharing) (*frost.KeyShare, error) {
	if sameSharing(r.key.share.Sharing(), old) {
		return r.key.share, nil
	}
	if p := r.key.pending; p != nil && sameSharing(p.share.Sharing(), old) {
		return p.share, r.promote()
	}
	return nil, distrust(r.op, notMoved, "the co-signer's sharing is not the one that this home's share is of", nil)
}

func sameSharing(a, b *frost.Sharing) bool { return bytes.Equal(a.Bytes(), b.Bytes()) }

// keepShares makes the new shares and stores them. A pending share of a run before is dropped for them: the co-signer's answer
// to this run has said that its sharing is not in force.
func (r *run) keepShares(s *sides, run *typev1.Resharing, certificate, cosigners [64]byte) error {
	certificates := inOrder(r.m, certificate, cosigners)
	share, err := s.share1.Finish(certificates)
	if err != nil {
		return distrust(r.op, notMoved, "the co-signer saw another resharing than this home", err)
	}
	for _, c := range certificates {
		run.Certificates = append(run.Certificates, bytes.Clone(c[:]))
	}
	transcript, err := s.share1.TranscriptDigest()
	if err != nil {
		return wrap(r.op, err, notMoved)
	}
	if r.recovery != nil {
		if err := r.keepRecovery(s.dealer, certificates, share, transcript); err != nil {
			return err
		}
	}
	return r.put(func(next *agentKey) {
		next.attempt = nil
		next.pending = &pendingShare{run: run, share: share, certificate: certificate, transcript: transcript}
	})
}

// promote makes the pending share the present one, and erases the one before.
func (r *run) promote() error {
	old := r.key.share
	err := r.put(func(next *agentKey) {
		if a := next.attempt; a != nil && r.key.pending.isOf(a.order) {
			next.attempt = nil // Its run has ended.
		}
		next.share, next.pending, next.stage = r.key.pending.share, nil, stageRegistered
	})
	if err == nil {
		old.Zero()
	}
	return err
}

// prove makes the test signature with the new shares, for which the co-signer puts them in force.
func (r *run) prove(ctx context.Context) (*typev1.Resharing, error) {
	p := r.key.pending
	nonces, commitment, err := p.share.Commit()
	if err != nil {
		return nil, wrap(r.op, err, notMoved)
	}
	confirmed, err := invoke(ctx, r.c, rpc{op: r.op}, &gatewayv1.ConfirmResharingRequest{
		Wallet: r.m.GetWallet(), Run: r.m.GetRun(), Certificate: p.certificate[:], Commitment: commitment[:],
	}, gatewayv1.GatewayServiceClient.ConfirmResharing)
	if err != nil {
		return nil, alteredRun(err)
	}
	message := evidence.KeyTestMessage(r.c.Installation().ID(), r.m.GetWallet(), p.share.GroupKey(), p.transcript)
	signed, err := sign(nonces, message, confirmed.GetRelease())
	if err != nil {
		return nil, distrust(r.op, notMoved, "the test signature by the new shares does not verify", err)
	}
	completed, err := invoke(ctx, r.c, rpc{op: r.op}, &gatewayv1.CompleteResharingRequest{
		Wallet: r.m.GetWallet(), Run: r.m.GetRun(), Signature: signed[:],
	}, gatewayv1.GatewayServiceClient.CompleteResharing)
	if err != nil {
		return nil, err
	}
	told := completed.GetResharing()
	if !sharingInForce(told) || !sameEnvelope(told.GetOrder(), r.order) {
		return nil, distrust(r.op, notMoved, "the answer to the resharing's end is about another one", nil)
	}
	return told, nil
}

// adopt verifies the co-signer's record and makes the share of its sharing the present one: only now the old one is erased.
func (r *run) adopt(told *typev1.Resharing) error {
	group, err := r.groupKey()
	if err != nil {
		return err
	}
	s, err := checkSharing(r.c.Installation(), told, r.key.wallet, group)
	if err != nil {
		return distrust(r.op, notMoved, "the record of the new sharing does not verify", err)
	}
	p, share := r.key.pending, r.key.share
	isPending, isPresent := p != nil && sameSharing(p.share.Sharing(), s), share != nil && sameSharing(share.Sharing(), s)
	switch {
	case isPending || isPresent && p == nil:
	case isPresent:
		return withheld(r.op)
	case share != nil && s.Epoch() <= share.Epoch():
		return distrust(r.op, notMoved, "the record is of an older sharing than this home's", nil)
	default:
		err := local(r.op, typev1.Reason_REASON_KEY_LOST, "new shares of this wallet's key were made, and this home has none of them", "wallet", r.key.wallet)
		return advised(err, "use the home that the new share went to; if there is none, the owner replaces it with the recovery share")
	}
	if !isPending {
		return nil
	}
	// Before the share: whoever holds the two can open the recovery share without any service. What it is opened from is what
	// this home has verified, not what the answer says that it was.
	if len(r.m.GetRecoveryKey()) > 0 {
		kept := proto.CloneOf(p.run)
		kept.State, kept.Record = told.GetState(), told.GetRecord()
		if err := r.c.pinResharing(r.key.wallet, kept); err != nil {
			return wrap(r.op, err, notMoved)
		}
	}
	return r.promote()
}

// withheld refuses an answer that is older than a share which this home has made: by whoever stands between, or because the
// co-signer was put back to a backup. Which share it signs with is not known then.
func withheld(op string) error {
	err := distrust(op, notMoved, "the answer does not know of new shares that this home has made with the co-signer", nil)
	return advised(err, "repeat the call; if it happens again, tell the operator, and let the owner order new shares again")
}

// groupKey is the wallet's key by the registration that the home holds.
func (r *run) groupKey() ([32]byte, error) {
	m, err := evidence.CheckRegistration(r.c.Installation(), r.key.registration)
	if err != nil {
		return [32]byte{}, wrap(r.op, err, notMoved)
	}
	return [32]byte(m.GetGroupKey()), nil
}
