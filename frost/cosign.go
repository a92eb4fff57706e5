package frost

import (
	"fmt"
	"io"
)

// Release is the co-signer's commitment and signature share leaving it. Whoever holds the agent's nonces and share can make
// the signature of it at any time, so a release is money spent until the chain proves otherwise.
type Release struct {
	Commitment Commitment
	Share      [32]byte // z_2, a scalar
}

// releaseSize is 96 bytes.
const releaseSize = len(Commitment{}) + scalarSize

// Bytes returns D ‖ E ‖ z, 96 bytes.
func (r Release) Bytes() []byte {
	return append(append(make([]byte, 0, releaseSize), r.Commitment[:]...), r.Share[:]...)
}

// ParseRelease accepts 96 bytes: a commitment as ParseCommitment does, and a canonical scalar other than zero. Whether the
// share belongs to a message only Finish can tell.
func ParseRelease(b []byte) (Release, error) {
	if len(b) != releaseSize {
		return Release{}, fmt.Errorf("release of %d bytes: %w", len(b), ErrEncoding)
	}
	commitment, err := ParseCommitment(b[:len(Commitment{})])
	if err != nil {
		return Release{}, fmt.Errorf("release: %w", err)
	}
	share := b[len(Commitment{}):]
	if _, err := decodeScalar(share); err != nil {
		return Release{}, fmt.Errorf("release: share: %w", err)
	}
	return Release{Commitment: commitment, Share: [scalarSize]byte(share)}, nil
}

// CoSign is the co-signer's whole part in one payment: it draws nonces, signs, checks its own result and returns both
// commitment and share. The agent's commitment, peer, is checked strictly here. message is what gets signed, built or
// decoded by the caller, never a hash or opaque bytes from a request; the challenge uses the stored group key. request is
// the caller's context, such as the names of wallet and payment, at most RequestSizeMax bytes: it enters the nonces, not the
// signature. The caller has made sure that this payment may be signed: there is no taking back.
//
// Repeating a call is safe, also with another commitment or message: each call has nonces of its own.
func CoSign(share *KeyShare, peer Commitment, message, request []byte) (Release, error) {
	if share.usable() == nil && share.id != CoSigner {
		return Release{}, fmt.Errorf("co-signing with the share of %s: %w", share.id, ErrParameter)
	}
	return coSign(systemRandom(), share, Agent, peer, message, request)
}

// checkCall refuses to sign with an erased share, a message too long, or a peer that has no other share of the key.
func (s *KeyShare) checkCall(peer Identifier, message []byte) error {
	if err := s.usable(); err != nil {
		return err
	}
	if len(message) > MessageSizeMax {
		return fmt.Errorf("message of %d bytes: %w", len(message), ErrParameter)
	}
	if _, known := s.publicShare(peer); !known || peer == s.id {
		return fmt.Errorf("%s signing with %s: %w", s.id, peer, ErrParameter)
	}
	return nil
}

// coSign answers the commitment of any peer with any share.
func coSign(random io.Reader, share *KeyShare, peerID Identifier, peer Commitment, message, request []byte) (Release, error) {
	if err := share.checkCall(peerID, message); err != nil {
		return Release{}, err
	}
	if len(request) > RequestSizeMax {
		return Release{}, fmt.Errorf("request of %d bytes: %w", len(request), ErrParameter)
	}
	first, err := decodeSigner(peerID, peer)
	if err != nil {
		return Release{}, err
	}
	hedged, err := hedgedRandomness(random, share, first, message, request)
	if err != nil {
		return Release{}, err
	}
	nonces, err := newNoncePair(&hedged, share.secret)
	clear(hedged[:])
	if err != nil {
		return Release{}, err
	}
	defer nonces.zero()

	set, own := pair(nonces.signer(share.id), first)
	s, err := newSigning(share.groupKey, set, message)
	if err != nil {
		return Release{}, err
	}
	z, err := s.ownShare(own, nonces, share)
	if err != nil {
		return Release{}, err
	}
	return Release{Commitment: nonces.commitment, Share: z}, nil
}
