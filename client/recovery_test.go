package client_test

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/halfkey/halfkey/client"
	"github.com/halfkey/halfkey/halfkeytest"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

const passphraseText = "six words that nobody will guess"

// passphrase is one to give to a call, which wipes it.
func passphrase() []byte { return []byte(passphraseText) }

// create orders a recovery share into a fresh file and lets the agent make it.
func (w *resharingWorld) create(t *testing.T) string {
	t.Helper()
	ctx := testContext(t)
	file := filepath.Join(t.TempDir(), "recovery")
	if _, err := w.Owner().CreateRecovery(ctx, w.payer.Wallet(), file, passphrase()); err != nil {
		t.Fatal(err)
	}
	if r, err := w.payer.Reshare(ctx); err != nil || r.State != recoveryPending {
		t.Fatalf("got %+v, %v", r, err)
	}
	return file
}

// enrol is create, and the owner opens it.
func (w *resharingWorld) enrol(t *testing.T) string {
	t.Helper()
	file := w.create(t)
	w.open(t, file)
	return file
}

func (w *resharingWorld) open(t *testing.T, file string) *client.Resharing {
	t.Helper()
	r, err := w.Owner().OpenRecovery(testContext(t), file, passphrase())
	if err != nil || r.State != reshared {
		t.Fatalf("opening the recovery share: %+v, %v", r, err)
	}
	return r
}

// pays lets an agent of the payer's wallet pay the shop, which shows that its share and the co-signer's are of one sharing.
func (w *resharingWorld) pays(t *testing.T, a *client.Agent) {
	t.Helper()
	mustPay(t, a, client.Order{Recipient: w.shop.Wallet(), Units: 1000}, settled)
}

// exits lets an agent's home and a recovery file sign without any service.
func exits(t *testing.T, a *client.Agent, file string) {
	t.Helper()
	message := []byte("a whole transaction")
	signature, err := client.ExitSign(a, file, passphrase(), message)
	if err != nil {
		t.Fatalf("signing to exit: %v", err)
	}
	key := a.GroupKey()
	if !ed25519.Verify(key[:], message, signature[:]) {
		t.Fatal("the exit's signature does not verify under the wallet's key")
	}
}

