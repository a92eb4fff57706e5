package cosigner_test

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"filippo.io/edwards25519"
	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/tink"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/halfkey/halfkey/frost"
	"github.com/halfkey/halfkey/internal/evidence"
	"github.com/halfkey/halfkey/internal/evidence/evidencetest"
	cosignerv1 "github.com/halfkey/halfkey/proto/gen/halfkey/cosigner/v1"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
	"github.com/halfkey/halfkey/services/cosigner"
)

func TestOpenKEK(t *testing.T) {
	path := filepath.Join(t.TempDir(), "kek.json")
	var wait sync.WaitGroup
	keks := make([]tink.AEAD, 4)
	for n := range keks {
		wait.Go(func() {
			var err error
			if keks[n], err = cosigner.OpenKEK(path); err != nil {
				t.Error(err)
			}
		})
	}
	wait.Wait()
	if t.Failed() {
		t.FailNow()
	}
	sealed, err := keks[0].Encrypt([]byte("secret"), nil)
	if err != nil {
		t.Fatal(err)
	}
	for n, kek := range keks {
		if got, err := kek.Decrypt(sealed, nil); err != nil || string(got) != "secret" {
			t.Errorf("opener %d has another key: %v", n, err)
		}
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v; want 0600", info.Mode(), err)
	}
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(entries) != 1 {
		t.Errorf("the directory holds %v, %v; want the keyset alone", entries, err)
	}
}

func TestOpenKEKRefusals(t *testing.T) {
	good := filepath.Join(t.TempDir(), "good")
	if _, err := cosigner.OpenKEK(good); err != nil {
		t.Fatal(err)
	}
	keyset, err := os.ReadFile(good)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name    string
		content []byte
		mode    fs.FileMode
	}{
		{"readable by the group", keyset, 0o640},
		{"readable by all", keyset, 0o604},
		{"empty", nil, 0o600},
		{"cut", keyset[:len(keyset)-10], 0o600},
		{"no keyset", []byte("-----BEGIN PRIVATE KEY-----"), 0o600},
		{"too large", bytes.Repeat([]byte(" "), 1<<20), 0o600},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "kek")
			if err := os.WriteFile(path, tt.content, tt.mode); err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(path, tt.mode); err != nil {
				t.Fatal(err)
			}
			_, err := cosigner.OpenKEK(path)
			if err == nil {
				t.Fatal("it was taken")
			}
			if secret := keyset[len(keyset)/2:][:12]; bytes.Contains([]byte(err.Error()), secret) {
				t.Errorf("the error quotes the file: %v", err)
			}
			if got, _ := os.ReadFile(path); !bytes.Equal(got, tt.content) {
				t.Error("the file was changed")
			}
		})
	}
	if _, err := cosigner.OpenKEK(t.TempDir()); err == nil {
		t.Error("a directory was taken")
	}
	if _, err := cosigner.OpenKEK(filepath.Join(t.TempDir(), "no", "such", "directory")); err == nil {
		t.Error("a file was made nowhere")
	}
}

// A store opens only under the key and for the installation that it was sealed for, and only whole.
func TestNewRefusesAnotherStore(t *testing.T) {
	f := newFixture(t)
	f.payable("research")
	for _, tt := range []struct {
		name string
		edit func(*cosigner.Config)
	}{
		{"another key-encryption key", func(c *cosigner.Config) { c.KEK = newKEK(t) }},
		{"another installation", func(c *cosigner.Config) {
			other := evidencetest.NewWith(t, evidencetest.Config{ID: "other"})
			c.Installations, c.Key = other.Installations, other.Cosigner
		}},
		{"another record key", func(c *cosigner.Config) { c.Key = f.Key("other") }},
		{"no record key", func(c *cosigner.Config) { c.Key = nil }},
		{"no key-encryption key", func(c *cosigner.Config) { c.KEK = nil }},
		{"no store", func(c *cosigner.Config) { c.KV = nil }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := f.config
			tt.edit(&c)
			if _, err := cosigner.New(c); err == nil {
				t.Error("it opens")
			}
		})
	}
	if _, err := f.kv.Delete(t.Context(), "root"); err != nil {
		t.Fatal(err)
	}
	if _, err := cosigner.New(f.config); err == nil {
		t.Error("a store that lost its root opens")
	}
	if got := f.keys("root"); len(got) > 0 {
		t.Error("a new root was made over old rows")
	}
}

