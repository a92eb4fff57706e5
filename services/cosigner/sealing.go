package cosigner

import (
	"encoding/binary"
	"fmt"

	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/tink"

	"github.com/halfkey/halfkey/frost"
)

// Purposes begin the associated data, so that a secret sealed for one thing never opens as another.
const (
	purposeRoot   = "halfkey/cosigner/root/v1"
	purposeKeygen = "halfkey/cosigner/keygen/v1"
	purposeShare  = "halfkey/cosigner/share/v1"
	// purposeReshare is the state of a resharing.
	purposeReshare = "halfkey/cosigner/reshare/v1"
)

// sealer seals secrets by envelope encryption: AES-256-GCM under a fresh data key each, which the key-encryption key wraps
// and which is stored beside what it seals. Destroying the row destroys the data key with it.
type sealer struct {
	aead         tink.AEAD
	installation string
	// sharings spares each payment the proof that the public half of its wallet's key is one; secrets are opened each time.
	sharings frost.Sharings
}

func newSealer(kek tink.AEAD, installation string) *sealer {
	return &sealer{aead: aead.NewKMSEnvelopeAEAD2(aead.AES256GCMKeyTemplate(), kek), installation: installation}
}

// seal seals a secret and wipes it.
func (s *sealer) seal(secret, bound []byte) ([]byte, error) {
	defer clear(secret)
	sealed, err := s.aead.Encrypt(secret, bound)
	if err != nil {
		return nil, fmt.Errorf("seal: %w", err)
	}
	return sealed, nil
}

// open opens what seal sealed, bound to the same; the caller wipes it.
func (s *sealer) open(sealed, bound []byte) ([]byte, error) {
	secret, err := s.aead.Decrypt(sealed, bound)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errUnopened, err)
	}
	return secret, nil
}

// sealShare seals a key share for its wallet. It can be opened for no other wallet, epoch, key or installation.
func (s *sealer) sealShare(wallet string, share *frost.KeyShare) ([]byte, error) {
	return s.seal(share.Secret(), s.boundShare(wallet, share.Epoch(), share.GroupKey()))
}

// openShare opens a wallet's share. The caller erases it after use.
func (s *sealer) openShare(wallet string, epoch uint64, groupKey [32]byte, sealed []byte) (*frost.KeyShare, error) {
	secret, err := s.open(sealed, s.boundShare(wallet, epoch, groupKey))
	if err != nil {
		return nil, fmt.Errorf("share of %s, epoch %d: %w", wallet, epoch, err)
	}
	defer clear(secret)
	share, err := s.sharings.ParseKeyShare(secret)
	if err != nil {
		return nil, fmt.Errorf("share of %s, epoch %d: %w: %w", wallet, epoch, errUnopened, err)
	}
	// What is sealed says so too: a share that was sealed for another place by mistake does not sign here.
	if share.Identifier() != frost.CoSigner || share.Epoch() != epoch || share.GroupKey() != groupKey {
		share.Zero()
		return nil, fmt.Errorf("share of %s, epoch %d, is another: %w", wallet, epoch, errUnopened)
	}
	return share, nil
}

// sealKeyGeneration seals the state of a run between two calls.
func (s *sealer) sealKeyGeneration(wallet string, run, start []byte, k *frost.KeyGeneration) ([]byte, error) {
	return s.seal(k.Secret(), s.boundKeyGeneration(wallet, run, start))
}

func (s *sealer) openKeyGeneration(wallet string, run, start, sealed []byte) (*frost.KeyGeneration, error) {
	secret, err := s.open(sealed, s.boundKeyGeneration(wallet, run, start))
	if err != nil {
		return nil, fmt.Errorf("key generation of %s: %w", wallet, err)
	}
	defer clear(secret)
	k, err := frost.ParseKeyGeneration(secret)
	if err != nil {
		return nil, fmt.Errorf("key generation of %s: %w: %w", wallet, errUnopened, err)
	}
	return k, nil
}

// sealReshare seals the state of a resharing between two calls. It can be opened for no other wallet, run or order.
func (s *sealer) sealReshare(wallet string, run, order []byte, x *frost.Reshare) ([]byte, error) {
	return s.seal(x.Secret(), s.boundReshare(wallet, run, order))
}

func (s *sealer) openReshare(wallet string, run, order, sealed []byte) (*frost.Reshare, error) {
	secret, err := s.open(sealed, s.boundReshare(wallet, run, order))
	if err != nil {
		return nil, fmt.Errorf("resharing of %s: %w", wallet, err)
	}
	defer clear(secret)
	x, err := frost.ParseReshare(secret)
	if err != nil {
		return nil, fmt.Errorf("resharing of %s: %w: %w", wallet, errUnopened, err)
	}
	return x, nil
}

// reachable reports whether the key-encryption key works, by what it has opened before: a key service that is away must not
// pass for a share that is lost.
func (s *sealer) reachable(sealedRoot []byte) bool {
	root, err := s.open(sealedRoot, s.boundRoot())
	clear(root)
	return err == nil
}

func (s *sealer) boundRoot() []byte { return bind(purposeRoot, []byte(s.installation)) }

func (s *sealer) boundShare(wallet string, epoch uint64, groupKey [32]byte) []byte {
	return bind(purposeShare, []byte(s.installation), []byte(wallet),
		binary.BigEndian.AppendUint64(nil, epoch), groupKey[:], []byte(frost.Suite))
}

func (s *sealer) boundKeyGeneration(wallet string, run, start []byte) []byte {
	return bind(purposeKeygen, []byte(s.installation), []byte(wallet), run, start, []byte(frost.Suite))
}

func (s *sealer) boundReshare(wallet string, run, order []byte) []byte {
	return bind(purposeReshare, []byte(s.installation), []byte(wallet), run, order, []byte(frost.Suite))
}

// bind is associated data: each part after its length, so that no two lists of parts read alike.
func bind(purpose string, parts ...[]byte) []byte {
	b := appendPart(nil, []byte(purpose))
	for _, p := range parts {
		b = appendPart(b, p)
	}
	return b
}

func appendPart(b, part []byte) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(len(part)))
	return append(b, part...)
}
