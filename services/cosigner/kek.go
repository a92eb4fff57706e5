package cosigner

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/insecurecleartextkeyset"
	"github.com/tink-crypto/tink-go/v2/keyset"
	"github.com/tink-crypto/tink-go/v2/tink"
)

// keysetMax bounds a keyset file: a key is under 200 bytes, and some are kept after rotations.
const keysetMax = 64 << 10

// OpenKEK reads the key-encryption key from a Tink keyset file in JSON, and makes one with a new AES-256-GCM key if there is
// none. Only its owner may read the file. Whoever has it and the store has the co-signer's shares: keep its copies apart from
// the store's. A store that was sealed under another key is refused by New, so a file that was lost is not replaced unseen.
func OpenKEK(path string) (tink.AEAD, error) {
	kek, err := ReadKEK(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return kek, err
	}
	if err := createKEK(path); err != nil {
		return nil, fmt.Errorf("make key-encryption key %s: %w", path, err)
	}
	return ReadKEK(path)
}

// ReadKEK is OpenKEK for where a missing file is an error.
func ReadKEK(path string) (tink.AEAD, error) {
	kek, err := readKEK(path)
	if err != nil {
		return nil, fmt.Errorf("read key-encryption key %s: %w", path, err)
	}
	return kek, nil
}

func readKEK(path string) (tink.AEAD, error) {
	handle, err := readKeyset(path)
	if err != nil {
		return nil, err
	}
	kek, err := aead.New(handle)
	if err != nil {
		return nil, errors.New("is not a keyset for authenticated encryption")
	}
	return kek, nil
}

func readKeyset(path string) (*keyset.Handle, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // it was only read
	info, err := f.Stat()
	switch {
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular():
		return nil, errors.New("is not a regular file")
	case info.Mode().Perm()&0o077 != 0:
		return nil, fmt.Errorf("may be read by others (mode %04o): take that away with chmod 600", info.Mode().Perm())
	}
	b, err := io.ReadAll(io.LimitReader(f, keysetMax+1))
	if err != nil {
		return nil, err
	}
	defer clear(b)
	if len(b) > keysetMax {
		return nil, errors.New("is too large for a keyset")
	}
	// Tink's own errors are left out: they quote what they could not parse.
	handle, err := insecurecleartextkeyset.Read(keyset.NewJSONReader(bytes.NewReader(b)))
	if err != nil {
		return nil, errors.New("is not a Tink keyset in JSON")
	}
	return handle, nil
}

// createKEK writes a new keyset beside path and links it into place: a reader sees all of it or nothing, and of two
// processes that start at once one wins and both use its key.
func createKEK(path string) error {
	handle, err := keyset.NewHandle(aead.AES256GCMKeyTemplate())
	if err != nil {
		return err
	}
	temporary, err := writeKeyset(path, handle)
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(temporary) }() // a name of its own; the keyset has another
	if err := os.Link(temporary, path); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return syncDirectory(path)
}

// writeKeyset writes a keyset durably to a new file beside path.
func writeKeyset(path string, handle *keyset.Handle) (temporary string, err error) {
	var b bytes.Buffer
	defer func() { clear(b.Bytes()[:b.Cap()]) }()
	if err := insecurecleartextkeyset.Write(handle, keyset.NewJSONWriter(&b)); err != nil {
		return "", err
	}
	if b.Len() > keysetMax {
		return "", fmt.Errorf("it would be larger than %d bytes, and no co-signer would read it", keysetMax)
	}
	temporary = path + "." + rand.Text()
	f, err := os.OpenFile(temporary, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return "", err
	}
	_, err = f.Write(b.Bytes())
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return "", errors.Join(err, os.Remove(temporary))
	}
	return temporary, nil
}

// syncDirectory makes a file's name last: shares are about to be sealed under the key in it.
func syncDirectory(path string) error {
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
