package client

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"time"

	"github.com/halfkey/halfkey/internal/resource"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// recordFile is a payment's record on disk.
type recordFile struct {
	Version       int      `json:"version"`
	Name          string   `json:"name"`
	Revision      uint64   `json:"revision"`
	Intent        []byte   `json:"intent"`
	RecipientName string   `json:"recipient_name"`
	Messages      [][]byte `json:"messages"`
	Pinned        []byte   `json:"pinned"`
	Signature     []byte   `json:"signature"`
	State         string   `json:"state"`
	Settlement    []byte   `json:"settlement"`

	Chain *chainFile `json:"chain,omitempty"`
}

// chainFile is what it holds of a payment on Solana besides.
type chainFile struct {
	Offers   [][]byte  `json:"offers"`
	HashTime time.Time `json:"hash_time"`
	Further  int       `json:"further"`
}

// fileVersion is the version of every file that this package writes.
const fileVersion = 1

// LoadPayment returns a payment's record.
func (h *Home) LoadPayment(name string) (*PaymentRecord, error) {
	path, _, err := h.paymentPaths(name)
	if err != nil {
		return nil, err
	}
	return loadRecord(path, name)
}

func loadRecord(path, name string) (*PaymentRecord, error) {
	var f recordFile
	if err := readJSON(path, &f); err != nil {
		return nil, err
	}
	state, ok := typev1.PaymentState_value[f.State]
	if f.Version != fileVersion || f.Name != name || !ok {
		return nil, fileErrorf("halfkey: the record of %s is of another version or payment", name)
	}
	r := &PaymentRecord{
		Name: f.Name, Revision: f.Revision, Intent: f.Intent, RecipientName: f.RecipientName, Messages: f.Messages,
		Pinned: f.Pinned, Signature: f.Signature, State: typev1.PaymentState(state), Settlement: f.Settlement,
	}
	if c := f.Chain; c != nil {
		if len(c.Offers) != len(f.Messages) || c.Further < 0 {
			return nil, fileErrorf("halfkey: the record of %s contradicts itself", name)
		}
		r.Chain = &ChainRecord{Offers: c.Offers, HashTime: c.HashTime, Further: c.Further}
	}
	return r, nil
}

// SavePayment puts a payment's record.
func (h *Home) SavePayment(r *PaymentRecord) error {
	path, marker, err := h.paymentPaths(r.Name)
	if err != nil {
		return err
	}
	f := recordFile{
		Version: fileVersion, Name: r.Name, Revision: r.Revision + 1, Intent: r.Intent, RecipientName: r.RecipientName,
		Messages: r.Messages, Pinned: r.Pinned, Signature: r.Signature, State: r.State.String(), Settlement: r.Settlement,
	}
	if c := r.Chain; c != nil {
		f.Chain = &chainFile{Offers: c.Offers, HashTime: c.HashTime, Further: c.Further}
	}
	b, err := encodeJSON(f)
	if err != nil {
		return err
	}
	err = h.locked(func() error {
		stored, err := loadRecord(path, r.Name)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			stored = &PaymentRecord{}
			if err := makeDir(filepath.Dir(path)); err != nil {
				return err
			}
		case err != nil:
			return err
		}
		if stored.Revision != r.Revision {
			return ErrConflict
		}
		// The marker comes before the record and goes after it: a crash in between leaves one too many, which Unfinished sees
		// through, never one too few.
		if !r.Ended() {
			if err := h.mark(marker); err != nil {
				return err
			}
		}
		if err := writeFile(path, b); err != nil {
			return err
		}
		if r.Ended() {
			return dropFile(marker)
		}
		return nil
	})
	if err != nil {
		return err
	}
	r.Revision++
	return nil
}

func (h *Home) mark(marker string) error {
	if _, err := readFile(marker); err == nil {
		return nil
	}
	if err := makeDir(filepath.Dir(marker)); err != nil {
		return err
	}
	return writeFile(marker, nil)
}

