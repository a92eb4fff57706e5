package cosigner_test

import (
	"testing"

	"github.com/halfkey/halfkey/internal/evidence"
	"github.com/halfkey/halfkey/internal/evidence/evidencetest"
	"github.com/halfkey/halfkey/services/cosigner"
)

// A co-signer keeps the highest installation file that any replica was given, and does not start with less.
func TestInstallationFiles(t *testing.T) {
	f := newFixture(t)
	evidencetest.Succession(t, f.World, func(chain []*evidence.Installation) error {
		c := f.config
		c.Installations = chain
		s, err := cosigner.New(c)
		if err != nil {
			return err
		}
		return s.Close()
	})
}

// What is kept is bound to its place as every row is: a mark that somebody wrote into the store by hand starts nothing.
func TestInstallationMarkIsVouchedFor(t *testing.T) {
	f := newFixture(t)
	if _, err := f.kv.Put(t.Context(), "installation", "1 "+f.Installation.Digest().String()); err != nil {
		t.Fatal(err)
	}
	if _, err := cosigner.New(f.config); err == nil {
		t.Error("a co-signer takes a mark that it did not write")
	}
}
