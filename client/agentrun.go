package client

import (
	"bytes"
	"crypto/ed25519"
	"errors"

	"github.com/halfkey/halfkey/frost"
	"github.com/halfkey/halfkey/internal/evidence"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// attempt is a run up to its share. The co-signer answers one start of a run and takes one dealing, so each is stored before it
// is sent: a program that dies goes on with the same.
type attempt struct {
	order, start *typev1.Envelope
	// static is share 1's key of this run.
	static *frost.StaticKey
	// dealer is the state of share 1's side once it has dealt; with an order that replaces share 1 the recovery share's side
	// deals, and its state is in the recovery file.
	dealer func() []byte
}

// attemptFile is an attempt in the key store.
type attemptFile struct {
	Order  []byte `json:"order"`
	Start  []byte `json:"start"`
	Static []byte `json:"static_key"`
	Dealer []byte `json:"dealer,omitempty"`
}

// pendingShare is share 1 of a new sharing that may be in force or not: only the co-signer's record says. It is stored beside
// the old one before the co-signer can put the new sharing in force, and until the record was verified.
type pendingShare struct {
	// run is the run as this home has verified it, without its record: what the recovery share is opened from, if it has one.
	run   *typev1.Resharing
	share *frost.KeyShare
	// certificate is the dealer's over transcript, the digest of what both dealers have certified.
	certificate [64]byte
	transcript  [32]byte
}

// pendingFile is a pendingShare in the key store.
type pendingFile struct {
	Run         []byte `json:"run"`
	Share       []byte `json:"share"`
	Certificate []byte `json:"certificate"`
	Transcript  []byte `json:"transcript"`
}

// keepResharing puts what a secret holds for new keys and shares where it is stored.
func (k *agentKey) keepResharing(f *agentFile) (err error) {
	f.ReplacedKeys = k.replaced
	if k.offered != nil {
		f.OfferedSeed = bytes.Clone(k.offeredSeed())
	}
	if a := k.attempt; a != nil {
		f.Attempt = &attemptFile{Static: a.static.Secret(), Dealer: bytes.Clone(a.dealer())}
		if f.Attempt.Order, f.Attempt.Start, err = marshalBoth(a.order, a.start); err != nil {
			return err
		}
	}
	if p := k.pending; p != nil {
		f.Pending = &pendingFile{Share: p.share.Secret(), Certificate: p.certificate[:], Transcript: p.transcript[:]}
		if f.Pending.Run, err = evidence.Marshal(p.run); err != nil {
			return err
		}
	}
	return nil
}

func marshalBoth(order, start *typev1.Envelope) (o, s []byte, err error) {
	if o, err = evidence.Marshal(order); err != nil {
		return nil, nil, err
	}
	s, err = evidence.Marshal(start)
	return o, s, err
}

// restoreResharing is the inverse of keepResharing.
func (k *agentKey) restoreResharing(f *agentFile) error {
	if len(f.ReplacedKeys) > replacedMax {
		return errors.New("it knows too many request keys")
	}
	for _, key := range f.ReplacedKeys {
		if !evidence.ValidKey(key) {
			return errors.New("a replaced request key is not one")
		}
	}
	k.replaced = f.ReplacedKeys
	if len(f.OfferedSeed) > 0 {
		if len(f.OfferedSeed) != ed25519.SeedSize {
			return errors.New("the offered request key is not one")
		}
		k.offered, k.offeredSeed = keyOfSeed(f.OfferedSeed)
	}
	if f.Attempt != nil {
		a, err := f.Attempt.open()
		if err != nil {
			return err
		}
		k.attempt = a
	}
	if f.Pending != nil {
		p, err := f.Pending.open()
		if err != nil {
			return err
		}
		k.pending = p
	}
	return nil
}

func (f *attemptFile) open() (*attempt, error) {
	dealer := bytes.Clone(f.Dealer)
	a := &attempt{order: new(typev1.Envelope), start: new(typev1.Envelope), dealer: func() []byte { return dealer }}
	if err := evidence.Unmarshal(f.Order, a.order); err != nil {
		return nil, err
	}
	if err := evidence.Unmarshal(f.Start, a.start); err != nil {
		return nil, err
	}
	var err error
	a.static, err = frost.ParseStaticKey(f.Static)
	return a, err
}

func (f *pendingFile) open() (*pendingShare, error) {
	p := &pendingShare{run: new(typev1.Resharing)}
	if len(f.Certificate) != len(p.certificate) || len(f.Transcript) != len(p.transcript) {
		return nil, errors.New("certificate or transcript are of another size")
	}
	p.certificate, p.transcript = [64]byte(f.Certificate), [32]byte(f.Transcript)
	if err := evidence.Unmarshal(f.Run, p.run); err != nil {
		return nil, err
	}
	var err error
	p.share, err = frost.ParseKeyShare(f.Share)
	return p, err
}

// wipe overwrites the secrets of an encoded secret. What k holds is not among them.
func (f *agentFile) wipe() {
	wipe(f.Share)
	wipe(f.OfferedSeed)
	if f.Attempt != nil {
		wipe(f.Attempt.Static)
		wipe(f.Attempt.Dealer)
	}
	if f.Pending != nil {
		wipe(f.Pending.Share)
	}
}
