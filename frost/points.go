package frost

import (
	"fmt"
	"slices"

	"filippo.io/edwards25519"
)

// decodePoint accepts exactly the canonical encodings of the points of prime order L other than the identity.
//
// SetBytes is laxer in two ways: it accepts y >= p and the sign bit on x = 0, and it accepts the whole curve, torsion
// included. A point with torsion makes cofactored and cofactorless verifiers disagree about the signatures made with it, so
// RFC 9591 section 6.1 asks for the prime-order check; multiplying by the cofactor and looking for the identity would let
// mixed orders pass. The points with x = 0 have order 1 and 2, so of the non-canonical ones only y >= p needs a look.
func decodePoint(b []byte) (*edwards25519.Point, error) {
	p := new(edwards25519.Point)
	if err := setPoint(p, b); err != nil {
		return nil, err
	}
	return p, nil
}

// setPoint is decodePoint into p, which is no point if there is an error.
func setPoint(p *edwards25519.Point, b []byte) error {
	if len(b) != pointSize {
		return fmt.Errorf("point of %d bytes: %w", len(b), ErrEncoding)
	}
	if !canonicalY(b) {
		return fmt.Errorf("point with y above the field: %w", ErrEncoding)
	}
	if _, err := p.SetBytes(b); err != nil {
		return fmt.Errorf("point not on the curve: %w", ErrEncoding)
	}
	if isIdentity(p) {
		return fmt.Errorf("point is the identity: %w", ErrEncoding)
	}
	if !isTorsionFree(p) {
		return fmt.Errorf("point not of prime order: %w", ErrEncoding)
	}
	return nil
}

// canonicalY reports whether the 255 bits of y are below p = 2^255 - 19: all above it have 30 bytes of ones between the
// first byte and the last.
func canonicalY(b []byte) bool {
	return b[0] < 0xed || b[31]&0x7f != 0x7f || slices.ContainsFunc(b[1:31], func(c byte) bool { return c != 0xff })
}

func isIdentity(p *edwards25519.Point) bool {
	return p.Equal(edwards25519.NewIdentityPoint()) == 1
}

// decodeScalar accepts 32 bytes, little-endian, from 1 to L - 1. Zero is refused everywhere: a zero share, nonce or response
// is never made by an honest party but with probability 2^-252.
func decodeScalar(b []byte) (*edwards25519.Scalar, error) {
	s, err := new(edwards25519.Scalar).SetCanonicalBytes(b)
	if err != nil {
		return nil, fmt.Errorf("scalar not canonical: %w", ErrEncoding)
	}
	if s.Equal(new(edwards25519.Scalar)) == 1 {
		return nil, fmt.Errorf("scalar is zero: %w", ErrEncoding)
	}
	return s, nil
}

// encodePoint returns the RFC 8032 encoding.
func encodePoint(p *edwards25519.Point) (b [pointSize]byte) {
	copy(b[:], p.Bytes())
	return b
}

// encodePair returns two encodings with one inversion between them: 1/Z is (Z·Z')^-1·Z'. The coordinates are copies, so they
// serve as the temporaries. Constant time, because Z says something of the scalar behind a point.
func encodePair(p, q *edwards25519.Point) (b [2 * pointSize]byte) {
	x, y, z, inverse := p.ExtendedCoordinates()
	x2, y2, z2, _ := q.ExtendedCoordinates()
	inverse.Invert(inverse.Multiply(z, z2))
	z, z2 = z2.Multiply(z2, inverse), z.Multiply(z, inverse) // 1/Z and 1/Z'
	copy(b[:], y.Multiply(y, z).Bytes())
	copy(b[pointSize:], y2.Multiply(y2, z2).Bytes())
	b[pointSize-1] |= byte(x.Multiply(x, z).IsNegative() << 7)
	b[2*pointSize-1] |= byte(x2.Multiply(x2, z2).IsNegative() << 7)
	return b
}

// ValidGroupKey reports whether b is the canonical encoding of a point of prime order other than the identity. No signature
// check under any other key says anything, and no address made of one is safe to fund.
func ValidGroupKey(b []byte) bool {
	_, err := decodePoint(b)
	return err == nil
}