// Unfinished lists a wallet's payments that have not ended. One whose record cannot be read is among them: nobody knows that it has.
func (h *Home) Unfinished(wallet string) ([]string, error) {
	id, err := resource.ParseWallet(wallet)
	if err != nil {
		return nil, fmt.Errorf("halfkey: list payments: %w", err)
	}
	ids, err := listFiles(h.path(homePayments, id, homeUnfinished))
	if err != nil {
		return nil, err
	}
	var names []string
	for _, payment := range ids {
		name := resource.Payment(wallet, payment)
		r, err := h.LoadPayment(name)
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil || !r.Ended():
			names = append(names, name)
		}
	}
	return names, nil
}

func (h *Home) paymentPaths(name string) (record, marker string, err error) {
	wallet, id, err := resource.ParsePayment(name)
	if err != nil {
		return "", "", fmt.Errorf("halfkey: payment: %w", err)
	}
	of, err := resource.ParseWallet(wallet)
	if err != nil {
		return "", "", fmt.Errorf("halfkey: payment: %w", err)
	}
	return h.path(homePayments, of, id+recordSuffix), h.path(homePayments, of, homeUnfinished, id), nil
}

// seenFile is the newest journal entry seen, on disk.
type seenFile struct {
	Version int    `json:"version"`
	Entry   uint64 `json:"entry"`
	Hash    []byte `json:"hash"`
}

// Seen returns the newest journal entry of a wallet that this home has seen.
func (h *Home) Seen(wallet string) (entry uint64, hash []byte, err error) {
	path, err := h.seenPath(wallet)
	if err != nil {
		return 0, nil, err
	}
	f, err := loadSeen(path)
	return f.Entry, f.Hash, err
}

// SetSeen moves the newest entry seen forward.
func (h *Home) SetSeen(wallet string, entry uint64, hash []byte) error {
	return h.moveSeen(wallet, func(now seenFile) bool { return entry > now.Entry }, entry, hash)
}

// AcceptLoss moves the newest entry seen back, from exactly lost.
func (h *Home) AcceptLoss(wallet string, lost uint64, lostHash []byte, entry uint64, hash []byte) error {
	return h.moveSeen(wallet, func(now seenFile) bool { return now.Entry == lost && bytes.Equal(now.Hash, lostHash) }, entry, hash)
}

func (h *Home) moveSeen(wallet string, may func(now seenFile) bool, entry uint64, hash []byte) error {
	path, err := h.seenPath(wallet)
	if err != nil {
		return err
	}
	b, err := encodeJSON(seenFile{Version: fileVersion, Entry: entry, Hash: hash})
	if err != nil {
		return err
	}
	return h.locked(func() error {
		now, err := loadSeen(path)
		if err != nil || !may(now) {
			return err
		}
		return writeFile(path, b)
	})
}

func loadSeen(path string) (seenFile, error) {
	var f seenFile
	switch err := readJSON(path, &f); {
	case errors.Is(err, fs.ErrNotExist):
		return seenFile{}, nil
	case err != nil:
		return seenFile{}, err
	}
	if f.Version != fileVersion {
		return seenFile{}, fileErrorf("halfkey: %s is of another version", path)
	}
	return f, nil
}

func (h *Home) seenPath(wallet string) (string, error) {
	id, err := resource.ParseWallet(wallet)
	if err != nil {
		return "", fmt.Errorf("halfkey: seen entries: %w", err)
	}
	return h.path(homeSeen, id+recordSuffix), nil
}

// pinNameMax bounds the name of something pinned: a kind, a slash and a resource's name.
const pinNameMax = 160

// Pinned returns what was pinned under a name of [a-z0-9-/@].
func (h *Home) Pinned(name string) ([]byte, error) {
	path, err := h.pinPath(name)
	if err != nil {
		return nil, err
	}
	return readFile(path)
}

// Pin puts content under a name of [a-z0-9-/@].
func (h *Home) Pin(name string, content []byte) error {
	path, err := h.pinPath(name)
	if err != nil {
		return err
	}
	return h.locked(func() error { return writeFile(path, content) })
}

// pinPath makes one file name of a pin's name: no name has the underscore that stands for its slashes.
func (h *Home) pinPath(name string) (string, error) {
	ok := name != "" && len(name) <= pinNameMax
	for _, c := range []byte(name) {
		ok = ok && (c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-' || c == '/' || c == '@')
	}
	if !ok {
		return "", fmt.Errorf("halfkey: %q is not a name to pin something under", shorten(name))
	}
	return h.path(homePins, strings.ReplaceAll(name, "/", "_")), nil
}
