package cosigner_test

import (
	"bytes"
	"crypto/ed25519"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/halfkey/halfkey/frost"
	"github.com/halfkey/halfkey/internal/evidence"
	"github.com/halfkey/halfkey/internal/evidence/evidencetest"
	cosignerv1 "github.com/halfkey/halfkey/proto/gen/halfkey/cosigner/v1"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
	"github.com/halfkey/halfkey/services/cosigner"
)

// Key generation over gRPC, the claim, and a payment whose signature crypto/ed25519 verifies.
func TestWalletFromRegistrationToPayment(t *testing.T) {
	f := newFixture(t)
	k := f.unclaimed("research")
	if got := f.keys("keygens/"); len(got) != 0 {
		t.Errorf("after completion the store still holds %v", got)
	}
	record, err := k.seal()
	if err != nil {
		t.Fatalf("SealWallet: %s", describe(err))
	}
	if _, err := evidence.CheckWallet(f.Installation, k.owned.Registration, k.owned.Claim, record); err != nil {
		t.Errorf("the three documents do not name each other: %v", err)
	}
	if got := f.keys("registrations/"); len(got) != 0 {
		t.Errorf("after the claim the store still holds %v", got)
	}
	w := &wallet{Wallet: k.owned, f: f, share: k.share}
	wantReason(t, w.pays(), typev1.Reason_REASON_NO_GUARD_RAILS)
	ack := w.deliver(w.SetGuardRails(evidencetest.Allow(f.recipient())))
	if ack.GetKind() != typev1.Acknowledged_ACKNOWLEDGED_GUARD_RAILS || ack.GetGuardRailsNumber() != 1 ||
		!w.Head.Digest.Is(ack.GetGuardRailsDigest()) {
		t.Errorf("acknowledged %v", ack)
	}
	if err := w.pays(); err != nil {
		t.Errorf("payment: %s", describe(err))
	}
	got, err := f.GetWallet(t.Context(), &cosignerv1.GetWalletRequest{Wallet: w.Name})
	if err != nil {
		t.Fatalf("GetWallet: %s", describe(err))
	}
	want := &cosignerv1.GetWalletResponse{Record: record, GuardRails: w.Head.Envelope}
	if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" {
		t.Errorf("GetWallet (-want +got):\n%s", diff)
	}
}

// Every call may be repeated, also after a later one, and answers the same: an answer that was lost on its way ends nothing.
func TestKeyGenerationRepeats(t *testing.T) {
	f := newFixture(t)
	other := f.replica()
	k := f.newKeygen("research")
	twice := func(step func() error) {
		t.Helper()
		for _, client := range []cosignerv1.CosignerServiceClient{f, other} {
			k.client = client
			if err := step(); err != nil {
				t.Fatal(describe(err))
			}
		}
	}
	begin := func() *cosignerv1.StartKeyGenerationResponse {
		t.Helper()
		resp, err := other.StartKeyGeneration(t.Context(), &cosignerv1.StartKeyGenerationRequest{Start: k.startE})
		if err != nil {
			t.Fatalf("StartKeyGeneration: %s", describe(err))
		}
		return resp
	}
	if err := k.start(); err != nil {
		t.Fatal(describe(err))
	}
	first := begin()
	round1 := k.generation.Round1()
	twice(k.exchange)
	if diff := cmp.Diff(first, begin(), protocmp.Transform()); diff != "" {
		t.Errorf("start again after the exchange (-first +again):\n%s", diff)
	}
	twice(k.confirm)
	if diff := cmp.Diff(first, begin(), protocmp.Transform()); diff != "" {
		t.Errorf("start again after the confirmation (-first +again):\n%s", diff)
	}
	resp, err := f.ExchangeKeyGeneration(t.Context(), &cosignerv1.ExchangeKeyGenerationRequest{Wallet: k.wallet, Run: k.run, Round1: round1})
	if err != nil || len(resp.GetCertificate()) != 64 {
		t.Errorf("exchange again after the confirmation: %s", describe(err))
	}
	end := start.Add(cosigner.RegistrationLife).UnixMilli()
	twice(func() error {
		got, err := k.complete()
		if err == nil && got != end {
			t.Errorf("ends at %d, want %d", got, end)
		}
		return err
	})
	if _, err := k.seal(); err != nil {
		t.Fatal(describe(err))
	}
	if got, err := k.complete(); err != nil || got != 0 {
		t.Errorf("completion again after the claim: end %d, %s; want 0", got, describe(err))
	}
	wantReason(t, k.start(), typev1.Reason_REASON_ALREADY_EXISTS)
}

