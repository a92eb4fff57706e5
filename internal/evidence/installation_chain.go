package evidence

import (
	"encoding/hex"
	"strconv"
	"strings"

	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
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

// Mark names the highest installation file that a holder has accepted, as its store keeps it.
type Mark struct {
	Number uint64
	Digest Digest
}

// Mark names this file.
func (i *Installation) Mark() Mark { return Mark{Number: i.Number(), Digest: i.digest} }

// String is the mark as stores hold it: the number, a space, and the digest in hexadecimal.
func (m Mark) String() string { return strconv.FormatUint(m.Number, 10) + " " + m.Digest.String() }

// ParseMark reads what String has written.
func ParseMark(s string) (Mark, error) {
	number, digits, _ := strings.Cut(s, " ")
	n, err := strconv.ParseUint(number, 10, 64)
	b, hexErr := hex.DecodeString(digits)
	d, digestErr := ParseDigest(b)
	m := Mark{Number: n, Digest: d}
	if err != nil || hexErr != nil || digestErr != nil || n == 0 || m.String() != s {
		return Mark{}, bad("installation", "", "in the store is not a number and a digest: the store is damaged")
	}
	return m, nil
}

// Advance decides which mark a store has to keep after its service was given chain: that of the file in force. held is what the
// store keeps, and zero in a new one. A service that was rolled back to a lower file would take what retired keys sign, and one
// that was given a fork follows somebody else: both are refused, and so is a chain that begins after the file that is held,
// because then nobody vouches for what lies between.
func Advance(held Mark, chain []*Installation) (Mark, error) {
	last, err := InForce(chain)
	if err != nil || held == (Mark{}) {
		return last.markOrNone(), err
	}
	refuse := func(why string) error {
		return &Error{
			Reason: typev1.Reason_REASON_EVIDENCE_MISMATCH, Piece: "installation", Field: "number",
			Why: why,
		}
	}
	first := chain[0].Number()
	switch at := held.Number; {
	case at > last.Number():
		return held, refuse("is " + strconv.FormatUint(last.Number(), 10) + ", and the store has accepted number " + strconv.FormatUint(at, 10) +
			" already: give the files up to that one or a later one")
	case at < first:
		return held, refuse("begins at " + strconv.FormatUint(first, 10) + ", and the store has accepted no more than number " + strconv.FormatUint(at, 10) +
			": give every file from that one on")
	case chain[at-first].Digest() != held.Digest:
		return held, refuse(strconv.FormatUint(at, 10) + " is another file than the one that the store has accepted under this number: " +
			"give the one that the other services have")
	}
	return last.Mark(), nil
}

func (i *Installation) markOrNone() Mark {
	if i == nil {
		return Mark{}
	}
	return i.Mark()
}
