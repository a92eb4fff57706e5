package frost

import (
	"crypto/cipher"
	"encoding/binary"

	"filippo.io/edwards25519"
	"golang.org/x/crypto/chacha20poly1305"
)

// ciphertextSizeMin is an encrypted share without payload. Halfkey sends no payload, so it is the largest as well.
const ciphertextSizeMin = scalarSize + chacha20poly1305.Overhead

// sealing is what one encrypted share's key comes from: two Diffie-Hellman secrets and what they must be bound to.
type sealing struct {
	prefix                          string // the protocol's
	fromEphemeral, fromStatic       *edwards25519.Point
	ephemeralKey, sender, recipient [pointSize]byte
	context                         []byte
}

// derive is H6 of COCKTAIL-DKG, under a prefix per protocol: key and nonce from one hash. The nonce is never drawn; key and
// nonce serve one plaintext, because the ephemeral key in them belongs to one message and the recipient is in it.
//
// The specification contradicts itself about the encoding of the Diffie-Hellman secrets for this suite: its text asks for
// Ristretto255's, its published vectors, which it calls authoritative and to be reproduced byte for byte, have RFC 8032's.
// The vectors decide here. Nothing depends on it for security: the secrets are points of prime order, and both encodings
// are one to one on these.
func (s sealing) derive() (key [chacha20poly1305.KeySize]byte, nonce [chacha20poly1305.NonceSizeX]byte) {
	ephemeral, static := encodePoint(s.fromEphemeral), encodePoint(s.fromStatic)
	digest := hash(s.prefix, ephemeral[:], static[:], s.ephemeralKey[:], s.sender[:], s.recipient[:],
		binary.LittleEndian.AppendUint64(nil, uint64(len(s.context))), s.context)
	copy(key[:], digest[:])
	copy(nonce[:], digest[len(key):])
	clear(digest[:])
	clear(ephemeral[:])
	clear(static[:])
	return key, nonce
}

// aead returns the cipher of one plaintext, and its nonce.
func (s sealing) aead() (cipher.AEAD, [chacha20poly1305.NonceSizeX]byte) {
	key, nonce := s.derive()
	defer clear(key[:])
	aead, err := chacha20poly1305.NewX(key[:])
	if err != nil {
		panic("frost: the key is 32 bytes: " + err.Error())
	}
	return aead, nonce
}

func (s sealing) seal(to, plaintext []byte) []byte {
	aead, nonce := s.aead()
	return aead.Seal(to, nonce[:], plaintext, nil)
}

func (s sealing) open(ciphertext []byte) ([]byte, error) {
	aead, nonce := s.aead()
	plaintext, err := aead.Open(nil, nonce[:], ciphertext, nil)
	if err != nil {
		return nil, ErrDecryption
	}
	return plaintext, nil
}
