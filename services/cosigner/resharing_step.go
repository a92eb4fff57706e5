package cosigner

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/halfkey/halfkey/frost"
	"github.com/halfkey/halfkey/internal/etcdstore"
	"github.com/halfkey/halfkey/internal/evidence"
	"github.com/halfkey/halfkey/internal/fault"
	cosignerv1 "github.com/halfkey/halfkey/proto/gen/halfkey/cosigner/v1"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// StartResharing begins an ordered run: a static key and a dealing of this run only. A repeat of the same start answers the same;
// another start of the run is refused, because the dealing is made for the first one's key.
func (s *Service) StartResharing(ctx context.Context, req *cosignerv1.StartResharingRequest) (*cosignerv1.StartResharingResponse, error) {
	routing := new(typev1.ResharingStart)
	if err := evidence.Peek(req.GetStart(), routing); err != nil {
		return nil, refused(err)
	}
	r, err := s.stepResharing(ctx, routing.GetWallet(), routing.GetRun(), func(ctx context.Context, p *pin, r *resharing) (bool, error) {
		start, err := evidence.CheckResharingStart(r.envelope, req.GetStart())
		if err != nil {
			return false, err
		}
		if r.Stage != stageOrdered {
			before, err := decodeEnvelope(r.row.key, r.Start)
			if err != nil {
				return false, err
			}
			if evidence.EnvelopeDigest(before) != evidence.EnvelopeDigest(req.GetStart()) {
				return false, refusal(typev1.Reason_REASON_ALREADY_EXISTS, "the run was started with other content", "field", "static_key")
			}
			return false, nil
		}
		if r.Start, err = encodeEnvelope(req.GetStart()); err != nil {
			return false, err
		}
		err = s.deal(ctx, p, r, start, evidence.EnvelopeDigest(req.GetStart()))
		return err == nil, err
	})
	if err != nil {
		return nil, err
	}
	answer, err := s.own(r.row.key, r.Answer, new(typev1.ResharingAnswer))
	if err != nil {
		return nil, refused(err)
	}
	return &cosignerv1.StartResharingResponse{Answer: answer, Dealing: r.Dealing}, nil
}

// deal draws the co-signer's part of a run, and signs for its static key and for the sharing that ends.
func (s *Service) deal(ctx context.Context, p *pin, r *resharing, start *typev1.ResharingStart, digest evidence.Digest) error {
	share, err := s.share(ctx, p)
	if err != nil {
		return err
	}
	defer share.Zero()
	static, err := frost.NewStaticKey()
	if err != nil {
		return fmt.Errorf("static key: %w", err)
	}
	defer static.Zero()
	public := static.Public()
	keys := [][32]byte{[32]byte(start.GetStaticKey()), public}
	if recovery := r.order.GetRecoveryKey(); len(recovery) > 0 {
		keys = append(keys, [32]byte(recovery))
	}
	dealers := [2]frost.Identifier{frost.Agent, frost.CoSigner}
	if r.order.GetReplace() {
		dealers = [2]frost.Identifier{frost.CoSigner, frost.Recovery}
	}
	x, err := frost.NewReshare(frost.CoSigner, static, share, frost.Resharing{
		Session:    evidence.ResharingSession(s.installation.ID(), p.wallet, r.order.GetRun()),
		Old:        share.Sharing(),
		Dealers:    dealers,
		StaticKeys: keys,
	})
	if errors.Is(err, frost.ErrEncoding) || errors.Is(err, frost.ErrParameter) {
		// Everything else was checked with the order.
		return invalid("start.static_key", "is not a point of prime order of its own")
	}
	if err != nil {
		return fmt.Errorf("new resharing: %w", err)
	}
	defer x.Zero()
	answer, err := s.sign(&typev1.ResharingAnswer{
		Installation: s.installation.ID(),
		Wallet:       p.wallet,
		Run:          r.order.GetRun(),
		StartDigest:  digest.Bytes(),
		StaticKey:    public[:],
		Sharing:      share.Sharing().Bytes(),
	})
	if err != nil {
		return err
	}
	if r.Answer, err = encodeEnvelope(answer); err != nil {
		return err
	}
	r.Stage, r.Dealing = stageDrawn, x.Deal()
	r.State, err = s.sealer.sealReshare(p.wallet, r.order.GetRun(), r.orderDigest.Bytes(), x)
	return err
}