// The run's secrets are gone from the row as soon as the share is made, and the lease does not live on without it.
func TestKeyGenerationStateIsErased(t *testing.T) {
	f := newFixture(t)
	k := f.newKeygen("research")
	for i, step := range []func() error{k.start, k.exchange, k.confirm} {
		if err := step(); err != nil {
			t.Fatal(describe(err))
		}
		if got, want := bytes.Contains(f.value("keygens/research"), []byte(`"State"`)), i < 2; got != want {
			t.Errorf("after step %d the row holds the run's state: %t, want %t", i+1, got, want)
		}
	}
	resp, err := f.kv.Get(t.Context(), "keygens/research")
	if err != nil || len(resp.Kvs) != 1 {
		t.Fatalf("Get: %v", err)
	}
	if resp.Kvs[0].Lease == 0 {
		t.Error("a run between two calls is on no lease")
	}
	if _, err := k.complete(); err != nil {
		t.Fatal(describe(err))
	}
	if resp, err = f.kv.Get(t.Context(), "registrations/research"); err != nil || len(resp.Kvs) != 1 || resp.Kvs[0].Lease != 0 {
		t.Errorf("the registration is on lease %v, %v; want none", resp.Kvs, err)
	}
}

// A relay stands between agent and co-signer. Whatever it does, either the run fails or both made the same key; a test
// signature never verifies over anything else.
func TestRelayMakesNoWallet(t *testing.T) {
	flipped := func(b []byte, at int) []byte {
		b = bytes.Clone(b)
		b[(at+len(b))%len(b)] ^= 1
		return b
	}
	exchange := func(k *keygen, round1 []byte) error {
		resp, err := k.client.ExchangeKeyGeneration(k.f.t.Context(),
			&cosignerv1.ExchangeKeyGenerationRequest{Wallet: k.wallet, Run: k.run, Round1: round1})
		if err != nil {
			return err
		}
		return k.exchanged(resp.GetCertificate())
	}
	// another is a second run of the same agent, complete up to its exchange.
	another := func(k *keygen) *keygen {
		o := k.f.newKeygen(k.id + "-2")
		o.requestKey = k.requestKey
		if err := o.start(); err != nil {
			k.f.t.Fatal(describe(err))
		}
		return o
	}
	for _, tt := range []struct {
		name string
		run  func(k *keygen) error
	}{
		{"answer's static key altered", func(k *keygen) error {
			if err := k.start(); err != nil {
				return err
			}
			resp, err := k.client.StartKeyGeneration(k.f.t.Context(), &cosignerv1.StartKeyGenerationRequest{Start: k.startE})
			if err != nil {
				return err
			}
			var a typev1.KeyGenerationAnswer
			k.f.Decode(resp.GetAnswer(), &a)
			own, err := frost.NewStaticKey()
			if err != nil {
				return err
			}
			public := own.Public()
			a.StaticKey = public[:]
			payload, err := evidence.Marshal(&a)
			if err != nil {
				return err
			}
			resp.Answer.Payload = payload
			return k.started(resp)
		}},
		{"answer of another run", func(k *keygen) error {
			if err := k.start(); err != nil {
				return err
			}
			o := another(k)
			resp, err := k.client.StartKeyGeneration(k.f.t.Context(), &cosignerv1.StartKeyGenerationRequest{Start: o.startE})
			if err != nil {
				return err
			}
			return k.started(resp)
		}},
		{"start with the relay's static key", func(k *keygen) error {
			if err := k.start(); err != nil {
				return err
			}
			var s typev1.KeyGenerationStart
			k.f.Decode(k.startE, &s)
			s.Run = flipped(s.GetRun(), 0)
			s.StaticKey = flipped(s.GetStaticKey(), 0)
			payload, err := evidence.Marshal(&s)
			if err != nil {
				return err
			}
			forged := proto.CloneOf(k.startE)
			forged.Payload = payload
			_, err = k.client.StartKeyGeneration(k.f.t.Context(), &cosignerv1.StartKeyGenerationRequest{Start: forged})
			return err
		}},
		{"agent's message altered: commitment", func(k *keygen) error {
			if err := k.start(); err != nil {
				return err
			}
			return exchange(k, flipped(k.generation.Round1(), 0))
		}},
		{"agent's message altered: last byte", func(k *keygen) error {
			if err := k.start(); err != nil {
				return err
			}
			return exchange(k, flipped(k.generation.Round1(), -1))
		}},
		{"agent's message cut", func(k *keygen) error {
			if err := k.start(); err != nil {
				return err
			}
			return exchange(k, k.generation.Round1()[1:])
		}},
		{"agent's message replaced by the co-signer's own", func(k *keygen) error {
			if err := k.start(); err != nil {
				return err
			}
			return exchange(k, k.peerRound1)
		}},
		{"agent's message of another run", func(k *keygen) error {
			if err := k.start(); err != nil {
				return err
			}
			return exchange(k, another(k).generation.Round1())
		}},
		{"co-signer's message altered", func(k *keygen) error {
			if err := k.start(); err != nil {
				return err
			}
			k.peerRound1 = flipped(k.peerRound1, 40)
			return k.exchange()
		}},
		{"co-signer's message of another run", func(k *keygen) error {
			if err := k.start(); err != nil {
				return err
			}
			k.peerRound1 = another(k).peerRound1
			return k.exchange()
		}},
		{"co-signer's message replaced by the agent's own", func(k *keygen) error {
			if err := k.start(); err != nil {
				return err
			}
			k.peerRound1 = k.generation.Round1()
			return k.exchange()
		}},
		{"co-signer's certificate altered", func(k *keygen) error {
			if err := k.start(); err != nil {
				return err
			}
			resp, err := k.client.ExchangeKeyGeneration(k.f.t.Context(), &cosignerv1.ExchangeKeyGenerationRequest{
				Wallet: k.wallet, Run: k.run, Round1: k.generation.Round1(),
			})
			if err != nil {
				return err
			}
			return k.exchanged(flipped(resp.GetCertificate(), 33))
		}},
		{"agent's certificate altered", func(k *keygen) error {
			if err := run(k.start, k.exchange); err != nil {
				return err
			}
			k.certificate[33] ^= 1
			return k.confirm()
		}},
		{"agent's certificate of another run", func(k *keygen) error {
			if err := run(k.start, k.exchange); err != nil {
				return err
			}
			o := another(k)
			if err := o.exchange(); err != nil {
				return err
			}
			k.certificate = o.certificate
			return k.confirm()
		}},
		{"confirmation before the exchange", func(k *keygen) error {
			if err := k.start(); err != nil {
				return err
			}
			_, err := k.client.ConfirmKeyGeneration(k.f.t.Context(), &cosignerv1.ConfirmKeyGenerationRequest{
				Wallet: k.wallet, Run: k.run, Certificate: make([]byte, 64), Commitment: honestCommitment(k.f),
			})
			return err
		}},
		{"completion before the confirmation", func(k *keygen) error {
			if err := run(k.start, k.exchange); err != nil {
				return err
			}
			groupKey := k.share.GroupKey()
			k.owned = k.f.ClaimedWallet(evidencetest.WalletConfig{ID: k.id, GroupKey: groupKey[:], RequestKey: k.requestKey})
			_, err := k.complete()
			return err
		}},
		{"test signature altered", func(k *keygen) error {
			if err := run(k.start, k.exchange, k.confirm); err != nil {
				return err
			}
			k.signature = flipped(k.signature, 40)
			_, err := k.complete()
			return err
		}},
		{"test signature left out", func(k *keygen) error {
			if err := run(k.start, k.exchange, k.confirm); err != nil {
				return err
			}
			k.signature = nil
			_, err := k.complete()
			return err
		}},
		{"registration of another group key", func(k *keygen) error {
			if err := run(k.start, k.exchange, k.confirm); err != nil {
				return err
			}
			k.owned = k.f.ClaimedWallet(evidencetest.WalletConfig{
				ID: k.id, GroupKey: evidencetest.Public(k.f.Key("relay")), RequestKey: k.requestKey,
			})
			_, err := k.complete()
			return err
		}},
		{"registration under the relay's request key", func(k *keygen) error {
			if err := run(k.start, k.exchange, k.confirm); err != nil {
				return err
			}
			groupKey := k.share.GroupKey()
			k.owned = k.f.ClaimedWallet(evidencetest.WalletConfig{ID: k.id, GroupKey: groupKey[:], RequestKey: k.f.Key("relay")})
			_, err := k.complete()
			return err
		}},
		{"registration of another wallet", func(k *keygen) error {
			if err := run(k.start, k.exchange, k.confirm); err != nil {
				return err
			}
			groupKey := k.share.GroupKey()
			k.owned = k.f.ClaimedWallet(evidencetest.WalletConfig{ID: "other", GroupKey: groupKey[:], RequestKey: k.requestKey})
			_, err := k.complete()
			return err
		}},
		{"run of another id", func(k *keygen) error {
			if err := run(k.start, k.exchange, k.confirm); err != nil {
				return err
			}
			k.run = flipped(k.run, 3)
			_, err := k.complete()
			return err
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := newFixture(t)
			k := f.newKeygen("research")
			if err := tt.run(k); err == nil {
				t.Error("the run went through")
			}
			if got := slices.Concat(f.keys("registrations/"), f.keys("records/"), f.keys("shares/")); len(got) > 0 {
				t.Errorf("the store holds %v", got)
			}
			if tt.name == "agent's certificate altered" {
				k.certificate[33] ^= 1
				if err := k.confirm(); err != nil {
					t.Errorf("the honest certificate afterwards: %s", describe(err))
				}
			}
		})
	}
}

