package cosigner

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/halfkey/halfkey/frost"
	"github.com/halfkey/halfkey/internal/etcdstore"
	"github.com/halfkey/halfkey/internal/evidence"
	cosignerv1 "github.com/halfkey/halfkey/proto/gen/halfkey/cosigner/v1"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

const (
	// KeyGenerationLife is how long a run may take: four calls of a program. Its row is on a lease that tidies it up;
	// nothing is decided by the lease.
	KeyGenerationLife = 10 * time.Minute
	// RegistrationLife is how long a registration waits for its claim.
	RegistrationLife = 24 * time.Hour
	// round1Max bounds a round-1 message; one for two participants is some 300 bytes.
	round1Max = 2 << 10
	runSize   = 16
	threshold = 2
)

// StartKeyGeneration begins a run: a static key and a polynomial of this run only. A repeat of the same start answers the
// same; another start under the same request key, with another run id, takes the place of a run that has not ended.
func (s *Service) StartKeyGeneration(
	ctx context.Context, req *cosignerv1.StartKeyGenerationRequest,
) (*cosignerv1.StartKeyGenerationResponse, error) {
	start, err := evidence.CheckKeyGenerationStart(s.installation, req.GetStart())
	if err != nil {
		return nil, refused(err)
	}
	id, err := walletID(start.GetWallet())
	if err != nil {
		return nil, err
	}
	digest := evidence.EnvelopeDigest(req.GetStart())
	var k *keygenRow
	err = etcdstore.Retry(ctx, func(ctx context.Context) (bool, error) {
		rows, err := s.store.read(ctx, keyKeygen(id), keyRegistration(id), keyEnd(id), keyRecord(id))
		if err != nil {
			return false, err
		}
		if rows[1].exists() || rows[2].exists() || rows[3].exists() {
			return false, refusal(typev1.Reason_REASON_ALREADY_EXISTS, "the wallet's key generation has ended", "field", "wallet")
		}
		if rows[0].exists() {
			if k, err = loadKeygen(rows[0]); err != nil {
				return false, err
			}
			switch {
			case digest.Is(k.StartDigest):
				return true, nil
			case !bytes.Equal(k.RequestKey, start.GetRequestKey()):
				return false, refusal(typev1.Reason_REASON_ALREADY_EXISTS, "the wallet's key is being generated with another agent", "field", "wallet")
			case bytes.Equal(k.Run, start.GetRun()):
				return false, refusal(typev1.Reason_REASON_ALREADY_EXISTS, "the run was started with other content", "field", "run")
			}
		} else if err := s.checkRoom(ctx); err != nil {
			return false, err
		}
		if k, err = s.newRun(start, digest); err != nil {
			return false, err
		}
		return s.putRun(ctx, id, k, rows)
	})
	if err != nil {
		return nil, refused(err)
	}
	answer, err := decodeEnvelope(keyKeygen(id), k.Answer)
	if err != nil {
		return nil, refused(err)
	}
	return &cosignerv1.StartKeyGenerationResponse{Answer: answer, Round1: k.Round1}, nil
}

// checkRoom bounds what has not been claimed. Calls that race may pass it together: it protects the store, not money.
func (s *Service) checkRoom(ctx context.Context) error {
	runs, err := s.store.count(ctx, prefixKeygens)
	if err != nil {
		return err
	}
	waiting, err := s.store.count(ctx, prefixRegistrations)
	if err != nil {
		return err
	}
	if runs >= s.keyGenerationsMax || waiting >= s.registrationsMax {
		return refusal(typev1.Reason_REASON_LIMIT_EXCEEDED, "too many wallets are being made")
	}
	return nil
}

