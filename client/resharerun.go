package client

import (
	"bytes"
	"context"
	"errors"

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
// co-signer still has it where that share was made; otherwise the run begins again, and the co-signer's answer to that says
// that nothing older of it can come into force.
func (r *run) carry(ctx context.Context, told *typev1.Resharing) (*typev1.Resharing, error) {
	if p := r.key.pending; p != nil && told.GetState() == reshareStarted && sameEnvelope(p.order, r.order) && sameEnvelope(p.start, told.GetStart()) {
		told, err := r.prove(ctx)
		switch ReasonOf(err) {
		case typev1.Reason_REASON_WRONG_STATE, typev1.Reason_REASON_NOT_FOUND, typev1.Reason_REASON_KEY_GENERATION_FAILED:
		default:
			return told, err
		}
	}
	if err := r.deal(ctx); err != nil {
		return nil, err
	}
	return r.prove(ctx)
}

func sameEnvelope(a, b *typev1.Envelope) bool {
	return evidence.EnvelopeDigest(a) == evidence.EnvelopeDigest(b)
}

// begun is a run that the co-signer has answered.
type begun struct {
	start *typev1.Envelope
	// share1 is participant 1's side and dealer the side that deals: the same one, but with an order that replaces share 1.
	share1, dealer *frost.Reshare
	dealings       [2][]byte
	own            int // Which of the dealings is the dealer's.
}

func (b *begun) zero() {
	b.share1.Zero()
	b.dealer.Zero()
}

// deal runs the protocol up to the new share and stores that beside the old one. From then on the co-signer may put the new
// sharing in force.
func (r *run) deal(ctx context.Context) error {
	b, err := r.begin(ctx)
	if err != nil {
		return err
	}
	defer b.zero()
	// What came is verified before anything of one's own leaves.
	certificate, err := b.dealer.Accept(b.dealings)
	if err == nil {
		_, err = b.share1.Accept(b.dealings)
	}
	if err != nil {
		return distrust(r.op, notMoved, "the co-signer's part of the resharing does not verify", err)
	}
	exchanged, err := invoke(ctx, r.c, rpc{op: r.op}, &gatewayv1.ExchangeResharingRequest{
		Wallet: r.m.GetWallet(), Run: r.m.GetRun(), Dealing: b.dealings[b.own],
	}, gatewayv1.GatewayServiceClient.ExchangeResharing)
	if err != nil {
		return err
	}
	if len(exchanged.GetCertificate()) != len(certificate) {
		return distrust(r.op, notMoved, "the co-signer's certificate is malformed", frost.ErrCertificate)
	}
	var certificates [2][64]byte
	certificates[b.own], certificates[1-b.own] = certificate, [64]byte(exchanged.GetCertificate())
	share, err := b.share1.Finish(certificates)
	if err != nil {
		return distrust(r.op, notMoved, "the co-signer saw another resharing than this home", err)
	}
	transcript, err := b.share1.TranscriptDigest()
	if err != nil {
		return wrap(r.op, err, notMoved)
	}
	if r.recovery != nil {
		if err := r.keepRecovery(b.dealer, certificates, share, transcript); err != nil {
			return err
		}
	}
	return r.store(&pendingShare{order: r.order, start: b.start, share: share, certificate: certificate, transcript: transcript})
}

// store makes a share the pending one. Both are in the home until the co-signer's record says which is in force.
func (r *run) store(p *pendingShare) error {
	next := r.key.copy()
	next.pending = p
	if err := r.save(next); err != nil {
		return wrap(r.op, err, notMoved)
	}
	r.key = next
	return nil
}

// begin starts the run with the co-signer, and makes this side's dealing.
func (r *run) begin(ctx context.Context) (*begun, error) {
	i := r.c.Installation()
	static, err := frost.NewStaticKey()
	if err != nil {
		return nil, wrap(r.op, err, notMoved)
	}
	defer static.Zero()
	own := static.Public()
	start, err := evidence.Sign(r.key.request, &typev1.ResharingStart{
		Installation: i.ID(), Wallet: r.m.GetWallet(), Run: r.m.GetRun(), OrderDigest: evidence.EnvelopeDigest(r.order).Bytes(), StaticKey: own[:],
	})
	if err != nil {
		return nil, wrap(r.op, err, notMoved)
	}
	started, err := invoke(ctx, r.c, rpc{op: r.op}, &gatewayv1.StartResharingRequest{Start: start}, gatewayv1.GatewayServiceClient.StartResharing)
	if err != nil {
		return nil, err
	}
	answer, err := evidence.CheckResharingAnswer(i, start, started.GetAnswer())
	if err != nil {
		return nil, distrust(r.op, notMoved, "the co-signer's answer to the resharing does not verify", err)
	}
	agreed, err := agree(i, r.m, own, answer)
	if err != nil {
		return nil, distrust(r.op, notMoved, "the co-signer's sharing is not the one that the order ends", err)
	}
	b := &begun{start: start, own: 0}
	if r.m.GetReplace() {
		return b, r.join(b, static, agreed, started.GetDealing())
	}
	share, err := r.shareOf(agreed.Old)
	if err != nil {
		return nil, err
	}
	if b.dealer, err = frost.NewReshare(frost.Agent, static, share, agreed); err != nil {
		return nil, wrap(r.op, err, notMoved)
	}
	b.share1 = b.dealer
	b.dealings = [2][]byte{b.dealer.Deal(), started.GetDealing()}
	return b, nil
}

// agree is what both sides of a run agree on: the sharing that ends by the co-signer's signed word, held to the order and to
// the wallet's key by whoever has a share or a pinned record of it.
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

// shareOf is the share of the sharing that ends: the present one, or the pending one of a run before, which is in force then,
// because the co-signer has just signed that it is.
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

// promote makes the pending share the present one, and erases the one before.
func (r *run) promote() error {
	old := r.key.share
	next := r.key.copy()
	next.share, next.pending, next.stage = r.key.pending.share, nil, stageRegistered
	if err := r.save(next); err != nil {
		return wrap(r.op, err, notMoved)
	}
	r.key = next
	old.Zero()
	return nil
}

// prove makes the test signature with the new shares, which the co-signer puts in force for it.
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
		return nil, err
	}
	signed, err := sign(nonces, evidence.KeyTestMessage(r.c.Installation().ID(), r.m.GetWallet(), p.share.GroupKey(), p.transcript), confirmed.GetRelease())
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
	// Before the share: when both are in the home, the recovery share can be opened without any service.
	pin := func() error { return wrap(r.op, r.c.pinResharing(r.key.wallet, told), notMoved) }
	switch p := r.key.pending; {
	case p != nil && sameSharing(p.share.Sharing(), s):
		if err := pin(); err != nil {
			return err
		}
		return r.promote()
	case r.key.share != nil && sameSharing(r.key.share.Sharing(), s):
		return pin()
	case r.key.share != nil && s.Epoch() <= r.key.share.Epoch():
		return distrust(r.op, notMoved, "the record is of an older sharing than this home's", nil)
	default:
		err := local(r.op, typev1.Reason_REASON_KEY_LOST, "new shares of this wallet's key were made, and this home has none of them", "wallet", r.key.wallet)
		return advised(err, "use the home that the new share went to; if there is none, the owner replaces it with the recovery share")
	}
}

// groupKey is the wallet's key by the share or registration that the home holds.
func (r *run) groupKey() ([32]byte, error) {
	if r.key.share != nil {
		return r.key.share.GroupKey(), nil
	}
	m, err := evidence.CheckRegistration(r.c.Installation(), r.key.registration)
	if err != nil {
		return [32]byte{}, wrap(r.op, err, notMoved)
	}
	return [32]byte(m.GetGroupKey()), nil
}

var errRecoveryShare = errors.New("the recovery file's share is not of the wallet's present sharing")
