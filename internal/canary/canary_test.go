package canary_test

import (
	"bytes"
	"encoding/base32"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"testing"

	"github.com/halfkey/halfkey/internal/canary"
)

// TestFound hides a secret in every way in which code could print one.
func TestFound(t *testing.T) {
	secret := make([]byte, 32)
	for i := range secret {
		secret[i] = byte(0x81 + 7*i) // Most of it is no text.
	}
	words := []byte("correct horse \"battery\" staple & co")
	for name, print := range map[string]func(b []byte) string{
		"raw":             func(b []byte) string { return "x" + string(b) + "y" },
		"%v":              func(b []byte) string { return fmt.Sprintf("%v", b) },
		"%#v":             func(b []byte) string { return fmt.Sprintf("%#v", b) },
		"%q":              func(b []byte) string { return fmt.Sprintf("%q", b) },
		"%x":              func(b []byte) string { return fmt.Sprintf("%x", b) },
		"%X":              func(b []byte) string { return fmt.Sprintf("%X", b) },
		"cut short":       func(b []byte) string { return hex.EncodeToString(b[:len(b)/2+1]) },
		"its end":         func(b []byte) string { return hex.EncodeToString(b[len(b)/2-1:]) },
		"base32":          func(b []byte) string { return base32.StdEncoding.EncodeToString(b) },
		"URL":             func(b []byte) string { return url.QueryEscape(string(b)) },
		"base64 before 0": func(b []byte) string { return base64.StdEncoding.EncodeToString(append(bytes.Clone(b), "after"...)) },
		"base64 before 1": func(b []byte) string { return base64.RawURLEncoding.EncodeToString(append([]byte("a"), b...)) },
		"base64 before 2": func(b []byte) string { return base64.StdEncoding.EncodeToString(append([]byte("ab"), b...)) },
		"JSON":            func(b []byte) string { j, _ := json.Marshal(map[string]any{"b": b}); return string(j) },
		"a log's bytes":   func(b []byte) string { return logged(slog.Any("b", b)) },
		"a log's list":    func(b []byte) string { return logged(slog.Any("b", []any{b})) },
	} {
		for what, b := range map[string][]byte{"bytes": secret, "words": words} {
			s := make(canary.Secrets)
			s.Add(what, b)
			if len(s.In(print(b))) == 0 {
				t.Errorf("%s: %s are not found in %q", name, what, print(b))
			}
		}
	}
	s := make(canary.Secrets)
	s.Add("words", words)
	if text := logged(slog.String("b", string(words))); len(s.In(text)) == 0 {
		t.Errorf("words are not found in %s", text)
	}
}

func logged(a slog.Attr) string {
	var b strings.Builder
	slog.New(slog.NewJSONHandler(&b, nil)).Info("x", a)
	return b.String()
}

// TestNotFound looks in what resembles a secret.
func TestNotFound(t *testing.T) {
	s := make(canary.Secrets)
	s.Add("secret", []byte("0123456789abcdef0123456789abcdef"))
	for _, text := range []string{"", "0123456789abcde", hex.EncodeToString([]byte("0123456789abcde")), "fedcba9876543210"} {
		if found := s.In(text); len(found) > 0 {
			t.Errorf("found %q in %q", found, text)
		}
	}
}
