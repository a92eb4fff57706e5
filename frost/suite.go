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
// parts are of fixed length, or only the last one is not. A fresh hash per call, because a shared one is shared state.

func h1(parts ...[]byte) *edwards25519.Scalar { return hashToScalar(Suite+"rho", parts...) }

// h2 has no domain separator, so that the challenge is Ed25519's. This is why a payment's key signs nothing but payments.
func h2(parts ...[]byte) *edwards25519.Scalar { return hashToScalar("", parts...) }

func h3(parts ...[]byte) *edwards25519.Scalar { return hashToScalar(Suite+"nonce", parts...) }

func h4(message []byte) [sha512.Size]byte { return hash(Suite+"msg", message) }

func h5(commitments ...[]byte) [sha512.Size]byte { return hash(Suite+"com", commitments...) }

func hash(prefix string, parts ...[]byte) (digest [sha512.Size]byte) {
	h := sha512.New()
	h.Write([]byte(prefix))
	for _, part := range parts {
		h.Write(part)
	}
	h.Sum(digest[:0])
	return digest
}

// hashToScalar reduces 512 bits modulo L, which leaves a bias below 2^-128.
func hashToScalar(prefix string, parts ...[]byte) *edwards25519.Scalar {
	digest := hash(prefix, parts...)
	s, err := new(edwards25519.Scalar).SetUniformBytes(digest[:])
	if err != nil {
		panic("frost: SHA-512 output is 64 bytes: " + err.Error())
	}
	clear(digest[:]) // h3's is a nonce
	return s
}

// scalar returns the identifier as a scalar, its encoding in RFC 9591 and its x-coordinate.
func (id Identifier) scalar() *edwards25519.Scalar {
	var b [scalarSize]byte
	binary.LittleEndian.PutUint16(b[:], uint16(id))
	s, err := new(edwards25519.Scalar).SetCanonicalBytes(b[:])
	if err != nil {
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
