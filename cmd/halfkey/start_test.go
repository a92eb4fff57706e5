package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

// nothing is a program that does nothing: what it costs to start is the operating system's and the runtime's of Go.
const nothing = "package main\n\nfunc main() {}\n"

// BenchmarkStart is what a process of its own costs before it does anything, on the command line as it is built: `version` by
// itself, and `whoami`, which opens the home and loads its agent. Each round runs a program that does nothing beside it, and
// x-nothing is the ratio of both.
func BenchmarkStart(b *testing.B) {
	dir := b.TempDir()
	program, empty, home := filepath.Join(dir, "halfkey"), filepath.Join(dir, "empty"), filepath.Join(dir, "home")
	source := filepath.Join(dir, "nothing.go")
	if err := os.WriteFile(source, []byte(nothing), 0o600); err != nil {
		b.Fatal(err)
	}
	for output, of := range map[string]string{program: ".", empty: source} {
		if out, err := exec.CommandContext(b.Context(), "go", "build", "-o", output, of).CombinedOutput(); err != nil {
			b.Fatalf("%v: %s", err, out)
		}
	}
	if _, err := newAgent(home, "start-agent", false); err != nil {
		b.Fatal(err)
	}
	for _, command := range []string{"version", "whoami"} {
		b.Run(command, func(b *testing.B) {
			var took, beside []float64
			for b.Loop() {
				took = append(took, started(b, home, program, command))
				b.StopTimer()
				beside = append(beside, started(b, home, empty))
				b.StartTimer()
			}
			b.ReportMetric(median(took)/median(beside), "x-nothing")
		})
	}
}

// started runs a program to its end and returns how many seconds that took.
func started(b *testing.B, home, program string, args ...string) float64 {
	b.Helper()
	c := exec.CommandContext(b.Context(), program, args...)
	c.Env = []string{"HALFKEY_HOME=" + home}
	begin := time.Now()
	if out, err := c.CombinedOutput(); err != nil {
		b.Fatalf("%v: %s", err, out)
	}
	return time.Since(begin).Seconds()
}

// median bears a round in which something else took the processor.
func median(of []float64) float64 {
	slices.Sort(of)
	return of[len(of)/2]
}