func readAll(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func copyFile(t *testing.T, path string) string {
	t.Helper()
	other := filepath.Join(t.TempDir(), "copy")
	if err := os.WriteFile(other, readAll(t, path), 0o600); err != nil {
		t.Fatal(err)
	}
	return other
}

// number is the number of the payer's guard rails in force.
func (w *resharingWorld) number(t *testing.T) uint64 {
	t.Helper()
	g, err := w.Owner().GuardRails(testContext(t), w.payer.Wallet())
	if err != nil {
		t.Fatal(err)
	}
	return g.Number
}

// TestRecoveryShare makes a recovery share, step by step, while the agent pays on.
func TestRecoveryShare(t *testing.T) {
	h := halfkeytest.Start(t)
	w := newResharingWorld(t, h.Home(), h)
	ctx := testContext(t)
	owner, wallet := h.Owner(), w.payer.Wallet()
	file := filepath.Join(t.TempDir(), "recovery")

	for name, short := range map[string][]byte{"short": []byte("eleven byte"), "none": nil, "wiped": make([]byte, 20)} {
		_, err := owner.CreateRecovery(ctx, wallet, file, short)
		if e := wantReason(t, err, typev1.Reason_REASON_INVALID_ARGUMENT, notMoved); e.Metadata["field"] != "passphrase" {
			t.Errorf("%s: the refusal names the field %q", name, e.Metadata["field"])
		}
	}
	_, err := owner.CreateRecovery(ctx, w.shop.Wallet()+"x", file, passphrase())
	wantReasonAny(t, err)
	if _, err := os.Lstat(file); !errors.Is(err, os.ErrNotExist) {
		t.Fatalf("a refused call has left a file: %v", err)
	}
	_, err = owner.GiveUpRecovery(ctx, wallet)
	wantReason(t, err, typev1.Reason_REASON_WRONG_STATE, notMoved)

	secret := passphrase()
	r, err := owner.CreateRecovery(ctx, wallet, file, secret)
	if err != nil || r.State != ordered || r.Epoch != 2 || !r.Recovery {
		t.Fatalf("got %+v, %v", r, err)
	}
	if len(bytes.Trim(secret, "\x00")) != 0 {
		t.Error("the passphrase was not wiped")
	}
	if info, err := os.Stat(file); err != nil || info.Mode() != 0o600 {
		t.Errorf("got mode %v, %v", info.Mode(), err)
	}
	entries, err := os.ReadDir(filepath.Dir(file))
	if err != nil || len(entries) != 1 {
		t.Errorf("beside the file there is %v, %v", entries, err)
	}
	again, err := owner.CreateRecovery(ctx, wallet, file, passphrase())
	if err != nil || !bytes.Equal(again.Proto.GetOrder().GetPayload(), r.Proto.GetOrder().GetPayload()) {
		t.Errorf("the repeat ordered %+v, %v", again, err)
	}
	w.pays(t, w.payer)
	before := readAll(t, file)
	_, err = owner.OpenRecovery(ctx, file, passphrase())
	wantReason(t, err, typev1.Reason_REASON_WRONG_STATE, notMoved)
	_, err = owner.GiveUpRecovery(ctx, wallet)
	wantReason(t, err, typev1.Reason_REASON_WRONG_STATE, notMoved)
	_, err = owner.Replace(ctx, wallet, file, passphrase())
	wantReason(t, err, typev1.Reason_REASON_WRONG_STATE, notMoved)

	if r, err = w.payer.Reshare(ctx); err != nil || r.State != recoveryPending || r.Epoch != 2 || !r.Recovery {
		t.Fatalf("got %+v, %v", r, err)
	}
	w.pays(t, w.payer)
	if again, err := w.payer.Reshare(ctx); err != nil || again.State != recoveryPending {
		t.Errorf("the repeat: %+v, %v", again, err)
	}
	if again, err := owner.CreateRecovery(ctx, wallet, file, passphrase()); err != nil || again.State != recoveryPending || again.Epoch != 2 {
		t.Errorf("the owner's repeat: %+v, %v", again, err)
	}
	// What waits to be opened is not dropped for another one.
	other := filepath.Join(t.TempDir(), "other")
	_, err = owner.CreateRecovery(ctx, wallet, other, passphrase())
	wantReason(t, err, typev1.Reason_REASON_WRONG_STATE, notMoved)
	if _, err := os.Lstat(other); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a refused call has left a file: %v", err)
	}
	if !bytes.Equal(readAll(t, file), before) {
		t.Error("the file has changed before it was opened")
	}

	for range 2 {
		if r := w.open(t, file); r.Epoch != 2 || !r.Recovery {
			t.Errorf("got %+v", r)
		}
	}
	if info, err := os.Stat(file); err != nil || info.Mode() != 0o600 {
		t.Errorf("got mode %v, %v", info.Mode(), err)
	}
	if r, err := w.payer.Reshare(ctx); err != nil || r.State != reshared || r.Epoch != 2 {
		t.Errorf("got %+v, %v", r, err)
	}
	_, err = owner.CreateRecovery(ctx, wallet, file, passphrase())
	if e := wantReason(t, err, typev1.Reason_REASON_ALREADY_EXISTS, notMoved); e.Metadata["field"] != "file" {
		t.Errorf("the refusal names the field %q", e.Metadata["field"])
	}
	w.pays(t, w.payer)
	exits(t, w.payer, file)
}

