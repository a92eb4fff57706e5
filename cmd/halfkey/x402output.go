package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/term"

	"github.com/halfkey/halfkey/client"
	"github.com/halfkey/halfkey/internal/escape"
)

// confirmable tells how to go on after a fetch that failed.
func confirmable(err error, id string) error {
	var e *client.Error
	if !errors.As(err, &e) || e.MoneyMoved == notMoved {
		return err
	}
	told := *e
	if errors.Is(err, client.ErrDamaged) {
		told.Next = fmt.Sprintf("%s; `halfkey payments show %s` says whether it was paid", e.Next, id)
		return &told
	}
	told.Next = fmt.Sprintf("%s; `halfkey x402 show %s` says what became of it, and `halfkey x402 fetch confirm %s` goes on with the same payment", e.Next, id, id)
	return &told
}

// fetchOutput checks, before anything is paid, that the resource has a place to go.
func (a *app) fetchOutput(path string, paying bool) error {
	switch _, err := os.Lstat(path); {
	case path == "" && paying && a.globals.JSON:
		return usage("--output", "with --json the resource goes to a file: name one")
	case path == "" || errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return unwritable(path, err)
	default:
		return unwritable(path, fs.ErrExist)
	}
}

// resourceOutput is where a resource goes: a file that appears whole or not at all, or standard output. What comes from a server
// reaches a terminal escaped, and a pipe as it is.
type resourceOutput struct {
	io.Writer
	commit func() error
	temp   *os.File
}

// Commit makes a file of what was written.
func (o *resourceOutput) Commit() error { return o.commit() }

// discard removes what was not made a file.
func (o *resourceOutput) discard() {
	if o.temp != nil {
		_ = o.temp.Close() // Closed before, if it was made a file.
		_ = os.Remove(o.temp.Name())
	}
}

func (a *app) resourceOutput(path string) (*resourceOutput, error) {
	if path == "" {
		if f, ok := a.stdout.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
			l := &lines{w: a.stdout, safe: escape.JSON}
			return &resourceOutput{Writer: l, commit: l.flush}, nil
		}
		return &resourceOutput{Writer: a.stdout, commit: func() error { return nil }}, nil
	}
	temp, err := os.CreateTemp(filepath.Dir(path), ".halfkey-*") // Of mode 0600.
	if err != nil {
		return nil, unwritable(path, err)
	}
	w := bufio.NewWriter(temp)
	return &resourceOutput{Writer: w, temp: temp, commit: func() error {
		if err := errors.Join(w.Flush(), temp.Sync(), temp.Close()); err != nil {
			return err
		}
		if err := os.Link(temp.Name(), path); err != nil { // Never takes another file's place.
			return unwritable(path, err)
		}
		return nil
	}}, nil
}
