package main

import (
	"bytes"
	"crypto/ed25519"
	"encoding/hex"
	"errors"
	"os"
	"strings"

	"golang.org/x/term"

	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// secretText reads a secret from a file or, for `-`, from standard input. A file that others can read is refused. The caller
// wipes what it gets.
func (a *app) secretText(field, path string) ([]byte, error) {
	if path != "-" {
		info, err := os.Stat(path)
		if err != nil {
			return nil, unreadable(path, err)
		}
		if info.Mode().IsRegular() && info.Mode().Perm()&0o077 != 0 {
			return nil, usage(field, "a secret's file can be read by others: give it mode 0600 first", "file", path)
		}
	}
	return a.input(path)
}

// secret is secretText for one line, without its end.
func (a *app) secret(field, path string) ([]byte, error) {
	b, err := a.secretText(field, path)
	if err != nil {
		return nil, err
	}
	defer clear(b)
	line := bytes.TrimRight(b, "\r\n")
	if len(line) == 0 || bytes.ContainsAny(line, "\r\n") {
		return nil, usage(field, "a secret is one line and not empty")
	}
	return bytes.Clone(line), nil
}

// signingKey reads an Ed25519 key: the seed's 64 hexadecimal digits.
func (a *app) signingKey(field, path string) (ed25519.PrivateKey, error) {
	line, err := a.secret(field, path)
	if err != nil {
		return nil, err
	}
	defer clear(line)
	seed := make([]byte, hex.DecodedLen(len(line)))
	defer clear(seed)
	if n, err := hex.Decode(seed, line); err != nil || n != ed25519.SeedSize {
		return nil, usage(field, "a key is one line of 64 hexadecimal digits") // Without the text: it may be half a key.
	}
	return ed25519.NewKeyFromSeed(seed), nil
}

// errNoTerminal is why nothing was asked.
var errNoTerminal = errors.New("standard input is no terminal")

// ask puts a question to a person and reports whether the answer is yes. Without a terminal nothing is asked.
func (a *app) ask(question string, args ...any) (bool, error) {
	answer, err := a.askText(question+" [y/N]", args...)
	if err != nil {
		return false, err
	}
	switch strings.ToLower(answer) {
	case "y", "yes":
		return true, nil
	default:
		return false, nil
	}
}

// answerMax bounds an answer: a terminal hands over a line of at most 4 KiB at a time.
const answerMax = 4096

// askText puts a question to a person and returns the line that is typed, without spaces around it. Without a terminal nothing is asked.
func (a *app) askText(question string, args ...any) (string, error) {
	f, ok := a.stdin.(*os.File)
	if !ok || a.globals.JSON || !term.IsTerminal(int(f.Fd())) {
		return "", errNoTerminal
	}
	p := printer{w: a.stderr}
	p.line(question, args...)
	answer := make([]byte, answerMax)
	n, err := f.Read(answer)
	if err != nil {
		return "", unmoved(err)
	}
	return strings.TrimSpace(string(answer[:n])), nil
}

// secretFile refuses standard output as the place of a secret: it ends up on screens, in logs and in pipes, and in no file of mode 0600.
func secretFile(field, path string) error {
	if path != "-" {
		return nil
	}
	return localError(typev1.Reason_REASON_INVALID_ARGUMENT, "a secret is not written to standard output, where others may read it",
		"name a new file, which gets mode 0600; one that is called - is ./-", "field", field)
}
