package frost

import (
	"fmt"

	"filippo.io/edwards25519"
)

// The Schnorr scheme of COCKTAIL-DKG ("Schnorr Signature Scheme"), for proofs of possession and certificates. Its prefixes
// keep it apart from Ed25519: no such signature is one over a payment.
const (
	schnorrPrefixNonce     = "COCKTAIL-DKG-Ed25519-SHA512-NONCE"
	schnorrPrefixChallenge = "COCKTAIL-DKG-Ed25519-SHA512-H7"
)

func schnorrNonce(secret *edwards25519.Scalar, message []byte) *edwards25519.Scalar {
	encoded := secret.Bytes()
	defer clear(encoded)
	return hashToScalar(schnorrPrefixNonce, encoded, message)
}

func schnorrChallenge(r, public [pointSize]byte, message []byte) *edwards25519.Scalar {
	return hashToScalar(schnorrPrefixChallenge, r[:], public[:], message)
}

// schnorrSign signs with a deterministic nonce, so that a state restored from a copy cannot use one nonce for two messages.
// What deterministic nonces fear is a fault, so the signature is verified before it is returned.
func schnorrSign(secret *edwards25519.Scalar, message []byte) (signature [signatureSize]byte, err error) {
	p := new(edwards25519.Point).ScalarBaseMult(secret)
	public := encodePoint(p)
	nonce := schnorrNonce(secret, message)
	defer wipe(nonce)
	if nonce.Equal(new(edwards25519.Scalar)) == 1 {
		// The response would be c·secret. A new run has another message.
		return signature, fmt.Errorf("schnorr nonce is zero: %w", ErrSelfCheck)
	}
	r := encodePoint(new(edwards25519.Point).ScalarBaseMult(nonce))
	z := new(edwards25519.Scalar).MultiplyAdd(schnorrChallenge(r, public, message), secret, nonce)
	copy(signature[:pointSize], r[:])
	copy(signature[pointSize:], z.Bytes())
	if !schnorrVerify(p, public, message, signature) {
		return [signatureSize]byte{}, fmt.Errorf("schnorr signature: %w", ErrSelfCheck)
	}
	return signature, nil
}

// schnorrVerify checks a signature under a public key that was decoded strictly and has this encoding.
func schnorrVerify(p *edwards25519.Point, public [pointSize]byte, message []byte, signature [signatureSize]byte) bool {
	r, err := decodePoint(signature[:pointSize])
	if err != nil {
		return false
	}
	z, err := new(edwards25519.Scalar).SetCanonicalBytes(signature[pointSize:])
	if err != nil {
		return false
	}
	return verifySchnorr(z, r, schnorrChallenge([pointSize]byte(signature[:pointSize]), public, message), p)
}