// TestRecoveryFileRefused gives files that are no recovery file of this wallet, or do not open, to every call that takes one: it
// is refused with words that say why, the file stays as it was, and nothing is ordered.
func TestRecoveryFileRefused(t *testing.T) {
	h := halfkeytest.Start(t)
	w := newResharingWorld(t, h.Home(), h)
	ctx := testContext(t)
	wallet := w.payer.Wallet()
	good := readAll(t, w.enrol(t))
	v := newResharingWorldOf(t, h, "Other Payer", w.shop)
	others := readAll(t, v.enrol(t))
	number := w.number(t)

	change := func(at int) []byte {
		b := bytes.Clone(good)
		b[(at+len(b))%len(b)] ^= 1
		return b
	}
	for _, row := range []struct {
		name       string
		content    []byte
		mode       os.FileMode
		passphrase string
		says       string
	}{
		{"another passphrase", good, 0o600, passphraseText + "!", "passphrase is another"},
		{"an empty passphrase", good, 0o600, "", "at least 12 bytes"},
		{"cut short by a byte", good[:len(good)-1], 0o600, passphraseText, "damaged"},
		{"cut to half", good[:len(good)/2], 0o600, passphraseText, "damaged"},
		{"an empty file", nil, 0o600, passphraseText, "damaged"},
		{"another file", []byte("shopping list"), 0o600, passphraseText, "damaged"},
		{"a bit changed in its head", change(30), 0o600, passphraseText, "damaged"},
		{"a bit changed in the middle", change(len(good) / 2), 0o600, passphraseText, "damaged"},
		{"a bit changed at the end", change(-1), 0o600, passphraseText, "damaged"},
		{"followed by something", append(bytes.Clone(good), 'x'), 0o600, passphraseText, "damaged"},
		{"another wallet's", others, 0o600, passphraseText, "another wallet's"},
		{"readable by others", good, 0o644, passphraseText, "mode 0644"},
	} {
		t.Run(row.name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "recovery")
			if err := os.WriteFile(file, row.content, row.mode); err != nil {
				t.Fatal(err)
			}
			for call, do := range map[string]func() error{
				"create": func() error {
					_, err := h.Owner().CreateRecovery(ctx, wallet, file, []byte(row.passphrase))
					return err
				},
				"open": func() error {
					if row.name == "another wallet's" {
						return nil // It opens that wallet's, which its owner may.
					}
					_, err := h.Owner().OpenRecovery(ctx, file, []byte(row.passphrase))
					return err
				},
				"replace": func() error {
					_, err := h.Owner().Replace(ctx, wallet, file, []byte(row.passphrase))
					return err
				},
				"exit": func() error {
					_, err := client.ExitSign(w.payer, file, []byte(row.passphrase), []byte("message"))
					return err
				},
			} {
				err := do()
				if err == nil && (call != "open" || row.name != "another wallet's") {
					t.Fatalf("%s: taken", call)
				}
				if err != nil && !strings.Contains(err.Error(), row.says) {
					t.Errorf("%s: %q does not say %q", call, err, row.says)
				}
				if err != nil && strings.Contains(err.Error(), row.passphrase) && row.passphrase != "" {
					t.Errorf("%s: the error holds the passphrase", call)
				}
			}
			if !bytes.Equal(readAll(t, file), row.content) {
				t.Error("the file has changed")
			}
		})
	}
	for name, file := range map[string]string{"missing": filepath.Join(t.TempDir(), "none"), "a directory": t.TempDir()} {
		if _, err := h.Owner().OpenRecovery(ctx, file, passphrase()); err == nil {
			t.Errorf("%s: opened", name)
		}
		if _, err := h.Owner().Replace(ctx, wallet, file, passphrase()); err == nil {
			t.Errorf("%s: replaced", name)
		}
		if _, err := client.ExitSign(w.payer, file, passphrase(), []byte("message")); err == nil {
			t.Errorf("%s: signed", name)
		}
	}
	if got := w.number(t); got != number {
		t.Errorf("the guard rails went from %d to %d", number, got)
	}
	w.pays(t, w.payer)
	if r, err := w.payer.Reshare(ctx); err != nil || r.Epoch != 2 || r.State != reshared {
		t.Errorf("got %+v, %v", r, err)
	}
}