// ExchangeResharing verifies the other dealer's dealing and answers with the own certificate, once the state that made it is
// durable: a certificate commits to one transcript.
func (s *Service) ExchangeResharing(
	ctx context.Context, req *cosignerv1.ExchangeResharingRequest,
) (*cosignerv1.ExchangeResharingResponse, error) {
	if n := len(req.GetDealing()); n == 0 || n > dealingMax {
		return nil, invalid("dealing", "is not 1 byte to 2 KiB")
	}
	r, err := s.stepResharing(ctx, req.GetWallet(), req.GetRun(), func(_ context.Context, p *pin, r *resharing) (changed bool, err error) {
		switch {
		case r.Stage == stageOrdered:
			return false, r.wrongState("the run has not been started yet")
		case r.Stage == stageDrawn:
			err = s.certify(p, r, req.GetDealing())
			return err == nil, err
		case !bytes.Equal(r.PeerDealing, req.GetDealing()):
			return false, r.failed("the run was exchanged with another dealing")
		}
		return false, nil
	})
	if err != nil {
		return nil, err
	}
	return &cosignerv1.ExchangeResharingResponse{Certificate: r.Certificate}, nil
}

// certify accepts the dealings of a drawn run.
func (s *Service) certify(p *pin, r *resharing, peer []byte) error {
	x, err := s.sealer.openReshare(p.wallet, r.order.GetRun(), r.orderDigest.Bytes(), r.State)
	if err != nil {
		return err
	}
	defer x.Zero()
	certificate, err := x.Accept(inOrder(r.order, x.Deal(), peer))
	if err != nil {
		return err
	}
	sharing, err := x.Sharing()
	if err != nil {
		return err
	}
	transcript, err := x.TranscriptDigest()
	if err != nil {
		return err
	}
	r.Stage, r.PeerDealing, r.Certificate = stageCertified, peer, certificate[:]
	r.Sharing, r.Transcript = sharing.Bytes(), transcript[:]
	r.State, err = s.sealer.sealReshare(p.wallet, r.order.GetRun(), r.orderDigest.Bytes(), x)
	return err
}

// ConfirmResharing verifies the other dealer's certificate, seals the new share for its epoch, erases the run's secrets, and
// answers with the co-signer's half of the test signature by the new shares. The old share stays in force.
func (s *Service) ConfirmResharing(
	ctx context.Context, req *cosignerv1.ConfirmResharingRequest,
) (*cosignerv1.ConfirmResharingResponse, error) {
	if len(req.GetCertificate()) != certificateSize {
		return nil, invalid("certificate", "is not 64 bytes")
	}
	commitment, err := frost.ParseCommitment(req.GetCommitment())
	if err != nil {
		return nil, invalid("commitment", "is not two points of prime order")
	}
	var groupKey [32]byte
	r, err := s.stepResharing(ctx, req.GetWallet(), req.GetRun(), func(_ context.Context, p *pin, r *resharing) (changed bool, err error) {
		groupKey = p.groupKey
		switch {
		case r.Stage == stageOrdered || r.Stage == stageDrawn:
			return false, r.wrongState("the run has not been exchanged yet")
		case r.Stage == stageCertified:
			err = s.receive(p, r, [certificateSize]byte(req.GetCertificate()))
			return err == nil, err
		case !bytes.Equal(r.PeerCertificate, req.GetCertificate()):
			return false, r.failed("the run was confirmed with another certificate")
		}
		return false, nil
	})
	if err != nil {
		return nil, err
	}
	release, err := s.testKey(req.GetWallet(), r.order.GetToEpoch(), groupKey, [digestSize]byte(r.Transcript), r.Share, commitment)
	if err != nil {
		return nil, refused(s.unopened(err))
	}
	return &cosignerv1.ConfirmResharingResponse{Release: release.Bytes()}, nil
}

// receive makes the new share of a certified run.
func (s *Service) receive(p *pin, r *resharing, peer [certificateSize]byte) error {
	x, err := s.sealer.openReshare(p.wallet, r.order.GetRun(), r.orderDigest.Bytes(), r.State)
	if err != nil {
		return err
	}
	defer x.Zero()
	share, err := x.Finish(inOrder(r.order, [certificateSize]byte(r.Certificate), peer))
	if err != nil {
		return err
	}
	defer share.Zero()
	if r.Share, err = s.sealer.sealShare(p.wallet, share); err != nil {
		return err
	}
	r.Stage, r.PeerCertificate, r.State = stageConfirmed, peer[:], nil
	return nil
}

// CompleteResharing puts the new sharing in force, once the test signature has shown that both new shares work: in one
// transaction the new share takes its place and every older one is destroyed, or, with a recovery share, kept until that one is
// confirmed. A repeat answers with the same record.
func (s *Service) CompleteResharing(
	ctx context.Context, req *cosignerv1.CompleteResharingRequest,
) (*cosignerv1.CompleteResharingResponse, error) {
	if len(req.GetSignature()) != certificateSize {
		return nil, invalid("signature", "is not 64 bytes")
	}
	var r *resharing
	err := etcdstore.Retry(ctx, func(ctx context.Context) (bool, error) {
		p, run, err := s.run(ctx, req.GetWallet(), req.GetRun())
		if err != nil {
			return false, err
		}
		r = run
		if r.Stage != stageConfirmed && !r.inForce() {
			return false, r.wrongState("the run has not been confirmed yet")
		}
		message := evidence.KeyTestMessage(s.installation.ID(), p.wallet, p.groupKey, [digestSize]byte(r.Transcript))
		if !frost.VerifySignature(p.groupKey, message, req.GetSignature()) {
			return false, r.failed("the test signature does not verify")
		}
		if r.inForce() {
			return true, nil
		}
		changes, err := s.putInForce(p, r)
		if err != nil {
			return false, err
		}
		return s.writeResharing(ctx, p, r, changes...)
	})
	if err != nil {
		return nil, refused(s.unopened(err))
	}
	view, err := s.view(r)
	if err != nil {
		return nil, refused(err)
	}
	return &cosignerv1.CompleteResharingResponse{Resharing: view}, nil
}