// Replicas that start at once on an empty store agree on its root.
func TestRacingStarts(t *testing.T) {
	f := newFixture(t) // its own service keeps the root that is taken away below, and is not asked again
	if _, err := f.kv.Delete(t.Context(), "", clientv3.WithPrefix()); err != nil {
		t.Fatal(err)
	}
	var wait sync.WaitGroup
	clients := make([]cosignerv1.CosignerServiceClient, 4)
	for n := range clients {
		wait.Go(func() { clients[n] = f.replica() })
	}
	wait.Wait()
	if t.Failed() {
		return
	}
	f.CosignerServiceClient = clients[0]
	w := f.payable("research")
	for n, client := range clients {
		a := w.attempt()
		resp, err := a.ask(t.Context(), client)
		if err == nil {
			err = a.finish(resp)
		}
		if err != nil {
			t.Errorf("replica %d: %s", n, describe(err))
		}
	}
}

// A service that is opened again on its store goes on where it was.
func TestRestart(t *testing.T) {
	f := newFixture(t)
	w := f.payable("research")
	k := f.unclaimed("waiting")
	f.of(typev1.Scope_SCOPE_INSTALLATION, "").mustFreeze("f1")
	f.CosignerServiceClient = f.replica()
	w.wantFrozen(t, "INSTALLATION", "f1")
	f.of(typev1.Scope_SCOPE_INSTALLATION, "").mustUnfreeze("f1", f.Operator, false)
	w.wantPays(t)
	k.client = f
	if _, err := k.seal(); err != nil {
		t.Error(describe(err))
	}
}

