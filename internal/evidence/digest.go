package evidence

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"strconv"

	"github.com/halfkey/halfkey/internal/chain/book"
	"github.com/halfkey/halfkey/internal/chain/solana"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// Digest is the SHA-256 of a DSSE pre-authentication encoding: it names one content of one type.
type Digest [sha256.Size]byte

// String returns 64 lower-case hexadecimal digits.
func (d Digest) String() string { return hex.EncodeToString(d[:]) }

// IsZero reports whether d names nothing.
func (d Digest) IsZero() bool { return d == Digest{} }

// Bytes returns a copy of the 32 bytes, as fields of statements hold them.
func (d Digest) Bytes() []byte { return bytes.Clone(d[:]) }

// Is reports whether b holds exactly this digest.
func (d Digest) Is(b []byte) bool { return bytes.Equal(d[:], b) }

// ParseDigest takes the 32 bytes of a field.
func ParseDigest(b []byte) (Digest, error) {
	if len(b) != sha256.Size {
		return Digest{}, bad("digest", "", "is not 32 bytes")
	}
	return Digest(b), nil
}

// PAE is the DSSE v1 pre-authentication encoding: what a signature of an envelope is over.
func PAE(payloadType string, payload []byte) []byte {
	b := make([]byte, 0, len(payloadType)+len(payload)+32)
	b = append(b, "DSSEv1 "...)
	b = strconv.AppendInt(b, int64(len(payloadType)), 10)
	b = append(b, ' ')
	b = append(b, payloadType...)
	b = append(b, ' ')
	b = strconv.AppendInt(b, int64(len(payload)), 10)
	b = append(b, ' ')
	return append(b, payload...)
}

// DigestOf is SHA-256(PAE(payloadType, payload)).
func DigestOf(payloadType string, payload []byte) Digest {
	return sha256.Sum256(PAE(payloadType, payload))
}

// IntentDigest is the digest of an intent's encoded bytes: what a person reviews.
func IntentDigest(b []byte) Digest { return DigestOf(TypeIntent, b) }

// EntryHash is the hash of a journal entry's encoded bytes: the next entry's previous.
func EntryHash(b []byte) Digest { return DigestOf(TypeEntry, b) }

// EnvelopeDigest is the digest of an envelope's type and payload. Signatures are left out: two owner keys that sign the same
// answer give the same answer.
func EnvelopeDigest(e *typev1.Envelope) Digest { return DigestOf(e.GetPayloadType(), e.GetPayload()) }

// MessageDigest is the digest of the exact bytes that a payment's group key signs, under the type of the rail that their
// beginning names. Bytes that begin like none get a type that no decoder takes.
func MessageDigest(message []byte) Digest {
	switch {
	case bytes.HasPrefix(message, []byte(book.Prefix)):
		return DigestOf(TypeBookMessage, message)
	case bytes.HasPrefix(message, []byte{solana.FirstByte}):
		return DigestOf(TypeSolanaMessage, message)
	}
	return DigestOf(TypeUnknownMessage, message)
}
