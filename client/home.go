package client

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/halfkey/halfkey/internal/evidence"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// HomeVariable names the environment variable that OpenHome reads when it is given no directory.
const HomeVariable = "HALFKEY_HOME"

// The home's parts.
const (
	homeInstallation = "installation.json"
	homeLock         = "lock"
	homeKeys         = "keys"
	homePayments     = "payments"
	homeUnfinished   = "unfinished"
	homeFetches      = "fetches"
	homeSeen         = "seen"
	homePins         = "pins"
	recordSuffix     = ".json"
)

// Home is a directory that holds what an agent, an owner or both keep on a machine: the pinned installation file, keys,
// unfinished payments, fetches, and what was seen. It is a KeyStore, a PaymentStore and a FetchStore.
//
// Its files have mode 0600 and its directories 0700, and it refuses to work with any that others can read. Each write takes
// a lock against other processes and is durable, whole or not at all.
type Home struct {
	dir string
}

var (
	_ KeyStore     = (*Home)(nil)
	_ PaymentStore = (*Home)(nil)
	_ FetchStore   = (*Home)(nil)
)

// OpenHome opens a home, making it if it is not there. An empty dir means HALFKEY_HOME, or else `halfkey` in the user's
// configuration directory; both must be absolute.
func OpenHome(dir string) (*Home, error) {
	if dir == "" {
		var err error
		if dir, err = defaultHome(); err != nil {
			return nil, err
		}
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("halfkey: open home: %w", err)
	}
	for _, d := range []string{"", homeKeys, homePayments, homeSeen, homePins} {
		if err := makeDir(filepath.Join(dir, d)); err != nil {
			return nil, err
		}
	}
	return &Home{dir: dir}, nil
}

func defaultHome() (string, error) {
	if dir := os.Getenv(HomeVariable); dir != "" {
		if !filepath.IsAbs(dir) {
			return "", fmt.Errorf("halfkey: %s is not an absolute path", HomeVariable)
		}
		return dir, nil
	}
	dir, err := os.UserConfigDir()
	if err != nil {
		return "", fmt.Errorf("halfkey: no home: %w", err)
	}
	// It is made of HOME, which may be relative: a home would then be read from whichever directory the program runs in.
	if !filepath.IsAbs(dir) {
		return "", fmt.Errorf("halfkey: no home: the user's configuration directory %s is not an absolute path: set %s, or HOME, to one", dir, HomeVariable)
	}
	return filepath.Join(dir, "halfkey"), nil
}

// Dir is the home's directory.
func (h *Home) Dir() string { return h.dir }

func (h *Home) path(parts ...string) string {
	return filepath.Join(append([]string{h.dir}, parts...)...)
}

// locked runs one write under the home's lock.
func (h *Home) locked(write func() error) error {
	unlock, err := lockFile(h.path(homeLock))
	if err != nil {
		return err
	}
	defer unlock()
	return write()
}

// Connect pins an installation file: from then on this home trusts it and what follows from it, and nothing else. A home is
// connected once: the same file again changes nothing; another installation's, a lower number, other content under the
// same number, and a successor that the pinned file does not vouch for are refused.
func (h *Home) Connect(installationFile []byte) error {
	next, err := evidence.LoadInstallation(installationFile)
	if err != nil {
		return wrap("connect", err, notMoved)
	}
	return h.locked(func() error { return h.pinInstallation(next) })
}

// follow pins a successor of what is pinned.
func (h *Home) follow(next *evidence.Installation) error {
	return h.locked(func() error { return h.pinInstallation(next) })
}

func (h *Home) pinInstallation(next *evidence.Installation) error {
	const op = "connect"
	old, err := h.Installation()
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return err
	case next.ID() != old.ID():
		return local(op, typev1.Reason_REASON_ALREADY_EXISTS, "this home is connected to another installation", "installation", old.ID())
	case next.Number() < old.Number():
		return local(op, typev1.Reason_REASON_BAD_STATEMENT, "a later file of this installation was accepted before")
	case next.Digest() == old.Digest():
		return nil
	default:
		if next, err = evidence.Succeed(old, next.Envelope()); err != nil {
			return wrap(op, err, notMoved)
		}
	}
	b, err := next.MarshalFile()
	if err != nil {
		return wrap(op, err, notMoved)
	}
	return writeFile(h.path(homeInstallation), b)
}

// Installation returns the pinned installation file; an error that is fs.ErrNotExist if Connect was never called.
func (h *Home) Installation() (*evidence.Installation, error) {
	b, err := readFile(h.path(homeInstallation))
	if err != nil {
		return nil, err
	}
	i, err := evidence.LoadInstallation(b)
	if err != nil {
		return nil, wrap("open home", err, notMoved)
	}
	return i, nil
}
