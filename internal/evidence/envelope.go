package evidence

import (
	"bytes"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/halfkey/halfkey/frost"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// ValidKey reports whether b is an Ed25519 public key that a statement may introduce: 32 bytes, canonical, of prime order.
// It costs as much as a signature check, so it stands where keys enter, not where they are used.
func ValidKey(b []byte) bool { return frost.ValidGroupKey(b) }

// Sign makes a statement's envelope with one signature. The key is an Ed25519 key; the payload type follows from m.
func Sign(key crypto.Signer, m proto.Message) (*typev1.Envelope, error) {
	if m == nil {
		return nil, invalid("statement", "", "is missing")
	}
	payloadType, ok := TypeOf(m)
	if !ok {
		return nil, invalid(pieceOf(m), "", "is not a statement")
	}
	payload, err := Marshal(m)
	if err != nil {
		return nil, err
	}
	e := &typev1.Envelope{PayloadType: payloadType, Payload: payload}
	s, err := sign(key, e)
	if err != nil {
		return nil, err
	}
	e.Signatures = []*typev1.Signature{s}
	return e, nil
}

// CoSign returns a copy of e with a second signature, by another key.
func CoSign(e *typev1.Envelope, key crypto.Signer) (*typev1.Envelope, error) {
	if err := checkEnvelope(e, pieceOfType(e.GetPayloadType())); err != nil {
		return nil, err
	}
	s, err := sign(key, e)
	if err != nil {
		return nil, err
	}
	out := proto.CloneOf(e)
	out.Signatures = append(out.Signatures, s)
	if err := checkEnvelope(out, pieceOfType(e.GetPayloadType())); err != nil {
		return nil, err
	}
	return out, nil
}

func sign(key crypto.Signer, e *typev1.Envelope) (*typev1.Signature, error) {
	piece := pieceOfType(e.GetPayloadType())
	if key == nil {
		return nil, invalid(piece, "", "has no key to be signed with")
	}
	public, ok := key.Public().(ed25519.PublicKey)
	if !ok || len(public) != ed25519.PublicKeySize {
		return nil, invalid(piece, "", "is signed by Ed25519 keys only")
	}
	signature, err := key.Sign(rand.Reader, PAE(e.GetPayloadType(), e.GetPayload()), crypto.Hash(0))
	if err != nil {
		// The key may live in a remote service; what it says is the cause, and not ours to show.
		return nil, &Error{Reason: typev1.Reason_REASON_INTERNAL, Piece: piece, Why: "could not be signed", err: err}
	}
	if len(signature) != ed25519.SignatureSize {
		return nil, &Error{Reason: typev1.Reason_REASON_INTERNAL, Piece: piece, Why: "got a signature of the wrong size"}
	}
	return &typev1.Signature{PublicKey: bytes.Clone(public), Signature: signature}, nil
}

// Open verifies a statement: its type is m's, its payload is in its one encoding with every field within bounds, and it
// carries a signature by one of keys, whose public half it returns. A signature that names one of keys and does not verify
// is refused even beside one that does. Signatures by other keys say nothing and are passed over.
func Open(e *typev1.Envelope, m proto.Message, keys ...[]byte) (signer []byte, err error) {
	if err := Peek(e, m); err != nil {
		return nil, err
	}
	piece := pieceOf(m)
	pae := PAE(e.GetPayloadType(), e.GetPayload())
	for _, s := range e.GetSignatures() {
		if !slices.ContainsFunc(keys, func(k []byte) bool { return bytes.Equal(k, s.GetPublicKey()) }) {
			continue
		}
		if !verify(s, pae) {
			return nil, bad(piece, "signatures", "holds a signature that does not verify")
		}
		if signer == nil {
			signer = bytes.Clone(s.GetPublicKey())
		}
	}
	if signer == nil {
		return nil, bad(piece, "signatures", "holds no signature by a key that may sign it")
	}
	return signer, nil
}

// OpenAll is Open for a statement that every one of keys must have signed.
func OpenAll(e *typev1.Envelope, m proto.Message, keys ...[]byte) error {
	if len(keys) == 0 {
		return bad(pieceOf(m), "signatures", "holds no signature by a key that may sign it")
	}
	for _, k := range keys {
		if _, err := Open(e, m, k); err != nil {
			return err
		}
	}
	return nil
}

// Peek decodes a statement as strictly as Open and verifies no signature: for routing, and for finding the key to verify
// with. Nothing that it returns may be relied on.
func Peek(e *typev1.Envelope, m proto.Message) error {
	if m == nil || !m.ProtoReflect().IsValid() {
		return invalid("statement", "", "is missing")
	}
	piece := pieceOf(m)
	if e == nil {
		return missing(piece)
	}
	if err := checkEnvelope(e, piece); err != nil {
		return err
	}
	payloadType, ok := TypeOf(m)
	if !ok || e.GetPayloadType() != payloadType {
		return bad(piece, "payload_type", "is of another type")
	}
	return Unmarshal(e.GetPayload(), m)
}

// Signers returns the keys that an envelope says it is signed by, for finding the one to verify with. They are a hint.
func Signers(e *typev1.Envelope) [][]byte {
	keys := make([][]byte, 0, len(e.GetSignatures()))
	for _, s := range e.GetSignatures() {
		keys = append(keys, bytes.Clone(s.GetPublicKey()))
	}
	return keys
}

func verify(s *typev1.Signature, pae []byte) bool {
	return len(s.GetPublicKey()) == ed25519.PublicKeySize && len(s.GetSignature()) == ed25519.SignatureSize &&
		ed25519.Verify(s.GetPublicKey(), pae, s.GetSignature())
}

// checkEnvelope checks sizes, that nothing unknown rides in the envelope itself, and that no key signs twice.
func checkEnvelope(e *typev1.Envelope, piece string) *Error {
	if err := strict(piece, e.ProtoReflect(), 0); err != nil {
		return err
	}
	switch {
	case len(e.GetPayloadType()) == 0 || len(e.GetPayloadType()) > TypeMax:
		return bad(piece, "payload_type", "is not 1 to 64 bytes")
	case len(e.GetPayload()) == 0 || len(e.GetPayload()) > PayloadMax:
		return bad(piece, "payload", "is not 1 byte to 64 KiB")
	case len(e.GetSignatures()) == 0 || len(e.GetSignatures()) > SignaturesMax:
		return bad(piece, "signatures", "are not 1 to 2")
	}
	for i, s := range e.GetSignatures() {
		if len(s.GetPublicKey()) != ed25519.PublicKeySize {
			return bad(piece, "public_key", "is not 32 bytes")
		}
		if len(s.GetSignature()) != ed25519.SignatureSize {
			return bad(piece, "signature", "is not 64 bytes")
		}
		for _, before := range e.GetSignatures()[:i] {
			if bytes.Equal(before.GetPublicKey(), s.GetPublicKey()) {
				return bad(piece, "signatures", "hold one key twice")
			}
		}
	}
	return nil
}
