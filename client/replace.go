package client

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"io/fs"

	"github.com/halfkey/halfkey/frost"
	"github.com/halfkey/halfkey/internal/evidence"
	"github.com/halfkey/halfkey/internal/resource"
	gatewayv1 "github.com/halfkey/halfkey/proto/gen/halfkey/gateway/v1"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// Replace takes a wallet over whose agent was lost or is no longer trusted: this home becomes the agent's. It makes a new request
// key here, puts it in the guard rails, which ends the old one, and makes share 1 anew with the co-signer and the owner's
// recovery share, whose file is rewritten with its new share on the way. The address stays, and the owner pays out by ordinary
// payments. What leaked of the old shares signs nothing any more.
//
// It resumes: called again with the same file, after a crash or a lost answer, it goes on from where it stopped. A recovery
// share that waits to be opened is opened first. The passphrase is wiped when the call returns.
func (o *Owner) Replace(ctx context.Context, wallet, file string, passphrase []byte) (*Agent, error) {
	defer wipe(passphrase)
	id, err := resource.ParseWallet(wallet)
	if err != nil {
		return nil, wrap(replaceOp, err, notMoved)
	}
	f, err := o.readRecovery(replaceOp, wallet, file, passphrase)
	if err != nil {
		return nil, err
	}
	defer f.zero()
	unlock, err := o.c.lockSecret(ctx, replaceOp, wallet)
	if err != nil {
		return nil, err
	}
	defer unlock()
	t := &takeover{o: o, file: f, name: agentKeyPrefix + id}
	if err := t.load(ctx); err != nil {
		return nil, err
	}
	if err := t.carryOut(ctx); err != nil {
		return nil, err
	}
	if _, err := o.openRecovery(ctx, replaceOp, f); err != nil {
		return nil, err
	}
	return o.c.newAgent(t.key), nil
}

const replaceOp = "replace share"

// takeover is one call of Replace.
type takeover struct {
	o    *Owner
	file *recoveryFile
	name string    // The secret's in the key store.
	key  *agentKey // Nil for a home that has none of this wallet.
	head *evidence.Head
	now  *standing
}

// load reads what this home holds, and asks how the wallet's key is shared.
func (t *takeover) load(ctx context.Context) (err error) {
	c := t.o.c
	t.key, err = c.loadAgentKey(t.name)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return wrap(replaceOp, err, notMoved)
	}
	if t.key != nil && t.key.stage != stageRegistered && t.key.stage != stageReplacing {
		return local(replaceOp, typev1.Reason_REASON_NOT_ACTIVE, "the registration of this wallet has not ended", "wallet", t.file.wallet)
	}
	record, err := t.o.record(ctx, t.file.wallet)
	if err != nil {
		return err
	}
	if err := t.file.checkKey(replaceOp, record); err != nil {
		return err
	}
	return t.ask(ctx)
}

// carryOut goes on with the takeover that this home has begun, or begins one. A run that does not go on, because something was
// altered on its way or this home has lost what it began, is ordered anew.
func (t *takeover) carryOut(ctx context.Context) error {
	resumed, err := t.resume(ctx)
	switch {
	case err == nil && resumed:
		return nil
	case err == nil:
		return t.begin(ctx)
	case ReasonOf(err) != typev1.Reason_REASON_KEY_GENERATION_FAILED && ReasonOf(err) != typev1.Reason_REASON_ALREADY_EXISTS:
		return err
	}
	if failed := t.ask(ctx); failed != nil {
		return failed
	}
	if sharingInForce(t.now.told) {
		return err // It went on after all: the next call sees that.
	}
	return t.order(ctx)
}

func (t *takeover) ask(ctx context.Context) (err error) {
	if t.head, err = t.o.c.head(ctx, t.o.who, t.file.wallet); err != nil {
		return err
	}
	t.now, err = t.o.standing(ctx, t.head)
	return err
}

func (t *takeover) save(k *agentKey) error {
	if err := t.o.c.saveAgentKey(k); err != nil {
		return wrap(replaceOp, err, notMoved)
	}
	t.key = k
	return nil
}

