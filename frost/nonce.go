package frost

import (
	"crypto/hmac"
	"crypto/sha512"
	"encoding/binary"
	"fmt"
	"io"
	"sync/atomic"

	"filippo.io/edwards25519"
)

// nonceRandomSize is that of random_bytes in RFC 9591 section 4.1.
const nonceRandomSize = 32

// noncePair is one signer's two nonces and their commitment, for one signature share.
type noncePair struct {
	d, e       *edwards25519.Scalar
	commitment Commitment
	dPoint     *edwards25519.Point
	ePoint     *edwards25519.Point
}

// newNoncePair is RFC 9591's nonce_generate, once for each nonce: H3(random_bytes ‖ secret). The share in it keeps nonces
// secret even when the randomness is known, as long as it does not repeat.
func newNoncePair(hiding, binding [nonceRandomSize]byte, secret *edwards25519.Scalar) (*noncePair, error) {
	share := secret.Bytes()
	defer clear(share)
	p := &noncePair{d: h3(hiding[:], share), e: h3(binding[:], share)}
	zero := new(edwards25519.Scalar)
	if p.d.Equal(zero) == 1 || p.e.Equal(zero) == 1 {
		return nil, fmt.Errorf("nonce is zero: %w", ErrSelfCheck)
	}
	p.dPoint = new(edwards25519.Point).ScalarBaseMult(p.d)
	p.ePoint = new(edwards25519.Point).ScalarBaseMult(p.e)
	copy(p.commitment[:pointSize], p.dPoint.Bytes())
	copy(p.commitment[pointSize:], p.ePoint.Bytes())
	return p, nil
}

func (p *noncePair) signer(id Identifier) signer {
	return signer{id: id, commitment: p.commitment, d: p.dPoint, e: p.ePoint}
}

func (p *noncePair) zero() { wipe(p.d, p.e) }

// Nonces is the agent's one-time nonce pair between Commit and Finish. It lives in memory only: nothing serialises it, so no
// backup or second process can bring it back, and a crash loses it harmlessly. Copies share one pair.
type Nonces struct {
	redacted
	unused *atomic.Pointer[committed]
}

// committed is what Finish consumes.
type committed struct {
	pair  *noncePair
	share *KeyShare
}

// take returns the nonces to exactly one caller.
func (n *Nonces) take() (*committed, error) {
	if n == nil || n.unused == nil {
		return nil, ErrNoncesUsed
	}
	c := n.unused.Swap(nil)
	if c == nil {
		return nil, ErrNoncesUsed
	}
	return c, nil
}

// transcript is all that a co-signature depends on, but for the secret and fresh randomness.
type transcript struct {
	share    *KeyShare
	peer     signer
	message  []byte
	request  []byte
	identity []Identifier // the signer set, ascending
}

const (
	// nonceKeyLabel derives the key for hedging from the share, apart from the share's other uses.
	nonceKeyLabel   = "halfkey/nonce-key/v1"
	transcriptLabel = "halfkey/co-sign/v1"
)

// hedgedRandomness returns random_bytes for both nonces: HMAC-SHA512(K, fresh ‖ transcript) under a key made from the share.
// Should the randomness repeat — a cloned machine, a fork, a broken generator — nonces repeat only for the identical
// transcript, and then so does the share, and nothing leaks. Two things make that true (BIP-445 records the attacks where
// they are missing): the signer set is in the transcript, and in the order in which the coefficients have it. The fresh
// part keeps faults in a deterministic signature from being repeated. Only the last committer can do this.
func hedgedRandomness(random io.Reader, t transcript) (hiding, binding [nonceRandomSize]byte, err error) {
	var fresh [nonceRandomSize]byte
	defer clear(fresh[:])
	if _, err := io.ReadFull(random, fresh[:]); err != nil {
		return hiding, binding, fmt.Errorf("frost: randomness: %w", err)
	}
	secret := t.share.secret.Bytes()
	defer clear(secret)
	derive := hmac.New(sha512.New, secret)
	derive.Write([]byte(nonceKeyLabel))
	key := derive.Sum(nil)
	defer clear(key)

	mac := hmac.New(sha512.New, key)
	mac.Write(fresh[:])
	write := func(field []byte) {
		mac.Write(binary.BigEndian.AppendUint64(nil, uint64(len(field))))
		mac.Write(field)
	}
	own, _ := t.share.publicShare(t.share.id)
	set := make([]byte, 0, 2*len(t.identity))
	for _, id := range t.identity {
		set = binary.BigEndian.AppendUint16(set, uint16(id))
	}
	write([]byte(transcriptLabel))
	write([]byte(Suite))
	write(binary.BigEndian.AppendUint64(nil, t.share.epoch))
	write(binary.BigEndian.AppendUint16(nil, uint16(t.share.id)))
	write(set)
	write(t.share.groupKey[:]) // the key's id: there is one wallet per group key
	write(own.encoded[:])
	write(t.peer.commitment[:])
	write(t.message)
	write(t.request)

	seed := mac.Sum(nil)
	defer clear(seed)
	copy(hiding[:], seed[:nonceRandomSize])
	copy(binding[:], seed[nonceRandomSize:])
	return hiding, binding, nil
}
