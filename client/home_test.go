package client_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/halfkey/halfkey/client"
	"github.com/halfkey/halfkey/frost"
	"github.com/halfkey/halfkey/halfkeytest"
	"github.com/halfkey/halfkey/internal/evidence/evidencetest"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

func newHome(t testing.TB) *client.Home {
	t.Helper()
	h, err := client.OpenHome(filepath.Join(t.TempDir(), "home"))
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// TestHomeModes demands that nobody else can read or write anything of a home.
func TestHomeModes(t *testing.T) {
	h := newHome(t)
	file, err := evidencetest.New(t).Installation.MarshalFile()
	if err != nil {
		t.Fatal(err)
	}
	name := "wallets/w/payments/p"
	for _, err := range []error{
		h.Connect(file), h.Save("owner", []byte("secret")), h.SavePayment(&client.PaymentRecord{Name: name}),
		h.SetSeen("wallets/w", 3, make([]byte, 32)), h.Pin("heads/wallets/w", []byte("x")),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	files := 0
	err = filepath.WalkDir(h.Dir(), func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		want := fs.FileMode(0o600)
		if d.IsDir() {
			want = 0o700
		} else {
			files++
		}
		if info.Mode().Perm() != want {
			t.Errorf("%s has mode %04o, want %04o", path, info.Mode().Perm(), want)
		}
		if strings.HasPrefix(d.Name(), ".") {
			t.Errorf("%s was left behind", path)
		}
		return nil
	})
	if err != nil || files < 6 {
		t.Fatalf("walked %d files, %v", files, err)
	}

	for _, row := range []struct {
		path string
		read func() error
	}{
		{"keys/owner", func() error { _, err := h.Load("owner"); return err }},
		{"payments/w/p.json", func() error { _, err := h.LoadPayment(name); return err }},
		{"payments/w/p.json", func() error { return h.SavePayment(&client.PaymentRecord{Name: name, Revision: 1}) }},
		{"seen/w.json", func() error { _, _, err := h.Seen("wallets/w"); return err }},
		{"seen/w.json", func() error { return h.SetSeen("wallets/w", 4, make([]byte, 32)) }},
		{"pins/heads_wallets_w", func() error { _, err := h.Pinned("heads/wallets/w"); return err }},
		{"installation.json", func() error { _, err := h.Installation(); return err }},
		{"keys", func() error { _, err := client.OpenHome(h.Dir()); return err }},
		{"", func() error { _, err := client.OpenHome(h.Dir()); return err }},
	} {
		path := filepath.Join(h.Dir(), row.path)
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, others := range []fs.FileMode{0o040, 0o004, 0o020, 0o002} {
			if err := os.Chmod(path, info.Mode().Perm()|others); err != nil {
				t.Fatal(err)
			}
			if row.read() == nil {
				t.Errorf("%s was used with mode %04o", row.path, info.Mode().Perm()|others)
			}
		}
		if err := os.Chmod(path, info.Mode().Perm()); err != nil {
			t.Fatal(err)
		}
		if err := row.read(); err != nil {
			t.Errorf("%s: %v", row.path, err)
		}
	}
}

// TestProblemsOfThisMachine: what is wrong with a home's files is told as that, and as nobody else's defect.
func TestProblemsOfThisMachine(t *testing.T) {
	h := newHome(t)
	file, err := evidencetest.New(t).Installation.MarshalFile()
	if err != nil {
		t.Fatal(err)
	}
	if err := h.Connect(file); err != nil {
		t.Fatal(err)
	}
	c, err := client.Open(h, client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	path := filepath.Join(h.Dir(), "keys", "owner")
	for _, row := range []struct {
		name string
		make func() error
		want string
	}{
		{"a secret that others can read", func() error { return os.WriteFile(path, []byte("{}"), 0o644) }, "has mode 0644"},
		{"a secret that was damaged", func() error { return os.WriteFile(path, []byte("}"), 0o600) }, "a file of the home does not decode"},
		{"a secret of another version", func() error { return os.WriteFile(path, []byte("{}"), 0o600) }, "is of another version"},
		{"a directory", func() error { return os.Mkdir(path, 0o700) }, "is not a regular file"},
		{"a name that leads nowhere", func() error { return os.Symlink("owner", path) }, "too many levels of symbolic links"},
	} {
		t.Run(row.name, func(t *testing.T) {
			if err := errors.Join(os.RemoveAll(path), row.make()); err != nil {
				t.Fatal(err)
			}
			_, err := c.Owner()
			e := wantReason(t, err, typev1.Reason_REASON_UNSPECIFIED, typev1.MoneyMoved_MONEY_MOVED_NO)
			if !strings.Contains(e.Message, row.want) || !strings.Contains(e.Next, "on this machine") {
				t.Errorf("got %q and %q, want %q", e.Message, e.Next, row.want)
			}
			if text := err.Error(); !strings.HasPrefix(text, "halfkey: load owner: ") || strings.Contains(text, "UNSPECIFIED") {
				t.Errorf("got %q", text)
			}
		})
	}
}

// TestHomeNames keeps every name inside the home.
func TestHomeNames(t *testing.T) {
	h := newHome(t)
	for _, name := range []string{"", ".", "..", "../owner", "a/b", "Owner", "a_b", "a b", strings.Repeat("a", 81), "a\x00"} {
		if h.Save(name, nil) == nil {
			t.Errorf("saved a secret as %q", name)
		}
		if _, err := h.Load(name); err == nil || errors.Is(err, fs.ErrNotExist) {
			t.Errorf("looked for a secret as %q: %v", name, err)
		}
		if h.Delete(name) == nil {
			t.Errorf("deleted a secret as %q", name)
		}
	}
	for _, name := range []string{"", "..", "a/../b", "A", "a_b", strings.Repeat("a", 161)} {
		if h.Pin(name, nil) == nil {
			t.Errorf("pinned as %q", name)
		}
	}
	for _, name := range []string{"", "wallets/w", "wallets/../payments/p", "wallets/w/payments/../p", "wallets/w/payments/P"} {
		if h.SavePayment(&client.PaymentRecord{Name: name}) == nil {
			t.Errorf("saved a payment as %q", name)
		}
		if h.SetSeen(name+"/x", 1, nil) == nil {
			t.Errorf("noted an entry of %q", name+"/x")
		}
	}
}

// TestKeyStore shows what Save, Load, Delete and List promise.
func TestKeyStore(t *testing.T) {
	h := newHome(t)
	if _, err := h.Load("owner"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v", err)
	}
	for _, secret := range []string{"first", "second"} {
		if err := h.Save("owner", []byte(secret)); err != nil {
			t.Fatal(err)
		}
		if got, err := h.Load("owner"); err != nil || string(got) != secret {
			t.Errorf("got %q, %v", got, err)
		}
	}
	if err := h.Save("agent-1", nil); err != nil {
		t.Fatal(err)
	}
	if names, err := h.List(); err != nil || !cmp.Equal(names, []string{"agent-1", "owner"}) {
		t.Errorf("got %v, %v", names, err)
	}
	for range 2 {
		if err := h.Delete("owner"); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := h.Load("owner"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v", err)
	}
}

// TestHalfWrittenSecret: a program that died while it wrote a secret leaves nothing that outlives the next write.
func TestHalfWrittenSecret(t *testing.T) {
	h := newHome(t)
	left := filepath.Join(h.Dir(), "keys", ".tmp-DEAD")
	if err := os.WriteFile(left, []byte("half a secr"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := h.Save("agent-one", []byte("secret")); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(left); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("it is still there: %v", err)
	}
	if b, err := h.Load("agent-one"); err != nil || string(b) != "secret" {
		t.Errorf("got %q, %v", b, err)
	}
}

// TestPaymentStore shows that a record comes back whole, that a change is never lost to another, and what is unfinished.
func TestPaymentStore(t *testing.T) {
	h := newHome(t)
	const name = "wallets/w/payments/p"
	if _, err := h.LoadPayment(name); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v", err)
	}
	r := &client.PaymentRecord{
		Name: name, Intent: []byte{1}, RecipientName: "@shop", Messages: [][]byte{{2}, {3}}, Pinned: []byte{4}, Signature: []byte{5},
		State: authorized, Settlement: []byte{6},
		Chain: &client.ChainRecord{Offers: [][]byte{nil, {7}}, HashTime: time.UnixMilli(8).UTC(), Further: 2},
	}
	if err := h.SavePayment(r); err != nil || r.Revision != 1 {
		t.Fatalf("revision %d, %v", r.Revision, err)
	}
	got, err := h.LoadPayment(name)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(r, got); diff != "" {
		t.Error(diff)
	}
	for n, bad := range []*client.ChainRecord{{}, {Offers: [][]byte{{7}}}, {Offers: [][]byte{nil, nil}, Further: -1}} {
		broken := &client.PaymentRecord{Name: fmt.Sprint("wallets/broken/payments/", n), Messages: [][]byte{{2}, {3}}, Chain: bad}
		if before, err := h.LoadPayment(broken.Name); err == nil {
			t.Fatalf("%+v is there", before)
		}
		if err := h.SavePayment(broken); err != nil {
			t.Fatal(err)
		}
		if _, err := h.LoadPayment(broken.Name); err == nil {
			t.Errorf("%+v was read", bad)
		}
	}
	for _, stale := range []uint64{0, 2} {
		if err := h.SavePayment(&client.PaymentRecord{Name: name, Revision: stale}); !errors.Is(err, client.ErrConflict) {
			t.Errorf("revision %d: got %v", stale, err)
		}
	}
	if err := h.SavePayment(&client.PaymentRecord{Name: "wallets/other/payments/p"}); err != nil {
		t.Fatal(err)
	}
	if names, err := h.Unfinished("wallets/w"); err != nil || !cmp.Equal(names, []string{name}) {
		t.Errorf("got %v, %v", names, err)
	}
	got.State = settled
	if err := h.SavePayment(got); err != nil {
		t.Fatal(err)
	}
	if names, err := h.Unfinished("wallets/w"); err != nil || len(names) != 0 {
		t.Errorf("got %v, %v", names, err)
	}

	// A crash between marker and record, in either direction, shows one name too few or many to nobody.
	marker := filepath.Join(h.Dir(), "payments", "w", "unfinished")
	for _, id := range []string{"p", "never-written"} {
		if err := os.WriteFile(filepath.Join(marker, id), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if names, err := h.Unfinished("wallets/w"); err != nil || len(names) != 0 {
		t.Errorf("got %v, %v", names, err)
	}

	// A record that was damaged, or belongs to another name, is refused and not taken for none.
	path := filepath.Join(h.Dir(), "payments", "w", "p.json")
	honest, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{
		"", "{", string(honest[:len(honest)/2]), string(honest) + "{}", strings.Replace(string(honest), `"version": 1`, `"version": 2`, 1),
		strings.Replace(string(honest), "payments/p", "payments/q", 1), strings.Replace(string(honest), "SETTLED", "PAID", 1),
		strings.Replace(string(honest), `"intent"`, `"unknown": 1, "intent"`, 1),
	} {
		if err := os.WriteFile(path, []byte(bad), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := h.LoadPayment(name); err == nil || errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%q: got %v", bad, err)
		}
		if err := h.SavePayment(&client.PaymentRecord{Name: name}); err == nil {
			t.Errorf("%q was overwritten", bad)
		}
	}
}

// TestPaymentStoreRaces lets many writers change one record from the same state: exactly one does.
func TestPaymentStoreRaces(t *testing.T) {
	h := newHome(t)
	const writers = 16
	for revision := range uint64(3) {
		var mu sync.Mutex
		var wait sync.WaitGroup
		won := 0
		for range writers {
			wait.Go(func() {
				err := h.SavePayment(&client.PaymentRecord{Name: "wallets/w/payments/p", Revision: revision})
				mu.Lock()
				defer mu.Unlock()
				switch {
				case err == nil:
					won++
				case !errors.Is(err, client.ErrConflict):
					t.Error(err)
				}
			})
		}
		wait.Wait()
		if won != 1 {
			t.Fatalf("%d writers won", won)
		}
	}
}

// TestSeen never goes back but by the operator's acceptance of exactly what was seen.
func TestSeen(t *testing.T) {
	h := newHome(t)
	const w = "wallets/w"
	hash := func(b byte) []byte { return append(make([]byte, 31), b) }
	check := func(entry uint64, by byte) {
		t.Helper()
		got, gotHash, err := h.Seen(w)
		if err != nil || got != entry || entry > 0 && !cmp.Equal(gotHash, hash(by)) {
			t.Errorf("got %d, %x, %v, want %d, %x", got, gotHash, err, entry, by)
		}
	}
	check(0, 0)
	for _, step := range []struct {
		entry     uint64
		by        byte
		wantEntry uint64
		wantBy    byte
	}{
		{5, 1, 5, 1}, {4, 2, 5, 1}, {5, 3, 5, 1}, {9, 4, 9, 4}, {0, 5, 9, 4},
	} {
		if err := h.SetSeen(w, step.entry, hash(step.by)); err != nil {
			t.Fatal(err)
		}
		check(step.wantEntry, step.wantBy)
	}
	for _, step := range []struct {
		lost   uint64
		by     byte
		wantBy byte
		want   uint64
	}{
		{9, 3, 4, 9}, {8, 4, 4, 9}, {9, 4, 7, 2},
	} {
		if err := h.AcceptLoss(w, step.lost, hash(step.by), 2, hash(7)); err != nil {
			t.Fatal(err)
		}
		check(step.want, step.wantBy)
	}
}

// TestOpenHome reads HALFKEY_HOME only as an absolute path, and nothing from the working directory.
func TestOpenHome(t *testing.T) {
	t.Chdir(t.TempDir())
	t.Setenv(client.HomeVariable, "home")
	if _, err := client.OpenHome(""); err == nil {
		t.Error("opened a home in the working directory")
	}
	dir := filepath.Join(t.TempDir(), "named")
	t.Setenv(client.HomeVariable, dir)
	h, err := client.OpenHome("")
	if err != nil || h.Dir() != dir {
		t.Fatalf("got %v, %v", h, err)
	}
	config := t.TempDir()
	t.Setenv(client.HomeVariable, "")
	t.Setenv("XDG_CONFIG_HOME", config)
	t.Setenv("HOME", config)
	if h, err = client.OpenHome(""); err != nil || !strings.HasPrefix(h.Dir(), config) {
		t.Errorf("got %v, %v", h, err)
	}
	t.Setenv("XDG_CONFIG_HOME", "")
	t.Setenv("HOME", "relative")
	if _, err := client.OpenHome(""); err == nil {
		t.Error("opened a home by a relative HOME in the working directory")
	}
	if entries, err := os.ReadDir("."); err != nil || len(entries) != 0 {
		t.Errorf("left %v in the working directory", entries)
	}
	if _, err := client.Open(h, client.Options{}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("opened a client on a home that was never connected: %v", err)
	}
	if err := os.WriteFile(filepath.Join(config, "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := client.OpenHome(filepath.Join(config, "file")); err == nil {
		t.Error("opened a file as a home")
	}
}

// TestSecretsDoNotPrint prints, logs and marshals whatever holds a secret.
func TestSecretsDoNotPrint(t *testing.T) {
	h := halfkeytest.Start(t)
	ctx := testContext(t)
	home := h.Home()
	c := h.Client(home)
	r, err := c.Register(ctx, client.RegisterOptions{Name: "Agent", OwnerEmail: halfkeytest.Email})
	if err != nil {
		t.Fatal(err)
	}
	agent, err := c.Agent(r.Wallet)
	if err != nil {
		t.Fatal(err)
	}
	names, err := home.List()
	if err != nil || len(names) != 1 {
		t.Fatal(names, err)
	}
	b, err := home.Load(names[0])
	if err != nil {
		t.Fatal(err)
	}
	var stored struct {
		RequestSeed []byte `json:"request_seed"`
		Share       []byte `json:"share"`
	}
	if err := json.Unmarshal(b, &stored); err != nil {
		t.Fatal(err)
	}
	operatorKey := h.OperatorKey()
	secrets := map[string][]byte{
		"request key": stored.RequestSeed, "share": stored.Share[len(frost.Suite)+1+2+8+2+2+32:][:32], "operator key": operatorKey.Seed(),
	}
	type inside struct{ held any }
	for _, v := range []any{agent, *agent, h.Owner(), h.Operator(), c} {
		var log strings.Builder
		slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "v", v, "w", inside{v})
		text := log.String()
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%q", "%d"} {
			text += fmt.Sprintf(verb, v) + fmt.Sprintf(verb, inside{v}) + fmt.Sprintf(verb, &inside{v})
		}
		if j, err := json.Marshal(v); err == nil {
			text += string(j)
		}
		for name, secret := range secrets {
			for _, form := range []string{string(secret), fmt.Sprintf("%x", secret), fmt.Sprintf("%X", secret), fmt.Sprint([32]byte(secret))} {
				if strings.Contains(text, strings.Trim(form, "[]")) {
					t.Errorf("%T prints the %s", v, name)
				}
			}
		}
	}
}

// TestSecretsThatDoNotFit refuses an agent's secret that was damaged, moved, or made of two.
func TestSecretsThatDoNotFit(t *testing.T) {
	h := halfkeytest.Start(t)
	ctx := testContext(t)
	home := h.Home()
	c := h.Client(home)
	var secrets []string
	for _, name := range []string{"One", "Two"} {
		if _, err := c.Register(ctx, client.RegisterOptions{Name: name, OwnerEmail: halfkeytest.Email}); err != nil {
			t.Fatal(err)
		}
	}
	wallets, err := c.Wallets()
	if err != nil || len(wallets) != 2 {
		t.Fatal(wallets, err)
	}
	if _, err := c.Agent(""); client.ReasonOf(err) != typev1.Reason_REASON_INVALID_ARGUMENT {
		t.Errorf("two wallets and none named: got %v", err)
	}
	names, err := home.List()
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range names {
		b, err := home.Load(n)
		if err != nil {
			t.Fatal(err)
		}
		secrets = append(secrets, string(b))
	}
	part := func(n int, field string) string {
		var all map[string]any
		if err := json.Unmarshal([]byte(secrets[n]), &all); err != nil {
			t.Fatal(err)
		}
		return all[field].(string)
	}
	swap := func(field string) string { return strings.Replace(secrets[0], part(0, field), part(1, field), 1) }
	for _, row := range []struct{ name, secret string }{
		{"another wallet's whole secret", secrets[1]},
		{"another wallet's share", swap("share")},
		{"another wallet's request key", swap("request_seed")},
		{"another wallet's registration", swap("registration")},
		{"another installation", strings.Replace(secrets[0], part(0, "installation"), "elsewhere", 1)},
		{"no known stage", strings.Replace(secrets[0], `"registered"`, `"sealed"`, 1)},
		{"an unknown field", strings.Replace(secrets[0], `"stage"`, `"other": 1, "stage"`, 1)},
		{"cut short", secrets[0][:len(secrets[0])-20]},
		{"empty", ""},
	} {
		if row.secret == secrets[0] {
			t.Fatalf("%s: nothing was changed", row.name)
		}
		if err := home.Save(names[0], []byte(row.secret)); err != nil {
			t.Fatal(err)
		}
		if a, err := c.Agent(wallets[0]); err == nil {
			t.Errorf("%s: loaded %s", row.name, a.Wallet())
		}
	}
}