// resume goes on with a takeover that this home has ordered; false if there is none.
func (t *takeover) resume(ctx context.Context) (bool, error) {
	m, k := t.now.order, t.key
	if k == nil || !m.GetReplace() || !bytes.Equal(m.GetRequestKey(), k.request.public) {
		return false, nil
	}
	if !sharingInForce(t.now.told) {
		return true, t.carry(ctx, t.now.told.GetOrder(), m, t.now.told)
	}
	s := t.now.inForce
	if k.pending != nil && sameSharing(k.pending.share.Sharing(), s) || k.share != nil && sameSharing(k.share.Sharing(), s) {
		return true, t.run(t.now.told.GetOrder(), m).adopt(t.now.told)
	}
	return false, nil // The home was put back to an earlier state: it takes the wallet over once more.
}

func (t *takeover) run(order *typev1.Envelope, m *typev1.ResharingOrder) *run {
	return &run{c: t.o.c, op: replaceOp, key: t.key, save: t.save, order: order, m: m, recovery: t.file}
}

func (t *takeover) carry(ctx context.Context, order *typev1.Envelope, m *typev1.ResharingOrder, told *typev1.Resharing) error {
	if _, err := evidence.CheckResharingOrder(t.o.c.Installation(), t.head, order); err != nil {
		return distrust(replaceOp, notMoved, "the order for new shares is not the owner's", err)
	}
	r := t.run(order, m)
	told, err := r.carry(ctx, told)
	if err != nil {
		return err
	}
	return r.adopt(told)
}

// begin takes the wallet over: a request key of this home, stored before the guard rails name it, and the order.
func (t *takeover) begin(ctx context.Context) error {
	own := t.file.static.Public()
	if t.now.told.GetState() == recoveryPending && bytes.Equal(t.now.recovery, own[:]) {
		if _, err := t.o.openRecovery(ctx, replaceOp, t.file); err != nil {
			return err
		}
		if err := t.ask(ctx); err != nil {
			return err
		}
	}
	if err := t.now.settled(replaceOp); err != nil {
		return err
	}
	if err := t.checkShare(); err != nil {
		return err
	}
	if err := t.nameKey(ctx); err != nil {
		return err
	}
	return t.order(ctx)
}

// order orders a run for the request key of this home, which is the wallet's, and carries it.
func (t *takeover) order(ctx context.Context) error {
	own := t.file.static.Public()
	ordered, err := t.o.order(ctx, replaceOp, t.head, t.now, &typev1.ResharingOrder{
		RequestKey: t.key.request.public, FromEpoch: t.now.epoch, RecoveryKey: own[:], Replace: true,
	})
	if err != nil {
		return err
	}
	m := new(typev1.ResharingOrder)
	if err := evidence.Peek(ordered.Proto.GetOrder(), m); err != nil {
		return wrap(replaceOp, err, notMoved)
	}
	return t.carry(ctx, ordered.Proto.GetOrder(), m, ordered.Proto)
}

// checkShare refuses a file that the co-signer would not go on with, before the agent's request key is ended for it.
func (t *takeover) checkShare() error {
	share := t.file.share
	if share == nil {
		return local(replaceOp, typev1.Reason_REASON_WRONG_STATE, "the recovery file holds no share: it was never opened after its enrolment", "field", "file")
	}
	if share.Epoch() == t.now.epoch && (t.now.inForce == nil || t.file.holds(t.now.inForce)) {
		return nil
	}
	err := local(replaceOp, typev1.Reason_REASON_WRONG_STATE, "the recovery file's share is not of the wallet's present sharing", "field", "file")
	return advised(err, "use the newest copy of the newest recovery file")
}

// nameKey makes a request key of this home the wallet's.
func (t *takeover) nameKey(ctx context.Context) error {
	k, err := t.key, error(nil)
	switch {
	case k == nil:
		k, err = t.newKey(ctx)
	case k.stage == stageRegistered && k.offered == nil:
		// The home holds a share of the wallet: it gets another, and with it another request key.
		k, err = k.offering()
	}
	if err != nil {
		return wrap(replaceOp, err, notMoved)
	}
	if err := t.save(k); err != nil {
		return err
	}
	key := k.request.public
	if k.offered != nil {
		key = k.offered.public
	}
	if t.head, err = t.o.nameRequestKey(ctx, t.file.wallet, key); err != nil {
		return err
	}
	if k.offered != nil {
		return t.save(k.promoteOffer())
	}
	return nil
}

