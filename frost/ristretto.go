package frost

import (
	"filippo.io/edwards25519"
	"filippo.io/edwards25519/field"
)

// ristrettoEncode returns the canonical Ristretto255 encoding of the element that p represents (RFC 9496 section 4.3.2, with
// its names). COCKTAIL-DKG encodes Diffie-Hellman secrets so, which is all that Ristretto255 is used for here: decoding its
// output does not in general give back a point of prime order, so no point of the protocol takes that way. Constant time.
func ristrettoEncode(p *edwards25519.Point) [pointSize]byte {
	x0, y0, z0, t0 := p.ExtendedCoordinates()
	one := new(field.Element).One()

	u1 := new(field.Element).Add(z0, y0)
	u1.Multiply(u1, new(field.Element).Subtract(z0, y0))
	u2 := new(field.Element).Multiply(x0, y0)

	// For points of the curve this is always a square.
	invsqrt := new(field.Element).Square(u2)
	invsqrt.Multiply(invsqrt, u1)
	invsqrt.SqrtRatio(one, invsqrt)

	den1 := new(field.Element).Multiply(invsqrt, u1)
	den2 := new(field.Element).Multiply(invsqrt, u2)
	zInv := new(field.Element).Multiply(den1, den2)
	zInv.Multiply(zInv, t0)

	ix0 := new(field.Element).Multiply(x0, fieldElement(sqrtM1))
	iy0 := new(field.Element).Multiply(y0, fieldElement(sqrtM1))
	enchantedDenominator := new(field.Element).Multiply(den1, fieldElement(invSqrtAMinusD))

	rotate := new(field.Element).Multiply(t0, zInv).IsNegative()
	x := new(field.Element).Select(iy0, x0, rotate)
	y := new(field.Element).Select(ix0, y0, rotate)
	denInv := new(field.Element).Select(enchantedDenominator, den2, rotate)

	negative := new(field.Element).Multiply(x, zInv).IsNegative()
	y.Select(new(field.Element).Negate(y), y, negative)

	s := new(field.Element).Subtract(z0, y)
	s.Multiply(denInv, s)
	return [pointSize]byte(s.Absolute(s).Bytes())
}

// The constants of RFC 9496 section 4.1, little-endian.
const (
	sqrtM1 = "\xb0\xa0\x0e\x4a\x27\x1b\xee\xc4\x78\xe4\x2f\xad\x06\x18\x43\x2f" +
		"\xa7\xd7\xfb\x3d\x99\x00\x4d\x2b\x0b\xdf\xc1\x4f\x80\x24\x83\x2b"
	invSqrtAMinusD = "\xea\x40\x5d\x80\xaa\xfd\xc8\x99\xbe\x72\x41\x5a\x17\x16\x2f\x9d" +
		"\x40\xd8\x01\xfe\x91\x7b\xc2\x16\xa2\xfc\xaf\xcf\x05\x89\x6c\x78"
)

func fieldElement(encoding string) *field.Element {
	e, err := new(field.Element).SetBytes([]byte(encoding))
	if err != nil {
		panic("frost: field constant: " + err.Error())
	}
	return e
}
