package main

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestScriptsRestored runs what an owner does after all stores were put back: testdata/restored, with nobody else there.
func TestScriptsRestored(t *testing.T) { testscript.Run(t, scripts(t, "testdata/restored")) }

// scriptStores ends the installation as a crash does, and copies all of its stores, `stores copy`, or puts the copy in their place,
// `stores put-back`; then it starts it again.
func scriptStores(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 || args[0] != "copy" && args[0] != "put-back" {
		ts.Fatalf("usage: stores copy|put-back")
	}
	stores, copied := filepath.Dir(world.system.InstallationFile()), ts.MkAbs("stores")
	ts.Check(world.system.Kill())
	from, to := stores, copied
	if args[0] == "put-back" {
		from, to = copied, stores
	}
	ts.Check(os.RemoveAll(to))
	ts.Check(filepath.WalkDir(from, func(path string, e os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		if e.IsDir() {
			return os.MkdirAll(filepath.Join(to, rel), 0o700)
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(to, rel), b, 0o600)
	}))
	ctx, cancel := context.WithTimeout(context.Background(), stepMax)
	defer cancel()
	system, err := startSystem(ctx, stores)
	ts.Check(err)
	world.system = system
}
