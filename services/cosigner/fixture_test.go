package cosigner_test

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"fmt"
	"log/slog"
	"os"
	"testing"
	"time"

	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/keyset"
	"github.com/tink-crypto/tink-go/v2/tink"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/halfkey/halfkey/frost"
	"github.com/halfkey/halfkey/internal/canary"
	"github.com/halfkey/halfkey/internal/evidence"
	"github.com/halfkey/halfkey/internal/evidence/evidencetest"
	"github.com/halfkey/halfkey/internal/fault"
	"github.com/halfkey/halfkey/internal/servicetest"
	cosignerv1 "github.com/halfkey/halfkey/proto/gen/halfkey/cosigner/v1"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
	"github.com/halfkey/halfkey/services/cosigner"
)

func TestMain(m *testing.M) { os.Exit(servicetest.WithEtcd(m)) }

var start = time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC)

const usd = 1_000_000

// fixture is a co-signer behind a real gRPC server, with its store at hand.
type fixture struct {
	cosignerv1.CosignerServiceClient
	*evidencetest.World

	t      testing.TB
	config cosigner.Config
	kv     clientv3.KV
	clock  *servicetest.Clock
	log    *canary.Said
}

func newKEK(t testing.TB) tink.AEAD {
	t.Helper()
	handle, err := keyset.NewHandle(aead.AES256GCMKeyTemplate())
	if err != nil {
		t.Fatal(err)
	}
	kek, err := aead.New(handle)
	if err != nil {
		t.Fatal(err)
	}
	return kek
}

// newFixture starts a co-signer of an own installation on an empty store.
func newFixture(t testing.TB, edit ...func(*cosigner.Config)) *fixture {
	t.Helper()
	world, kv := evidencetest.New(t), servicetest.Namespace(t)
	f := &fixture{World: world, t: t, kv: kv, clock: servicetest.NewClock(start), log: new(canary.Said)}
	f.config = cosigner.Config{
		Installations: world.Installations,
		Key:           world.Cosigner,
		KV:            kv,
		Lease:         servicetest.Lease(),
		KEK:           newKEK(t),
		Clock:         f.clock.Now,
		Logger:        slog.New(slog.NewTextHandler(f.log, nil)),
	}
	for _, e := range edit {
		e(&f.config)
	}
	f.CosignerServiceClient = f.replica()
	return f
}

// replica starts another co-signer on the same store and returns a client of it.
func (f *fixture) replica() cosignerv1.CosignerServiceClient {
	f.t.Helper()
	service, err := cosigner.New(f.config)
	if err != nil {
		f.t.Fatalf("New: %v", err)
	}
	f.t.Cleanup(func() {
		if err := service.Close(); err != nil {
			f.t.Errorf("Close: %v", err)
		}
	})
	return cosignerv1.NewCosignerServiceClient(servicetest.Connect(f.t, service))
}

// keygen is the agent's side of one key generation.
type keygen struct {
	f          *fixture
	client     cosignerv1.CosignerServiceClient
	id, wallet string
	run        []byte
	requestKey ed25519.PrivateKey

	static      *frost.StaticKey
	startE      *typev1.Envelope
	generation  *frost.KeyGeneration
	peerRound1  []byte
	certificate [64]byte
	share       *frost.KeyShare
	signature   []byte
	owned       *evidencetest.Wallet // documents of the wallet, once the share is made
}

func (f *fixture) newKeygen(id string) *keygen {
	run := make([]byte, 16)
	rand.Read(run)
	static, err := frost.NewStaticKey()
	if err != nil {
		f.t.Fatal(err)
	}
	return &keygen{
		f: f, client: f.CosignerServiceClient, id: id, wallet: "wallets/" + id, run: run, requestKey: f.Key("request/" + id), static: static,
	}
}

func (k *keygen) start() error {
	public := k.static.Public()
	k.startE = k.f.Sign(k.requestKey, &typev1.KeyGenerationStart{
		Installation: k.f.Installation.ID(),
		Wallet:       k.wallet,
		Run:          k.run,
		StaticKey:    public[:],
		RequestKey:   evidencetest.Public(k.requestKey),
		Handle:       k.id,
		OwnerEmail:   "you@example.com",
	})
	resp, err := k.client.StartKeyGeneration(k.f.t.Context(), &cosignerv1.StartKeyGenerationRequest{Start: k.startE})
	if err != nil {
		return err
	}
	return k.started(resp)
}

