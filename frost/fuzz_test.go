package frost

import (
	"bytes"
	"errors"
	"testing"
)

// Every decoder: no input panics, what is refused is ErrEncoding, and what is accepted has one encoding, the input.

func checkDecoded(t *testing.T, in, out []byte, err error) {
	t.Helper()
	if err != nil {
		if !errors.Is(err, ErrEncoding) {
			t.Errorf("refused with %v, want ErrEncoding", err)
		}
		return
	}
	if !bytes.Equal(in, out) {
		t.Errorf("accepted %x, which encodes as %x", in, out)
	}
}

func FuzzParseKeyShare(f *testing.F) {
	f.Add([]byte(nil))
	for _, n := range []int{2, 3} {
		for _, share := range deal(f, n, 1) {
			f.Add(share.Secret())
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		share, err := ParseKeyShare(b)
		checkDecoded(t, b, share.Secret(), err)
	})
}

func FuzzParseCommitment(f *testing.F) {
	_, commitment := mustCommit(f, deal(f, 2, 1)[0])
	f.Add(commitment[:])
	f.Add(commitment[:pointSize])
	f.Add(twisted(f, commitment[:]))
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := ParseCommitment(b)
		checkDecoded(t, b, c[:], err)
	})
}

func FuzzParseRelease(f *testing.F) {
	shares := deal(f, 2, 1)
	_, commitment := mustCommit(f, shares[0])
	release := answer(f, shares[1], commitment, nil)
	f.Add(release.Bytes())
	f.Add(twisted(f, release.Bytes()))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := ParseRelease(b)
		checkDecoded(t, b, r.Bytes(), err)
	})
}

// beginFixed is begin with drawn values that do not change, because a fuzz target runs in several processes whose inputs
// must mean the same.
func beginFixed(f *testing.F) (parties []party, messages [][]byte) {
	f.Helper()
	keys := make([]*StaticKey, 2)
	for k := range keys {
		secret, err := randomScalar(&counterStream{prefix: []byte{byte(k)}})
		if err != nil {
			f.Fatal(err)
		}
		keys[k] = newStaticKey(secret)
	}
	for k, static := range keys {
		run, err := newKeyGeneration(&counterStream{prefix: []byte{byte(k), 1}}, Identifier(k+1), static, newRun("fuzz", keys))
		if err != nil {
			f.Fatal(err)
		}
		parties = append(parties, party{static, run})
		messages = append(messages, run.Round1())
	}
	return parties, messages
}

func FuzzParseKeyGeneration(f *testing.F) {
	parties, messages := beginFixed(f)
	f.Add(parties[0].run.Secret())
	certificates(f, parties, messages)
	f.Add(parties[1].run.Secret())
	f.Fuzz(func(t *testing.T, b []byte) {
		k, err := ParseKeyGeneration(b)
		if err != nil {
			checkDecoded(t, b, nil, err)
			return
		}
		checkDecoded(t, b, k.Secret(), nil)
	})
}

// FuzzRound2 gives an agent anything as the co-signer's message. It passes only as it was sent, but for the co-signer's ciphertext
// to itself, which ends the message and which the agent cannot open.
func FuzzRound2(f *testing.F) {
	parties, messages := beginFixed(f)
	state := parties[0].run.Secret()
	signed := len(messages[1]) - ciphertextSizeMin
	f.Add(messages[1])
	f.Add(messages[0])
	f.Add(twisted(f, messages[1]))
	f.Fuzz(func(t *testing.T, b []byte) {
		run, err := ParseKeyGeneration(state)
		if err != nil {
			t.Fatal(err)
		}
		_, err = run.Round2([][]byte{messages[0], b})
		var culprit *CulpritError
		switch {
		case err == nil:
			if len(b) != len(messages[1]) || !bytes.Equal(b[:signed], messages[1][:signed]) {
				t.Errorf("accepted %x", b)
			}
		case !errors.As(err, &culprit) || culprit.Culprit != CoSigner:
			t.Errorf("refused with %v, want the co-signer named", err)
		}
	})
}
