package client

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

const (
	fileMode = 0o600
	dirMode  = 0o700
	// notOthers are the permission bits that no file or directory of a home may have.
	notOthers = 0o077
	// fileMax bounds a file that is read whole. The largest honest one, a record with every message it may keep, is below
	// 256 KiB.
	fileMax = 1 << 20
	// temporary begins the names of files that are not there yet.
	temporary = ".tmp-"
)

// makeDir makes a directory for its owner alone, or checks that it is one.
func makeDir(dir string) error {
	if err := os.MkdirAll(dir, dirMode); err != nil {
		return fmt.Errorf("halfkey: make directory: %w", err)
	}
	info, err := os.Stat(dir)
	if err != nil {
		return fmt.Errorf("halfkey: look at directory: %w", err)
	}
	if !info.IsDir() {
		return fileErrorf("halfkey: %s is not a directory", dir)
	}
	return checkMode(dir, info)
}

func checkMode(path string, info fs.FileInfo) error {
	if info.Mode().Perm()&notOthers != 0 {
		return fileErrorf("halfkey: %s has mode %04o, so others may read or write it; change it to %04o first",
			path, info.Mode().Perm(), info.Mode().Perm()&^notOthers)
	}
	return nil
}

// readFile reads a file that only its owner may read.
func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("halfkey: read: %w", err)
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("halfkey: read: %w", err)
	}
	if !info.Mode().IsRegular() {
		return nil, fileErrorf("halfkey: %s is not a regular file", path)
	}
	if err := checkMode(path, info); err != nil {
		return nil, err
	}
	b, err := io.ReadAll(io.LimitReader(f, fileMax+1))
	if err != nil {
		return nil, fmt.Errorf("halfkey: read: %w", err)
	}
	if len(b) > fileMax {
		return nil, fileErrorf("halfkey: %s is too large", path)
	}
	return b, nil
}

// readJSON reads one of this package's own files that are not secrets: an error names the file.
func readJSON(path string, v any) error {
	b, err := readFile(path)
	if err != nil {
		return err
	}
	if err := decodeJSON(b, v); err != nil {
		return fileErrorf("halfkey: %s is damaged: it is not as this program writes it", path)
	}
	return nil
}

// writeFile puts a file whole or not at all, and durably: a synced temporary file in the same directory, renamed, and the
// directory synced, without which the rename itself can be lost.
func writeFile(path string, b []byte) (err error) {
	dir := filepath.Dir(path)
	temp := filepath.Join(dir, temporary+rand.Text())
	f, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, fileMode)
	if err != nil {
		return fmt.Errorf("halfkey: write: %w", err)
	}
	defer func() {
		if err != nil {
			_ = os.Remove(temp)
		}
	}()
	_, err = f.Write(b)
	if err == nil {
		err = f.Sync()
	}
	if closing := f.Close(); err == nil {
		err = closing
	}
	if err == nil {
		err = os.Rename(temp, path)
	}
	if err != nil {
		return fmt.Errorf("halfkey: write: %w", err)
	}
	return syncDir(dir)
}

// removeFile removes a file durably; none is no error.
func removeFile(path string) error {
	switch err := os.Remove(path); {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("halfkey: remove: %w", err)
	}
	return syncDir(filepath.Dir(path))
}

// dropFile removes a file that may be there again after a crash: nobody waits until its going is durable.
func dropFile(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("halfkey: remove: %w", err)
	}
	return nil
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("halfkey: sync directory: %w", err)
	}
	err = d.Sync()
	if closing := d.Close(); err == nil {
		err = closing
	}
	if err != nil {
		return fmt.Errorf("halfkey: sync directory: %w", err)
	}
	return nil
}

// listFiles returns the names of a directory's files, ascending, without temporary ones; a missing directory has none.
func listFiles(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("halfkey: list: %w", err)
	}
	var names []string
	for _, e := range entries {
		if !e.IsDir() && !strings.HasPrefix(e.Name(), ".") {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

// removeTemporary removes what programs that died have left in a directory; the lock that all take who write there is held.
func removeTemporary(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("halfkey: list: %w", err)
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), temporary) {
			if err := removeFile(filepath.Join(dir, e.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}

// encodeJSON and decodeJSON are the one form of this package's own files: what an older or newer program wrote with other
// fields is refused, not half understood.
func encodeJSON(v any) ([]byte, error) {
	b, err := json.MarshalIndent(v, "", " ")
	if err != nil {
		return nil, fmt.Errorf("halfkey: encode: %w", err)
	}
	return append(b, '\n'), nil
}

func decodeJSON(b []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return fileErrorf("halfkey: a file of the home does not decode") // The decoder's text may quote a secret.
	}
	if _, err := d.Token(); err != io.EOF {
		return fileErrorf("halfkey: a file of the home is followed by something")
	}
	return nil
}
