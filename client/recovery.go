package client

import (
	"bytes"
	"context"

	"github.com/halfkey/halfkey/frost"
	"github.com/halfkey/halfkey/internal/evidence"
	gatewayv1 "github.com/halfkey/halfkey/proto/gen/halfkey/gateway/v1"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// CreateRecovery gives a wallet a recovery share, the owner's third share of its key: with the co-signer's it replaces an agent's
// share that was lost (Replace), and with the agent's it is the owner's last way out (ExitSign). It writes file, which must not
// exist, mode 0600 and encrypted under passphrase, and orders the enrolment. The share itself comes into the file by
// OpenRecovery, after the agent has carried the order out by Reshare.
//
// A wallet that has a recovery share gets this one in its place: that is what to do when its file or passphrase was lost, and
// after a leak of an agent's home. A file's key is the same from its enrolment on, and opens what was dealt to it in any sharing
// since: with a home that was stolen after the enrolment even a file that was opened since is the whole key, until it is
// destroyed and a new one has taken its place.
// Repeated with the file that it wrote, CreateRecovery goes on from where it stopped. The passphrase, at least 12 bytes, is
// wiped when the call returns.
func (o *Owner) CreateRecovery(ctx context.Context, wallet, file string, passphrase []byte) (*Resharing, error) {
	const op = "create recovery share"
	defer wipe(passphrase)
	if err := checkPassphrase(op, passphrase); err != nil {
		return nil, err
	}
	head, err := o.c.head(ctx, o.who, wallet)
	if err != nil {
		return nil, err
	}
	if err := o.signs(head); err != nil {
		return nil, err
	}
	now, err := o.standing(ctx, head)
	if err != nil {
		return nil, err
	}
	f, err := o.openEnrolment(ctx, file, passphrase, wallet, now)
	if err != nil {
		return nil, err
	}
	defer f.zero()
	own := f.static.Public()
	if sharingInForce(now.told) && bytes.Equal(now.recovery, own[:]) {
		return newResharing(now.order, now.told), nil // It was carried out.
	}
	if err := now.settled(op); err != nil {
		return nil, err
	}
	return o.order(ctx, op, head, now, &typev1.ResharingOrder{
		RequestKey: head.Document.GetRequestKey(), FromEpoch: now.epoch, RecoveryKey: own[:],
	})
}

// openEnrolment is the recovery file of an enrolment: the one that a call before has written and that no share came into yet,
// or a new one, which is durable before anybody deals to its key.
func (o *Owner) openEnrolment(ctx context.Context, file string, passphrase []byte, wallet string, now *standing) (*recoveryFile, error) {
	const op = "create recovery share"
	record, err := o.record(ctx, wallet)
	if err != nil {
		return nil, err
	}
	if exists(file) {
		f, err := o.readRecovery(op, wallet, file, passphrase)
		if err != nil {
			return nil, err
		}
		if f.share != nil {
			err = local(op, typev1.Reason_REASON_ALREADY_EXISTS, "the file holds a recovery share, and is not overwritten", "field", "file")
		} else {
			err = f.checkKey(op, record)
		}
		if err != nil {
			f.zero()
			return nil, err
		}
		return f, nil
	}
	if err := now.settled(op); err != nil {
		return nil, err
	}
	static, err := frost.NewStaticKey()
	if err != nil {
		return nil, wrap(op, err, notMoved)
	}
	f := &recoveryFile{
		path: file, passphrase: bytes.Clone(passphrase), work: o.c.recoveryWork,
		installation: o.c.Installation().ID(), wallet: wallet, groupKey: [32]byte(record.GetGroupKey()), static: static,
	}
	if err := f.create(); err != nil {
		f.zero()
		return nil, badFile(op, "the recovery file cannot be written", err)
	}
	return f, nil
}

// settled refuses while a recovery share waits to be opened: the co-signer would drop what it is opened from.
func (s *standing) settled(op string) error {
	if s.told.GetState() != recoveryPending {
		return nil
	}
	err := local(op, typev1.Reason_REASON_WRONG_STATE, "the wallet's recovery share has not been opened yet", "wallet", s.order.GetWallet())
	return advised(err, "open it with its file; if file or passphrase are lost, give the recovery share up, and create another")
}

// readRecovery opens a recovery file that is this installation's, and of one wallet unless that is empty.
func (o *Owner) readRecovery(op, wallet, file string, passphrase []byte) (*recoveryFile, error) {
	f, err := readRecovery(op, file, passphrase)
	if err != nil {
		return nil, err
	}
	f.work = o.c.recoveryWork
	if f.installation != o.c.Installation().ID() || wallet != "" && f.wallet != wallet {
		f.zero()
		return nil, local(op, typev1.Reason_REASON_INVALID_ARGUMENT, "the recovery file is another wallet's", "field", "file")
	}
	return f, nil
}

// checkKey holds a recovery file to its wallet's verified record.
func (f *recoveryFile) checkKey(op string, record *typev1.WalletRecord) error {
	if f.groupKey != [32]byte(record.GetGroupKey()) {
		return local(op, typev1.Reason_REASON_BAD_STATEMENT, "the recovery file is of another key than the wallet's record", "field", "file")
	}
	return nil
}

// OpenRecovery opens the recovery share of the wallet's present sharing into its file, after an enrolment or a refresh that the
// agent has carried out: it verifies everything that it is made from, rewrites the file durably, and then confirms to the
// co-signer, which destroys what it kept of the older sharing. Repeated it goes on from where it stopped. The passphrase is
// wiped when the call returns.
func (o *Owner) OpenRecovery(ctx context.Context, file string, passphrase []byte) (*Resharing, error) {
	const op = "open recovery share"
	defer wipe(passphrase)
	f, err := o.readRecovery(op, "", file, passphrase)
	if err != nil {
		return nil, err
	}
	defer f.zero()
	return o.openRecovery(ctx, op, f)
}

func (o *Owner) openRecovery(ctx context.Context, op string, f *recoveryFile) (*Resharing, error) {
	head, err := o.c.head(ctx, o.who, f.wallet)
	if err != nil {
		return nil, err
	}
	record, err := o.record(ctx, f.wallet)
	if err != nil {
		return nil, err
	}
	if err := f.checkKey(op, record); err != nil {
		return nil, err
	}
	now, err := o.standing(ctx, head) // Verifies the owner's order and the co-signer's record.
	if err != nil {
		return nil, err
	}
	own := f.static.Public()
	switch {
	case !sharingInForce(now.told):
		err := local(op, typev1.Reason_REASON_WRONG_STATE, "the order for new shares has not been carried out", "wallet", f.wallet)
		return nil, advised(err, "let the agent make the new shares first")
	case !bytes.Equal(now.recovery, own[:]):
		return nil, local(op, typev1.Reason_REASON_WRONG_STATE, "the wallet's sharing has another recovery share than this file's, or none", "wallet", f.wallet)
	}
	if err := f.receive(op, o.c.Installation(), now); err != nil {
		return nil, err
	}
	return o.confirmRecovery(ctx, op, head, now)
}

// receive brings the share of a sharing into the file: it is there, a run that replaced share 1 has left it, or it is opened
// from what the co-signer kept.
func (f *recoveryFile) receive(op string, i *evidence.Installation, now *standing) error {
	s, share := now.inForce, f.next
	switch {
	case f.holds(s):
		return nil
	case f.share != nil && f.share.Epoch() >= s.Epoch():
		// An owner's other home may have seen less than the file has: the newest share is not given for an older one.
		return distrust(op, notMoved, "the recovery file holds the share of a newer sharing than the answer's", nil)
	case share != nil && sameSharing(share.Sharing(), s):
	case now.told.GetState() == reshareDone:
		err := local(op, typev1.Reason_REASON_WRONG_STATE, "the recovery share was opened into another copy of this file, or given up", "wallet", f.wallet)
		return advised(err, "use the newest copy of the file; if there is none, create another recovery share")
	default:
		var err error
		if share, err = f.open(i, now.told, s); err != nil {
			return distrust(op, notMoved, "the recovery share does not open", err)
		}
	}
	old := f.share
	wipe(f.dealer)
	f.share, f.next, f.dealer, f.dealtFor = share, nil, nil, nil
	if err := f.rewrite(); err != nil {
		return badFile(op, "the recovery file cannot be written", err)
	}
	old.Zero()
	return nil
}

// holds reports whether the share that was opened last is of a sharing.
func (f *recoveryFile) holds(s *frost.Sharing) bool {
	return f.share != nil && sameSharing(f.share.Sharing(), s)
}

// open makes the recovery share of a sharing: from the start under the request key that the order names, the co-signer's
// answer to it, and both dealers' dealings and certificates, so that only what was dealt in the ordered run opens.
func (f *recoveryFile) open(i *evidence.Installation, told *typev1.Resharing, s *frost.Sharing) (*frost.KeyShare, error) {
	order := new(typev1.ResharingOrder)
	if err := evidence.Peek(told.GetOrder(), order); err != nil {
		return nil, err
	}
	start, err := evidence.CheckResharingStart(told.GetOrder(), told.GetStart())
	if err != nil {
		return nil, err
	}
	answer, err := evidence.CheckResharingAnswer(i, told.GetStart(), told.GetAnswer())
	if err != nil {
		return nil, err
	}
	const piece = "resharing"
	deals, certificates := told.GetDealings(), told.GetCertificates()
	if len(deals) != 2 || len(certificates) != 2 || len(certificates[0]) != 64 || len(certificates[1]) != 64 {
		return nil, refusal(piece, "dealings", "or certificates are not there from both dealers")
	}
	agreed, err := agree(i, order, [32]byte(start.GetStaticKey()), answer)
	if err != nil {
		return nil, err
	}
	share, err := frost.OpenReshare(frost.Recovery, f.static, agreed, [2][]byte(deals), [2][64]byte{[64]byte(certificates[0]), [64]byte(certificates[1])})
	if err != nil {
		return nil, err
	}
	if !sameSharing(share.Sharing(), s) {
		share.Zero()
		return nil, refusal(piece, "dealings", "make another sharing than the record's")
	}
	return share, nil
}

// confirmRecovery tells the co-signer that nobody needs what it kept of the older sharing.
func (o *Owner) confirmRecovery(ctx context.Context, op string, head *evidence.Head, now *standing) (*Resharing, error) {
	if now.told.GetState() == reshareDone {
		return newResharing(now.order, now.told), nil
	}
	if err := o.signs(head); err != nil {
		return nil, err
	}
	e, err := evidence.Sign(o.key, &typev1.RecoveryConfirmation{
		Installation: o.c.Installation().ID(), Wallet: now.order.GetWallet(), Epoch: now.epoch,
		RecordDigest: evidence.EnvelopeDigest(now.told.GetRecord()).Bytes(),
	})
	if err != nil {
		return nil, wrap(op, err, notMoved)
	}
	resp, err := invoke(ctx, o.c, rpc{op: op}, &gatewayv1.ConfirmRecoveryRequest{Confirmation: e}, gatewayv1.GatewayServiceClient.ConfirmRecovery)
	if err != nil {
		return nil, err
	}
	told := resp.GetResharing()
	if told.GetState() != reshareDone || !sameEnvelope(told.GetOrder(), now.told.GetOrder()) {
		return nil, distrust(op, notMoved, "the confirmation was not taken as it was given", nil)
	}
	return newResharing(now.order, told), nil
}

// GiveUpRecovery confirms a recovery share that was never opened, for an owner who has lost its file or passphrase: the co-signer
// then destroys what it kept of the older sharing, nobody has the recovery share, and CreateRecovery can make another. Until
// then an agent's share that is lost is not replaced by anything.
func (o *Owner) GiveUpRecovery(ctx context.Context, wallet string) (*Resharing, error) {
	const op = "give up recovery share"
	head, err := o.c.head(ctx, o.who, wallet)
	if err != nil {
		return nil, err
	}
	now, err := o.standing(ctx, head)
	if err != nil {
		return nil, err
	}
	if !sharingInForce(now.told) || len(now.recovery) == 0 {
		return nil, local(op, typev1.Reason_REASON_WRONG_STATE, "no recovery share of this wallet waits to be opened", "wallet", wallet)
	}
	return o.confirmRecovery(ctx, op, head, now)
}
