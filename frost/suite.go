package frost

import (
	"crypto/sha512"
	"encoding/binary"

	"filippo.io/edwards25519"
)

const (
	pointSize     = 32 // RFC 8032 section 5.1.2
	scalarSize    = 32 // little-endian, below L
	signatureSize = 2 * pointSize
)

// The hash functions of RFC 9591 section 6.1. Each takes its input in parts, hashed as one concatenation: every caller's
// parts are of fixed length, or only the last one is not.

func h1(parts ...[]byte) *edwards25519.Scalar { return hashToScalar(Suite+"rho", parts...) }

// h2 has no domain separator, so that the challenge is Ed25519's. This is why a payment's key signs nothing but payments.
func h2(parts ...[]byte) *edwards25519.Scalar { return hashToScalar("", parts...) }

// h3 sets s, which is a nonce and should leave no copy.
func h3(s *edwards25519.Scalar, parts ...[]byte) { setHash(s, Suite+"nonce", parts...) }

func h4(message []byte) [sha512.Size]byte { return hash(Suite+"msg", message) }

func h5(commitments ...[]byte) [sha512.Size]byte { return hash(Suite+"com", commitments...) }

// hashBufferSize holds what a signature hashes, for the messages of any chain (Solana's packet is 1,232 bytes). A longer
// input costs an allocation.
const hashBufferSize = 2 << 10

// hash joins its input on the stack for SHA-512's one-call form: a hash.Hash would move to the heap whatever is written to it,
// and a shared one is shared state.
func hash(prefix string, parts ...[]byte) [sha512.Size]byte {
	size := len(prefix)
	for _, part := range parts {
		size += len(part)
	}
	input := make([]byte, 0, hashBufferSize)
	if size > hashBufferSize {
		input = make([]byte, 0, size) // once and for all: a buffer that grows leaves copies
	}
	input = append(input, prefix...)
	for _, part := range parts {
		input = append(input, part...)
	}
	digest := sha512.Sum512(input)
	clear(input) // h3's has the share in it
	return digest
}

// hmacSHA512 is RFC 2104 with SHA-512, for keys of at most a block, by the same means.
func hmacSHA512(key, message []byte) [sha512.Size]byte {
	var inner, outer [sha512.BlockSize]byte
	if len(key) > sha512.BlockSize {
		panic("frost: HMAC key longer than a block")
	}
	copy(inner[:], key)
	copy(outer[:], key)
	for k := range inner {
		inner[k] ^= 0x36
		outer[k] ^= 0x5c
	}
	digest := hash("", inner[:], message)
	digest = hash("", outer[:], digest[:])
	clear(inner[:])
	clear(outer[:])
	return digest
}

func hashToScalar(prefix string, parts ...[]byte) *edwards25519.Scalar {
	return setHash(new(edwards25519.Scalar), prefix, parts...)
}

func setHash(s *edwards25519.Scalar, prefix string, parts ...[]byte) *edwards25519.Scalar {
	digest := hash(prefix, parts...)
	defer clear(digest[:]) // h3's is a nonce
	return setUniform(s, &digest)
}

// setUniform reduces 512 bits modulo L, which leaves a bias below 2^-128.
func setUniform(s *edwards25519.Scalar, b *[64]byte) *edwards25519.Scalar {
	if _, err := s.SetUniformBytes(b[:]); err != nil {
		panic("frost: these are 64 bytes: " + err.Error())
	}
	return s
}

// encode returns the identifier's encoding in RFC 9591, as a scalar.
func (id Identifier) encode() (b [scalarSize]byte) {
	binary.LittleEndian.PutUint16(b[:], uint16(id))
	return b
}

// scalar returns the identifier as a scalar, which is its x-coordinate.
func (id Identifier) scalar() *edwards25519.Scalar { return id.set(new(edwards25519.Scalar)) }

func (id Identifier) set(s *edwards25519.Scalar) *edwards25519.Scalar {
	b := id.encode()
	if _, err := s.SetCanonicalBytes(b[:]); err != nil {
		panic("frost: a 16-bit number is below L: " + err.Error())
	}
	return s
}

// wipe overwrites scalars that will not be used again.
func wipe(scalars ...*edwards25519.Scalar) {
	for _, s := range scalars {
		*s = edwards25519.Scalar{}
	}
}
