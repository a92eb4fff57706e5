package ledger

import (
	"path/filepath"
	"testing"

	"github.com/halfkey/halfkey/internal/evidence"
	"github.com/halfkey/halfkey/internal/evidence/evidencetest"
)

// A ledger keeps the highest installation file that its database was opened with, and does not start with less.
func TestInstallationFiles(t *testing.T) {
	w, path := evidencetest.New(t), filepath.Join(t.TempDir(), "ledger.db")
	evidencetest.Succession(t, w, func(chain []*evidence.Installation) error {
		s, err := New(Config{Installations: chain, Key: w.Ledger, Path: path})
		if err != nil {
			return err
		}
		return s.Close()
	})
}
