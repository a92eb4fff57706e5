package frost

import (
	"crypto/cipher"
	"encoding/binary"
	"fmt"

	"filippo.io/edwards25519"
	"golang.org/x/crypto/chacha20poly1305"
)

// ciphertextSizeMin is an encrypted share without payload. Halfkey sends no payload, so it is the largest as well.
const ciphertextSizeMin = scalarSize + chacha20poly1305.Overhead

// message is what a participant of a key generation, or a dealer in a resharing, sends to all: commitments to a polynomial,
// and its value for each participant, encrypted.
type message struct {
	encoded      []byte                // all of it
	commitment   []*edwards25519.Point // the constant term's first
	ephemeral    *edwards25519.Point
	ephemeralKey [pointSize]byte
	context      []byte   // what the encryption is bound to
	sealed       [][]byte // sealed[k] is for participant k+1
}

// sharingOf makes the public half of the sharing that messages make together: commitments to the sum of all polynomials give every
// public share, which is decoded strictly like any point from outside.
func sharingOf(epoch uint64, n int, messages []*message) (*sharing, error) {
	sum := make([]*edwards25519.Point, len(messages[0].commitment))
	for k := range sum {
		sum[k] = edwards25519.NewIdentityPoint()
		for _, m := range messages {
			sum[k].Add(sum[k], m.commitment[k])
		}
	}
	public := make([]publicShare, n)
	for k := range public {
		var err error
		id := Identifier(k + 1)
		if public[k], err = newPublicShare(id, encodePoint(evaluateCommitment(sum, id))); err != nil {
			return nil, err
		}
	}
	s, err := newSharing(epoch, len(sum), public)
	if err == nil && s.group.Equal(sum[0]) != 1 {
		return nil, fmt.Errorf("group key is not that of the public shares: %w", ErrSelfCheck)
	}
	return s, err
}

// sealing is what the encryption of one value for a recipient needs. It serves one plaintext: the ephemeral key in it belongs
// to one message, and the recipient is in it.
type sealing struct {
	prefix                          string
	fromEphemeral, fromStatic       *edwards25519.Point // the Diffie-Hellman secrets
	ephemeralKey, sender, recipient [pointSize]byte
	context                         []byte
}

// seal encrypts the value of self's polynomial for each participant, self included, and with each the payload.
func (p *participants) seal(
	coefficients []*edwards25519.Scalar, ephemeral *edwards25519.Scalar, ephemeralKey [pointSize]byte, context, payload []byte,
) (sealed [][]byte) {
	for k, point := range p.points {
		value := evaluate(coefficients, Identifier(k+1))
		plaintext := append(value.Bytes(), payload...)
		wipe(value)
		sealed = append(sealed, sealing{
			prefix:        p.prefix,
			fromEphemeral: new(edwards25519.Point).ScalarMult(ephemeral, point),
			fromStatic:    new(edwards25519.Point).ScalarMult(p.static, point),
			ephemeralKey:  ephemeralKey, sender: p.statics[p.self-1], recipient: p.statics[k], context: context,
		}.seal(plaintext))
		clear(plaintext)
	}
	return sealed
}

// open decrypts the value for self in a message, and checks it against the commitment, which is Feldman's check
// (COCKTAIL-DKG algorithm 5, steps 3.3 to 3.5).
func (p *participants) open(from Identifier, m *message) (*edwards25519.Scalar, error) {
	plaintext, err := sealing{
		prefix:        p.prefix,
		fromEphemeral: new(edwards25519.Point).ScalarMult(p.static, m.ephemeral),
		fromStatic:    new(edwards25519.Point).ScalarMult(p.static, p.points[from-1]),
		ephemeralKey:  m.ephemeralKey, sender: p.statics[from-1], recipient: p.statics[p.self-1], context: m.context,
	}.open(m.sealed[p.self-1])
	if err != nil {
		return nil, err
	}
	defer clear(plaintext)
	value, err := decodeScalar(plaintext[:scalarSize])
	if err != nil {
		return nil, fmt.Errorf("share: %w", err)
	}
	if new(edwards25519.Point).ScalarBaseMult(value).Equal(evaluateCommitment(m.commitment, p.self)) != 1 {
		wipe(value)
		return nil, ErrShare
	}
	return value, nil
}

// aead is H6 of COCKTAIL-DKG, under a prefix per protocol: key and nonce of the cipher from one hash.
//
// The specification contradicts itself about the encoding of the Diffie-Hellman secrets for this suite: its text asks for
// Ristretto255's, its published vectors, which it calls authoritative and to be reproduced byte for byte, have RFC 8032's.
// The vectors decide here. Nothing depends on it for security: the secrets are points of prime order, and both encodings
// are one to one on these.
func (s sealing) aead() (aead cipher.AEAD, nonce []byte) {
	ephemeral, static := encodePoint(s.fromEphemeral), encodePoint(s.fromStatic)
	digest := hash(s.prefix, ephemeral[:], static[:], s.ephemeralKey[:], s.sender[:], s.recipient[:],
		binary.LittleEndian.AppendUint64(nil, uint64(len(s.context))), s.context)
	clear(ephemeral[:])
	clear(static[:])
	*s.fromEphemeral, *s.fromStatic = edwards25519.Point{}, edwards25519.Point{}
	key, rest := digest[:chacha20poly1305.KeySize], digest[chacha20poly1305.KeySize:]
	defer clear(key)
	aead, err := chacha20poly1305.NewX(key)
	if err != nil {
		panic("frost: the key is 32 bytes: " + err.Error())
	}
	return aead, rest[:chacha20poly1305.NonceSizeX]
}

func (s sealing) seal(plaintext []byte) []byte {
	aead, nonce := s.aead()
	return aead.Seal(nil, nonce, plaintext, nil)
}

func (s sealing) open(ciphertext []byte) ([]byte, error) {
	aead, nonce := s.aead()
	plaintext, err := aead.Open(nil, nonce, ciphertext, nil)
	if err != nil {
		return nil, ErrDecryption
	}
	return plaintext, nil
}
