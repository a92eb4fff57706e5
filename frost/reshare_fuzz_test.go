package frost

import (
	"bytes"
	"errors"
	"testing"

	"filippo.io/edwards25519"
)

// reshareFixed begins a refresh of a 2-of-3 with drawn values that do not change, because a fuzz target runs in several
// processes whose inputs must mean the same.
func reshareFixed(f *testing.F) (r Resharing, keys []*StaticKey, runs []*Reshare, deals [2][]byte) {
	f.Helper()
	fixed := func(label string) *edwards25519.Scalar { return hashToScalar("reshareFixed", []byte(label)) }
	old := dealFrom(f, []*edwards25519.Scalar{fixed("key"), fixed("slope")}, 3, 7)
	for _, label := range []string{"static 1", "static 2", "static 3"} {
		keys = append(keys, newStaticKey(fixed(label)))
	}
	r = newResharing("fuzz", old[0].Sharing(), [2]Identifier{Agent, CoSigner}, keys)
	for k, share := range []*KeyShare{old[0], old[1], nil} {
		x, err := newReshare(&counterStream{prefix: []byte{byte(k)}}, Identifier(k+1), keys[k], share, r)
		if err != nil {
			f.Fatal(err)
		}
		runs = append(runs, x)
	}
	return r, keys, runs, [2][]byte{runs[0].Deal(), runs[1].Deal()}
}

func FuzzParseSharing(f *testing.F) {
	r, _, _, _ := reshareFixed(f)
	f.Add(r.Old.Bytes())
	f.Add(dealFrom(f, []*edwards25519.Scalar{Identifier(5).scalar(), Identifier(9).scalar()}, 2, 1)[0].Sharing().Bytes())
	f.Add([]byte(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := ParseSharing(b)
		if err != nil {
			checkDecoded(t, b, nil, err)
			return
		}
		checkDecoded(t, b, s.Bytes(), nil)
	})
}

func FuzzParseStaticKey(f *testing.F) {
	_, keys, _, _ := reshareFixed(f)
	f.Add(keys[0].Secret())
	f.Fuzz(func(t *testing.T, b []byte) {
		k, err := ParseStaticKey(b)
		checkDecoded(t, b, k.Secret(), err)
	})
}

func FuzzParseReshare(f *testing.F) {
	_, _, runs, deals := reshareFixed(f)
	for _, x := range runs {
		f.Add(x.Secret())
	}
	accept(f, runs, deals)
	for _, x := range runs {
		f.Add(x.Secret())
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		x, err := ParseReshare(b)
		if err != nil {
			checkDecoded(t, b, nil, err)
			return
		}
		checkDecoded(t, b, x.Secret(), nil)
	})
}

// FuzzAccept gives an agent anything as the co-signer's dealing. It passes only as it was sent, but for the ciphertexts for
// others, which end the dealing and which the agent cannot open. The certificates hold these, so Finish and OpenReshare
// take nothing but what was sent.
func FuzzAccept(f *testing.F) {
	r, keys, runs, deals := reshareFixed(f)
	state := runs[0].Secret()
	certificates := accept(f, runs, deals)
	own := dealingHeader + ciphertextSizeMin
	f.Add(deals[1])
	f.Add(deals[0])
	f.Add(append(bytes.Clone(deals[1][:own]), make([]byte, 2*ciphertextSizeMin)...))
	f.Add(append(bytes.Clone(deals[1][:slopeAt]), twisted(f, deals[1][slopeAt:])...))
	f.Fuzz(func(t *testing.T, b []byte) {
		x, err := ParseReshare(state)
		if err != nil {
			t.Fatal(err)
		}
		given := [2][]byte{deals[0], b}
		_, err = x.Accept(given)
		var culprit *CulpritError
		switch {
		case err == nil:
			if len(b) != len(deals[1]) || !bytes.Equal(b[:own], deals[1][:own]) {
				t.Errorf("accepted %x", b)
			}
			if _, err := x.Finish(certificates); (err == nil) != bytes.Equal(b, deals[1]) {
				t.Errorf("Finish under certificates for the dealing that was sent = %v", err)
			}
		case !errors.As(err, &culprit) || culprit.Culprit != CoSigner:
			t.Errorf("refused with %v, want the co-signer named", err)
		}
		if _, err := OpenReshare(Recovery, keys[2], r, given, certificates); (err == nil) != bytes.Equal(b, deals[1]) {
			t.Errorf("OpenReshare = %v", err)
		}
	})
}
