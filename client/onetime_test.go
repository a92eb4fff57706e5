package client

import (
	"crypto/ed25519"
	"errors"
	"testing"

	"github.com/halfkey/halfkey/internal/evidence"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// FuzzReadOneTime: whatever text is read as a token or an invitation, what is taken has a key and a statement in its one
// encoding, and what is refused is a malformed argument.
func FuzzReadOneTime(f *testing.F) {
	seed, key, err := newSeed()
	if err != nil {
		f.Fatal(err)
	}
	statement, err := evidence.Sign(key, &typev1.OwnerInvitation{
		Installation: "fuzz", Owner: "owners/o", InvitationKey: key[ed25519.SeedSize:], ExpiryMillis: 1,
	})
	if err != nil {
		f.Fatal(err)
	}
	for _, kind := range []string{kindEnrolment, kindInvitation} {
		text, err := oneTimeText(kind, "you@company.com", seed, statement)
		if err != nil {
			f.Fatal(err)
		}
		if _, err := readOneTime("read", kind, text); err != nil {
			f.Fatalf("what was made is not taken: %v", err)
		}
		f.Add(text)
	}
	f.Add([]byte(`{"version":1,"kind":"enrolment-token","seed":"AA==","statement":""}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		for _, kind := range []string{kindEnrolment, kindInvitation} {
			k, err := readOneTime("read", kind, text)
			if err != nil {
				var e *Error
				if !errors.As(err, &e) || e.Reason != typev1.Reason_REASON_INVALID_ARGUMENT || e.MoneyMoved != notMoved {
					t.Errorf("refused with %v", err)
				}
				continue
			}
			if _, err := evidence.Marshal(k.statement); err != nil || len(k.public) != ed25519.PublicKeySize {
				t.Errorf("taken with a key of %d bytes and a statement that is refused: %v", len(k.public), err)
			}
			k.wipe()
		}
	})
}
