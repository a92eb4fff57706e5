package frost

import "filippo.io/edwards25519"

// This is the only file with variable-time operations, and everything here takes public values only: points and scalars
// that stand in messages, or follow from them. A test holds the package to it.

// isTorsionFree reports whether [L]P is the identity, that is, whether P lies in the subgroup of order L. Scalars hold no L,
// so it asks whether [L-1]P = -P; the multiplication is by the integer L - 1, not by its residue, so torsion counts.
func isTorsionFree(p *edwards25519.Point) bool {
	minusOne := Identifier(1).set(new(edwards25519.Scalar))
	minusOne.Negate(minusOne)
	q := new(edwards25519.Point).VarTimeDoubleScalarBaseMult(minusOne, p, new(edwards25519.Scalar))
	return q.Equal(new(edwards25519.Point).Negate(p)) == 1
}

// sumPublic returns the sum of scalars[i]·points[i].
func sumPublic(scalars []*edwards25519.Scalar, points []*edwards25519.Point) *edwards25519.Point {
	return new(edwards25519.Point).VarTimeMultiScalarMult(scalars, points)
}

// verifySchnorr reports whether z·B = R + c·P, by z·B - c·P = R: one double-base multiplication.
func verifySchnorr(z *edwards25519.Scalar, r *edwards25519.Point, c *edwards25519.Scalar, p *edwards25519.Point) bool {
	minusC := new(edwards25519.Scalar).Negate(c)
	return new(edwards25519.Point).VarTimeDoubleScalarBaseMult(minusC, p, z).Equal(r) == 1
}
