package evidence

import (
	"encoding/hex"
	"strconv"
	"strings"
)

// ChainMax bounds the files of a chain: each successor that rotates a key retires one, and a file holds ServiceKeysMax keys. The
// rest is room for successors that change addresses or operators only.
const ChainMax = 1024

// LoadChain reads installation files that follow each other, oldest first, and verifies each under the one before. The first is
// trusted because it was given: whoever calls pins it.
func LoadChain(files ...[]byte) ([]*Installation, error) {
	chain := make([]*Installation, 0, len(files))
	for _, b := range files {
		i, err := LoadInstallation(b)
		if err != nil {
			return nil, err
		}
		chain = append(chain, i)
	}
	_, err := InForce(chain)
	if err != nil {
		return nil, err
	}
	return chain, nil
}

// InForce returns the last file of a chain, having verified that each one succeeds the one before.
func InForce(chain []*Installation) (*Installation, error) {
	const piece = "installation"
	if len(chain) == 0 || chain[0] == nil {
		return nil, missing(piece)
	}
	if len(chain) > ChainMax {
		return nil, bad(piece, "", "has too many files before it")
	}
	last := chain[0]
	for _, i := range chain[1:] {
		if i == nil {
			return nil, missing(piece)
		}
		next, err := Succeed(last, i.envelope)
		if err != nil {
			return nil, err
		}
		last = next
	}
	return chain[len(chain)-1], nil
}

// mark names the highest installation file that a service has accepted, as its store keeps it.
type mark struct {
	number uint64
	digest Digest
}

// String is what a store holds: the number, a space, and the digest in hexadecimal.
func (m mark) String() string { return strconv.FormatUint(m.number, 10) + " " + m.digest.String() }

func parseMark(s string) (mark, error) {
	number, digits, _ := strings.Cut(s, " ")
	n, err := strconv.ParseUint(number, 10, 64)
	b, hexErr := hex.DecodeString(digits)
	d, digestErr := ParseDigest(b)
	m := mark{number: n, digest: d}
	if err != nil || hexErr != nil || digestErr != nil || n == 0 || m.String() != s {
		return mark{}, bad("installation", "", "in the store is not a number and a digest: the store is damaged")
	}
	return m, nil
}

// Advance decides what a service's store keeps after the service was given chain: number and digest of the file in force, as text.
// held is what the store keeps, and empty in a new one. A service that was rolled back to a lower file would take what retired keys
// sign, and one that was given a fork follows somebody else's operator: both are refused. So is a chain that begins after the file
// that is held, because nobody vouches for what lies between.
func Advance(held string, chain []*Installation) (string, error) {
	last, err := InForce(chain)
	if err != nil {
		return "", err
	}
	next := mark{number: last.Number(), digest: last.digest}.String()
	if held == "" {
		return next, nil
	}
	at, err := parseMark(held)
	if err != nil {
		return "", err
	}
	first := chain[0].Number()
	accepted := "the store has accepted installation file number " + strconv.FormatUint(at.number, 10)
	switch {
	case at.number > last.Number():
		return "", mismatch("installation", "number", "is "+strconv.FormatUint(last.Number(), 10)+", and "+accepted+
			" already: give the files up to that one")
	case at.number < first:
		return "", mismatch("installation", "number", "begins at "+strconv.FormatUint(first, 10)+", and "+accepted+
			" last: give every file from that one on")
	case chain[at.number-first].digest != at.digest:
		return "", mismatch("installation", "number", accepted+" with another content: give the file that the other services have")
	}
	return next, nil
}
