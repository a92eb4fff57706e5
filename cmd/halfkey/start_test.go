package main

import (
	"os/exec"
	"path/filepath"
	"testing"
)

// BenchmarkStart is what a process of its own costs before it does anything, on the command line as it is built: `version` by
// itself, and `whoami`, which opens the home and loads its agent.
func BenchmarkStart(b *testing.B) {
	dir := b.TempDir()
	program, home := filepath.Join(dir, "halfkey"), filepath.Join(dir, "home")
	if out, err := exec.CommandContext(b.Context(), "go", "build", "-o", program, ".").CombinedOutput(); err != nil {
		b.Fatalf("%v: %s", err, out)
	}
	if _, err := newAgent(home, "start-agent", false); err != nil {
		b.Fatal(err)
	}
	for _, command := range []string{"version", "whoami"} {
		b.Run(command, func(b *testing.B) {
			for b.Loop() {
				c := exec.CommandContext(b.Context(), program, command)
				c.Env = []string{"HALFKEY_HOME=" + home}
				if out, err := c.CombinedOutput(); err != nil {
					b.Fatalf("%v: %s", err, out)
				}
			}
		})
	}
}