// newRun draws the co-signer's part of a run and signs for its static key.
func (s *Service) newRun(start *typev1.KeyGenerationStart, digest evidence.Digest) (*keygenRow, error) {
	static, err := frost.NewStaticKey()
	if err != nil {
		return nil, fmt.Errorf("static key: %w", err)
	}
	defer static.Zero()
	public := static.Public()
	generation, err := frost.NewKeyGeneration(frost.CoSigner, static, frost.Run{
		Session:    evidence.KeyGenerationSession(start.GetInstallation(), start.GetWallet(), start.GetRun()),
		StaticKeys: [][32]byte{[32]byte(start.GetStaticKey()), public},
		Threshold:  threshold,
	})
	if errors.Is(err, frost.ErrEncoding) || errors.Is(err, frost.ErrParameter) {
		return nil, invalid("start.static_key", "is not a point of prime order of its own")
	}
	if err != nil {
		return nil, fmt.Errorf("new key generation: %w", err)
	}
	defer generation.Zero()
	answer, err := s.sign(&typev1.KeyGenerationAnswer{
		Installation: start.GetInstallation(),
		Wallet:       start.GetWallet(),
		Run:          start.GetRun(),
		StartDigest:  digest.Bytes(),
		StaticKey:    public[:],
	})
	if err != nil {
		return nil, err
	}
	k := &keygenRow{
		Run:         start.GetRun(),
		StartDigest: digest.Bytes(),
		RequestKey:  start.GetRequestKey(),
		Round1:      generation.Round1(),
		Stage:       stageDrawn,
	}
	if k.Answer, err = encodeEnvelope(answer); err != nil {
		return nil, err
	}
	if k.State, err = s.sealer.sealKeyGeneration(start.GetWallet(), k.Run, k.StartDigest, generation); err != nil {
		return nil, err
	}
	return k, nil
}

// putRun stores a new run on a lease of its own.
func (s *Service) putRun(ctx context.Context, id string, k *keygenRow, unchanged []row) (bool, error) {
	value, err := encodeRow(k)
	if err != nil {
		return false, err
	}
	operation, cancel := context.WithTimeout(ctx, operationMax)
	defer cancel()
	lease, err := s.store.lease.Grant(operation, int64(KeyGenerationLife.Seconds()))
	if err != nil {
		return false, storeError(ctx, err)
	}
	return s.store.write(ctx, unchanged, s.store.put(keyKeygen(id), value, clientv3.WithLease(lease.ID)))
}

// ExchangeKeyGeneration verifies the agent's round-1 message and answers with the own certificate, once the state that made
// it is durable: a certificate commits to one transcript.
func (s *Service) ExchangeKeyGeneration(
	ctx context.Context, req *cosignerv1.ExchangeKeyGenerationRequest,
) (*cosignerv1.ExchangeKeyGenerationResponse, error) {
	if n := len(req.GetRound1()); n == 0 || n > round1Max {
		return nil, invalid("round1", "is not 1 byte to 2 KiB")
	}
	var certificate []byte
	err := s.step(ctx, req.GetWallet(), req.GetRun(), func(wallet string, k *keygenRow) (changed bool, err error) {
		if k.Stage != stageDrawn {
			if !bytes.Equal(k.PeerRound1, req.GetRound1()) {
				return false, failed("the run was exchanged with another message")
			}
			certificate = k.Certificate
			return false, nil
		}
		if err := s.exchange(wallet, k, req.GetRound1()); err != nil {
			return false, err
		}
		certificate = k.Certificate
		return true, nil
	})
	if err != nil {
		return nil, refused(err)
	}
	return &cosignerv1.ExchangeKeyGenerationResponse{Certificate: certificate}, nil
}

// exchange certifies a drawn run.
func (s *Service) exchange(wallet string, k *keygenRow, peer []byte) error {
	generation, err := s.sealer.openKeyGeneration(wallet, k.Run, k.StartDigest, k.State)
	if err != nil {
		return err
	}
	defer generation.Zero()
	own, err := generation.Round2([][]byte{peer, generation.Round1()})
	if err != nil {
		return err
	}
	groupKey, err := generation.GroupKey()
	if err != nil {
		return err
	}
	transcript, err := generation.TranscriptDigest()
	if err != nil {
		return err
	}
	k.Stage, k.PeerRound1, k.Certificate = stageCertified, peer, own[:]
	k.GroupKey, k.Transcript = groupKey[:], transcript[:]
	k.State, err = s.sealer.sealKeyGeneration(wallet, k.Run, k.StartDigest, generation)
	return err
}