// started is what an agent does with the answer.
func (k *keygen) started(resp *cosignerv1.StartKeyGenerationResponse) error {
	answer, err := evidence.CheckKeyGenerationAnswer(k.f.Installation, k.startE, resp.GetAnswer())
	if err != nil {
		return err
	}
	k.peerRound1 = resp.GetRound1()
	k.generation, err = frost.NewKeyGeneration(frost.Agent, k.static, frost.Run{
		Session:    evidence.KeyGenerationSession(k.f.Installation.ID(), k.wallet, k.run),
		StaticKeys: [][32]byte{k.static.Public(), [32]byte(answer.GetStaticKey())},
		Threshold:  2,
	})
	return err
}

func (k *keygen) exchange() error {
	resp, err := k.client.ExchangeKeyGeneration(k.f.t.Context(), &cosignerv1.ExchangeKeyGenerationRequest{
		Wallet: k.wallet, Run: k.run, Round1: k.generation.Round1(),
	})
	if err != nil {
		return err
	}
	return k.exchanged(resp.GetCertificate())
}

func (k *keygen) exchanged(peer []byte) error {
	var err error
	if k.certificate, err = k.generation.Round2([][]byte{k.generation.Round1(), k.peerRound1}); err != nil {
		return err
	}
	if len(peer) != 64 {
		return fmt.Errorf("certificate of %d bytes", len(peer))
	}
	k.share, err = k.generation.Finish([][64]byte{k.certificate, [64]byte(peer)})
	return err
}

func (k *keygen) confirm() error {
	groupKey := k.share.GroupKey()
	transcript, err := k.generation.TranscriptDigest()
	if err != nil {
		return err
	}
	nonces, commitment, err := k.share.Commit()
	if err != nil {
		return err
	}
	resp, err := k.client.ConfirmKeyGeneration(k.f.t.Context(), &cosignerv1.ConfirmKeyGenerationRequest{
		Wallet: k.wallet, Run: k.run, Certificate: k.certificate[:], Commitment: commitment[:],
	})
	if err != nil {
		return err
	}
	release, err := frost.ParseRelease(resp.GetRelease())
	if err != nil {
		return err
	}
	signature, err := nonces.Finish(evidence.KeyTestMessage(k.f.Installation.ID(), k.wallet, groupKey, transcript), release)
	if err != nil {
		return err
	}
	k.signature = signature[:]
	k.owned = k.f.ClaimedWallet(evidencetest.WalletConfig{ID: k.id, GroupKey: groupKey[:], RequestKey: k.requestKey})
	return nil
}

func (k *keygen) complete() (endMillis int64, err error) {
	resp, err := k.client.CompleteKeyGeneration(k.f.t.Context(), &cosignerv1.CompleteKeyGenerationRequest{
		Wallet: k.wallet, Run: k.run, Registration: k.owned.Registration, Signature: k.signature,
	})
	return resp.GetEndMillis(), err
}

func (k *keygen) seal() (*typev1.Envelope, error) {
	resp, err := k.client.SealWallet(k.f.t.Context(),
		&cosignerv1.SealWalletRequest{Registration: k.owned.Registration, GuardRails: k.owned.Claim})
	return resp.GetRecord(), err
}

func (k *keygen) end() (*cosignerv1.EndRegistrationResponse, error) {
	return k.client.EndRegistration(k.f.t.Context(), &cosignerv1.EndRegistrationRequest{Wallet: k.wallet})
}

// unclaimed runs a whole key generation.
func (f *fixture) unclaimed(id string) *keygen {
	f.t.Helper()
	k := f.newKeygen(id)
	for _, step := range []func() error{k.start, k.exchange, k.confirm} {
		if err := step(); err != nil {
			f.t.Fatalf("key generation of %s: %v", id, describe(err))
		}
	}
	if _, err := k.complete(); err != nil {
		f.t.Fatalf("CompleteKeyGeneration: %v", describe(err))
	}
	return k
}

// wallet is a sealed wallet with the agent's share.
type wallet struct {
	*evidencetest.Wallet
	f     *fixture
	share *frost.KeyShare
}

// sealed makes a wallet and claims it: number 0 is its head.
func (f *fixture) sealed(id string, owner ...string) *wallet {
	f.t.Helper()
	k := f.unclaimed(id)
	if len(owner) > 0 {
		groupKey := k.share.GroupKey()
		k.owned = f.ClaimedWallet(evidencetest.WalletConfig{ID: id, GroupKey: groupKey[:], RequestKey: k.requestKey, Owner: owner[0]})
	}
	if _, err := k.seal(); err != nil {
		f.t.Fatalf("SealWallet: %v", describe(err))
	}
	return &wallet{Wallet: k.owned, f: f, share: k.share}
}

