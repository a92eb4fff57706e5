package plain

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// The types of statements that this agent signs or reads, and of what it hashes: docs/evidence.md, "Envelope, digest, signature".
const (
	typeInstallation = "application/vnd.halfkey.installation.v1"
	typeStart        = "application/vnd.halfkey.keygen-start.v1"
	typeAnswer       = "application/vnd.halfkey.keygen-answer.v1"
	typeRegistration = "application/vnd.halfkey.registration.v1"
	typeRequest      = "application/vnd.halfkey.request.v1"
	typeSettlement   = "application/vnd.halfkey.settlement.v1"
	typeJournalHead  = "application/vnd.halfkey.journal-head.v1"
	typeToken        = "application/vnd.halfkey.token.v1"
	typeIntent       = "application/vnd.halfkey.intent.v1"
	typeMessage      = "application/vnd.halfkey.message.book.v1"
	typeClaimCode    = "application/vnd.halfkey.claim-code.v1"
)

// encode is the one encoding of a payload. Go's protobuf writes fields in ascending order and leaves out defaults; our payloads
// have no maps, where it could choose.
func encode(m proto.Message) []byte {
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		panic(err) // Only a string that is not UTF-8 fails, and ours are.
	}
	return b
}

// decode reads a payload and refuses any other encoding of it. What this program does not know would be encoded again as it
// came, so it is looked for.
func decode(b []byte, m proto.Message) error {
	if err := proto.Unmarshal(b, m); err != nil {
		return err
	}
	if strange(m.ProtoReflect()) || !bytes.Equal(encode(m), b) {
		return errors.New("a payload is not in its one encoding")
	}
	return nil
}

// strange says whether a message, or one inside it, holds a field or a value of an enum that its contract lacks.
func strange(m protoreflect.Message) bool {
	found := len(m.GetUnknown()) > 0
	m.Range(func(field protoreflect.FieldDescriptor, value protoreflect.Value) bool {
		each := []protoreflect.Value{value}
		if field.IsList() {
			each = nil
			for n := range value.List().Len() {
				each = append(each, value.List().Get(n))
			}
		}
		for _, one := range each {
			switch {
			case field.Message() != nil:
				found = found || strange(one.Message())
			case field.Enum() != nil:
				found = found || field.Enum().Values().ByNumber(one.Enum()) == nil
			}
		}
		return !found
	})
	return found
}

// pae is DSSE's pre-authentication encoding: what is signed and hashed.
func pae(kind string, payload []byte) []byte {
	return fmt.Appendf(nil, "DSSEv1 %d %s %d %s", len(kind), kind, len(payload), payload)
}

// digest is SHA-256 of it.
func digest(kind string, payload []byte) []byte {
	sum := sha256.Sum256(pae(kind, payload))
	return sum[:]
}

// sign makes a statement.
func sign(key ed25519.PrivateKey, kind string, m proto.Message) *typev1.Envelope {
	payload := encode(m)
	return &typev1.Envelope{
		PayloadType: kind, Payload: payload,
		Signatures: []*typev1.Signature{{PublicKey: key.Public().(ed25519.PublicKey), Signature: ed25519.Sign(key, pae(kind, payload))}},
	}
}

// open verifies a statement of a kind under one of the keys that count, and reads it into m.
func open(e *typev1.Envelope, kind string, m proto.Message, keys ...[]byte) error {
	if e.GetPayloadType() != kind {
		return fmt.Errorf("a statement is %q, want %q", e.GetPayloadType(), kind)
	}
	signed := false
	for _, s := range e.GetSignatures() {
		for _, key := range keys {
			if !bytes.Equal(s.GetPublicKey(), key) {
				continue
			}
			if !ed25519.Verify(key, pae(kind, e.GetPayload()), s.GetSignature()) {
				return fmt.Errorf("a signature of %s does not verify", kind)
			}
			signed = true
		}
	}
	if !signed {
		return fmt.Errorf("%s has no signature that counts", kind)
	}
	return decode(e.GetPayload(), m)
}