// TestRefreshWithRecovery answers a leak while a recovery share is out: it is renewed too, and until the owner has opened it the
// answers say that the older pair is still the whole key.
func TestRefreshWithRecovery(t *testing.T) {
	h := halfkeytest.Start(t)
	w := newResharingWorld(t, h.Home(), h)
	ctx := testContext(t)
	file := w.enrol(t)
	thief, oldFile := steal(t, h, w.home), copyFile(t, file)
	w.pays(t, thief)
	exits(t, thief, oldFile)

	if r := w.refresh(t); r.State != recoveryPending || r.Epoch != 3 || !r.Recovery {
		t.Fatalf("got %+v", r)
	}
	w.pays(t, w.payer)
	_, err := thief.Pay(ctx, client.Order{Recipient: w.shop.Wallet(), Units: 1})
	wantReason(t, err, typev1.Reason_REASON_UNAUTHENTICATED, notMoved)
	exits(t, thief, oldFile) // As RECOVERY_PENDING says.
	exits(t, w.payer, file)  // The file was not opened yet; the agent's home has what opens it.

	// Another leak meanwhile: the thief's request key ends at once, and the shares when the owner has opened the first ones.
	offer, err := w.payer.Offer(ctx)
	if err != nil {
		t.Fatal(err)
	}
	_, err = h.Owner().Refresh(ctx, offer)
	if e := wantReason(t, err, typev1.Reason_REASON_WRONG_STATE, notMoved); !strings.Contains(e.Next, "open it with its file") {
		t.Errorf("it says to do %q", e.Next)
	}
	w.pays(t, w.payer)
	if r := w.open(t, file); r.Epoch != 3 {
		t.Errorf("got %+v", r)
	}
	if r, err := h.Owner().Refresh(ctx, offer); err != nil || r.State != ordered || r.Epoch != 4 || !r.Recovery {
		t.Fatalf("got %+v, %v", r, err)
	}
	third := steal(t, h, w.home)
	if r, err := w.payer.Reshare(ctx); err != nil || r.State != recoveryPending || r.Epoch != 4 {
		t.Fatalf("got %+v, %v", r, err)
	}
	older := copyFile(t, file)
	w.open(t, file)
	exits(t, w.payer, file)
	w.pays(t, w.payer)

	_, err = h.Owner().OpenRecovery(ctx, older, passphrase())
	if e := wantReason(t, err, typev1.Reason_REASON_WRONG_STATE, notMoved); !strings.Contains(e.Message, "another copy") {
		t.Errorf("got %v", e)
	}
	// A file's key is long-lived, and a home keeps what was dealt to it: a stolen home is worthless with a file of another key.
	exits(t, third, file)
	fresh := w.enrol(t)
	exits(t, w.payer, fresh)
	for name, pair := range map[string]struct {
		agent *client.Agent
		file  string
	}{
		"the first stolen home with the new file": {thief, fresh},
		"a later one with the new file":           {third, fresh},
		"the newest home with the first old file": {w.payer, oldFile},
		"the newest home with a later old file":   {w.payer, file},
	} {
		_, err := client.ExitSign(pair.agent, pair.file, passphrase(), []byte("message"))
		if client.ReasonOf(err) != typev1.Reason_REASON_KEY_LOST {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

// TestGiveUpRecovery is an owner who has lost the passphrase: the share that waits is given up, and another one made.
func TestGiveUpRecovery(t *testing.T) {
	h := halfkeytest.Start(t)
	w := newResharingWorld(t, h.Home(), h)
	ctx := testContext(t)
	owner, wallet := h.Owner(), w.payer.Wallet()
	lost := w.create(t)
	for range 2 {
		if r, err := owner.GiveUpRecovery(ctx, wallet); err != nil || r.State != reshared || r.Epoch != 2 {
			t.Fatalf("got %+v, %v", r, err)
		}
	}
	w.pays(t, w.payer)
	number := w.number(t)
	_, err := owner.OpenRecovery(ctx, lost, passphrase())
	wantReason(t, err, typev1.Reason_REASON_WRONG_STATE, notMoved)
	_, err = owner.Replace(ctx, wallet, lost, passphrase())
	wantReason(t, err, typev1.Reason_REASON_WRONG_STATE, notMoved)

	file := w.enrol(t)
	w.pays(t, w.payer)
	_, err = owner.Replace(ctx, wallet, lost, passphrase())
	wantReason(t, err, typev1.Reason_REASON_WRONG_STATE, notMoved)
	if got := w.number(t); got != number {
		t.Errorf("a file that is worth nothing took the agent's request key: guard rails %d, then %d", number, got)
	}
	// Given up after a refresh, whose file still holds the share of before.
	w.refresh(t)
	if r, err := owner.GiveUpRecovery(ctx, wallet); err != nil || r.State != reshared || r.Epoch != 4 {
		t.Fatalf("got %+v, %v", r, err)
	}
	number = w.number(t)
	_, err = owner.Replace(ctx, wallet, file, passphrase())
	wantReason(t, err, typev1.Reason_REASON_WRONG_STATE, notMoved)
	_, err = owner.OpenRecovery(ctx, file, passphrase())
	wantReason(t, err, typev1.Reason_REASON_WRONG_STATE, notMoved)
	if got := w.number(t); got != number {
		t.Errorf("a file that is worth nothing took the agent's request key: guard rails %d, then %d", number, got)
	}
	w.pays(t, w.payer)
	last := w.enrol(t)
	exits(t, w.payer, last)
	agent, err := owner.Replace(ctx, wallet, last, passphrase())
	if err != nil {
		t.Fatal(err)
	}
	w.pays(t, agent)
}

// TestReplace loses the agent's home: the owner takes the wallet over with the recovery share and pays out; the old home, and
// whoever has a copy of it, is refused.
func TestReplace(t *testing.T) {
	h := halfkeytest.Start(t)
	w := newResharingWorld(t, h.Home(), h)
	ctx := testContext(t)
	owner, wallet := h.Owner(), w.payer.Wallet()
	file := w.enrol(t)
	w.pays(t, w.payer)
	oldFile := copyFile(t, file)

	taken, err := owner.Replace(ctx, wallet, file, passphrase())
	if err != nil {
		t.Fatal(err)
	}
	if taken.GroupKey() != w.payer.GroupKey() || taken.Wallet() != wallet || taken.Handle() != w.payer.Handle() {
		t.Errorf("another wallet came of it: %s, %s", taken.Wallet(), taken.Handle())
	}
	w.pays(t, taken)
	_, err = w.payer.Pay(ctx, client.Order{Recipient: w.shop.Wallet(), Units: 1})
	wantReason(t, err, typev1.Reason_REASON_UNAUTHENTICATED, notMoved)
	_, err = w.payer.Reshare(ctx)
	wantReason(t, err, typev1.Reason_REASON_UNAUTHENTICATED, notMoved)
	exits(t, taken, file)
	exits(t, taken, oldFile) // The home has kept what the file's long-lived key opens.

	number := w.number(t)
	again, err := owner.Replace(ctx, wallet, file, passphrase())
	if err != nil {
		t.Fatalf("the repeat: %v", err)
	}
	w.pays(t, again)
	loaded, err := h.Client(h.OwnerHome()).Agent(wallet)
	if err != nil {
		t.Fatal(err)
	}
	w.pays(t, loaded)
	if got := w.number(t); got != number {
		t.Errorf("the repeat changed the guard rails from %d to %d", number, got)
	}
	payments, err := loaded.Payments(ctx, false)
	if err != nil || len(payments) != 4 {
		t.Errorf("got %d payments, %v", len(payments), err)
	}
	j, err := loaded.Journal(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := j.Verify(h.Installation()); err != nil {
		t.Error(err)
	}
	_, err = owner.Replace(ctx, wallet, oldFile, passphrase())
	wantReason(t, err, typev1.Reason_REASON_WRONG_STATE, notMoved)

	// Whoever took it over is an agent like any other: its share is refreshed.
	offer, err := loaded.Offer(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := owner.Refresh(ctx, offer); err != nil {
		t.Fatal(err)
	}
	if r, err := loaded.Reshare(ctx); err != nil || r.State != recoveryPending || r.Epoch != 4 {
		t.Fatalf("got %+v, %v", r, err)
	}
	w.pays(t, loaded)
	w.pays(t, taken) // A program that was started before follows.
	w.open(t, file)

	// The owner takes it over once more, in another home: this one is out then. And back again, where a share is held already.
	elsewhere := copyHome(t, h.OwnerHome())
	second, err := h.Client(elsewhere).Owner()
	if err != nil {
		t.Fatal(err)
	}
	if a, err := second.Replace(ctx, wallet, file, passphrase()); err != nil {
		t.Fatal(err)
	} else {
		w.pays(t, a)
	}
}

// TestReplaceUnopened takes a wallet over whose agent was lost between a refresh and its owner's opening of the recovery share.
func TestReplaceUnopened(t *testing.T) {
	h := halfkeytest.Start(t)
	w := newResharingWorld(t, h.Home(), h)
	ctx := testContext(t)
	file := w.enrol(t)
	w.refresh(t)
	second := copyHome(t, h.OwnerHome())
	agent, err := h.Owner().Replace(ctx, w.payer.Wallet(), file, passphrase())
	if err != nil {
		t.Fatal(err)
	}
	w.pays(t, agent)
	exits(t, agent, file)

	// To and fro between two homes that both hold a share.
	other, err := h.Client(second).Owner()
	if err != nil {
		t.Fatal(err)
	}
	epoch := uint64(4)
	for range 2 {
		for _, owner := range []*client.Owner{other, h.Owner()} {
			epoch++
			loser := agent
			if agent, err = owner.Replace(ctx, w.payer.Wallet(), file, passphrase()); err != nil {
				t.Fatal(err)
			}
			w.pays(t, agent)
			if r, err := agent.Reshare(ctx); err != nil || r.Epoch != epoch || r.State != reshared {
				t.Fatalf("got %+v, %v, want epoch %d", r, err, epoch)
			}
			_, err := loser.Pay(ctx, client.Order{Recipient: w.shop.Wallet(), Units: 1})
			wantReason(t, err, typev1.Reason_REASON_UNAUTHENTICATED, notMoved)
		}
	}
}

// TestExitSign stops every service for good. The owner's recovery share and the agent's home sign all the same.
func TestExitSign(t *testing.T) {
	h := halfkeytest.Start(t)
	w := newResharingWorld(t, h.Home(), h)
	file := w.enrol(t)
	older := copyFile(t, file)
	oldHome := copyHome(t, w.home)
	w.refresh(t)
	unopened := copyFile(t, file)
	v := newResharingWorldOf(t, h, "Other Payer", w.shop)
	others := v.enrol(t)
	h.Kill()

	// A program that is started after that.
	agent, err := h.Client(w.home).Agent("")
	if err != nil {
		t.Fatal(err)
	}
	exits(t, agent, unopened)
	if !bytes.Equal(readAll(t, unopened), readAll(t, older)) {
		t.Error("signing to exit has changed the file")
	}
	stale, err := h.Client(oldHome).Agent("")
	if err != nil {
		t.Fatal(err)
	}
	exits(t, stale, older) // An old pair is a pair.
	_, err = client.ExitSign(agent, others, passphrase(), []byte("message"))
	if e := wantReason(t, err, typev1.Reason_REASON_INVALID_ARGUMENT, notMoved); e.Metadata["field"] != "file" {
		t.Errorf("got %v", e)
	}
	fresh, err := h.Client(h.OwnerHome()).Wallets()
	if err != nil || len(fresh) != 0 {
		t.Errorf("the owner's home holds %v, %v", fresh, err)
	}
	for _, message := range [][]byte{nil, {0}, bytes.Repeat([]byte{7}, 4096)} {
		signature, err := client.ExitSign(agent, file, passphrase(), message)
		key := agent.GroupKey()
		if err != nil || !ed25519.Verify(key[:], message, signature[:]) {
			t.Errorf("%d bytes: %v", len(message), err)
		}
	}
}

// copyHome copies a home, as a backup does.
func copyHome(t *testing.T, home *client.Home) *client.Home {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "copy")
	if err := os.CopyFS(dir, os.DirFS(home.Dir())); err != nil {
		t.Fatal(err)
	}
	chmod(t, dir)
	c, err := client.OpenHome(dir)
	if err != nil {
		t.Fatal(err)
	}
	return c
}
