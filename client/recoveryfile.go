package client

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"filippo.io/age"

	"github.com/halfkey/halfkey/frost"
	"github.com/halfkey/halfkey/internal/evidence"
	"github.com/halfkey/halfkey/internal/fault"
	"github.com/halfkey/halfkey/internal/resource"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// passphraseMin is the shortest passphrase that a recovery file is encrypted with: whoever finds the file can try passphrases
// for as long as the wallet lives.
const passphraseMin = 12

// recoveryFile is the owner's recovery share: a file that the owner keeps offline. Alone it signs nothing, and with the agent's
// share everything. On disk it is an age file (age-encryption.org/v1) under a scrypt passphrase, and its plaintext is one
// recoveryText.
type recoveryFile struct {
	redacted
	path       string
	passphrase []byte
	work       int

	installation, wallet string
	groupKey             [32]byte
	// static is the long-lived key under which resharings deal to the recovery share while it is offline.
	static *frost.StaticKey
	// share is the one that was opened last, nil before.
	share *frost.KeyShare
	// dealer is the recovery share's side of a run that replaces share 1, by the digest of the run's start, and next what it makes:
	// until the record is seen either share may be the one in force.
	dealer, dealtFor []byte
	next             *frost.KeyShare
}

// recoveryText is the plaintext of a recovery file.
type recoveryText struct {
	Version      int    `json:"version"`
	Installation string `json:"installation"`
	Wallet       string `json:"wallet"`
	GroupKey     []byte `json:"group_key"`
	StaticKey    []byte `json:"static_key"`
	Share        []byte `json:"share,omitempty"`
	Dealer       []byte `json:"dealer,omitempty"`
	DealtFor     []byte `json:"dealt_for,omitempty"`
	Next         []byte `json:"next_share,omitempty"`
}

func (t *recoveryText) wipe() {
	wipe(t.StaticKey)
	wipe(t.Share)
	wipe(t.Dealer)
	wipe(t.Next)
}

// checkPassphrase refuses a passphrase that protects nothing: a short one, and one that a call before this one has wiped.
func checkPassphrase(op string, passphrase []byte) error {
	if len(passphrase) < passphraseMin || len(bytes.Trim(passphrase, "\x00")) == 0 {
		return local(op, typev1.Reason_REASON_INVALID_ARGUMENT, fmt.Sprintf("a passphrase has at least %d bytes, and is given anew for each call", passphraseMin),
			"field", "passphrase")
	}
	return nil
}

// readRecovery opens a recovery file. The caller calls zero.
func readRecovery(op, path string, passphrase []byte) (*recoveryFile, error) {
	if err := checkPassphrase(op, passphrase); err != nil {
		return nil, err
	}
	sealed, err := readFile(path)
	if err != nil {
		return nil, badFile(op, "the recovery file cannot be read", err)
	}
	// age takes a string, of which Go may keep copies; what this package holds is wiped.
	identity, err := age.NewScryptIdentity(string(passphrase))
	if err != nil {
		return nil, wrap(op, err, notMoved)
	}
	plain, err := age.Decrypt(bytes.NewReader(sealed), identity)
	if err != nil {
		return nil, local(op, typev1.Reason_REASON_INVALID_ARGUMENT, "the recovery file does not open: the passphrase is another, or the file was damaged",
			"field", "passphrase")
	}
	b, err := io.ReadAll(io.LimitReader(plain, fileMax))
	defer wipe(b)
	if err != nil {
		return nil, local(op, typev1.Reason_REASON_INVALID_ARGUMENT, "the recovery file was damaged", "field", "file")
	}
	var text recoveryText
	defer text.wipe()
	if err := decodeJSON(b, &text); err != nil {
		return nil, local(op, typev1.Reason_REASON_INVALID_ARGUMENT, "the recovery file holds something else", "field", "file")
	}
	f, err := text.open()
	if err != nil {
		return nil, badFile(op, "the recovery file holds something else", err)
	}
	f.path, f.passphrase = path, bytes.Clone(passphrase)
	return f, nil
}