// ConfirmKeyGeneration verifies the agent's certificate, seals the share, erases the run's secrets, and answers with the
// co-signer's half of the test signature.
func (s *Service) ConfirmKeyGeneration(
	ctx context.Context, req *cosignerv1.ConfirmKeyGenerationRequest,
) (*cosignerv1.ConfirmKeyGenerationResponse, error) {
	if len(req.GetCertificate()) != certificateSize {
		return nil, invalid("certificate", "is not 64 bytes")
	}
	commitment, err := frost.ParseCommitment(req.GetCommitment())
	if err != nil {
		return nil, invalid("commitment", "is not two points of prime order")
	}
	var done *keygenRow
	err = s.step(ctx, req.GetWallet(), req.GetRun(), func(wallet string, k *keygenRow) (changed bool, err error) {
		done = k
		switch {
		case k.Stage == stageDrawn:
			return false, refusal(typev1.Reason_REASON_WRONG_STATE, "the run has not been exchanged yet", "state", string(k.Stage))
		case k.Stage == stageConfirmed && !bytes.Equal(k.PeerCertificate, req.GetCertificate()):
			return false, failed("the run was confirmed with another certificate")
		case k.Stage == stageConfirmed:
			return false, nil
		}
		err = s.confirm(wallet, k, [certificateSize]byte(req.GetCertificate()))
		return err == nil, err
	})
	if err != nil {
		return nil, refused(err)
	}
	release, err := s.testKey(req.GetWallet(), firstEpoch,
		[keySize]byte(done.GroupKey), [digestSize]byte(done.Transcript), done.Share, commitment)
	if err != nil {
		return nil, refused(err)
	}
	return &cosignerv1.ConfirmKeyGenerationResponse{Release: release.Bytes()}, nil
}

// confirm makes the share of a certified run.
func (s *Service) confirm(wallet string, k *keygenRow, peer [certificateSize]byte) error {
	generation, err := s.sealer.openKeyGeneration(wallet, k.Run, k.StartDigest, k.State)
	if err != nil {
		return err
	}
	defer generation.Zero()
	share, err := generation.Finish([][certificateSize]byte{peer, [certificateSize]byte(k.Certificate)})
	if err != nil {
		return err
	}
	defer share.Zero()
	if k.Share, err = s.sealer.sealShare(wallet, share); err != nil {
		return err
	}
	k.Stage, k.PeerCertificate, k.State = stageConfirmed, peer[:], nil
	return nil
}

// testKey co-signs the key-test message of a run. Its token opens onto these bytes alone, which pay nothing: nobody can use a
// key generation or a resharing to sign anything else.
func (s *Service) testKey(
	wallet string, epoch uint64, groupKey, transcript [32]byte, sealed []byte, commitment frost.Commitment,
) (frost.Release, error) {
	share, err := s.sealer.openShare(wallet, epoch, groupKey, sealed)
	if err != nil {
		return frost.Release{}, err
	}
	defer share.Zero()
	grant, err := evidence.NewKeyTest(s.installation.ID(), wallet, groupKey, transcript).Take()
	if err != nil {
		return frost.Release{}, err
	}
	return frost.CoSign(share, commitment, grant.Message, grant.Context)
}

// CompleteKeyGeneration makes the wallet UNCLAIMED: the agent has shown by the test signature that both halves work, and its
// registration names what was made. From here on the run's row is gone and the end is a day away.
func (s *Service) CompleteKeyGeneration(
	ctx context.Context, req *cosignerv1.CompleteKeyGenerationRequest,
) (*cosignerv1.CompleteKeyGenerationResponse, error) {
	id, err := walletID(req.GetWallet())
	if err != nil {
		return nil, err
	}
	registration, err := evidence.CheckRegistration(s.installation, req.GetRegistration())
	if err != nil {
		return nil, refused(err)
	}
	if registration.GetWallet() != req.GetWallet() {
		return nil, refusal(typev1.Reason_REASON_EVIDENCE_MISMATCH, "the registration is of another wallet",
			"evidence", "registration", "field", "wallet")
	}
	var end int64
	err = etcdstore.Retry(ctx, func(ctx context.Context) (done bool, err error) {
		rows, err := s.store.read(ctx, keyKeygen(id), keyRegistration(id), keyEnd(id), keyRecord(id))
		if err != nil {
			return false, err
		}
		if rows[1].exists() || rows[2].exists() || rows[3].exists() {
			end, err = completedBefore(rows[1], rows[2], rows[3], evidence.EnvelopeDigest(req.GetRegistration()))
			return true, err
		}
		k, err := loadRun(rows[0], req.GetRun())
		if err != nil {
			return false, err
		}
		if err := s.checkCompletion(k, registration, req.GetSignature()); err != nil {
			return false, err
		}
		end = s.clock().Add(RegistrationLife).UnixMilli()
		value, err := encodeRegistration(req.GetRegistration(), end, k.Share)
		if err != nil {
			return false, err
		}
		return s.store.write(ctx, rows, clientv3.OpDelete(keyKeygen(id)), s.store.put(keyRegistration(id), value))
	})
	if err != nil {
		return nil, refused(err)
	}
	return &cosignerv1.CompleteKeyGenerationResponse{EndMillis: end}, nil
}

