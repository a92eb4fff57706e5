package allinone_test

import (
	"crypto/ed25519"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/halfkey/halfkey/internal/allinone"
	"github.com/halfkey/halfkey/internal/evidence"
)

// successor writes the file that follows i, with a new ledger key beside it, and returns it. It is not started.
func successor(
	t *testing.T, dir string, i *evidence.Installation, operator ed25519.PrivateKey, fileName, keyName string,
) *evidence.Installation {
	t.Helper()
	public, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	next, err := evidence.MakeSuccessor(i, evidence.Change{Ledger: public}, operator)
	if err != nil {
		t.Fatal(err)
	}
	file, err := next.MarshalFile()
	if err != nil {
		t.Fatal(err)
	}
	put(t, filepath.Join(dir, fileName), file)
	put(t, filepath.Join(dir, keyName), []byte(hex.EncodeToString(key.Seed())+"\n"))
	return next
}

func put(t *testing.T, path string, content []byte) {
	t.Helper()
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
}

// take removes files of a directory and returns what puts them back.
func take(t *testing.T, dir string, names ...string) (putBack func()) {
	t.Helper()
	content := make(map[string][]byte)
	for _, name := range names {
		path := filepath.Join(dir, name)
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		content[path] = b
	}
	return func() {
		for path, b := range content {
			put(t, path, b)
		}
	}
}

// TestSuccession demands that a directory with successors is served by the last of them, that each needs what it follows and the key
// that it names, and that none is ever taken back.
func TestSuccession(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "installation")
	s := start(t, config(dir))
	first, operator, address := s.Installation(), operatorKey(t, s), s.Address()
	if err := s.Kill(); err != nil {
		t.Fatal(err)
	}
	second := successor(t, dir, first, operator, "installation.2.json", "ledger.2.key")
	third := successor(t, dir, second, operator, "installation.3.json", "ledger.3.key")

	restart := func(t *testing.T, want *evidence.Installation) {
		t.Helper()
		s := start(t, config(dir))
		if got := s.Installation(); got.Digest() != want.Digest() || s.Address() != address {
			t.Errorf("number %d is served at %s", got.Number(), s.Address())
		}
		if err := s.Kill(); err != nil {
			t.Fatal(err)
		}
	}
	refusedAbout := func(t *testing.T, about string) {
		t.Helper()
		if err := refused(t, config(dir)); !strings.Contains(err.Error(), about) {
			t.Errorf("got %v, want one about %q", err, about)
		}
	}

	t.Run("a gap", func(t *testing.T) {
		defer take(t, dir, "installation.2.json")()
		refusedAbout(t, "each needs the one before it")
	})
	t.Run("the new key is missing", func(t *testing.T) {
		defer take(t, dir, "ledger.3.key")()
		refusedAbout(t, hex.EncodeToString(third.Content().GetServiceKeys()[4].GetPublicKey()))
	})
	t.Run("a successor that nobody vouches for", func(t *testing.T) {
		defer take(t, dir, "installation.3.json")()
		_, stranger, err := ed25519.GenerateKey(nil)
		if err != nil {
			t.Fatal(err)
		}
		m := second.Content()
		m.Number, m.Predecessor = 3, second.Digest().Bytes()
		e, err := evidence.Sign(stranger, m)
		if err != nil {
			t.Fatal(err)
		}
		forged, err := evidence.ParseInstallation(e)
		if err != nil {
			t.Fatal(err)
		}
		file, err := forged.MarshalFile()
		if err != nil {
			t.Fatal(err)
		}
		put(t, filepath.Join(dir, "installation.3.json"), file)
		refusedAbout(t, "holds no signature")
	})
	t.Run("two on", func(t *testing.T) { restart(t, third) })
	t.Run("rolled back", func(t *testing.T) {
		defer take(t, dir, "installation.3.json", "ledger.3.key")()
		refusedAbout(t, "has accepted installation file number 3 already")
	})
	t.Run("aside", func(t *testing.T) {
		defer take(t, dir, "installation.3.json", "ledger.3.key")()
		successor(t, dir, second, operator, "installation.3.json", "ledger.3.key")
		refusedAbout(t, "number 3 with another content")
	})
	t.Run("the keys before are not needed", func(t *testing.T) {
		take(t, dir, "ledger.key", "ledger.2.key")
		restart(t, third)
	})
}

func operatorKey(t *testing.T, s *allinone.System) ed25519.PrivateKey {
	t.Helper()
	key, err := s.OperatorKey()
	if err != nil {
		t.Fatal(err)
	}
	return key
}