// badFile says what is wrong with a file that the caller names: it is the caller's to put right.
func badFile(op, msg string, err error) error {
	reason := typev1.Reason_REASON_INVALID_ARGUMENT
	if errors.Is(err, fs.ErrNotExist) {
		reason = typev1.Reason_REASON_NOT_FOUND
	}
	f := wrap(op, fault.Caused(err, reason, notMoved, msg, "field", "file"), notMoved)
	var e *Error
	if errors.As(f, &e) {
		e.Message += ": " + strings.TrimPrefix(err.Error(), "halfkey: ")
	}
	return f
}

// open decodes a recovery file's parts and checks that they belong together.
func (t *recoveryText) open() (*recoveryFile, error) {
	f := &recoveryFile{installation: t.Installation, wallet: t.Wallet, dealer: bytes.Clone(t.Dealer), dealtFor: t.DealtFor}
	if t.Version != fileVersion {
		return nil, fmt.Errorf("halfkey: it is of version %d", t.Version)
	}
	if err := resource.ValidInstallation(f.installation); err != nil {
		return nil, err
	}
	if _, err := resource.ParseWallet(f.wallet); err != nil {
		return nil, err
	}
	if !frost.ValidGroupKey(t.GroupKey) {
		return nil, fmt.Errorf("halfkey: its group key is none")
	}
	f.groupKey = [32]byte(t.GroupKey)
	var err error
	if f.static, err = frost.ParseStaticKey(t.StaticKey); err != nil {
		return nil, err
	}
	for _, s := range []struct {
		text []byte
		to   **frost.KeyShare
	}{{t.Share, &f.share}, {t.Next, &f.next}} {
		if len(s.text) == 0 {
			continue
		}
		if *s.to, err = frost.ParseKeyShare(s.text); err != nil {
			return nil, err
		}
		if (*s.to).Identifier() != frost.Recovery || (*s.to).GroupKey() != f.groupKey {
			return nil, fmt.Errorf("halfkey: its share is another wallet's or participant's")
		}
	}
	return f, nil
}

// dealt reports whether the file holds the recovery share's side of the run that a start has begun.
func (f *recoveryFile) dealt(start *typev1.Envelope) bool {
	return f != nil && len(f.dealer) > 0 && evidence.EnvelopeDigest(start).Is(f.dealtFor)
}

// zero erases what the file's copy in memory holds.
func (f *recoveryFile) zero() {
	wipe(f.passphrase)
	wipe(f.dealer)
	f.static.Zero()
	f.share.Zero()
	f.next.Zero()
}

// seal encrypts the file.
func (f *recoveryFile) seal() ([]byte, error) {
	text := recoveryText{
		Version: fileVersion, Installation: f.installation, Wallet: f.wallet, GroupKey: f.groupKey[:], StaticKey: f.static.Secret(),
		Dealer: bytes.Clone(f.dealer), DealtFor: f.dealtFor,
	}
	defer text.wipe()
	if f.share != nil {
		text.Share = f.share.Secret()
	}
	if f.next != nil {
		text.Next = f.next.Secret()
	}
	b, err := encodeJSON(text)
	if err != nil {
		return nil, err
	}
	defer wipe(b)
	recipient, err := age.NewScryptRecipient(string(f.passphrase))
	if err != nil {
		return nil, fmt.Errorf("halfkey: recovery file: %w", err)
	}
	if f.work > 0 {
		recipient.SetWorkFactor(f.work)
	}
	var sealed bytes.Buffer
	w, err := age.Encrypt(&sealed, recipient)
	if err == nil {
		_, err = w.Write(b)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		return nil, fmt.Errorf("halfkey: recovery file: %w", err)
	}
	return sealed.Bytes(), nil
}

// create writes a file that must not exist: whole or not at all, and durably.
func (f *recoveryFile) create() (err error) {
	b, err := f.seal()
	if err != nil {
		return err
	}
	temp := filepath.Join(filepath.Dir(f.path), temporary+rand.Text())
	if err := writeNew(temp, b); err != nil {
		return err
	}
	defer func() {
		if failed := os.Remove(temp); err == nil {
			err = failed
		}
	}()
	if err := os.Link(temp, f.path); err != nil { // Never takes another file's place.
		return fmt.Errorf("halfkey: write recovery file: %w", err)
	}
	return syncDir(filepath.Dir(f.path))
}

// rewrite puts the file anew, whole or not at all, and durably.
func (f *recoveryFile) rewrite() error {
	b, err := f.seal()
	if err != nil {
		return err
	}
	return writeFile(f.path, b)
}

// exists reports whether there is something under a path.
func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}
