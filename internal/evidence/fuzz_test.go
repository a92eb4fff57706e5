package evidence_test

import (
	"bytes"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/halfkey/halfkey/internal/evidence"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// FuzzUnmarshal: for every type, what is taken is made again byte by byte, and nothing panics.
func FuzzUnmarshal(f *testing.F) {
	all := samples(f)
	for i, s := range all {
		b, err := evidence.Marshal(s.m)
		if err != nil {
			f.Fatalf("Marshal: %v", err)
		}
		f.Add(uint8(i), b)
	}
	f.Fuzz(func(t *testing.T, which uint8, b []byte) {
		m := all[int(which)%len(all)].m.ProtoReflect().New().Interface()
		if err := evidence.Unmarshal(b, m); err != nil {
			return
		}
		again, err := evidence.Marshal(m)
		if err != nil || !bytes.Equal(again, b) {
			t.Errorf("taken %x, made %x, %v", b, again, err)
		}
	})
}

// FuzzOpen: only what the key signed opens.
func FuzzOpen(f *testing.F) {
	w := fixedWorld(f)
	review := sampleOf(f, "review")
	good := w.Sign(w.Policy, review)
	b, err := evidence.Marshal(good)
	if err != nil {
		f.Fatalf("Marshal: %v", err)
	}
	f.Add(b)
	key := good.GetSignatures()[0].GetPublicKey()
	f.Fuzz(func(t *testing.T, b []byte) {
		e, m := new(typev1.Envelope), new(typev1.Review)
		if err := evidence.Unmarshal(b, e); err != nil {
			return
		}
		if _, err := evidence.Open(e, m, key); err == nil && !proto.Equal(m, review) {
			t.Errorf("opened what nobody signed: %v", m)
		}
	})
}

// FuzzParseInstallation: a file that is taken is the one that was signed.
func FuzzParseInstallation(f *testing.F) {
	w := fixedWorld(f)
	b, err := evidence.Marshal(w.Installation.Envelope())
	if err != nil {
		f.Fatalf("Marshal: %v", err)
	}
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		e := new(typev1.Envelope)
		if err := evidence.Unmarshal(b, e); err != nil {
			return
		}
		i, err := evidence.ParseInstallation(e)
		if err != nil {
			return
		}
		if i.Key(typev1.Purpose_PURPOSE_LEDGER) == nil || len(i.Operators()) == 0 {
			t.Error("taken without keys")
		}
	})
}

// FuzzLoadInstallation: one file, one installation; white space apart, a file that is taken is made again.
func FuzzLoadInstallation(f *testing.F) {
	good, err := fixedWorld(f).Installation.MarshalFile()
	if err != nil {
		f.Fatalf("MarshalFile: %v", err)
	}
	f.Add(good)
	f.Add([]byte(`{"payloadType":"","payload":"","signatures":null}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		i, err := evidence.LoadInstallation(b)
		if err != nil {
			return
		}
		made, err := i.MarshalFile()
		if err != nil {
			t.Fatalf("MarshalFile: %v", err)
		}
		again, err := evidence.LoadInstallation(made)
		if err != nil || again.Digest() != i.Digest() {
			t.Errorf("loaded again: %v, %v", again, err)
		}
	})
}

// FuzzNormalizeClaimCode: what is taken is in the one form, and stays so.
func FuzzNormalizeClaimCode(f *testing.F) {
	f.Add("0123-4567-89AB-CDEF-GHJ1")
	f.Add(" o123 4567\t89ab-cdef-ghjI\n")
	f.Fuzz(func(t *testing.T, s string) {
		code, err := evidence.NormalizeClaimCode(s)
		if err != nil {
			return
		}
		if again, err := evidence.NormalizeClaimCode(code); err != nil || again != code || len(code) != 24 {
			t.Errorf("NormalizeClaimCode(%q) = %q, then %q, %v", s, code, again, err)
		}
	})
}
