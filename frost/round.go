package frost

import (
	"bytes"
	"fmt"

	"filippo.io/edwards25519"
)

// The two rounds of RFC 9591 section 5, for interoperability and for vectors, and the exit. A payment takes CoSign and Finish,
// where the co-signer holds no nonce between calls.

// SignerCommitment is one entry of RFC 9591's commitment list.
type SignerCommitment struct {
	Signer     Identifier
	Commitment Commitment
}

// SignatureShare is z_i, the RFC 9591 encoding of one signer's part of a signature. Whoever has those of two signers over one
// commitment list has the signature.
type SignatureShare [scalarSize]byte

// NewNonces is round one for any participant: nonces for one signature share, and the commitment to publish. They serve
// SignShare or Finish, once. An agent in a payment calls Commit.
func (s *KeyShare) NewNonces() (*Nonces, Commitment, error) {
	if err := s.usable(); err != nil {
		return nil, Commitment{}, err
	}
	return s.commit(systemRandom())
}

// SignShare is round two: the share of these nonces' owner in the signature over message by two signers, given in ascending
// order with what they committed to, the own commitment among them as NewNonces returned it. The caller has made sure that
// message may be signed. Like Finish it consumes the nonces before anything else: a second call is ErrNoncesUsed, whatever
// became of the first. A share that does not satisfy its own equation is not returned.
//
// An own commitment that came back changed is a *CulpritError naming Relay and wrapping ErrReplay, a commitment of the other
// signer that does not decode one naming it and wrapping ErrEncoding.
func (n *Nonces) SignShare(message []byte, signers []SignerCommitment) (SignatureShare, error) {
	c, err := n.take()
	if err != nil {
		return SignatureShare{}, err
	}
	defer c.pair.zero()
	if err := c.share.usable(); err != nil {
		return SignatureShare{}, err
	}
	own := -1
	for k := range signers {
		if signers[k].Signer == c.share.id {
			own = k
		}
	}
	if own < 0 {
		return SignatureShare{}, fmt.Errorf("%s is not among the signers: %w", c.share.id, ErrParameter)
	}
	// Before anything is decoded, so that a relay's change is not put down to the point that it left.
	if signers[own].Commitment != c.pair.commitment {
		return SignatureShare{}, blame(Relay, fmt.Errorf("commitment of %s came back changed: %w", c.share.id, ErrReplay))
	}
	s, err := signingBy(&c.share.sharing, message, signers)
	if err != nil {
		return SignatureShare{}, err
	}
	return s.ownShare(own, c.pair, c.share)
}

// AggregateShares makes the signature over message from the shares of two signers, given in the same order as signers, who
// are ascending by identifier. sharing is the caller's own knowledge of the key, never the signers'. Each share is verified,
// so that one that does not check is a *CulpritError naming its signer, and the signature is returned only if crypto/ed25519
// verifies it under the group key.
func AggregateShares(sharing *Sharing, message []byte, signers []SignerCommitment, shares []SignatureShare) (Signature, error) {
	if sharing == nil || len(shares) != len(signers) {
		return Signature{}, fmt.Errorf("%d shares of %d signers: %w", len(shares), len(signers), ErrParameter)
	}
	s, err := signingBy(&sharing.sharing, message, signers)
	if err != nil {
		return Signature{}, err
	}
	sum := new(edwards25519.Scalar)
	for k := range shares {
		z, err := s.peerShare(k, shares[k], &sharing.sharing)
		if err != nil {
			return Signature{}, err
		}
		sum.Add(sum, z)
	}
	return s.signature(sum, sharing.groupKey, message)
}

// signingBy is newSigning for a commitment list from outside: exactly two signers of the sharing, ascending, each with a
// commitment of its own that decodes strictly.
func signingBy(sharing *sharing, message []byte, signers []SignerCommitment) (*signing, error) {
	if len(signers) != thresholdOfWallet || len(message) > MessageSizeMax {
		return nil, fmt.Errorf("%d signers of a message of %d bytes: %w", len(signers), len(message), ErrParameter)
	}
	// A commitment that stands twice is somebody's answer given back to him.
	if signers[0].Commitment == signers[1].Commitment {
		return nil, fmt.Errorf("two signers with one commitment: %w", ErrParameter)
	}
	set := make([]signer, len(signers))
	for k, given := range signers {
		if _, known := sharing.publicShare(given.Signer); !known {
			return nil, fmt.Errorf("%s has no share: %w", given.Signer, ErrParameter)
		}
		var err error
		if set[k], err = decodeSigner(given.Signer, given.Commitment); err != nil {
			return nil, err
		}
	}
	return newSigning(sharing.groupKey, set, message)
}

// Exit signs with two shares in one place, without any service: what an owner does to move the money when the service is gone
// or the agent is lost. Any two shares of one sharing do; they are of one key and epoch or nothing is signed. Whoever runs it
// holds the whole key while it runs, so the money should move to a key that was never in one place. message is a whole
// transaction that the owner has looked at: the group key is an Ed25519 key, and signs whatever it is given.
func Exit(message []byte, a, b *KeyShare) (Signature, error) {
	nonces, commitment, err := a.NewNonces()
	if err != nil {
		return Signature{}, err
	}
	if err := b.usable(); err != nil {
		return Signature{}, err
	}
	if !bytes.Equal(a.Sharing().Bytes(), b.Sharing().Bytes()) {
		return Signature{}, fmt.Errorf("shares of %s in epoch %d and %s in epoch %d are no pair of one sharing: %w",
			a.id, a.epoch, b.id, b.epoch, ErrParameter)
	}
	release, err := coSign(systemRandom(), b, a.id, commitment, message, nil)
	if err != nil {
		return Signature{}, err
	}
	return nonces.finish(b.id, message, release)
}
