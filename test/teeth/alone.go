package main

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// checkAlone builds one defence's test without it, and reports an error unless the test then fails.
func checkAlone(ctx context.Context, d defence, dir string) error {
	_, changed, err := d.without()
	if err != nil {
		return err
	}
	overlay, err := writeOverlay(dir, map[string]string{d.File: changed})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, testTimeout+time.Minute)
	defer cancel()
	args := append([]string{"test", "-json", "-count=1", "-run", pattern(d.Test), "-timeout", testTimeout.String()}, buildFlags(overlay)...)
	cmd := exec.CommandContext(ctx, "go", append(args, d.Package)...) //nolint:gosec // arguments are the repository's own data
	cmd.Env = buildEnv()
	out, err := cmd.Output()
	if err == nil {
		return errPasses
	}
	return named(out, d.Test)
}

// buildFlags are for builds that run once: nothing is vetted, no code of ours inlined and no debug information made.
func buildFlags(overlay string) []string {
	return []string{"-vet=off", "-gcflags=github.com/halfkey/halfkey/...=-l -dwarf=false", "-ldflags=-s -w", "-overlay", overlay}
}

// buildEnv lets the compiler take more memory before it collects.
func buildEnv() []string { return append(os.Environ(), "GOGC=800") }

// writeOverlay makes a folder for files that stand in for the repository's, and go build's list of them. They are named
// from the repository's root; one that is not there is added.
func writeOverlay(dir string, files map[string]string) (list string, err error) {
	replace := make(map[string]string)
	for file, text := range files {
		original, err := filepath.Abs(file)
		if err != nil {
			return "", err
		}
		replace[original] = filepath.Join(dir, file)
		if err := os.MkdirAll(filepath.Dir(replace[original]), 0o700); err != nil {
			return "", err
		}
		if err := os.WriteFile(replace[original], []byte(text), 0o600); err != nil {
			return "", err
		}
	}
	b, err := json.Marshal(map[string]map[string]string{"Replace": replace})
	if err != nil {
		return "", err
	}
	list = filepath.Join(dir, "overlay.json")
	return list, os.WriteFile(list, b, 0o600)
}