// checkCompletion checks that the key works and that the registration is about it.
func (s *Service) checkCompletion(k *keygenRow, r *typev1.Registration, signature []byte) error {
	mismatch := func(field, message string) error {
		return refusal(typev1.Reason_REASON_EVIDENCE_MISMATCH, message, "evidence", "registration", "field", field)
	}
	switch {
	case k.Stage != stageConfirmed:
		return refusal(typev1.Reason_REASON_WRONG_STATE, "the run has not been confirmed yet", "state", string(k.Stage))
	case !bytes.Equal(r.GetGroupKey(), k.GroupKey):
		return mismatch("group_key", "the registration names another group key than the run made")
	case !bytes.Equal(r.GetRequestKey(), k.RequestKey):
		return mismatch("request_key", "the registration names another request key than the run was started with")
	}
	groupKey := [32]byte(k.GroupKey)
	message := evidence.KeyTestMessage(s.installation.ID(), r.GetWallet(), groupKey, [32]byte(k.Transcript))
	if !frost.VerifySignature(groupKey, message, signature) {
		return failed("the test signature does not verify")
	}
	return nil
}

// completedBefore answers the repeat of a completion: with the registration's end, or 0 once it was claimed and has none.
func completedBefore(registration, end, record row, digest evidence.Digest) (int64, error) {
	other := refusal(typev1.Reason_REASON_ALREADY_EXISTS, "the wallet was registered with other content", "field", "registration")
	switch {
	case record.exists():
		w := new(typev1.WalletRecord)
		if _, err := loadStatement(record, w); err != nil {
			return 0, err
		}
		if !digest.Is(w.GetRegistrationDigest()) {
			return 0, other
		}
		return 0, nil
	case end.exists():
		return 0, refusal(typev1.Reason_REASON_NOT_ACTIVE, "the registration has ended unclaimed")
	}
	r, err := loadRegistration(registration)
	if err != nil {
		return 0, err
	}
	if evidence.EnvelopeDigest(r.envelope) != digest {
		return 0, other
	}
	return r.EndMillis, nil
}

// step carries out one call of a run: it loads the row, lets advance change it, and stores it while nobody else has changed
// it. Only then does the answer leave. What a participant or the relay did wrong ends the run before its certificate exists;
// afterwards the run stays, because the agent may hold all it needs by then.
func (s *Service) step(
	ctx context.Context, wallet string, run []byte, advance func(wallet string, k *keygenRow) (changed bool, err error),
) error {
	id, err := walletID(wallet)
	if err != nil {
		return err
	}
	if len(run) != runSize {
		return invalid("run", "is not 16 bytes")
	}
	return etcdstore.Retry(ctx, func(ctx context.Context) (bool, error) {
		rows, err := s.store.read(ctx, keyKeygen(id))
		if err != nil {
			return false, err
		}
		k, err := loadRun(rows[0], run)
		if err != nil {
			return false, err
		}
		before := k.Stage
		changed, err := advance(wallet, k)
		var culprit *frost.CulpritError
		if errors.As(err, &culprit) {
			s.logger.WarnContext(ctx, "key generation was tampered with",
				"wallet", wallet, "stage", string(before), "culprit", culprit.Culprit.String())
			if before == stageDrawn {
				if _, endErr := s.store.write(ctx, rows, clientv3.OpDelete(keyKeygen(id))); endErr != nil {
					return false, endErr
				}
			}
		}
		if err != nil || !changed {
			return err == nil, err
		}
		value, err := encodeRow(k)
		if err != nil {
			return false, err
		}
		// Its lease stays the one it began with.
		return s.store.write(ctx, rows, s.store.put(keyKeygen(id), value, clientv3.WithIgnoreLease()))
	})
}

// loadRun decodes the row of a run that is under way.
func loadRun(r row, run []byte) (*keygenRow, error) {
	if !r.exists() {
		return nil, refusal(typev1.Reason_REASON_NOT_FOUND, "no key generation of this wallet is under way")
	}
	k, err := loadKeygen(r)
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(k.Run, run) {
		return nil, refusal(typev1.Reason_REASON_NOT_FOUND, "another run has taken this one's place", "field", "run")
	}
	return k, nil
}

// failed refuses what the agent, or the relay in its name, brought to a run.
func failed(message string) error {
	return refusal(typev1.Reason_REASON_KEY_GENERATION_FAILED, message, "culprit", frost.Agent.String())
}