// payable makes a wallet that pays recipients up to 5 USD without asking.
func (f *fixture) payable(id string, owner ...string) *wallet {
	f.t.Helper()
	w := f.sealed(id, owner...)
	w.deliver(w.SetGuardRails(evidencetest.Allow(f.recipient())))
	return w
}

func (w *wallet) deliver(document *typev1.Envelope) *typev1.Acknowledgement {
	w.f.t.Helper()
	resp, err := w.f.SetGuardRails(w.f.t.Context(), &cosignerv1.SetGuardRailsRequest{GuardRails: document})
	if err != nil {
		w.f.t.Fatalf("SetGuardRails: %v", describe(err))
	}
	ack, err := evidence.CheckAcknowledgement(w.f.Installation, typev1.Purpose_PURPOSE_COSIGNER, resp.GetAcknowledgement())
	if err != nil {
		w.f.t.Fatalf("acknowledgement: %v", err)
	}
	return ack
}

func (f *fixture) recipient() [32]byte { return evidencetest.Key32(f.Key("recipient")) }

// attempt is one attempt of the agent, with all evidence and its nonces.
type attempt struct {
	*evidencetest.Payment
	nonces *frost.Nonces
}

// attempt makes an honest one, now.
func (w *wallet) attempt(edit ...func(*evidencetest.PaymentConfig)) *attempt {
	w.f.t.Helper()
	nonces, commitment, err := w.share.Commit()
	if err != nil {
		w.f.t.Fatal(err)
	}
	now := w.f.clock.Now()
	c := evidencetest.PaymentConfig{To: w.f.recipient(), Now: now, Commitment: commitment}
	for _, e := range edit {
		e(&c)
	}
	a := &attempt{Payment: w.Payment(c), nonces: nonces}
	a.Judge(now, nil)
	a.Record(now, nil)
	return a
}

// ask sends the evidence to a co-signer.
func (a *attempt) ask(ctx context.Context, client cosignerv1.CosignerServiceClient) (*cosignerv1.ReleaseResponse, error) {
	return client.Release(ctx, a.request())
}

func (a *attempt) request() *cosignerv1.ReleaseRequest {
	b := a.Bundle()
	return &cosignerv1.ReleaseRequest{Message: b.Message, Request: b.Request, Verdict: b.Verdict, Receipt: b.Receipt, Review: b.Review}
}

// finish makes the signature and checks it with an independent verifier.
func (a *attempt) finish(resp *cosignerv1.ReleaseResponse) error {
	release, err := frost.ParseRelease(resp.GetRelease())
	if err != nil {
		return err
	}
	signature, err := a.nonces.Finish(a.MessageBytes, release)
	if err != nil {
		return err
	}
	if !ed25519.Verify(a.GroupKey[:], a.MessageBytes, signature[:]) {
		return fmt.Errorf("signature does not verify")
	}
	return nil
}

// pays asks for a release and completes the signature.
func (w *wallet) pays(edit ...func(*evidencetest.PaymentConfig)) error {
	a := w.attempt(edit...)
	resp, err := a.ask(w.f.t.Context(), w.f)
	if err != nil {
		return err
	}
	return a.finish(resp)
}

// describe shows a fault with its metadata.
func describe(err error) string {
	f := fault.Of(err)
	if f == nil {
		return "no error"
	}
	return fmt.Sprintf("%v %v", f, f.Metadata)
}

// wantReason fails unless err is a fault of this reason that says that nothing moved.
func wantReason(t testing.TB, err error, want typev1.Reason) {
	t.Helper()
	if err == nil {
		t.Fatalf("got no error, want %s", fault.ReasonName(want))
	}
	f := fault.Of(err)
	if f.Reason != want {
		t.Fatalf("got %s, want %s", describe(err), fault.ReasonName(want))
	}
	if f.MoneyMoved != typev1.MoneyMoved_MONEY_MOVED_NO {
		t.Fatalf("%s: money_moved %s, want NO", describe(err), f.MoneyMoved)
	}
}

// keys lists what the store holds below a prefix.
func (f *fixture) keys(prefix string) []string {
	f.t.Helper()
	resp, err := f.kv.Get(f.t.Context(), prefix, clientv3.WithPrefix(), clientv3.WithKeysOnly())
	if err != nil {
		f.t.Fatal(err)
	}
	var keys []string
	for _, kv := range resp.Kvs {
		keys = append(keys, string(kv.Key))
	}
	return keys
}

func (f *fixture) value(key string) []byte {
	f.t.Helper()
	resp, err := f.kv.Get(f.t.Context(), key)
	if err != nil {
		f.t.Fatal(err)
	}
	if len(resp.Kvs) == 0 {
		f.t.Fatalf("%s holds nothing", key)
	}
	return resp.Kvs[0].Value
}