// Whoever can write to the store can destroy and roll back; he makes no share leave that the owner's documents do not allow.
func TestStoreTampering(t *testing.T) {
	thief := func(f *fixture, w *wallet) *typev1.Envelope {
		key := f.Key("thief")
		return f.Sign(key, w.NextGuardRails(func(d *typev1.GuardRails) {
			d.OwnerKeys = [][]byte{evidencetest.Public(key)}
			d.Recipients.Allow = [][]byte{evidencetest.Public(key)}
		}))
	}
	encode := func(e *typev1.Envelope) []byte {
		b, err := evidence.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	for _, tt := range []struct {
		name   string
		tamper func(f *fixture, w *wallet)
	}{
		{"head replaced by a thief's", func(f *fixture, w *wallet) { f.put("heads/research", encode(thief(f, w))) }},
		{"head replaced under the old tag", func(f *fixture, w *wallet) {
			f.put("heads/research", append(f.value("heads/research")[:32:32], encode(thief(f, w))...))
		}},
		{"head of another wallet", func(f *fixture, _ *wallet) { f.payable("other"); f.put("heads/research", f.value("heads/other")) }},
		{"another kind of row", func(f *fixture, _ *wallet) { f.put("heads/research", f.value("records/research")) }},
		{"record of another wallet", func(f *fixture, _ *wallet) { f.payable("other"); f.put("records/research", f.value("records/other")) }},
		{"record altered", func(f *fixture, _ *wallet) {
			v := f.value("records/research")
			v[len(v)-70] ^= 1
			f.put("records/research", v)
		}},
		{"head cut", func(f *fixture, _ *wallet) { f.put("heads/research", f.value("heads/research")[:31]) }},
		{"head empty", func(f *fixture, _ *wallet) { f.put("heads/research", nil) }},
		{"head gone", func(f *fixture, _ *wallet) {
			if _, err := f.kv.Delete(f.t.Context(), "heads/research"); err != nil {
				f.t.Fatal(err)
			}
		}},
		{"share row that is no epoch's", func(f *fixture, _ *wallet) { f.put("shares/research/latest", []byte("x")) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := newFixture(t)
			w := f.payable("research")
			tt.tamper(f, w)
			wantReason(t, w.pays(), typev1.Reason_REASON_INTERNAL)
			_, err := f.GetWallet(t.Context(), &cosignerv1.GetWalletRequest{Wallet: w.Name})
			wantReason(t, err, typev1.Reason_REASON_INTERNAL)
		})
	}
	t.Run("end of another registration", func(t *testing.T) {
		f := newFixture(t)
		a, b := f.unclaimed("a"), f.unclaimed("b")
		f.clock.Advance(cosigner.RegistrationLife + time.Second)
		if _, err := a.end(); err != nil {
			t.Fatal(describe(err))
		}
		f.put("ends/b", f.value("ends/a"))
		_, err := b.end()
		wantReason(t, err, typev1.Reason_REASON_INTERNAL)
	})
	t.Run("registration's end put off", func(t *testing.T) {
		f := newFixture(t)
		k := f.unclaimed("research")
		key, end := "registrations/research", fmt.Sprint(start.Add(cosigner.RegistrationLife).UnixMilli())
		later := bytes.Replace(f.value(key), []byte(end), []byte(fmt.Sprint(start.Add(1000*time.Hour).UnixMilli())), 1)
		f.put(key, later)
		_, err := k.seal()
		wantReason(t, err, typev1.Reason_REASON_INTERNAL)
	})
}

// bound is the associated data of a share as the documentation of sealing says it.
func bound(parts ...[]byte) []byte {
	var b []byte
	for _, p := range parts {
		b = append(binary.BigEndian.AppendUint32(b, uint32(len(p))), p...)
	}
	return b
}

// A sealed share opens for its installation, wallet, epoch, key and suite, and for nothing else.
func TestShareIsBoundToItsPlace(t *testing.T) {
	f := newFixture(t)
	w := f.payable("research")
	envelope := aead.NewKMSEnvelopeAEAD2(aead.AES256GCMKeyTemplate(), f.config.KEK)
	sealed := f.value("shares/research/00000000000000000001")
	parts := func() [][]byte {
		return [][]byte{
			[]byte("halfkey/cosigner/share/v1"), []byte("test"), []byte(w.Name), {0, 0, 0, 0, 0, 0, 0, 1}, w.GroupKey[:], []byte(frost.Suite),
		}
	}
	secret, err := envelope.Decrypt(sealed, bound(parts()...))
	if err != nil {
		t.Fatalf("the share does not open where it is: %v", err)
	}
	share, err := frost.ParseKeyShare(secret)
	if err != nil || share.Identifier() != frost.CoSigner || share.GroupKey() != w.GroupKey {
		t.Fatalf("it is another: %v", err)
	}
	for n, what := range []string{"purpose", "installation", "wallet", "epoch", "group key", "suite"} {
		other := parts()
		other[n] = append([]byte("x"), other[n][1:]...)
		if _, err := envelope.Decrypt(sealed, bound(other...)); err == nil {
			t.Errorf("it opens for another %s", what)
		}
	}
	if _, err := envelope.Decrypt(sealed, nil); err == nil {
		t.Error("it opens for nothing in particular")
	}
	second := f.payable("other")
	if bytes.Equal(sealed[:64], f.value("shares/other/00000000000000000001")[:64]) || second.GroupKey == w.GroupKey {
		t.Error("two wallets share a data key")
	}
}

// The co-signer's secrets are in no value of the store, no log line and no error, in any usual notation.
func TestSecretsDoNotShow(t *testing.T) {
	f := newFixture(t)
	var texts []string
	note := func(err error) {
		if err != nil {
			texts = append(texts, err.Error(), describe(err), fmt.Sprintf("%+v", err))
		}
	}
	snapshot := func() {
		resp, err := f.kv.Get(t.Context(), "", clientv3.WithPrefix())
		if err != nil {
			t.Fatal(err)
		}
		for _, kv := range resp.Kvs {
			texts = append(texts, string(kv.Key), string(kv.Value))
		}
	}
	k := f.newKeygen("research")
	for _, step := range []func() error{k.start, k.exchange, k.confirm} {
		if err := step(); err != nil {
			t.Fatal(describe(err))
		}
		snapshot()
	}
	if _, err := k.complete(); err != nil {
		t.Fatal(describe(err))
	}
	snapshot()
	if _, err := k.seal(); err != nil {
		t.Fatal(describe(err))
	}
	w := &wallet{Wallet: k.owned, f: f, share: k.share}
	w.deliver(w.SetGuardRails(evidencetest.Allow(f.recipient())))
	w.wantPays(t)
	snapshot()

	key := "shares/research/00000000000000000001"
	sealed := f.value(key)
	envelope := aead.NewKMSEnvelopeAEAD2(aead.AES256GCMKeyTemplate(), f.config.KEK)
	secret, err := envelope.Decrypt(sealed, bound([]byte("halfkey/cosigner/share/v1"), []byte("test"), []byte(w.Name),
		[]byte{0, 0, 0, 0, 0, 0, 0, 1}, w.GroupKey[:], []byte(frost.Suite)))
	if err != nil {
		t.Fatal(err)
	}
	// Every way to fail with the share at hand.
	damaged := bytes.Clone(sealed)
	damaged[len(damaged)-1] ^= 1
	f.put(key, damaged)
	note(w.pays())
	f.put(key, sealed)
	a := w.attempt(func(c *evidencetest.PaymentConfig) {
		c.EditRequest = func(r *typev1.Request) { r.Commitment = make([]byte, 64) }
	})
	_, err = a.ask(t.Context(), f)
	note(err)
	config := f.config
	config.KEK = newKEK(t)
	_, err = cosigner.New(config)
	note(err)
	texts = append(texts, f.log.String(), fmt.Sprintf("%v %+v %#v", k.share, k.static, k.generation))

	scalar := secretScalar(t, secret)
	all := strings.Join(texts, "\n")
	for notation, canary := range map[string]string{
		"raw": string(scalar), "hex": hex.EncodeToString(scalar), "HEX": strings.ToUpper(hex.EncodeToString(scalar)),
		"base64": base64.StdEncoding.EncodeToString(scalar)[:40], "base64url": base64.URLEncoding.EncodeToString(scalar)[:40],
		"decimals": strings.Trim(fmt.Sprintf("%d", scalar), "[]"),
	} {
		if strings.Contains(all, canary) {
			t.Errorf("the share's scalar shows as %s", notation)
		}
	}
	if !strings.Contains(all, hex.EncodeToString(w.GroupKey[:])) {
		t.Error("the scan does not even find the group key")
	}
}

// secretScalar takes the scalar out of a serialised share, which must not show, and checks that it is the one.
func secretScalar(t *testing.T, secret []byte) []byte {
	t.Helper()
	share, err := frost.ParseKeyShare(secret)
	if err != nil {
		t.Fatal(err)
	}
	at := 1 + len(frost.Suite) + 2 + 8 + 2 + 2 + 32 // as frost documents it
	scalar, err := new(edwards25519.Scalar).SetCanonicalBytes(secret[at : at+32])
	if err != nil {
		t.Fatal(err)
	}
	if public, _ := share.PublicShare(frost.CoSigner); !bytes.Equal(new(edwards25519.Point).ScalarBaseMult(scalar).Bytes(), public[:]) {
		t.Fatal("this is not the share's scalar")
	}
	return scalar.Bytes()
}

// Only the two functions that hold an opened token make a share work.
func TestOnlyTokensMakeSharesWork(t *testing.T) {
	var found []string
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, decl := range parsed.Decls {
			f, ok := decl.(*ast.FuncDecl)
			if !ok {
				continue
			}
			ast.Inspect(f, func(n ast.Node) bool {
				if s, ok := n.(*ast.SelectorExpr); ok && s.Sel.Name == "CoSign" {
					if x, ok := s.X.(*ast.Ident); ok && x.Name == "frost" {
						found = append(found, file+" "+f.Name.Name)
					}
				}
				return true
			})
		}
	}
	slices.Sort(found)
	if want := []string{"keygen.go testKey", "release.go release"}; !slices.Equal(found, want) {
		t.Errorf("frost.CoSign is called in %v, want %v", found, want)
	}
}

// A key-encryption key in a service that is away is no lost key: not at the start, and not at a release.
func TestUnreachableKEK(t *testing.T) {
	kek := &remoteKEK{AEAD: newKEK(t)}
	f := newFixture(t, func(c *cosigner.Config) { c.KEK = kek })
	w := f.payable("research")
	w.wantPays(t)
	kek.away.Store(true)
	wantReason(t, w.pays(), typev1.Reason_REASON_UNAVAILABLE)
	if _, err := cosigner.New(f.config); !errors.Is(err, errAway) {
		t.Errorf("got %v, want the key service's own error", err)
	}
	kek.away.Store(false)
	w.wantPays(t)
}

var errAway = errors.New("key service is away")

type remoteKEK struct {
	tink.AEAD
	away atomic.Bool
}

func (k *remoteKEK) Decrypt(ciphertext, bound []byte) ([]byte, error) {
	if k.away.Load() {
		return nil, errAway
	}
	return k.AEAD.Decrypt(ciphertext, bound)
}
