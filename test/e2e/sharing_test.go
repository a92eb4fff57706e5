package e2e_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"filippo.io/edwards25519"

	"github.com/halfkey/halfkey/client"
	"github.com/halfkey/halfkey/frost"
	"github.com/halfkey/halfkey/internal/etcdstore"
	"github.com/halfkey/halfkey/internal/etcdstore/embedded"
	"github.com/halfkey/halfkey/internal/evidence"
	cosignerv1 "github.com/halfkey/halfkey/proto/gen/halfkey/cosigner/v1"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// The states of a resharing, short.
const (
	ordered         = typev1.ResharingState_RESHARING_STATE_ORDERED
	recoveryPending = typev1.ResharingState_RESHARING_STATE_RECOVERY_PENDING
	reshared        = typev1.ResharingState_RESHARING_STATE_DONE
)

// secret is what an agent's file in a home holds of its key, read past the SDK as a thief reads it.
type secret struct {
	share *frost.KeyShare
	// unfinished says that the home does not know yet which share is in force.
	unfinished bool
}

// secretOf reads the only agent's secret of a home.
func secretOf(t *testing.T, home *client.Home) secret {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(home.Dir(), "keys", "agent-*"))
	if err != nil || len(files) != 1 {
		t.Fatalf("%s has the agent files %v, %v, want one", home.Dir(), files, err)
	}
	b, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Share   []byte          `json:"share"`
		Attempt json.RawMessage `json:"resharing_attempt"`
		Pending json.RawMessage `json:"pending_share"`
	}
	if err := json.Unmarshal(b, &file); err != nil {
		t.Fatal(err)
	}
	share, err := frost.ParseKeyShare(file.Share)
	if err != nil {
		t.Fatal(err)
	}
	return secret{share: share, unfinished: file.Attempt != nil || file.Pending != nil}
}

// beside is a path beside the installation's directory, which lives as long as the world does.
func (w *world) beside(name string) string { return filepath.Join(filepath.Dir(w.Dir()), name) }

// copyHome copies a home, as a thief does, or an owner who works on another machine.
func (w *world) copyHome(t *testing.T, home *client.Home) *client.Home {
	t.Helper()
	dir := w.beside("home-" + rand.Text())
	if err := copyTree(dir, home.Dir()); err != nil {
		t.Fatal(err)
	}
	copied, err := client.OpenHome(dir)
	if err != nil {
		t.Fatal(err)
	}
	return copied
}

