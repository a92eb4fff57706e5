package identity_test

import (
	"testing"

	"github.com/halfkey/halfkey/internal/evidence"
	"github.com/halfkey/halfkey/internal/evidence/evidencetest"
	"github.com/halfkey/halfkey/services/identity"
)

// Identity keeps the highest installation file that any replica was given, and does not start with less.
func TestInstallationFiles(t *testing.T) {
	f := newFixture(t)
	evidencetest.Succession(t, f.World, func(chain []*evidence.Installation) error {
		s, err := identity.New(identity.Config{Installations: chain, KV: f.kv})
		if err != nil {
			return err
		}
		return s.Close()
	})
}
