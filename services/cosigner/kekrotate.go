package cosigner

import (
	"errors"
	"fmt"
	"os"

	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/keyset"
)

// KeyInKEK is one key of a key-encryption keyset: what may be told of it.
type KeyInKEK struct {
	ID uint32
	// Primary is the key under which new secrets are sealed. Every key opens what was sealed under it.
	Primary bool
}

// KeysInKEK lists the keys of a keyset file, in the order in which they were added.
func KeysInKEK(path string) ([]KeyInKEK, error) {
	handle, err := readKeyset(path)
	if err != nil {
		return nil, fmt.Errorf("read key-encryption key %s: %w", path, err)
	}
	info := handle.KeysetInfo()
	keys := make([]KeyInKEK, 0, len(info.GetKeyInfo()))
	for _, k := range info.GetKeyInfo() {
		keys = append(keys, KeyInKEK{ID: k.GetKeyId(), Primary: k.GetKeyId() == info.GetPrimaryKeyId()})
	}
	return keys, nil
}

// AddToKEK adds a new AES-256-GCM key to a keyset file that is there, and does not seal by it yet. It is the first half of a
// rotation: every replica must be able to open what the first one seals under the new key, and answers KEY_LOST if it is not.
func AddToKEK(path string) (id uint32, err error) {
	err = changeKEK(path, func(m *keyset.Manager) (err error) {
		id, err = m.Add(aead.AES256GCMKeyTemplate())
		return err
	})
	return id, err
}

// PromoteInKEK makes a key of a keyset file the one under which new secrets are sealed: the second half of a rotation. What was
// sealed before stays as it is, and no key is taken out.
func PromoteInKEK(path string, id uint32) error {
	return changeKEK(path, func(m *keyset.Manager) error {
		if m.SetPrimary(id) != nil {
			return fmt.Errorf("it has no key %d", id)
		}
		return nil
	})
}

// changeKEK replaces a keyset file by a changed one: a reader sees all of the one or of the other. Two who change it at once are
// refused by the lock beside it.
func changeKEK(path string, change func(*keyset.Manager) error) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("change key-encryption key %s: %w", path, err)
		}
	}()
	lock := path + ".changing"
	f, err := os.OpenFile(lock, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("somebody else is changing it, or was and died, and then remove %s: %w", lock, err)
	}
	defer func() { err = errors.Join(err, f.Close(), os.Remove(lock)) }()
	handle, err := readKeyset(path)
	if err != nil {
		return err
	}
	if _, err := aead.New(handle); err != nil {
		return errors.New("is not a keyset for authenticated encryption")
	}
	manager := keyset.NewManagerFromHandle(handle)
	if err := change(manager); err != nil {
		return err
	}
	changed, err := manager.Handle()
	if err != nil {
		return err
	}
	temporary, err := writeKeyset(path, changed)
	if err != nil {
		return err
	}
	if err := os.Rename(temporary, path); err != nil {
		return errors.Join(err, os.Remove(temporary))
	}
	return syncDirectory(path)
}
