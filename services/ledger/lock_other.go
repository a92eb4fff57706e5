//go:build !unix

package ledger

import (
	"errors"
	"os"
)

// lockFile keeps a second ledger from the database by a file that only one process can make. A process that was killed leaves
// it behind, and an operator who knows that no ledger runs removes it: failing to start is the safe side.
func lockFile(path string) (unlock func() error, err error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, errors.Join(errors.New("another ledger has this database open, or was killed and left its lock"), err)
	}
	return func() error { return errors.Join(f.Close(), os.Remove(path)) }, nil
}