// newKey begins the secret of a wallet that this home holds nothing of: what pins the wallet from the directory, and every
// request key that it had from its guard rails, both verified.
func (t *takeover) newKey(ctx context.Context) (*agentKey, error) {
	c, wallet := t.o.c, t.file.wallet
	w, err := invoke(ctx, c, rpc{op: replaceOp, method: gatewayv1.GatewayService_GetWallet_FullMethodName, who: t.o.who, about: t.o.name},
		&gatewayv1.GetWalletRequest{Name: wallet}, gatewayv1.GatewayServiceClient.GetWallet)
	if err != nil {
		return nil, err
	}
	pinned, err := evidence.CheckWallet(c.Installation(), w.GetRegistration(), w.GetClaim(), w.GetRecord())
	if err != nil {
		return nil, distrust(replaceOp, notMoved, "the wallet's documents do not verify", err)
	}
	if pinned.Name != wallet || pinned.GroupKey != t.file.groupKey {
		return nil, distrust(replaceOp, notMoved, "the directory shows another wallet than the recovery file's", nil)
	}
	if err := c.pinRecord(pinned.Record); err != nil {
		return nil, err
	}
	seed := make([]byte, ed25519.SeedSize)
	if _, err := rand.Read(seed); err != nil {
		return nil, err
	}
	defer wipe(seed)
	k := newAgentKey(seed)
	k.stage, k.wallet, k.handle, k.displayName, k.registration = stageReplacing, wallet, pinned.Handle, w.GetDisplayName(), w.GetRegistration()
	k.replaced, err = t.o.requestKeys(ctx, wallet)
	return k, err
}

// requestKeys lists the request keys that a wallet's guard rails have named, oldest first.
func (o *Owner) requestKeys(ctx context.Context, wallet string) ([][]byte, error) {
	versions, err := o.Versions(ctx, wallet)
	if err != nil {
		return nil, err
	}
	var keys [][]byte
	for _, v := range versions {
		if key := v.Document.GetRequestKey(); len(keys) == 0 || !bytes.Equal(keys[len(keys)-1], key) {
			keys = append(keys, key)
		}
	}
	return boundKeys(keys), nil
}

// replacingSides are both sides of a run that replaces share 1: the recovery share deals, and its side is stored in the
// recovery file before its dealing is sent.
func (r *run) replacingSides(a *attempt, agreed frost.Resharing) (s *sides, err error) {
	f := r.recovery
	if !sameSharing(f.share.Sharing(), agreed.Old) {
		return nil, distrust(r.op, notMoved, "the recovery file's share is not of the sharing that the co-signer says is in force", nil)
	}
	s = new(sides)
	if s.share1, err = frost.NewReshare(frost.Agent, a.static, nil, agreed); err != nil {
		return nil, wrap(r.op, err, notMoved)
	}
	if f.dealt(a.start) {
		s.dealer, err = frost.ParseReshare(f.dealer)
		return s, wrap(r.op, err, notMoved)
	}
	if s.dealer, err = frost.NewReshare(frost.Recovery, f.static, f.share, agreed); err != nil {
		return nil, wrap(r.op, err, notMoved)
	}
	wipe(f.dealer)
	f.dealer, f.dealtFor = s.dealer.Secret(), evidence.EnvelopeDigest(a.start).Bytes()
	if err := f.rewrite(); err != nil {
		return s, badFile(r.op, "the recovery file cannot be written", err)
	}
	return s, nil
}

// keepRecovery makes the recovery share's new share and stores it in its file, beside the old one, before the new sharing can
// come into force. That it signs together with the new share 1 is tried here, where both are.
func (r *run) keepRecovery(dealer *frost.Reshare, certificates [2][64]byte, share1 *frost.KeyShare, transcript [32]byte) error {
	share, err := dealer.Finish(certificates)
	if err != nil {
		return distrust(r.op, notMoved, "the co-signer saw another resharing than this home", err)
	}
	message := evidence.KeyTestMessage(r.c.Installation().ID(), r.m.GetWallet(), share1.GroupKey(), transcript)
	if _, err := frost.Exit(message, share1, share); err != nil {
		return wrap(r.op, err, notMoved)
	}
	r.recovery.next = share
	if err := r.recovery.rewrite(); err != nil {
		return badFile(r.op, "the recovery file cannot be written", err)
	}
	return nil
}