// reopened is the payer as a program that has just been started knows it: by its home alone.
func (w *world) reopened(t *testing.T) *client.Agent {
	t.Helper()
	a, err := w.Client(w.home).Agent(w.payer.Wallet())
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// thief is who has a copy of the payer's home, made now, and what it found there.
type thief struct {
	agent *client.Agent
	share *frost.KeyShare
}

func (w *world) steal(t *testing.T) thief {
	t.Helper()
	loot := w.copyHome(t, w.home)
	a, err := w.Client(loot).Agent(w.payer.Wallet())
	if err != nil {
		t.Fatal(err)
	}
	return thief{agent: a, share: secretOf(t, loot).share}
}

// sharing asks the co-signer, past the gateway, how the payer's key is shared, and how far the newest order has come.
func (w *world) sharing(ctx context.Context, t *testing.T) (uint64, *typev1.Resharing) {
	t.Helper()
	got, err := cosignerv1.NewCosignerServiceClient(w.crasher.conn("cosigner")).
		GetResharing(ctx, &cosignerv1.GetResharingRequest{Wallet: w.payer.Wallet()})
	if err != nil {
		t.Fatal(err)
	}
	return got.GetEpoch(), got.GetResharing()
}

// wantSharing demands that agent and co-signer have one sharing of the payer's key, of this epoch and nothing half made, and
// that the wallet pays with it under the key that it always had.
func (w *world) wantSharing(ctx context.Context, t *testing.T, epoch uint64, state typev1.ResharingState) {
	t.Helper()
	own := secretOf(t, w.home)
	if own.unfinished {
		t.Error("the agent's home is still in the middle of a resharing")
	}
	if got := own.share.Sharing(); got.Epoch() != epoch || got.GroupKey() != w.payer.GroupKey() {
		t.Errorf("the agent's share is of epoch %d and key %x, want %d and %x", got.Epoch(), got.GroupKey(), epoch, w.payer.GroupKey())
	}
	inForce, told := w.sharing(ctx, t)
	var record typev1.SharingRecord
	if err := evidence.Peek(told.GetRecord(), &record); err != nil {
		t.Fatal(err)
	}
	if inForce != epoch || told.GetState() != state || !bytes.Equal(record.GetSharing(), own.share.Sharing().Bytes()) {
		t.Errorf("the co-signer is in epoch %d, %v, and has the agent's sharing %t; want %d, %v, true", inForce, told.GetState(),
			bytes.Equal(record.GetSharing(), own.share.Sharing().Bytes()), epoch, state)
	}
	w.wantPays(ctx, t, w.reopened(t), usd)
}

// wantPowerless demands that a thief's share makes the wallet's key with no share of the sharing in force: what a signature
// verifies under follows from the public shares of the two who make it.
func (w *world) wantPowerless(t *testing.T, stolen *frost.KeyShare) {
	t.Helper()
	now := secretOf(t, w.home).share.Sharing()
	for _, other := range now.Participants() {
		if other == frost.Agent {
			continue
		}
		if keyOf(t, now, now, other) != w.payer.GroupKey() {
			t.Errorf("share 1 and %s of epoch %d do not make the wallet's key", other, now.Epoch())
		}
		if keyOf(t, stolen.Sharing(), now, other) == w.payer.GroupKey() {
			t.Errorf("share 1 of epoch %d signs with %s of epoch %d", stolen.Epoch(), other, now.Epoch())
		}
	}
}

// keyOf is the public key that share 1 of one sharing and another participant's share of another one make together:
// lambda_1·Y_1 + lambda_j·Y_j with lambda_1 = j/(j-1) and lambda_j = -1/(j-1).
func keyOf(t *testing.T, one, other *frost.Sharing, participant frost.Identifier) [32]byte {
	t.Helper()
	scalar := func(n frost.Identifier) *edwards25519.Scalar {
		s, err := edwards25519.NewScalar().SetCanonicalBytes(append([]byte{byte(n)}, make([]byte, 31)...))
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	public := func(s *frost.Sharing, of frost.Identifier) *edwards25519.Point {
		b, ok := s.PublicShare(of)
		if !ok {
			t.Fatalf("the sharing of epoch %d has no share of %s", s.Epoch(), of)
		}
		p, err := new(edwards25519.Point).SetBytes(b[:])
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	inverse := edwards25519.NewScalar().Invert(scalar(participant - frost.Agent))
	first := edwards25519.NewScalar().Multiply(scalar(participant), inverse)
	second := edwards25519.NewScalar().Negate(inverse)
	sum := new(edwards25519.Point).ScalarMult(first, public(one, frost.Agent))
	sum.Add(sum, new(edwards25519.Point).ScalarMult(second, public(other, participant)))
	return [32]byte(sum.Bytes())
}

// wantRefused demands that a thief by its stolen request key is let in nowhere.
func (w *world) wantRefused(ctx context.Context, t *testing.T, who thief) {
	t.Helper()
	_, err := who.agent.Pay(ctx, client.Order{Recipient: w.shop.Wallet(), Units: 1})
	if client.ReasonOf(err) != typev1.Reason_REASON_UNAUTHENTICATED {
		t.Errorf("a payment by a stolen request key: %v, want UNAUTHENTICATED", err)
	}
	if _, err := who.agent.Reshare(ctx); client.ReasonOf(err) != typev1.Reason_REASON_UNAUTHENTICATED {
		t.Errorf("new shares for a stolen request key: %v, want UNAUTHENTICATED", err)
	}
}

// epochs lists the epochs of the shares in the co-signer's store of a dead installation.
func (w *world) epochs(t *testing.T) []uint64 {
	t.Helper()
	server, err := embedded.Start(t.Context(), embedded.Config{Dir: filepath.Join(w.Dir(), "etcd")})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	}()
	kv, err := server.KV("cosigner")
	if err != nil {
		t.Fatal(err)
	}
	prefix := "shares/" + strings.TrimPrefix(w.payer.Wallet(), "wallets/") + "/"
	items, more, err := etcdstore.List(t.Context(), kv, prefix, "", 10)
	if err != nil || more {
		t.Fatal(err, more)
	}
	var all []uint64
	for _, item := range items {
		epoch, err := strconv.ParseUint(strings.TrimPrefix(item.Key, prefix), 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, epoch)
	}
	return all
}

// wantEpochs demands which epochs' shares a dead installation's co-signer holds.
func (w *world) wantEpochs(t *testing.T, want ...uint64) {
	t.Helper()
	if got := w.epochs(t); !slices.Equal(got, want) {
		t.Errorf("the co-signer holds shares of the epochs %v, want %v", got, want)
	}
}

// passphrase is the recovery file's; a call wipes the one that it is given.
func passphrase() []byte { return []byte("correct horse battery staple") }

// wantExit demands that the recovery file and the agent's home sign together, and what they sign verifies under the wallet's key.
func (w *world) wantExit(t *testing.T) {
	t.Helper()
	message := []byte("everything to the owner")
	signature, err := client.ExitSign(w.reopened(t), w.recovery, passphrase(), message)
	if err != nil {
		t.Fatalf("the exit: %v", err)
	}
	if key := w.payer.GroupKey(); !ed25519.Verify(key[:], message, signature[:]) {
		t.Errorf("the exit's signature does not verify under %x", key)
	}
}
