package main

import (
	"path/filepath"
	"testing"
)

// TestDefencesStand finds a row that a change of its file has left behind, long before "make teeth" does.
func TestDefencesStand(t *testing.T) {
	t.Chdir(filepath.Join("..", ".."))
	defences, err := load("test/teeth/defences")
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range defences {
		if _, changed, err := d.without(); err != nil {
			t.Errorf("%s: %v", d.Name, err)
		} else if _, err := parse(changed); err != nil {
			t.Errorf("%s: without it the file is no Go: %v", d.Name, err)
		}
		if tests, err := filepath.Glob(filepath.Join(d.Package, "*_test.go")); err != nil || len(tests) == 0 {
			t.Errorf("%s: its package %s has no tests", d.Name, d.Package)
		}
	}
	if len(defences) == 0 {
		t.Error("no defences")
	}
}
