package frost

import (
	"crypto/ed25519"
	"crypto/sha512"
	"fmt"

	"filippo.io/edwards25519"
)

// Signature is a plain Ed25519 signature, R ‖ z.
type Signature = [signatureSize]byte

const (
	// MessageSizeMax bounds a message. The largest any chain carries is far below (Solana's packet is 1,232 bytes), and a bound
	// keeps the work of one release small.
	MessageSizeMax = 64 << 10
	// RequestSizeMax bounds the caller's context bytes for CoSign, which are names.
	RequestSizeMax = 4 << 10
)

// Commitment is D ‖ E, the RFC 9591 encodings of a signer's hiding and binding nonce commitment. The type does not say that
// it was checked: CoSign and Finish decode strictly whatever they are given.
type Commitment [2 * pointSize]byte

// ParseCommitment accepts 64 bytes that are two canonical points of prime order, neither the identity. CoSign checks its
// argument again, so a caller that hands bytes straight to it can convert them and save the cost of two subgroup checks.
func ParseCommitment(b []byte) (Commitment, error) {
	if len(b) != len(Commitment{}) {
		return Commitment{}, fmt.Errorf("commitment of %d bytes: %w", len(b), ErrEncoding)
	}
	c := Commitment(b)
	if _, _, err := c.decode(); err != nil {
		return Commitment{}, err
	}
	return c, nil
}

func (c Commitment) decode() (d, e *edwards25519.Point, err error) {
	points := new([2]edwards25519.Point)
	d, e = &points[0], &points[1]
	if err := setPoint(d, c[:pointSize]); err != nil {
		return nil, nil, fmt.Errorf("hiding commitment: %w", err)
	}
	if err := setPoint(e, c[pointSize:]); err != nil {
		return nil, nil, fmt.Errorf("binding commitment: %w", err)
	}
	return d, e, nil
}

// signer is one entry of RFC 9591's commitment list, with the points of its commitment.
type signer struct {
	id         Identifier
	commitment Commitment
	d, e       *edwards25519.Point
}

// signing is what all signers of one message share, all of it public: derived once per signature.
type signing struct {
	set []signer // ascending by id
	rho []edwards25519.Scalar
	r   [pointSize]byte
	c   edwards25519.Scalar
}

// decodeSigner decodes a commitment from outside.
func decodeSigner(id Identifier, c Commitment) (signer, error) {
	d, e, err := c.decode()
	if err != nil {
		return signer{}, blame(id, err)
	}
	return signer{id: id, commitment: c, d: d, e: e}, nil
}

// newSigning derives binding factors, group commitment and challenge (RFC 9591 sections 4.4 to 4.6) for any signer set,
// which must be in ascending order: an order of its own in the binding factors and another in the coefficients would be two
// different equations for one share.
func newSigning(groupKey [pointSize]byte, set []signer, message []byte) (*signing, error) {
	s := &signing{set: set, rho: make([]edwards25519.Scalar, len(set))}
	messageHash, listHash := bindingHashes(set, message)
	factors := make([]*edwards25519.Scalar, 0, thresholdOfWallet) // on the stack for so many
	binding := make([]*edwards25519.Point, 0, thresholdOfWallet)
	for k := range set {
		if k > 0 && set[k].id <= set[k-1].id {
			return nil, fmt.Errorf("signers out of order: %w", ErrParameter)
		}
		// rho_k = H1(A ‖ H4(message) ‖ H5(commitment list) ‖ k)
		id := set[k].id.encode()
		s.rho[k] = *h1(groupKey[:], messageHash[:], listHash[:], id[:])
		factors, binding = append(factors, &s.rho[k]), append(binding, set[k].e)
	}
	r := sumPublic(factors, binding)
	for k := range set {
		r.Add(r, set[k].d)
	}
	// R = O would make z = c·s, a signature that anybody can turn into the key. Only commitments chosen to cancel get here.
	if isIdentity(r) {
		return nil, fmt.Errorf("group commitment is the identity: %w", ErrParameter)
	}
	s.r = encodePoint(r)
	s.c = *h2(s.r[:], groupKey[:], message)
	return s, nil
}

// bindingHashes are H4(message) and H5(commitment list).
func bindingHashes(set []signer, message []byte) (messageHash, listHash [sha512.Size]byte) {
	list := make([]byte, 0, thresholdOfWallet*(scalarSize+len(Commitment{}))) // on the stack for so many
	for k := range set {
		id := set[k].id.encode()
		list = append(list, id[:]...)
		list = append(list, set[k].commitment[:]...)
	}
	return h4(message), h5(list)
}

