package evidence

import (
	"strings"

	"google.golang.org/protobuf/proto"

	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

const (
	// claimCodeLen is 20 characters of 5 bits: 100 bits, so that nobody finds a second registration for a code, nor, with
	// patience, two registrations of one.
	claimCodeLen   = 20
	claimCodeGroup = 4
	// claimCodeInputMax bounds what a person may type: the code with white space around every character.
	claimCodeInputMax = 80

	crockford = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
)

// ClaimCode is what an agent prints and its owner types: the first 100 bits of the digest of the registration's bytes under
// a type of its own, in Crockford's base 32, five groups of four. It covers installation, wallet, handle, group key and
// request key; installation is the verifier's own, so that a registration of another gives another code.
func ClaimCode(installation string, r *typev1.Registration) string {
	own := proto.CloneOf(r)
	own.Installation = installation
	b, err := encode(own)
	if err != nil {
		return ""
	}
	d := DigestOf(TypeClaimCode, b)
	return groupCode(d[:])
}

func groupCode(hash []byte) string {
	var out strings.Builder
	for i := range claimCodeLen {
		if i > 0 && i%claimCodeGroup == 0 {
			out.WriteByte('-')
		}
		// Five bits, most significant first, which may straddle two bytes.
		at := i * 5
		window := uint16(hash[at/8])<<8 | uint16(hash[at/8+1])
		out.WriteByte(crockford[window>>(11-at%8)&31])
	}
	return out.String()
}

// NormalizeClaimCode takes a code as a person typed it: any case, O for 0, I and L for 1, dashes and spaces anywhere.
func NormalizeClaimCode(s string) (string, error) {
	const piece = "claim-code"
	if len(s) > claimCodeInputMax {
		return "", invalid(piece, "", "is too long")
	}
	code := make([]byte, 0, claimCodeLen)
	for i := range len(s) {
		c := s[i]
		switch {
		case c == '-' || c == ' ' || c == '\t' || c == '\n' || c == '\r':
			continue
		case 'a' <= c && c <= 'z':
			c -= 'a' - 'A'
		}
		switch c {
		case 'O':
			c = '0'
		case 'I', 'L':
			c = '1'
		}
		if strings.IndexByte(crockford, c) < 0 {
			return "", invalid(piece, "", "holds a character that no code has")
		}
		if len(code) == claimCodeLen {
			return "", invalid(piece, "", "is too long")
		}
		code = append(code, c)
	}
	if len(code) != claimCodeLen {
		return "", invalid(piece, "", "is too short")
	}
	var out strings.Builder
	for i, c := range code {
		if i > 0 && i%claimCodeGroup == 0 {
			out.WriteByte('-')
		}
		out.WriteByte(c)
	}
	return out.String(), nil
}
