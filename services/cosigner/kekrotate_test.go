package cosigner_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/halfkey/halfkey/services/cosigner"
)

// A key that was added opens and does not seal; one that was promoted seals; and what was sealed before is opened all the time.
func TestRotateKEK(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "kek.json")
	first, err := cosigner.OpenKEK(path)
	if err != nil {
		t.Fatal(err)
	}
	bound, secret := []byte("bound"), []byte("secret")
	old, err := first.Encrypt(secret, bound)
	if err != nil {
		t.Fatal(err)
	}
	id, err := cosigner.AddToKEK(path)
	if err != nil {
		t.Fatal(err)
	}
	wantKeys(t, path, 0)
	added, err := cosigner.ReadKEK(path)
	if err != nil {
		t.Fatal(err)
	}
	if sealed, err := added.Encrypt(secret, bound); err != nil {
		t.Fatal(err)
	} else if got, err := first.Decrypt(sealed, bound); err != nil || !bytes.Equal(got, secret) {
		t.Errorf("who has the keyset of before does not open what is sealed after a key was added: %v", err)
	}
	if err := cosigner.PromoteInKEK(path, id); err != nil {
		t.Fatal(err)
	}
	wantKeys(t, path, 1)
	promoted, err := cosigner.ReadKEK(path)
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := promoted.Encrypt(secret, bound)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := first.Decrypt(sealed, bound); err == nil {
		t.Error("what is sealed after a key was promoted opens by the one before")
	}
	for name, kek := range map[string]interface {
		Decrypt(ciphertext, associatedData []byte) ([]byte, error)
	}{"added": added, "promoted": promoted} {
		for what, c := range map[string][]byte{"old": old, "new": sealed} {
			if got, err := kek.Decrypt(c, bound); err != nil || !bytes.Equal(got, secret) {
				t.Errorf("%s does not open what is %s: %v", name, what, err)
			}
		}
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file is %v, %v, want mode 0600", info.Mode(), err)
	}
}

// wantKeys demands that the primary key is at a place, and that there are two.
func wantKeys(t *testing.T, path string, primary int) {
	t.Helper()
	keys, err := cosigner.KeysInKEK(path)
	if err != nil || len(keys) != 2 || !keys[primary].Primary || keys[1-primary].Primary {
		t.Errorf("the keyset has %+v, %v, want two keys, number %d primary", keys, err, primary)
	}
}

func TestRotateKEKRefusals(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "kek.json")
	if _, err := cosigner.AddToKEK(path); err == nil {
		t.Error("a key was added to a file that is not there")
	}
	if _, err := os.Stat(path); err == nil {
		t.Error("a file was made by adding")
	}
	if _, err := cosigner.OpenKEK(path); err != nil {
		t.Fatal(err)
	}
	before := content(t, path)
	if err := cosigner.PromoteInKEK(path, 7); err == nil || !strings.Contains(err.Error(), "no key 7") {
		t.Errorf("a key was promoted that is not there: %v", err)
	}
	if err := os.WriteFile(path+".changing", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := cosigner.AddToKEK(path); err == nil || !strings.Contains(err.Error(), "somebody else") {
		t.Errorf("two changed it at once: %v", err)
	}
	if err := os.Remove(path + ".changing"); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := cosigner.AddToKEK(path); err == nil || !strings.Contains(err.Error(), "chmod 600") {
		t.Errorf("a file that others may read was changed: %v", err)
	}
	if !bytes.Equal(content(t, path), before) {
		t.Error("a refused change changed the file")
	}
	if left, err := filepath.Glob(path + ".*"); err != nil || len(left) > 0 {
		t.Errorf("refused changes left %v, %v", left, err)
	}
}

func content(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