// share sets z to z_k = d + rho_k·e + lambda·secret·c for the signer at place k. Constant time in the secrets.
func (s *signing) share(z *edwards25519.Scalar, k int, pair *noncePair, lambda, secret *edwards25519.Scalar) {
	var blinded edwards25519.Scalar
	defer wipe(&blinded)
	blinded.MultiplyAdd(&s.rho[k], &pair.e, &pair.d)
	z.Multiply(lambda, secret)
	z.MultiplyAdd(z, &s.c, &blinded)
}

// verifyShare reports whether z·B = D_k + rho_k·E_k + lambda·c·Y. It computes z·B in constant time, because z can be an own
// share: one that passes is public, but one that does not is the work of a fault, and if that took the nonces out of it, z
// gives the secret away.
func (s *signing) verifyShare(k int, z, lambda *edwards25519.Scalar, y *edwards25519.Point) bool {
	lambdaC := new(edwards25519.Scalar).Multiply(lambda, &s.c)
	want := sumPublic([]*edwards25519.Scalar{&s.rho[k], lambdaC}, []*edwards25519.Point{s.set[k].e, y})
	want.Add(want, s.set[k].d)
	return new(edwards25519.Point).ScalarBaseMult(z).Equal(want) == 1
}

// coefficient returns lambda of the signer at place k of two.
func (s *signing) coefficient(k int) *edwards25519.Scalar {
	return lambda(s.set[k].id, s.set[1-k].id)
}

// ownShare returns the share of the signer at place k, whose nonces and key share these are, once it has checked it. A
// fault, a corrupt row or a secret of another epoch must not leave: with two such answers it might be solved for.
func (s *signing) ownShare(k int, pair *noncePair, share *KeyShare) (SignatureShare, error) {
	own, _ := share.publicShare(share.id)
	coefficient := s.coefficient(k)
	var z edwards25519.Scalar
	defer wipe(&z)
	s.share(&z, k, pair, coefficient, share.secret)
	if !s.verifyShare(k, &z, coefficient, own.point) {
		return SignatureShare{}, fmt.Errorf("signature share of %s in epoch %d: %w", share.id, share.epoch, ErrSelfCheck)
	}
	return SignatureShare(z.Bytes()), nil
}

// peerShare decodes the share of the signer at place k, and checks it.
func (s *signing) peerShare(k int, share SignatureShare, of *sharing) (*edwards25519.Scalar, error) {
	id := s.set[k].id
	z, err := decodeScalar(share[:])
	if err != nil {
		return nil, blame(id, err)
	}
	public, _ := of.publicShare(id)
	if !s.verifyShare(k, z, s.coefficient(k), public.point) {
		return nil, blame(id, ErrShare)
	}
	return z, nil
}

// signature returns R ‖ z, if it is a signature.
func (s *signing) signature(z *edwards25519.Scalar, groupKey [pointSize]byte, message []byte) (signature Signature, err error) {
	copy(signature[:pointSize], s.r[:])
	copy(signature[pointSize:], z.Bytes())
	if !ed25519.Verify(groupKey[:], message, signature[:]) {
		return Signature{}, fmt.Errorf("signature: %w", ErrSelfCheck)
	}
	return signature, nil
}

// pair orders the two signers of a payment, and returns where the own entry stands.
func pair(own, peer signer) (set []signer, place int) {
	if own.id < peer.id {
		return []signer{own, peer}, 0
	}
	return []signer{peer, own}, 1
}

// VerifySignature reports whether sig is the Ed25519 signature over message under groupKey, as crypto/ed25519 and the
// strictest verifiers on chains see it: group key canonical and of prime order, R not of small order. It never panics.
func VerifySignature(groupKey [32]byte, message []byte, sig []byte) bool {
	if len(sig) != signatureSize || !ValidGroupKey(groupKey[:]) {
		return false
	}
	// crypto/ed25519 compares sig's R with the encoding of z·B - c·A. A is of prime order, so R is too, or it is the identity.
	if [pointSize]byte(sig[:pointSize]) == encodePoint(edwards25519.NewIdentityPoint()) {
		return false
	}
	return ed25519.Verify(groupKey[:], message, sig)
}
