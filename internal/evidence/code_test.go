package evidence_test

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"math/big"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/halfkey/halfkey/internal/chain/book"
	"github.com/halfkey/halfkey/internal/evidence"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// TestPAE holds the encoding to the example of the DSSE specification (protocol.md, "Examples").
func TestPAE(t *testing.T) {
	got := string(evidence.PAE("http://example.com/HelloWorld", []byte("hello world")))
	if want := "DSSEv1 29 http://example.com/HelloWorld 11 hello world"; got != want {
		t.Errorf("PAE = %q, want %q", got, want)
	}
}

// TestDigestsAreApart: the same bytes under two types are two contents.
func TestDigestsAreApart(t *testing.T) {
	b := []byte("the same bytes")
	seen := make(map[evidence.Digest]string)
	for _, s := range samples(t) {
		d := evidence.DigestOf(s.payloadType, b)
		if before, ok := seen[d]; ok && before != s.payloadType {
			t.Errorf("%s and %s share a digest", before, s.payloadType)
		}
		seen[d] = s.payloadType
	}
	if evidence.MessageDigest(b) == evidence.MessageDigest(b[1:]) {
		t.Error("unknown messages share a digest")
	}
	if evidence.MessageDigest([]byte(book.Prefix)) != evidence.DigestOf(evidence.TypeBookMessage, []byte(book.Prefix)) {
		t.Error("a book message is hashed as another type")
	}
	if evidence.MessageDigest([]byte(book.Prefix)) == evidence.MessageDigest([]byte("\xffhalfkey/keygen-test/v1")) {
		t.Error("a key test is hashed as a book message")
	}
}

func TestParseDigest(t *testing.T) {
	want := evidence.DigestOf(evidence.TypeIntent, nil)
	got, err := evidence.ParseDigest(want.Bytes())
	if err != nil || got != want || !want.Is(want.Bytes()) || want.IsZero() || want.String() != fmt.Sprintf("%x", want[:]) {
		t.Errorf("ParseDigest = %v, %v, want %v", got, err, want)
	}
	for _, n := range []int{0, 31, 33} {
		if _, err := evidence.ParseDigest(make([]byte, n)); err == nil || want.Is(make([]byte, n)) {
			t.Errorf("%d bytes are taken for a digest", n)
		}
	}
}

// TestClaimCode compares with a second way to the same 100 bits.
func TestClaimCode(t *testing.T) {
	r := sampleOf(t, "registration").(*typev1.Registration)
	hash := sha256.Sum256(evidence.PAE("application/vnd.halfkey.claim-code.v1", loose(t, r)))
	n := new(big.Int).Rsh(new(big.Int).SetBytes(hash[:]), 256-100)
	var want []byte
	for range 20 {
		want = append([]byte{"0123456789ABCDEFGHJKMNPQRSTVWXYZ"[new(big.Int).And(n, big.NewInt(31)).Int64()]}, want...)
		n.Rsh(n, 5)
	}
	got := evidence.ClaimCode("golden", r)
	if strings.ReplaceAll(got, "-", "") != string(want) || len(got) != 24 || strings.Count(got, "-") != 4 {
		t.Errorf("ClaimCode = %q, want %s in groups of 4", got, want)
	}
	if same, err := evidence.NormalizeClaimCode(got); err != nil || same != got {
		t.Errorf("NormalizeClaimCode(%q) = %q, %v", got, same, err)
	}
	// The code covers each field, and the verifier's own installation.
	rows := []struct {
		name string
		edit func(r *typev1.Registration)
	}{
		{"wallet", func(r *typev1.Registration) { r.Wallet += "x" }},
		{"handle", func(r *typev1.Registration) { r.Handle += "x" }},
		{"group key", func(r *typev1.Registration) { r.GroupKey[0] ^= 1 }},
		{"request key", func(r *typev1.Registration) { r.RequestKey[0] ^= 1 }},
	}
	for _, row := range rows {
		other := proto.CloneOf(r)
		row.edit(other)
		if evidence.ClaimCode("golden", other) == got {
			t.Errorf("the code does not cover the %s", row.name)
		}
	}
	if evidence.ClaimCode("prod", r) == got {
		t.Error("the code does not cover the installation")
	}
	forged := proto.CloneOf(r)
	forged.Installation = "prod"
	if evidence.ClaimCode("golden", forged) != got {
		t.Error("a registration chooses the installation of its code")
	}
}

func TestNormalizeClaimCode(t *testing.T) {
	const want = "0123-4567-89AB-CDEF-GHJ1"
	rows := []struct {
		in string
		ok bool
	}{
		{want, true},
		{"0123456789abcdefghj1", true},
		{" o123 4567\t89ab-cdef-ghjI\n", true},
		{"O123-4567-89AB-CDEF-GHJl", true},
		{"0-1-2-3-4-5-6-7-8-9-A-B-C-D-E-F-G-H-J-1", true},
		{"", false},
		{"0123-4567-89AB-CDEF-GHJ", false},
		{want + "0", false},
		{"U123-4567-89AB-CDEF-GHJ1", false},
		{"０123-4567-89AB-CDEF-GHJ1", false},
		{"0123-4567-89AB-CDEF-GHJ1\x00", false},
		{strings.Repeat("-", 81), false},
	}
	for _, row := range rows {
		got, err := evidence.NormalizeClaimCode(row.in)
		if (err == nil) != row.ok || row.ok && got != want {
			t.Errorf("NormalizeClaimCode(%q) = %q, %v, want ok %v", row.in, got, err, row.ok)
		}
	}
}

func TestKeyTestMessage(t *testing.T) {
	group, transcript := [32]byte{1}, [32]byte{2}
	got := evidence.KeyTestMessage("test", "wallets/a", group, transcript)
	want := "\xffhalfkey/keygen-test/v1" + "\x00\x00\x00\x04test" + "\x00\x00\x00\x09wallets/a" + string(group[:]) + string(transcript[:])
	if string(got) != want {
		t.Errorf("KeyTestMessage = %q, want %q", got, want)
	}
	if _, err := book.Decode(got); err == nil {
		t.Error("a key test decodes as a book message")
	}
	g, err := evidence.NewKeyTest("test", "wallets/a", group, transcript).Take()
	if err != nil || !bytes.Equal(g.Message, got) || g.Commitment != [64]byte{} || len(g.Context) == 0 {
		t.Errorf("Take = %+v, %v, want the key-test message", g, err)
	}
}

// TestKeyGenerationSession: no two runs share a session, also where their names run together.
func TestKeyGenerationSession(t *testing.T) {
	rows := [][3]string{
		{"test", "wallets/a", "run"},
		{"tes", "twallets/a", "run"},
		{"test", "wallets/ar", "un"},
		{"test", "wallets/a", "rum"},
		{"prod", "wallets/a", "run"},
	}
	seen := make(map[string]bool)
	for _, r := range rows {
		s := string(evidence.KeyGenerationSession(r[0], r[1], []byte(r[2])))
		if seen[s] {
			t.Errorf("%v shares a session", r)
		}
		seen[s] = true
	}
}
