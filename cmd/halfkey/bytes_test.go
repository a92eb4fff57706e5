package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestArgumentsThatAreNoText: an argument that is not UTF-8 is refused, and not paid for with other words or looked for under another
// name.
func TestArgumentsThatAreNoText(t *testing.T) {
	home := filepath.Join(t.TempDir(), "home")
	for _, args := range [][]string{
		{"pay", "@shop", "1", "--memo", "weather\xff"},
		{"pay", "@shop\xc3", "1"},
		{"connect", "file\xfe"},
		{"--wallet=@shop\xff", "balance"},
	} {
		var stdout, stderr bytes.Buffer
		code := run(t.Context(), append([]string{"--home", home, "--json"}, args...), strings.NewReader(""), &stdout, &stderr, func(string) string { return "" })
		if code != exitUsage || stdout.Len() > 0 || !strings.Contains(stderr.String(), "an argument is not text in UTF-8") {
			t.Errorf("%q: exit code %d, %s%s", args, code, &stdout, &stderr)
		}
	}
	if _, err := os.Stat(home); err == nil {
		t.Error("a home was made")
	}
}
