package allinone_test

import (
	"bytes"
	"crypto/ed25519"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/halfkey/halfkey/internal/allinone"
	files "github.com/halfkey/halfkey/internal/config"
	"github.com/halfkey/halfkey/internal/evidence"
	"github.com/halfkey/halfkey/services/cosigner"
)

// An installation has two operators' keys from the start, each of which is the operator's. The second is taken away, and is neither
// missed nor made again.
func TestDeploymentMakesTwoOperatorKeys(t *testing.T) {
	t.Parallel()
	d := allinone.Deployment{
		Dir: filepath.Join(t.TempDir(), "site"), Gateway: "127.0.0.1:1", HTTPS: "127.0.0.1:2", EtcdHosts: []string{"127.0.0.1"},
	}
	if err := d.Make(time.Now()); err != nil {
		t.Fatal(err)
	}
	file, err := os.ReadFile(filepath.Join(d.Dir, "installation.json"))
	if err != nil {
		t.Fatal(err)
	}
	made, err := evidence.LoadInstallation(file)
	if err != nil {
		t.Fatal(err)
	}
	second := d.SecondOperatorKey()
	if want := filepath.Join(d.Dir, "offline", "operator-2.key"); second != want {
		t.Fatalf("the second key is %q, want %q", second, want)
	}
	var keys [][]byte
	for _, path := range []string{filepath.Join(d.Dir, "operator.key"), second} {
		for path, want := range map[string]os.FileMode{path: 0o600, filepath.Dir(path): 0o700} {
			if info, err := os.Stat(path); err != nil || info.Mode().Perm() != want {
				t.Errorf("%s: %v, %v, want mode %o", path, info.Mode(), err, want)
			}
		}
		key, err := files.ReadKey(path)
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, key.Public().(ed25519.PublicKey))
	}
	slices.SortFunc(keys, bytes.Compare)
	if diff := cmp.Diff(keys, made.Operators()); diff != "" {
		t.Errorf("the installation's operators (-want +got):\n%s", diff)
	}
	if err := os.Rename(filepath.Dir(second), filepath.Join(t.TempDir(), "offline")); err != nil {
		t.Fatal(err)
	}
	if err := d.Make(time.Now()); err != nil {
		t.Errorf("without the second key: %v", err)
	}
	if left := d.SecondOperatorKey(); left != "" {
		t.Errorf("%s was made again", left)
	}
	if again, err := os.ReadFile(filepath.Join(d.Dir, "installation.json")); err != nil || !bytes.Equal(again, file) {
		t.Errorf("the installation file is another one, %v", err)
	}
}

// What etcd is given lets it be etcd, and nobody be root in it: not when it is made, and not when an earlier build has left it there.
func TestDeploymentGivesEtcdNoRoot(t *testing.T) {
	t.Parallel()
	d := allinone.Deployment{
		Dir: filepath.Join(t.TempDir(), "site"), Gateway: "127.0.0.1:1", HTTPS: "127.0.0.1:2", EtcdHosts: []string{"127.0.0.1"},
	}
	for range 2 {
		if err := d.Make(time.Now()); err != nil {
			t.Fatal(err)
		}
		for dir, want := range map[string][]string{
			"etcd-tls": {"ca.pem", "server.key", "server.pem"}, "etcd-root": {"ca.pem", "root.key", "root.pem"},
		} {
			entries, err := os.ReadDir(filepath.Join(d.Dir, dir))
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, e := range entries {
				got = append(got, e.Name())
			}
			if !slices.Equal(got, want) {
				t.Errorf("%s holds %v, want %v", dir, got, want)
			}
		}
		for _, left := range []string{"root.key", "root.pem"} {
			if err := os.WriteFile(filepath.Join(d.Dir, "etcd-tls", left), nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// Making a deployment again hands a keyset out that has got a key more, and never puts one in the place of another that has more.
func TestDeploymentKeepsKeys(t *testing.T) {
	t.Parallel()
	d := allinone.Deployment{
		Dir: filepath.Join(t.TempDir(), "site"), Gateway: "127.0.0.1:1", HTTPS: "127.0.0.1:2", EtcdHosts: []string{"127.0.0.1"},
	}
	now := time.Now()
	if err := d.Make(now); err != nil {
		t.Fatal(err)
	}
	own, given := filepath.Join(d.Dir, "kek.json"), filepath.Join(d.Dir, "cosigner", "kek.json")
	if _, err := cosigner.AddToKEK(own); err != nil {
		t.Fatal(err)
	}
	if err := d.Make(now); err != nil {
		t.Fatal(err)
	}
	if keys, err := cosigner.KeysInKEK(given); err != nil || len(keys) != 2 {
		t.Errorf("the co-signer was given %v, %v, want both keys", keys, err)
	}
	if _, err := cosigner.AddToKEK(given); err != nil {
		t.Fatal(err)
	}
	before, err := os.ReadFile(given)
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Make(now); err == nil || !strings.Contains(err.Error(), "copy the one to the other first") {
		t.Errorf("a keyset with a key that would be lost: %v", err)
	}
	if after, err := os.ReadFile(given); err != nil || string(after) != string(before) {
		t.Errorf("the co-signer's keyset was changed, %v", err)
	}
}
