package frost

import (
	"crypto/rand"
	"fmt"
	"io"

	"filippo.io/edwards25519"
)

// randomScalar draws uniformly from 1 to L - 1. It reads 64 bytes, as the published vectors' streams do.
func randomScalar(random io.Reader) (*edwards25519.Scalar, error) {
	var b [64]byte
	defer clear(b[:])
	for {
		if _, err := io.ReadFull(random, b[:]); err != nil {
			return nil, fmt.Errorf("frost: randomness: %w", err)
		}
		s := setUniform(new(edwards25519.Scalar), &b)
		// Zero, once in 2^252 draws, would commit to the identity, which every receiver refuses.
		if s.Equal(new(edwards25519.Scalar)) == 0 {
			return s, nil
		}
	}
}

// systemRandom is the only source outside tests.
func systemRandom() io.Reader { return rand.Reader }

// evaluate returns f(x) for the polynomial with these coefficients, the constant term first (COCKTAIL-DKG algorithm 2).
// Constant time: Horner's rule over scalar arithmetic.
func evaluate(coefficients []*edwards25519.Scalar, x Identifier) *edwards25519.Scalar {
	result, at := new(edwards25519.Scalar), x.scalar()
	for i := len(coefficients) - 1; i >= 0; i-- {
		result.MultiplyAdd(result, at, coefficients[i])
	}
	return result
}

// evaluateCommitment returns f(x)·B from the commitments to f's coefficients: the right-hand side of Feldman's check
// (COCKTAIL-DKG algorithm 3).
func evaluateCommitment(commitment []*edwards25519.Point, x Identifier) *edwards25519.Point {
	powers := make([]*edwards25519.Scalar, len(commitment))
	power, at := Identifier(1).scalar(), x.scalar()
	for k := range powers {
		powers[k] = new(edwards25519.Scalar).Set(power)
		power.Multiply(power, at)
	}
	return sumPublic(powers, commitment)
}

// lagrange returns the coefficient of participant i in the interpolation at x from the given set, which holds i
// (RFC 9591 section 4.2 for x = 0): the product over j != i of (x - j)/(i - j). The identifiers are public and distinct.
func lagrange(i Identifier, set []Identifier, x Identifier) *edwards25519.Scalar {
	numerator, denominator := Identifier(1).scalar(), Identifier(1).scalar()
	for _, j := range set {
		if j == i {
			continue
		}
		numerator.Multiply(numerator, new(edwards25519.Scalar).Subtract(x.scalar(), j.scalar()))
		denominator.Multiply(denominator, new(edwards25519.Scalar).Subtract(i.scalar(), j.scalar()))
	}
	return numerator.Multiply(numerator, denominator.Invert(denominator))
}

// interpolate returns the value at x, in the exponent, of the polynomial through the given public shares.
func interpolate(shares []publicShare, x Identifier) *edwards25519.Point {
	set := identifiers(shares)
	var coefficients []*edwards25519.Scalar
	var points []*edwards25519.Point
	for _, share := range shares {
		coefficients, points = append(coefficients, lagrange(share.id, set, x)), append(points, share.point)
	}
	return sumPublic(coefficients, points)
}

// lambda returns self's coefficient at 0 when it signs with peer: peer/(peer - self). For neighbours, which the two signers of
// a payment are, it costs no inversion.
func lambda(self, peer Identifier) *edwards25519.Scalar {
	switch int(peer) - int(self) {
	case 1:
		return peer.scalar()
	case -1:
		return new(edwards25519.Scalar).Negate(peer.scalar())
	}
	return lagrange(self, []Identifier{self, peer}, 0)
}
