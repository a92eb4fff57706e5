package config

import (
	"bytes"
	"crypto/ed25519"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/halfkey/halfkey/internal/evidence"
)

const (
	// fileMax bounds a configuration file; the commented examples are some 3 KiB.
	fileMax = 64 << 10
	// secretMax bounds a secret in a file: a key or a password.
	secretMax = 4 << 10
	// installationMax bounds an installation file: a few keys, addresses and a CA bundle.
	installationMax = 256 << 10
)

// Program is the configuration of one program.
type Program interface {
	file
	// Common is what all programs have.
	Common() *Common
}

// file is a configuration that stands in one.
type file interface {
	// files are the paths in it.
	files() []*string
	// problems says what is wrong or missing, each as "key: what would be right".
	problems() []string
}

// Load reads a file into a configuration, a Program's or AllInOne, which may be filled with other than the zero values. Paths in the file
// that are not absolute begin at the file's directory, so that nothing depends on the working directory.
func Load(path string, into file) error {
	b, err := read(path, fileMax)
	if err != nil {
		return fmt.Errorf("config: %w", err)
	}
	d := yaml.NewDecoder(bytes.NewReader(b))
	d.KnownFields(true)
	if err := d.Decode(into); errors.Is(err, io.EOF) {
		return fmt.Errorf("config: %s is empty", path)
	} else if err != nil {
		return fmt.Errorf("config: %s: %s", path, strings.Join(strings.Fields(err.Error()), " "))
	}
	if err := d.Decode(new(any)); !errors.Is(err, io.EOF) {
		return fmt.Errorf("config: %s: holds a second document; one file is one configuration", path)
	}
	if problems := into.problems(); len(problems) > 0 {
		return fmt.Errorf("config: %s: %s", path, strings.Join(problems, "; "))
	}
	dir, err := filepath.Abs(filepath.Dir(path))
	if err != nil {
		return fmt.Errorf("config: %w", err)
	}
	for _, file := range into.files() {
		if *file != "" && !filepath.IsAbs(*file) {
			*file = filepath.Join(dir, *file)
		}
	}
	return nil
}

// read reads a regular file up to a bound.
func read(path string, most int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // it was only read
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", path)
	}
	b, err := io.ReadAll(io.LimitReader(f, most+1))
	if err != nil {
		return nil, err
	}
	if int64(len(b)) > most {
		return nil, fmt.Errorf("%s is larger than %d bytes", path, most)
	}
	return b, nil
}

// ReadSecret reads a file that only its owner may read. White space around it is left out. No error quotes what the file holds.
func ReadSecret(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("config: %w", err)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("config: %s: %w: a secret that others may read (mode %04o); take that away with chmod 600",
			path, fs.ErrPermission, info.Mode().Perm())
	}
	b, err := read(path, secretMax)
	if err != nil {
		return nil, fmt.Errorf("config: %w", err)
	}
	return bytes.TrimSpace(b), nil
}

// ReadKey reads a service's statement key: an Ed25519 seed, 64 hexadecimal digits.
func ReadKey(path string) (ed25519.PrivateKey, error) {
	b, err := ReadSecret(path)
	if err != nil {
		return nil, err
	}
	defer clear(b)
	seed := make([]byte, ed25519.SeedSize)
	defer clear(seed)
	if len(b) != hex.EncodedLen(len(seed)) {
		return nil, fmt.Errorf("config: %s is not a key: want 64 hexadecimal digits", path)
	}
	if _, err := hex.Decode(seed, b); err != nil { // its text quotes a byte
		return nil, fmt.Errorf("config: %s is not a key: want 64 hexadecimal digits", path)
	}
	return ed25519.NewKeyFromSeed(seed), nil
}

// ReadPublicKey reads the public half of an Ed25519 key, 64 hexadecimal digits.
func ReadPublicKey(path string) ([]byte, error) {
	b, err := read(path, secretMax)
	if err != nil {
		return nil, fmt.Errorf("config: %w", err)
	}
	key, err := hex.DecodeString(string(bytes.TrimSpace(b)))
	if err != nil || len(key) != ed25519.PublicKeySize {
		return nil, fmt.Errorf("config: %s is not a public key: want 64 hexadecimal digits", path)
	}
	return key, nil
}

// ReadInstallations reads a chain of installation files, oldest first.
func ReadInstallations(paths []string) ([]*evidence.Installation, error) {
	files := make([][]byte, len(paths))
	for i, path := range paths {
		var err error
		if files[i], err = read(path, installationMax); err != nil {
			return nil, fmt.Errorf("config: %w", err)
		}
	}
	chain, err := evidence.LoadChain(files...)
	if err != nil {
		return nil, fmt.Errorf("config: %w", err)
	}
	return chain, nil
}