func run(steps ...func() error) error {
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

func honestCommitment(f *fixture) []byte {
	return slices.Concat(evidencetest.Public(f.Key("D")), evidencetest.Public(f.Key("E")))
}

// A message that does not check ends the run: its polynomial is never tried with another.
func TestBadMessageEndsTheRun(t *testing.T) {
	f := newFixture(t)
	k := f.newKeygen("research")
	if err := k.start(); err != nil {
		t.Fatal(describe(err))
	}
	bad := k.generation.Round1()
	bad[0] ^= 1
	_, err := f.ExchangeKeyGeneration(t.Context(), &cosignerv1.ExchangeKeyGenerationRequest{Wallet: k.wallet, Run: k.run, Round1: bad})
	wantReason(t, err, typev1.Reason_REASON_KEY_GENERATION_FAILED)
	wantReason(t, k.exchange(), typev1.Reason_REASON_NOT_FOUND)
	if !strings.Contains(f.log.String(), "tampered") {
		t.Error("the operator is not told")
	}
	// A certified run takes no other message either, and stays.
	k = f.newKeygen("research")
	if err := run(k.start, k.exchange); err != nil {
		t.Fatal(describe(err))
	}
	_, err = f.ExchangeKeyGeneration(t.Context(), &cosignerv1.ExchangeKeyGenerationRequest{Wallet: k.wallet, Run: k.run, Round1: bad})
	wantReason(t, err, typev1.Reason_REASON_KEY_GENERATION_FAILED)
	if err := k.confirm(); err != nil {
		t.Errorf("the certified run: %s", describe(err))
	}
}

func TestStartRefusals(t *testing.T) {
	f := newFixture(t)
	k := f.newKeygen("research")
	if err := k.start(); err != nil {
		t.Fatal(describe(err))
	}
	send := func(key ed25519.PrivateKey, edit func(*typev1.KeyGenerationStart)) error {
		var s typev1.KeyGenerationStart
		f.Decode(k.startE, &s)
		edit(&s)
		_, err := f.StartKeyGeneration(t.Context(), &cosignerv1.StartKeyGenerationRequest{Start: f.SignLoose(key, &s)})
		return err
	}
	smallOrder := make([]byte, 32) // y = 0: a point of order 4
	for _, tt := range []struct {
		name string
		key  ed25519.PrivateKey
		edit func(*typev1.KeyGenerationStart)
		want typev1.Reason
	}{
		{"another key's signature", f.Key("other"), func(*typev1.KeyGenerationStart) {}, typev1.Reason_REASON_BAD_STATEMENT},
		{
			"another installation", k.requestKey, func(s *typev1.KeyGenerationStart) { s.Installation = "other" },
			typev1.Reason_REASON_EVIDENCE_MISMATCH,
		},
		{"same run, other content", k.requestKey, func(s *typev1.KeyGenerationStart) { s.Handle = "other" }, typev1.Reason_REASON_ALREADY_EXISTS},
		{"another agent's key", f.Key("other"), func(s *typev1.KeyGenerationStart) {
			s.RequestKey, s.Run = evidencetest.Public(f.Key("other")), bytes.Repeat([]byte{1}, 16)
		}, typev1.Reason_REASON_ALREADY_EXISTS},
		{"static key of small order", k.requestKey, func(s *typev1.KeyGenerationStart) {
			s.Wallet, s.StaticKey = "wallets/new", smallOrder
		}, typev1.Reason_REASON_INVALID_ARGUMENT},
		{"no wallet's name", k.requestKey, func(s *typev1.KeyGenerationStart) { s.Wallet = "wallets/A/b" }, typev1.Reason_REASON_BAD_STATEMENT},
		{"run of 15 bytes", k.requestKey, func(s *typev1.KeyGenerationStart) { s.Run = s.GetRun()[1:] }, typev1.Reason_REASON_BAD_STATEMENT},
	} {
		t.Run(tt.name, func(t *testing.T) { wantReason(t, send(tt.key, tt.edit), tt.want) })
	}
	if got, want := f.keys("keygens/"), []string{"keygens/research"}; !slices.Equal(got, want) {
		t.Errorf("the store holds %v, want %v", got, want)
	}
}

// The same agent may begin anew while nothing is made; the old run is over then.
func TestNewRunTakesTheOldOnesPlace(t *testing.T) {
	f := newFixture(t)
	old := f.newKeygen("research")
	if err := run(old.start, old.exchange); err != nil {
		t.Fatal(describe(err))
	}
	again := f.newKeygen("research")
	if err := run(again.start, again.exchange, again.confirm); err != nil {
		t.Fatal(describe(err))
	}
	wantReason(t, old.confirm(), typev1.Reason_REASON_NOT_FOUND)
	if _, err := again.complete(); err != nil {
		t.Fatal(describe(err))
	}
	wantReason(t, f.newKeygen("research").start(), typev1.Reason_REASON_ALREADY_EXISTS)
}

func TestOpenKeyGenerationsAreBounded(t *testing.T) {
	f := newFixture(t, func(c *cosigner.Config) { c.KeyGenerationsMax, c.RegistrationsMax = 2, 2 })
	a, b := f.newKeygen("a"), f.newKeygen("b")
	if err := run(a.start, b.start); err != nil {
		t.Fatal(describe(err))
	}
	c := f.newKeygen("c")
	wantReason(t, c.start(), typev1.Reason_REASON_LIMIT_EXCEEDED)
	if err := a.start(); err != nil {
		t.Errorf("repeat of an open run: %s", describe(err))
	}
	for _, k := range []*keygen{a, b} {
		if err := run(k.exchange, k.confirm); err != nil {
			t.Fatal(describe(err))
		}
		if _, err := k.complete(); err != nil {
			t.Fatal(describe(err))
		}
	}
	wantReason(t, c.start(), typev1.Reason_REASON_LIMIT_EXCEEDED) // two registrations wait for their claim
	if _, err := a.seal(); err != nil {
		t.Fatal(describe(err))
	}
	if err := c.start(); err != nil {
		t.Errorf("after a claim there is room: %s", describe(err))
	}
}

// Stopping after any step leaves nothing that can be claimed.
func TestEitherSideStopsEarly(t *testing.T) {
	for n := range 4 {
		f := newFixture(t)
		k := f.newKeygen("research")
		if err := run([]func() error{k.start, k.exchange, k.confirm}[:n]...); err != nil {
			t.Fatal(describe(err))
		}
		if k.owned == nil {
			k.owned = f.ClaimedWallet(evidencetest.WalletConfig{ID: k.id, RequestKey: k.requestKey})
		}
		_, err := k.seal()
		wantReason(t, err, typev1.Reason_REASON_NOT_FOUND)
		_, err = k.end()
		wantReason(t, err, typev1.Reason_REASON_NOT_FOUND)
		if got := slices.Concat(f.keys("records/"), f.keys("shares/"), f.keys("handles/")); len(got) > 0 {
			t.Errorf("after %d steps the store holds %v", n, got)
		}
	}
}

// Two replicas that are brought different messages certify one transcript.
func TestRacingExchanges(t *testing.T) {
	f := newFixture(t)
	other := f.replica()
	for range 10 {
		k := f.newKeygen("research")
		if err := k.start(); err != nil {
			t.Fatal(describe(err))
		}
		// The agent's side of the same run, drawn again: another valid message.
		first := k.generation.Round1()
		resp, err := f.StartKeyGeneration(t.Context(), &cosignerv1.StartKeyGenerationRequest{Start: k.startE})
		if err != nil {
			t.Fatal(describe(err))
		}
		if err := k.started(resp); err != nil {
			t.Fatal(err)
		}
		second := k.generation.Round1()
		certificates := make(chan []byte, 2)
		for client, round1 := range map[cosignerv1.CosignerServiceClient][]byte{f: first, other: second} {
			go func() {
				resp, _ := client.ExchangeKeyGeneration(t.Context(),
					&cosignerv1.ExchangeKeyGenerationRequest{Wallet: k.wallet, Run: k.run, Round1: round1})
				certificates <- resp.GetCertificate()
			}()
		}
		a, b := <-certificates, <-certificates
		if (a == nil) == (b == nil) {
			t.Errorf("certificates %t and %t, want exactly one", a != nil, b != nil)
		}
	}
}

// A test signature is over bytes that no decoder takes for a payment.
func TestKeyTestPaysNothing(t *testing.T) {
	f := newFixture(t)
	k := f.newKeygen("research")
	if err := run(k.start, k.exchange, k.confirm); err != nil {
		t.Fatal(describe(err))
	}
	transcript, err := k.generation.TranscriptDigest()
	if err != nil {
		t.Fatal(err)
	}
	groupKey := k.share.GroupKey()
	message := evidence.KeyTestMessage(f.Installation.ID(), k.wallet, groupKey, transcript)
	if !ed25519.Verify(groupKey[:], message, k.signature) {
		t.Error("the test signature does not verify over the key-test message")
	}
	if message[0] != 0xff || !bytes.HasPrefix(message[1:], []byte("halfkey/keygen-test/v1")) {
		t.Errorf("the key-test message begins with % x", message[:8])
	}
}
