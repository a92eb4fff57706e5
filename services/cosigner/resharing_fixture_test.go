package cosigner_test

import (
	"crypto/ed25519"
	"crypto/rand"
	"fmt"

	"github.com/halfkey/halfkey/frost"
	"github.com/halfkey/halfkey/internal/evidence"
	"github.com/halfkey/halfkey/internal/evidence/evidencetest"
	cosignerv1 "github.com/halfkey/halfkey/proto/gen/halfkey/cosigner/v1"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// resharing is the other side of one resharing: the agent's, and with an order to replace share 1 the owner's, who is both
// recovery share and new agent.
type resharing struct {
	f      *fixture
	w      *wallet
	client cosignerv1.CosignerServiceClient
	// order is what the owner wants, orderE signed; requestKey is the one that it names.
	order      *typev1.ResharingOrder
	orderE     *typev1.Envelope
	requestKey ed25519.PrivateKey
	static     *frost.StaticKey
	// recovery is the owner's static key, recoveryShare its share of the old sharing.
	recovery      *frost.StaticKey
	recoveryShare *frost.KeyShare

	startE      *typev1.Envelope
	session     frost.Resharing
	agent       *frost.Reshare // share 1's side
	owner       *frost.Reshare // share 3's side, when it deals
	peerDealing []byte
	dealing     []byte
	certificate [64]byte
	peer        []byte // the co-signer's certificate
	share       *frost.KeyShare
	signature   []byte
	completed   *typev1.Resharing
}

// refresh is an honest order from the epoch of the wallet's share, under its present keys, changed by edit before it is signed.
func (w *wallet) refresh(edit ...func(*resharing)) *resharing {
	w.f.t.Helper()
	run := make([]byte, 16)
	rand.Read(run)
	r := &resharing{
		f: w.f, w: w, client: w.f.CosignerServiceClient, requestKey: w.RequestKey, static: w.f.staticKey(),
		order: &typev1.ResharingOrder{
			Installation: w.f.Installation.ID(), Wallet: w.Name, Run: run, FromEpoch: w.share.Epoch(), ToEpoch: w.share.Epoch() + 1,
			RequestKey: evidencetest.Public(w.RequestKey),
		},
	}
	for _, e := range edit {
		e(r)
	}
	r.orderE = w.f.SignLoose(w.OwnerKey, r.order)
	return r
}

func (f *fixture) staticKey() *frost.StaticKey {
	f.t.Helper()
	static, err := frost.NewStaticKey()
	if err != nil {
		f.t.Fatal(err)
	}
	return static
}

// withRecovery is an order that deals a recovery share to a static key.
func withRecovery(static *frost.StaticKey) func(*resharing) {
	return func(r *resharing) {
		public := static.Public()
		r.recovery, r.order.RecoveryKey = static, public[:]
	}
}

// replacing is an order to make share 1 anew with a recovery share.
func replacing(static *frost.StaticKey, share *frost.KeyShare) func(*resharing) {
	return func(r *resharing) {
		withRecovery(static)(r)
		r.order.Replace, r.recoveryShare = true, share
	}
}

func (r *resharing) give() error {
	_, err := r.client.OrderResharing(r.f.t.Context(), &cosignerv1.OrderResharingRequest{Order: r.orderE})
	return err
}

func (r *resharing) get() *cosignerv1.GetResharingResponse {
	r.f.t.Helper()
	resp, err := r.client.GetResharing(r.f.t.Context(), &cosignerv1.GetResharingRequest{Wallet: r.w.Name})
	if err != nil {
		r.f.t.Fatalf("GetResharing: %s", describe(err))
	}
	return resp
}

// statement is the request key's start of the run.
func (r *resharing) statement() *typev1.ResharingStart {
	public := r.static.Public()
	return &typev1.ResharingStart{
		Installation: r.order.GetInstallation(), Wallet: r.order.GetWallet(), Run: r.order.GetRun(),
		OrderDigest: evidence.EnvelopeDigest(r.orderE).Bytes(), StaticKey: public[:],
	}
}

func (r *resharing) start() error {
	r.startE = r.f.SignLoose(r.requestKey, r.statement())
	resp, err := r.client.StartResharing(r.f.t.Context(), &cosignerv1.StartResharingRequest{Start: r.startE})
	if err != nil {
		return err
	}
	return r.started(resp)
}

// started is what the other side does with the answer; a repeat of the same answer leaves its run as it is.
func (r *resharing) started(resp *cosignerv1.StartResharingResponse) error {
	answer, err := evidence.CheckResharingAnswer(r.f.Installation, r.startE, resp.GetAnswer())
	if err != nil {
		return err
	}
	old, err := frost.ParseSharing(answer.GetSharing())
	if err != nil {
		return err
	}
	keys := [][32]byte{r.static.Public(), [32]byte(answer.GetStaticKey())}
	if r.recovery != nil {
		keys = append(keys, r.recovery.Public())
	}
	r.session = frost.Resharing{
		Session: evidence.ResharingSession(r.f.Installation.ID(), r.w.Name, r.order.GetRun()),
		Old:     old, Dealers: [2]frost.Identifier{frost.Agent, frost.CoSigner}, StaticKeys: keys,
	}
	r.peerDealing = resp.GetDealing()
	if !r.order.GetReplace() {
		if r.agent, err = frost.NewReshare(frost.Agent, r.static, r.w.share, r.session); err == nil {
			r.dealing = r.agent.Deal()
		}
		return err
	}
	r.session.Dealers = [2]frost.Identifier{frost.CoSigner, frost.Recovery}
	if r.agent, err = frost.NewReshare(frost.Agent, r.static, nil, r.session); err != nil {
		return err
	}
	if r.owner, err = frost.NewReshare(frost.Recovery, r.recovery, r.recoveryShare, r.session); err == nil {
		r.dealing = r.owner.Deal()
	}
	return err
}

func (r *resharing) exchange() error {
	resp, err := r.client.ExchangeResharing(r.f.t.Context(),
		&cosignerv1.ExchangeResharingRequest{Wallet: r.w.Name, Run: r.order.GetRun(), Dealing: r.dealing})
	if err != nil {
		return err
	}
	return r.exchanged(resp.GetCertificate())
}

// dealings are both, in the order of their dealers.
func (r *resharing) dealings() [2][]byte {
	if r.order.GetReplace() {
		return [2][]byte{r.peerDealing, r.dealing}
	}
	return [2][]byte{r.dealing, r.peerDealing}
}

func (r *resharing) exchanged(peer []byte) error {
	if len(peer) != 64 {
		return fmt.Errorf("certificate of %d bytes", len(peer))
	}
	r.peer = peer
	own, err := r.agent.Accept(r.dealings())
	if err != nil {
		return err
	}
	certificates := [2][64]byte{own, [64]byte(peer)}
	if r.owner != nil {
		if own, err = r.owner.Accept(r.dealings()); err != nil {
			return err
		}
		certificates = [2][64]byte{[64]byte(peer), own}
		if _, err = r.owner.Finish(certificates); err != nil {
			return err
		}
	}
	r.certificate = own
	r.share, err = r.agent.Finish(certificates)
	return err
}

func (r *resharing) confirm() error {
	nonces, commitment, err := r.share.Commit()
	if err != nil {
		return err
	}
	resp, err := r.confirmWith(commitment[:])
	if err != nil {
		return err
	}
	release, err := frost.ParseRelease(resp.GetRelease())
	if err != nil {
		return err
	}
	message, err := r.testMessage()
	if err != nil {
		return err
	}
	signature, err := nonces.Finish(message, release)
	if err != nil {
		return err
	}
	r.signature = signature[:]
	return nil
}

func (r *resharing) confirmWith(commitment []byte) (*cosignerv1.ConfirmResharingResponse, error) {
	return r.client.ConfirmResharing(r.f.t.Context(), &cosignerv1.ConfirmResharingRequest{
		Wallet: r.w.Name, Run: r.order.GetRun(), Certificate: r.certificate[:], Commitment: commitment,
	})
}

func (r *resharing) testMessage() ([]byte, error) {
	transcript, err := r.agent.TranscriptDigest()
	return evidence.KeyTestMessage(r.f.Installation.ID(), r.w.Name, r.w.GroupKey, transcript), err
}

func (r *resharing) complete() error {
	resp, err := r.client.CompleteResharing(r.f.t.Context(), &cosignerv1.CompleteResharingRequest{
		Wallet: r.w.Name, Run: r.order.GetRun(), Signature: r.signature,
	})
	if err != nil {
		return err
	}
	record, err := evidence.CheckSharingRecord(r.f.Installation, r.orderE, resp.GetResharing().GetRecord())
	if err != nil {
		return err
	}
	if got, want := string(record.GetSharing()), string(r.share.Sharing().Bytes()); got != want {
		return fmt.Errorf("the record is of another sharing")
	}
	r.completed = resp.GetResharing()
	return nil
}

// steps are the calls of a resharing, in order.
func (r *resharing) steps() []func() error {
	return []func() error{r.give, r.start, r.exchange, r.confirm, r.complete}
}

// upTo carries out the first n steps.
func (r *resharing) upTo(n int) *resharing {
	r.f.t.Helper()
	for i, step := range r.steps()[:n] {
		if err := step(); err != nil {
			r.f.t.Fatalf("resharing, step %d: %s", i+1, describe(err))
		}
	}
	return r
}

// done carries out the whole resharing; the wallet's agent has the new share then.
func (r *resharing) done() *resharing {
	r.f.t.Helper()
	r.upTo(5)
	r.w.share = r.share
	return r
}

// open opens the recovery share from what the co-signer keeps for it.
func (r *resharing) open(kept *typev1.Resharing) (*frost.KeyShare, error) {
	if len(kept.GetDealings()) != 2 || len(kept.GetCertificates()) != 2 {
		return nil, fmt.Errorf("%d dealings and %d certificates", len(kept.GetDealings()), len(kept.GetCertificates()))
	}
	return frost.OpenReshare(frost.Recovery, r.recovery, r.session, [2][]byte(kept.GetDealings()),
		[2][64]byte{[64]byte(kept.GetCertificates()[0]), [64]byte(kept.GetCertificates()[1])})
}

// confirmation is the owner's word that the recovery share of a record is kept.
func (r *resharing) confirmation() *typev1.RecoveryConfirmation {
	return &typev1.RecoveryConfirmation{
		Installation: r.order.GetInstallation(), Wallet: r.w.Name, Epoch: r.order.GetToEpoch(),
		RecordDigest: evidence.EnvelopeDigest(r.completed.GetRecord()).Bytes(),
	}
}

func (r *resharing) confirmRecovery(key ed25519.PrivateKey, m *typev1.RecoveryConfirmation) (*typev1.Resharing, error) {
	resp, err := r.client.ConfirmRecovery(r.f.t.Context(), &cosignerv1.ConfirmRecoveryRequest{Confirmation: r.f.SignLoose(key, m)})
	return resp.GetResharing(), err
}

// recovered carries out a resharing and confirms the recovery share, which it returns.
func (r *resharing) recovered() *frost.KeyShare {
	r.f.t.Helper()
	r.done()
	share, err := r.open(r.completed)
	if err != nil {
		r.f.t.Fatalf("recovery share: %v", err)
	}
	if _, err := r.confirmRecovery(r.w.OwnerKey, r.confirmation()); err != nil {
		r.f.t.Fatalf("ConfirmRecovery: %s", describe(err))
	}
	return share
}

// epochs are those of the shares that the store holds of a wallet, in key order.
func (w *wallet) epochs() []string {
	w.f.t.Helper()
	return w.f.keys("shares/" + w.id() + "/")
}

func (w *wallet) id() string { return w.Name[len("wallets/"):] }
