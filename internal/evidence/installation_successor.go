package evidence

import (
	"bytes"
	"crypto"
	"crypto/ed25519"
	"slices"

	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// Change is what a successor of an installation file changes. What is empty stays as it is.
type Change struct {
	// Cosigner, Policy and Ledger are new current keys of their purpose, the public halves; the ones before are retired.
	Cosigner, Policy, Ledger []byte
	// GatewayAddresses and HTTPSAddresses take the place of the ones before, all of them.
	GatewayAddresses, HTTPSAddresses []string
	// CA is the authority of the gateway's certificates, in PEM. While it changes, it holds the one before as well.
	CA string
	// AddOperators and RemoveOperators are operator keys.
	AddOperators, RemoveOperators [][]byte
}

// empty says whether nothing is changed.
func (c Change) empty() bool {
	return len(c.Cosigner)+len(c.Policy)+len(c.Ledger)+len(c.GatewayAddresses)+len(c.HTTPSAddresses)+len(c.CA)+
		len(c.AddOperators)+len(c.RemoveOperators) == 0
}

// MakeSuccessor makes the file that follows old, signed by one of old's operator keys.
func MakeSuccessor(old *Installation, c Change, operator crypto.Signer) (*Installation, error) {
	const piece = "installation"
	public, ok := operator.Public().(ed25519.PublicKey)
	if !ok || !slices.ContainsFunc(old.Operators(), func(k []byte) bool { return bytes.Equal(k, public) }) {
		return nil, invalid(piece, "operator_keys", "do not hold the key that is to sign: one of the file before does")
	}
	if c.empty() {
		return nil, invalid(piece, "", "would be the same as the one before: say what it changes")
	}
	m := old.Content()
	m.Number++
	m.Predecessor = old.digest.Bytes()
	for _, k := range []struct {
		purpose typev1.Purpose
		key     []byte
	}{
		{typev1.Purpose_PURPOSE_COSIGNER, c.Cosigner}, {typev1.Purpose_PURPOSE_POLICY, c.Policy}, {typev1.Purpose_PURPOSE_LEDGER, c.Ledger},
	} {
		if err := rotate(m, k.purpose, k.key); err != nil {
			return nil, err
		}
	}
	if len(c.GatewayAddresses) > 0 {
		m.GatewayAddresses = slices.Clone(c.GatewayAddresses)
	}
	if len(c.HTTPSAddresses) > 0 {
		m.HttpsAddresses = slices.Clone(c.HTTPSAddresses)
	}
	if c.CA != "" {
		m.CaPem = c.CA
	}
	if err := changeOperators(m, c); err != nil {
		return nil, err
	}
	e, err := Sign(operator, m)
	if err != nil {
		return nil, err
	}
	return Succeed(old, e)
}

// rotate retires the current key of a purpose and puts another in its place, if one is given.
func rotate(m *typev1.Installation, purpose typev1.Purpose, key []byte) error {
	if len(key) == 0 {
		return nil
	}
	for _, k := range m.GetServiceKeys() {
		if bytes.Equal(k.GetPublicKey(), key) {
			return invalid("installation", "service_keys", "hold this key already, current or retired: a rotation brings a key that was never used")
		}
		k.Retired = k.GetRetired() || k.GetPurpose() == purpose
	}
	if len(m.GetServiceKeys()) == ServiceKeysMax {
		return invalid("installation", "service_keys", "are as many as a file holds, because retired ones stay: no further key fits")
	}
	m.ServiceKeys = append(m.ServiceKeys, &typev1.ServiceKey{Purpose: purpose, PublicKey: bytes.Clone(key)})
	return nil
}

// changeOperators adds and removes operator keys.
func changeOperators(m *typev1.Installation, c Change) error {
	const piece, field = "installation", "operator_keys"
	is := func(k []byte) func([]byte) bool { return func(other []byte) bool { return bytes.Equal(k, other) } }
	for _, k := range c.AddOperators {
		if slices.ContainsFunc(m.GetOperatorKeys(), is(k)) {
			return invalid(piece, field, "hold a key already that is to be added")
		}
		m.OperatorKeys = append(m.OperatorKeys, bytes.Clone(k))
	}
	for _, k := range c.RemoveOperators {
		at := slices.IndexFunc(m.GetOperatorKeys(), is(k))
		if at < 0 {
			return invalid(piece, field, "do not hold a key that is to be removed")
		}
		m.OperatorKeys = slices.Delete(m.GetOperatorKeys(), at, at+1)
	}
	if len(m.GetOperatorKeys()) == 0 {
		return invalid(piece, field, "would be empty: nobody could ever again make a successor or issue money")
	}
	slices.SortFunc(m.OperatorKeys, bytes.Compare)
	return nil
}
