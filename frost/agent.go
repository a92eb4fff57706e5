package frost

import (
	"fmt"
	"io"
	"sync/atomic"

	"filippo.io/edwards25519"
)

// Commit draws the agent's nonces for one attempt at one payment and returns them with their commitment, which goes into
// the request. Nonces come from crypto/rand through RFC 9591's nonce_generate. Only the agent's share commits first.
func (s *KeyShare) Commit() (*Nonces, Commitment, error) {
	if s.usable() == nil && s.id != Agent {
		return nil, Commitment{}, fmt.Errorf("committing with the share of %s: %w", s.id, ErrParameter)
	}
	return s.NewNonces()
}

func (s *KeyShare) commit(random io.Reader) (*Nonces, Commitment, error) {
	var fresh [2 * nonceRandomSize]byte
	defer clear(fresh[:])
	if _, err := io.ReadFull(random, fresh[:]); err != nil {
		return nil, Commitment{}, fmt.Errorf("frost: randomness: %w", err)
	}
	nonces, err := newNoncePair(&fresh, s.secret)
	if err != nil {
		return nil, Commitment{}, err
	}
	n := &Nonces{unused: new(atomic.Pointer[committed])}
	n.unused.Store(&committed{pair: nonces, share: s})
	return n, nonces.commitment, nil
}

// Finish makes the signature over message from the co-signer's release, and returns it only if crypto/ed25519 verifies it
// under the group key. message is the agent's own copy of what it asked for, never the co-signer's.
//
// It consumes the nonces before it computes anything, whatever comes of it: a second call, also a concurrent one, is
// ErrNoncesUsed. Two different answers to one commitment, both signed, would begin to leak the agent's share. A release that
// does not check is a *CulpritError naming the co-signer, wrapping ErrShare or ErrEncoding; the next attempt takes a new Commit.
func (n *Nonces) Finish(message []byte, r Release) (Signature, error) {
	return n.finish(CoSigner, message, r)
}

// finish takes the answer of any peer.
func (n *Nonces) finish(peerID Identifier, message []byte, r Release) (Signature, error) {
	c, err := n.take()
	if err != nil {
		return Signature{}, err
	}
	defer c.pair.zero()
	share := c.share
	if err := share.checkCall(peerID, message); err != nil {
		return Signature{}, err
	}
	peer, err := decodeSigner(peerID, r.Commitment)
	if err != nil {
		return Signature{}, err
	}
	set, own := pair(c.pair.signer(share.id), peer)
	s, err := newSigning(share.groupKey, set, message)
	if err != nil {
		return Signature{}, blame(peerID, err) // the peer committed last, so only it can make commitments cancel
	}
	peerShare, err := s.peerShare(1-own, r.Share, &share.sharing)
	if err != nil {
		return Signature{}, err
	}
	var z edwards25519.Scalar
	defer wipe(&z) // until the signature is out, z is a share plus what came on the wire
	s.share(&z, own, c.pair, s.coefficient(own), share.secret)
	return s.signature(z.Add(&z, peerShare), share.groupKey, message)
}
