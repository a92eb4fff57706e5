package policy_test

import (
	"testing"

	"github.com/halfkey/halfkey/internal/evidence"
	"github.com/halfkey/halfkey/internal/evidence/evidencetest"
	"github.com/halfkey/halfkey/internal/servicetest"
	"github.com/halfkey/halfkey/services/policy"
)

// Policy keeps the highest installation file that any replica was given, and does not start with less.
func TestInstallationFiles(t *testing.T) {
	w, kv := evidencetest.New(t), servicetest.Namespace(t)
	evidencetest.Succession(t, w, func(chain []*evidence.Installation) error {
		s, err := policy.New(policy.Config{Installations: chain, Key: w.Policy, KV: kv})
		if err != nil {
			return err
		}
		return s.Close()
	})
}