// putInForce lists the changes that end the old sharing.
func (s *Service) putInForce(p *pin, r *resharing) ([]clientv3.Op, error) {
	epoch := r.order.GetToEpoch()
	// Nothing old is destroyed for a new share that does not open.
	share, err := s.sealer.openShare(p.wallet, epoch, p.groupKey, r.Share)
	if err != nil {
		return nil, err
	}
	share.Zero()
	record, err := s.sign(&typev1.SharingRecord{
		Installation: s.installation.ID(),
		Wallet:       p.wallet,
		Run:          r.order.GetRun(),
		OrderDigest:  r.orderDigest.Bytes(),
		Epoch:        epoch,
		Sharing:      r.Sharing,
		TimeMillis:   s.clock().UnixMilli(),
	})
	if err != nil {
		return nil, err
	}
	if r.Record, err = encodeEnvelope(record); err != nil {
		return nil, err
	}
	changes := []clientv3.Op{clientv3.OpPut(keyShare(p.id, epoch), string(r.Share))}
	r.Share = nil
	if len(r.order.GetRecoveryKey()) > 0 {
		r.Stage = stagePending
		return changes, nil
	}
	r.finish()
	return append(changes, deleteOlder(p.id, epoch)), nil
}

// run loads a run for one of its steps. Until its sharing is in force, its order must still be one that could be given now.
func (s *Service) run(ctx context.Context, wallet string, run []byte) (*pin, *resharing, error) {
	if len(run) != runSize {
		return nil, nil, invalid("run", "is not 16 bytes")
	}
	p, r, err := s.resharing(ctx, wallet)
	switch {
	case err != nil:
		return nil, nil, err
	case r == nil:
		return nil, nil, refusal(typev1.Reason_REASON_NOT_FOUND, "no new shares of this wallet's key were ordered")
	case !bytes.Equal(r.order.GetRun(), run):
		return nil, nil, refusal(typev1.Reason_REASON_NOT_FOUND, "another order has taken this one's place", "field", "run")
	case r.inForce():
		return p, r, nil
	}
	_, err = s.checkOrder(ctx, p, r.envelope)
	return p, r, err
}

// stepResharing carries out one of a run's first three calls: it loads the rows, lets advance change the run, and stores it while
// nobody else has changed what was relied on. Only then does the answer leave. What the other dealer or the relay did wrong ends
// the run before its certificate exists, and its order can be started anew; afterwards the run stays, because the other side may
// hold all it needs by then.
func (s *Service) stepResharing(
	ctx context.Context, wallet string, run []byte, advance func(ctx context.Context, p *pin, r *resharing) (changed bool, err error),
) (*resharing, error) {
	var done *resharing
	err := etcdstore.Retry(ctx, func(ctx context.Context) (bool, error) {
		p, r, err := s.run(ctx, wallet, run)
		if err != nil {
			return false, err
		}
		if r.inForce() {
			return false, r.wrongState("the new shares are in force")
		}
		done = r
		before := r.Stage
		changed, err := advance(ctx, p, r)
		var culprit *frost.CulpritError
		if errors.As(err, &culprit) {
			s.logger.WarnContext(ctx, "resharing was tampered with", "wallet", wallet, "stage", string(before), "culprit", culprit.Culprit.String())
			if before == stageDrawn {
				r.reset()
				if _, endErr := s.writeResharing(ctx, p, r); endErr != nil {
					return false, endErr
				}
			}
			return false, fault.Caused(err, typev1.Reason_REASON_KEY_GENERATION_FAILED, no, "a resharing message does not check",
				"culprit", culprit.Culprit.String(), "why", culprit.Reason)
		}
		if err != nil || !changed {
			return err == nil, err
		}
		return s.writeResharing(ctx, p, r)
	})
	if err != nil {
		return nil, refused(s.unopened(err))
	}
	return done, nil
}

// failed refuses what the other dealer, or the relay in its name, brought to a run.
func (r *resharing) failed(message string) error {
	culprit := frost.Agent
	if r.order.GetReplace() {
		culprit = frost.Recovery
	}
	return refusal(typev1.Reason_REASON_KEY_GENERATION_FAILED, message, "culprit", culprit.String())
}
