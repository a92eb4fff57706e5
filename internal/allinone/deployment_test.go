package allinone_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/halfkey/halfkey/internal/allinone"
	"github.com/halfkey/halfkey/services/cosigner"
)

// Making a deployment again hands a keyset out that has got a key more, and never puts one in the place of another that has more.
func TestDeploymentKeepsKeys(t *testing.T) {
	t.Parallel()
	d := allinone.Deployment{Dir: filepath.Join(t.TempDir(), "site"), Gateway: "127.0.0.1:1", HTTPS: "127.0.0.1:2", EtcdHosts: []string{"127.0.0.1"}}
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
