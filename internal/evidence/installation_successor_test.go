package evidence_test

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/halfkey/halfkey/internal/evidence"
	"github.com/halfkey/halfkey/internal/evidence/evidencetest"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

func TestMakeSuccessor(t *testing.T) {
	w := evidencetest.New(t)
	public := func(name string) []byte { return evidencetest.Public(w.Key(name)) }
	next, err := evidence.MakeSuccessor(w.Installation, evidence.Change{
		Policy: public("policy-2"), Ledger: public("ledger-2"), GatewayAddresses: []string{"b.invalid:443"},
		HTTPSAddresses: []string{"https://b.invalid"}, AddOperators: [][]byte{public("second"), public("third")},
	}, w.Operator)
	if err != nil {
		t.Fatal(err)
	}
	m := next.Content()
	if next.Number() != 2 || !w.Installation.Digest().Is(m.GetPredecessor()) || m.GetGatewayAddresses()[0] != "b.invalid:443" ||
		m.GetHttpsAddresses()[0] != "https://b.invalid" || m.GetCaPem() != evidencetest.CA {
		t.Errorf("got %v", m)
	}
	for purpose, want := range map[typev1.Purpose]string{
		typev1.Purpose_PURPOSE_COSIGNER: "cosigner", typev1.Purpose_PURPOSE_POLICY: "policy-2", typev1.Purpose_PURPOSE_LEDGER: "ledger-2",
	} {
		if !bytes.Equal(next.Key(purpose), public(want)) {
			t.Errorf("the current key of %v is not %s", purpose, want)
		}
	}
	if n := len(next.EveryKey(typev1.Purpose_PURPOSE_LEDGER)); n != 2 {
		t.Errorf("%d ledger keys, want 2", n)
	}
	if n := len(next.Operators()); n != 3 {
		t.Errorf("%d operator keys, want 3", n)
	}
	third, err := evidence.MakeSuccessor(next, evidence.Change{RemoveOperators: [][]byte{evidencetest.Public(w.Operator)}}, w.Key("second"))
	if err != nil {
		t.Fatal(err)
	}
	if slices.ContainsFunc(third.Operators(), func(k []byte) bool { return bytes.Equal(k, evidencetest.Public(w.Operator)) }) {
		t.Error("the operator key that was taken out is still there")
	}
}

func TestMakeSuccessorRefuses(t *testing.T) {
	w := evidencetest.New(t)
	w.Rotate(typev1.Purpose_PURPOSE_POLICY, w.Key("policy-2"))
	public := func(name string) []byte { return evidencetest.Public(w.Key(name)) }
	for _, row := range []struct {
		name, field string
		change      evidence.Change
		signer      ed25519.PrivateKey
	}{
		{"nothing changed", "", evidence.Change{}, w.Operator},
		{"a stranger's signature", "operator_keys", evidence.Change{Ledger: public("l")}, w.Key("stranger")},
		{"a key in force", "service_keys", evidence.Change{Ledger: public("ledger")}, w.Operator},
		{"a retired key", "service_keys", evidence.Change{Policy: public("policy")}, w.Operator},
		{"another service's key", "service_keys", evidence.Change{Ledger: public("policy-2")}, w.Operator},
		{"one key for two", "service_keys", evidence.Change{Ledger: public("n"), Policy: public("n")}, w.Operator},
		{"an operator's key", "service_keys", evidence.Change{Ledger: public("operator")}, w.Operator},
		{"an operator key that is there", "operator_keys", evidence.Change{AddOperators: [][]byte{public("operator")}}, w.Operator},
		{"an operator key that is not there", "operator_keys", evidence.Change{RemoveOperators: [][]byte{public("second")}}, w.Operator},
		{"the last operator key", "operator_keys", evidence.Change{RemoveOperators: [][]byte{public("operator")}}, w.Operator},
		{"no address", "gateway_addresses", evidence.Change{GatewayAddresses: []string{"gateway"}}, w.Operator},
		{"a CA that is none", "ca_pem", evidence.Change{CA: "CA"}, w.Operator},
		{"a key of small order", "", evidence.Change{Ledger: identityPoint()}, w.Operator},
	} {
		t.Run(row.name, func(t *testing.T) {
			i, err := evidence.MakeSuccessor(w.Installation, row.change, row.signer)
			if err == nil || i != nil {
				t.Fatal("it was made")
			}
			var e *evidence.Error
			if !errors.As(err, &e) || e.Field != row.field {
				t.Errorf("got %v, want a refusal about %q", err, row.field)
			}
		})
	}
}

// A file has a place for so many keys; after the last one a rotation says so, and everything else can still be changed.
func TestMakeSuccessorFull(t *testing.T) {
	w := evidencetest.New(t)
	for n := len(w.Installation.Content().GetServiceKeys()); n < evidence.ServiceKeysMax; n++ {
		w.Rotate(typev1.Purpose_PURPOSE_LEDGER, w.Key(fmt.Sprint("ledger-", n)))
	}
	_, err := evidence.MakeSuccessor(w.Installation, evidence.Change{Ledger: evidencetest.Public(w.Key("one more"))}, w.Operator)
	wantRefusal(t, err, typev1.Reason_REASON_INVALID_ARGUMENT, "installation", "service_keys")
	if _, err := evidence.MakeSuccessor(w.Installation, evidence.Change{GatewayAddresses: []string{"b.invalid:443"}}, w.Operator); err != nil {
		t.Error(err)
	}
}
