//go:build !unix

package embedded

import (
	"fmt"
	"os"
)

// lockDir opens the lock file. Where there is no flock, etcd's own lock on its database makes a second process wait.
func lockDir(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("embedded: %w", err)
	}
	return f, nil
}
