package evidence

import (
	"bytes"
	"encoding/binary"

	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

const (
	keyTestPrefix = "\xffhalfkey/keygen-test/v1"
	sessionPrefix = "halfkey/keygen/v1"
)

// KeyGenerationSession is the session id of a key generation's run (COCKTAIL-DKG, context): a run of another installation,
// wallet or id shares no proof with it.
func KeyGenerationSession(installation, wallet string, run []byte) []byte {
	b := appendString(nil, sessionPrefix)
	b = appendString(b, installation)
	b = appendString(b, wallet)
	return appendString(b, string(run))
}

// KeyTestMessage is what agent and co-signer sign together to prove that the new key works: 0xFF, the name, then
// installation and wallet each after four bytes of length, the group key, and the SHA-256 of the run's transcript. No
// chain's and no book's decoder takes it for a payment.
func KeyTestMessage(installation, wallet string, groupKey, transcript [32]byte) []byte {
	b := []byte(keyTestPrefix)
	b = appendString(b, installation)
	b = appendString(b, wallet)
	b = append(b, groupKey[:]...)
	return append(b, transcript[:]...)
}

// KeyTest is the token for the one test signature of a key generation. It opens once, and only onto bytes that pay nothing.
type KeyTest struct {
	seal *seal
}

// NewKeyTest makes the token for a run whose transcript both sides have certified.
func NewKeyTest(installation, wallet string, groupKey, transcript [32]byte) *KeyTest {
	message := KeyTestMessage(installation, wallet, groupKey, transcript)
	return &KeyTest{seal: &seal{grant: Grant{Message: message, Context: bytes.Clone(message)}}}
}

// Take opens the token: exactly one call gets the grant. Its commitment is zero; the agent's comes with the call that asks
// for the test signature.
func (t *KeyTest) Take() (Grant, error) {
	if t == nil {
		return (*seal)(nil).take("key-test")
	}
	return t.seal.take("key-test")
}

// CheckKeyGenerationStart verifies the statement that begins a key generation, under the request key that it names.
func CheckKeyGenerationStart(i *Installation, e *typev1.Envelope) (*typev1.KeyGenerationStart, error) {
	m := new(typev1.KeyGenerationStart)
	if err := Peek(e, m); err != nil {
		return nil, err
	}
	if _, err := Open(e, m, m.GetRequestKey()); err != nil {
		return nil, err
	}
	switch {
	case m.GetInstallation() != i.ID():
		return nil, mismatch("keygen-start", "installation", "is another installation")
	case !ValidKey(m.GetRequestKey()):
		return nil, bad("keygen-start", "request_key", "is not a point of prime order")
	}
	return m, nil
}

// CheckKeyGenerationAnswer verifies the co-signer's answer to start, under its current record key: so that the gateway in
// between cannot put a key of its own in the co-signer's place.
func CheckKeyGenerationAnswer(i *Installation, start, e *typev1.Envelope) (*typev1.KeyGenerationAnswer, error) {
	s, m := new(typev1.KeyGenerationStart), new(typev1.KeyGenerationAnswer)
	if err := Peek(start, s); err != nil {
		return nil, err
	}
	if _, err := Open(e, m, i.Key(typev1.Purpose_PURPOSE_COSIGNER)); err != nil {
		return nil, err
	}
	const piece = "keygen-answer"
	switch {
	case m.GetInstallation() != i.ID():
		return nil, mismatch(piece, "installation", "is another installation")
	case m.GetWallet() != s.GetWallet():
		return nil, mismatch(piece, "wallet", "is another wallet")
	case !bytes.Equal(m.GetRun(), s.GetRun()):
		return nil, mismatch(piece, "run", "is another run")
	case !EnvelopeDigest(start).Is(m.GetStartDigest()):
		return nil, mismatch(piece, "start_digest", "answers another start")
	}
	return m, nil
}

// CheckRegistrationEnd verifies the co-signer's statement that a registration has ended unclaimed.
func CheckRegistrationEnd(i *Installation, e *typev1.Envelope) (*typev1.RegistrationEnd, error) {
	m := new(typev1.RegistrationEnd)
	if _, err := Open(e, m, i.Key(typev1.Purpose_PURPOSE_COSIGNER)); err != nil {
		return nil, err
	}
	if m.GetInstallation() != i.ID() {
		return nil, mismatch("registration-end", "installation", "is another installation")
	}
	return m, nil
}

// appendString appends the length of s in four bytes, big endian, and s: no two lists of strings give the same bytes.
func appendString(b []byte, s string) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(len(s)))
	return append(b, s...)
}
