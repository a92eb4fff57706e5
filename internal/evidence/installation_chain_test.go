package evidence_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/halfkey/halfkey/internal/evidence"
	"github.com/halfkey/halfkey/internal/evidence/evidencetest"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// chain is an installation with three files: policy's key was rotated, then the ledger's.
func chain(t *testing.T) *evidencetest.World {
	t.Helper()
	w := evidencetest.New(t)
	w.Rotate(typev1.Purpose_PURPOSE_POLICY, w.Key("policy-2"))
	w.Rotate(typev1.Purpose_PURPOSE_LEDGER, w.Key("ledger-2"))
	return w
}

func TestLoadChain(t *testing.T) {
	w := chain(t)
	var files [][]byte
	for _, i := range w.Installations {
		b, err := i.MarshalFile()
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, b)
	}
	got, err := evidence.LoadChain(files...)
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != 3 || got[2].Digest() != w.Installation.Digest() {
		t.Errorf("got %d files", len(got))
	}
	if got, err := evidence.LoadChain(files[1:]...); err != nil || got[0].Number() != 2 {
		t.Errorf("a chain that is pinned at number 2: %v", err)
	}
	for name, files := range map[string][][]byte{
		"none":          nil,
		"a gap":         {files[0], files[2]},
		"newest first":  {files[1], files[0]},
		"one twice":     {files[0], files[0]},
		"not a file":    {files[0], []byte("{}")},
		"another chain": {func() []byte { b, _ := evidencetest.New(t).Installation.MarshalFile(); return b }(), files[1]},
	} {
		if got, err := evidence.LoadChain(files...); err == nil || got != nil {
			t.Errorf("%s: got %d files, want a refusal", name, len(got))
		}
	}
}

func TestInForceRefuses(t *testing.T) {
	w := chain(t)
	for name, chain := range map[string][]*evidence.Installation{
		"none":           nil,
		"nothing first":  {nil, w.Installations[0]},
		"nothing within": {w.Installations[0], nil},
		"a gap":          {w.Installations[0], w.Installations[2]},
		"too many":       slices.Repeat(w.Installations[:1], evidence.ChainMax+1),
	} {
		if i, err := evidence.InForce(chain); err == nil || i != nil {
			t.Errorf("%s: got %v, %v, want a refusal", name, i, err)
		}
	}
}

// A store keeps the highest file: it is led forward along the chain, never back and never aside.
func TestAdvance(t *testing.T) {
	w := chain(t)
	all := w.Installations
	mark := func(chain ...*evidence.Installation) string {
		t.Helper()
		m, err := evidence.Advance("", chain)
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	one, two, three := mark(all[:1]...), mark(all[:2]...), mark(all...)
	if one != "1 "+all[0].Digest().String() {
		t.Errorf("the store keeps %q", one)
	}
	e := func() *evidence.Installation { // Another number 2 under the same operator.
		i, err := evidence.Succeed(all[0], func() *typev1.Envelope {
			m := all[0].Content()
			m.Number, m.Predecessor, m.GatewayAddresses = 2, all[0].Digest().Bytes(), []string{"other.invalid:443"}
			return w.Sign(w.Operator, m)
		}())
		if err != nil {
			t.Fatal(err)
		}
		return i
	}()
	for _, row := range []struct {
		name, held string
		chain      []*evidence.Installation
		want       string // "" is a refusal
		about      string
	}{
		{"the same file", three, all, three, ""},
		{"one on", two, all, three, ""},
		{"two on", one, all, three, ""},
		{"pinned at the file that is held", two, all[1:], three, ""},
		{"a lower file", three, all[:2], "", "the store has accepted installation file number 3 already"},
		{"a fork of the file in force", two, []*evidence.Installation{all[0], e}, "", "number 2 with another content"},
		{"a fork before the file in force", mark(all[0], e), all, "", "number 2 with another content"},
		{"a chain that begins later", one, all[1:], "", "give every file from that one on"},
		{"a damaged store", "3", all, "", "damaged"},
		{"another form", " " + three, all, "", "damaged"},
		{"number 0", "0" + three[1:], all, "", "damaged"},
		{"no chain", one, nil, "", "missing"},
	} {
		got, err := evidence.Advance(row.held, row.chain)
		if got != row.want || (err == nil) != (row.want != "") || err != nil && !strings.Contains(err.Error(), row.about) {
			t.Errorf("%s: got %q, %v", row.name, got, err)
		}
	}
}

// A successor keeps what journals and redemptions rely on.
func TestSucceedKeepsWhatWasPromised(t *testing.T) {
	w := evidencetest.New(t)
	w.Rotate(typev1.Purpose_PURPOSE_POLICY, w.Key("policy-2"))
	// Service keys of number 2: co-signer, policy (retired), ledger, policy-2.
	for _, row := range []struct {
		name, field string
		edit        func(*typev1.Installation)
	}{
		{"a retired key left out", "service_keys", func(m *typev1.Installation) { m.ServiceKeys = slices.Delete(m.GetServiceKeys(), 1, 2) }},
		{"a current key replaced and left out", "service_keys", func(m *typev1.Installation) {
			m.ServiceKeys[3].PublicKey = evidencetest.Public(w.Key("policy-3"))
		}},
		{"a retired key in force again", "service_keys", func(m *typev1.Installation) {
			m.ServiceKeys[1].Retired, m.ServiceKeys[3].Retired = false, true
		}},
		{"purposes exchanged", "service_keys", func(m *typev1.Installation) {
			m.ServiceKeys[0].Purpose, m.ServiceKeys[2].Purpose = m.GetServiceKeys()[2].GetPurpose(), m.GetServiceKeys()[0].GetPurpose()
		}},
		{"another redemption account", "redemption_account", func(m *typev1.Installation) {
			m.RedemptionAccount = evidencetest.Public(w.Key("mine"))
		}},
	} {
		t.Run(row.name, func(t *testing.T) {
			_, err := evidence.Succeed(w.Installation, w.Successor(row.edit))
			wantRefusal(t, err, isMismatch, "installation", row.field)
		})
	}
	if _, err := evidence.Succeed(w.Installation, w.Successor(nil)); err != nil {
		t.Errorf("a successor that keeps everything: %v", err)
	}
}
