package evidencetest

import (
	"crypto/ed25519"
	"slices"
	"strings"
	"testing"

	"github.com/halfkey/halfkey/internal/evidence"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// Follow puts a successor in force, made as Successor makes it.
func (w *World) Follow(edit func(*typev1.Installation)) *evidence.Installation {
	w.t.Helper()
	i, err := evidence.Succeed(w.Installation, w.Successor(edit))
	if err != nil {
		w.t.Fatalf("Succeed: %v", err)
	}
	w.Installation, w.Installations = i, append(slices.Clone(w.Installations), i)
	return i
}

// Rotate puts a successor in force in which next is the current key of purpose and the one before it is retired. The keys in the
// world's fields stay as they are.
func (w *World) Rotate(purpose typev1.Purpose, next ed25519.PrivateKey) *evidence.Installation {
	w.t.Helper()
	return w.Follow(func(m *typev1.Installation) {
		for _, k := range m.GetServiceKeys() {
			k.Retired = k.GetRetired() || k.GetPurpose() == purpose
		}
		m.ServiceKeys = append(m.ServiceKeys, &typev1.ServiceKey{Purpose: purpose, PublicKey: Public(next)})
	})
}

// Succession tests that a service keeps the highest installation file in its store, and goes neither back nor aside. start starts it
// with a chain of w's files on one and the same store, and stops it again; no file changes a service's key.
func Succession(t *testing.T, w *World, start func(chain []*evidence.Installation) error) {
	t.Helper()
	moved := func(address string) func(*typev1.Installation) {
		return func(m *typev1.Installation) { m.GatewayAddresses = []string{address} }
	}
	fork, err := evidence.Succeed(w.Installation, w.Successor(moved("fork.invalid:443")))
	if err != nil {
		t.Fatal(err)
	}
	for _, address := range []string{"two.invalid:443", "three.invalid:443", "four.invalid:443"} {
		w.Follow(moved(address))
	}
	all := w.Installations
	for _, step := range []struct {
		name  string
		chain []*evidence.Installation
		about string // "" starts
	}{
		{"no file", nil, "installation"},
		{"the first file", all[:1], ""},
		{"its successor", all[:2], ""},
		{"the same again", all[:2], ""},
		{"rolled back", all[:1], "has accepted installation file number 2 already"},
		{"a fork", []*evidence.Installation{all[0], fork}, "number 2 with another content"},
		{"a gap after what is held", all[2:], "give every file from that one on"},
		{"files that do not follow each other", []*evidence.Installation{all[0], all[3]}, "not the next one"},
		{"two on, pinned at the file that is held", all[1:], ""},
		{"rolled back by one", all[:3], "has accepted installation file number 4 already"},
		{"the whole chain", all, ""},
	} {
		err := start(step.chain)
		if step.about == "" && err != nil {
			t.Errorf("%s: %v", step.name, err)
		}
		if step.about != "" && (err == nil || !strings.Contains(err.Error(), step.about)) {
			t.Errorf("%s: got %v, want a refusal about %q", step.name, err, step.about)
		}
	}
}
