package e2e_test

import (
	"bytes"
	"crypto/rand"
	"crypto/sha512"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"

	"filippo.io/edwards25519"

	"github.com/halfkey/halfkey/frost"
	"github.com/halfkey/halfkey/internal/canary"
)

// draws is the process's source of randomness, which remembers what nonces are made of while it is told to. They live for one call,
// in memory alone, so that nothing else could show a test what it must not find.
var draws = &drawn{from: rand.Reader}

func init() { rand.Reader = draws } // Before anything can read it.

// drawnSize is what a signer draws: random_bytes of RFC 9591 section 4.1, for two nonces.
const drawnSize = 64

type drawn struct {
	from io.Reader

	mu   sync.Mutex
	on   bool
	seen [][]byte
}

func (d *drawn) Read(b []byte) (int, error) {
	n, err := io.ReadFull(d.from, b)
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.on && n == drawnSize {
		d.seen = append(d.seen, bytes.Clone(b))
	}
	return n, err
}

// while runs something and returns what was drawn meanwhile.
func (d *drawn) while(run func()) [][]byte {
	d.mu.Lock()
	d.on = true
	d.mu.Unlock()
	run()
	d.mu.Lock()
	defer d.mu.Unlock()
	d.on = false
	return d.seen
}

// nonce is RFC 9591's nonce_generate.
func nonce(t *testing.T, random, share []byte) *edwards25519.Scalar {
	t.Helper()
	hash := sha512.Sum512(slices.Concat([]byte(frost.Suite+"nonce"), random, share))
	n, err := new(edwards25519.Scalar).SetUniformBytes(hash[:])
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// addNonces adds what nonces were made of, and those of the shares that are secrets already. It fails unless one of these made each
// commitment that was sent.
func addNonces(t *testing.T, secrets canary.Secrets, seen, commitments [][]byte) {
	t.Helper()
	sent := make(map[string]bool)
	for _, c := range commitments {
		sent[string(c)] = true
	}
	var shares [][]byte
	for what, secret := range secrets {
		if strings.Contains(what, "share of") {
			shares = append(shares, secret)
		}
	}
	for n, random := range seen {
		halves := [][]byte{random[:drawnSize/2], random[drawnSize/2:]}
		for h, half := range halves {
			secrets.Add(fmt.Sprintf("randomness %d.%d", n, h), half)
		}
		for _, share := range shares {
			d, e := nonce(t, halves[0], share), nonce(t, halves[1], share)
			commitment := slices.Concat(new(edwards25519.Point).ScalarBaseMult(d).Bytes(), new(edwards25519.Point).ScalarBaseMult(e).Bytes())
			if sent[string(commitment)] {
				delete(sent, string(commitment))
				secrets.Add(fmt.Sprintf("nonce d of %d", n), d.Bytes())
				secrets.Add(fmt.Sprintf("nonce e of %d", n), e.Bytes())
			}
		}
	}
	if len(commitments) == 0 || len(sent) > 0 {
		t.Errorf("the nonces of %d of %d commitments are not known", len(sent), len(commitments))
	}
}
