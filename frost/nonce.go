package frost

import (
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
	d, e           edwards25519.Scalar
	commitment     Commitment
	dPoint, ePoint edwards25519.Point
}

// newNoncePair is RFC 9591's nonce_generate, once for each half of random: H3(random_bytes ‖ secret). The share in it keeps
// nonces secret even when the randomness is known, as long as it does not repeat.
func newNoncePair(random *[2 * nonceRandomSize]byte, secret *edwards25519.Scalar) (*noncePair, error) {
	share := secret.Bytes()
	defer clear(share)
	p := new(noncePair)
	h3(&p.d, random[:nonceRandomSize], share)
	h3(&p.e, random[nonceRandomSize:], share)
	zero := new(edwards25519.Scalar)
	if p.d.Equal(zero) == 1 || p.e.Equal(zero) == 1 {
		return nil, fmt.Errorf("nonce is zero: %w", ErrSelfCheck)
	}
	p.dPoint.ScalarBaseMult(&p.d)
	p.ePoint.ScalarBaseMult(&p.e)
	p.commitment = encodePair(&p.dPoint, &p.ePoint)
	return p, nil
}

func (p *noncePair) signer(id Identifier) signer {
	return signer{id: id, commitment: p.commitment, d: &p.dPoint, e: &p.ePoint}
}

func (p *noncePair) zero() { wipe(&p.d, &p.e) }

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
	if n != nil && n.unused != nil {
		if c := n.unused.Swap(nil); c != nil {
			return c, nil
		}
	}
	return nil, ErrNoncesUsed
}

const (
	// nonceKeyLabel derives the key for hedging from the share, apart from the share's other uses.
	nonceKeyLabel   = "halfkey/nonce-key/v1"
	transcriptLabel = "halfkey/co-sign/v1"
	// transcriptSize is that of the MAC's input without message and request: randomness, ten lengths, and the fixed fields.
	transcriptSize = nonceRandomSize + 10*8 + len(transcriptLabel) + len(Suite) + 8 + 2 + 2*thresholdOfWallet + 2*pointSize + len(Commitment{})
)

// hedgedRandomness returns random_bytes for both nonces: HMAC-SHA512(K, fresh ‖ transcript) under a key made from the share.
// The transcript is all that the co-signature depends on, but for the secret.
// Should the randomness repeat — a cloned machine, a fork, a broken generator — nonces repeat only for the identical
// transcript, and then so does the share, and nothing leaks. Two things make that true (BIP-445 records the attacks where
// they are missing): the signer set is in the transcript, and in the order in which the coefficients have it. The fresh
// part keeps faults in a deterministic signature from being repeated. Only the last committer can do this.
func hedgedRandomness(
	random io.Reader, share *KeyShare, peer signer, message, request []byte,
) (hedged [2 * nonceRandomSize]byte, err error) {
	var fresh [nonceRandomSize]byte
	defer clear(fresh[:])
	if _, err := io.ReadFull(random, fresh[:]); err != nil {
		return hedged, fmt.Errorf("frost: randomness: %w", err)
	}
	secret := share.secret.Bytes()
	defer clear(secret)
	key := hmacSHA512(secret, []byte(nonceKeyLabel))
	defer clear(key[:])

	input := make([]byte, 0, hashBufferSize) // on the stack
	if size := transcriptSize + len(message) + len(request); size > hashBufferSize {
		input = make([]byte, 0, size)
	}
	write := func(field []byte) {
		input = binary.BigEndian.AppendUint64(input, uint64(len(field)))
		input = append(input, field...)
	}
	own, _ := share.publicShare(share.id)
	var numbers [8 + 2 + 2*thresholdOfWallet]byte
	binary.BigEndian.PutUint64(numbers[:], share.epoch)
	binary.BigEndian.PutUint16(numbers[8:], uint16(share.id))
	binary.BigEndian.PutUint16(numbers[10:], uint16(min(share.id, peer.id))) // the signer set, ascending
	binary.BigEndian.PutUint16(numbers[12:], uint16(max(share.id, peer.id)))
	input = append(input, fresh[:]...)
	write([]byte(transcriptLabel))
	write([]byte(Suite))
	write(numbers[:8])
	write(numbers[8:10])
	write(numbers[10:])
	write(share.groupKey[:]) // the key's id: there is one wallet per group key
	write(own.encoded[:])
	write(peer.commitment[:])
	write(message)
	write(request)

	hedged = hmacSHA512(key[:], input)
	clear(input)
	return hedged, nil
}
