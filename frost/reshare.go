package frost

import (
	"bytes"
	"fmt"
	"io"
)

// Resharing is what all participants of one resharing agree on before it; whoever disagrees opens no share and verifies no
// certificate.
type Resharing struct {
	// Session is unique to this run and binds what it is for, as Run.Session does. SessionSizeMin to SessionSizeMax bytes.
	Session []byte
	// Old is the sharing that ends. A dealer's share must be of it; a recipient who had none takes it on the caller's word.
	Old *Sharing
	// Dealers are two participants of the old sharing, ascending.
	Dealers [2]Identifier
	// StaticKeys are the recipients' public static keys in identifier order, from Agent: two or three, and no fewer than the
	// old sharing has participants. That each is its recipient's is for the caller to know: whoever holds the private half of
	// one gets that share. All are made for this run, but the recovery share's, which may be long-lived.
	StaticKeys [][32]byte
}

// Reshare is one participant's side of a resharing over an untrusted relay: two holders of shares deal the same key anew, to
// themselves and to everybody who has or gets a share.
//
//	Deal     dealers' own dealings ─► relay ─► both dealings
//	Accept   both dealings, own certificate ─► relay ─► both dealers' certificates
//	Finish   both certificates, the new share
//
// Refresh: agent and co-signer deal, to all who hold a share. Enrolment of the recovery share: agent and co-signer deal, to
// three. Replacement of an agent's share that was lost or stolen: co-signer and recovery deal, to three, and the new agent is
// whoever holds the private half of the agent's static key.
//
// The group key stays. Old and new shares do not sign together, but two old ones still do: a leaked share is worthless only
// once every other share of its epoch is destroyed, which must wait until pairs of new shares have made test signatures.
// Dealers cannot see whether what they sealed for a recipient who is offline opens: until it has opened, the old shares are
// what the owner can fall back on.
//
// It does not print or marshal, and is for one goroutine at a time.
type Reshare struct{ progress }

// NewReshare begins a resharing for self, who gives its share of r.Old if it deals and nil if not: it checks both, and draws
// the dealing. The run keeps nothing of share.
func NewReshare(self Identifier, static *StaticKey, share *KeyShare, r Resharing) (*Reshare, error) {
	return newReshare(systemRandom(), self, static, share, r)
}

func newReshare(random io.Reader, self Identifier, static *StaticKey, share *KeyShare, r Resharing) (*Reshare, error) {
	a, err := newAgreement(self, static, r)
	if err != nil {
		return nil, err
	}
	var own []byte
	if deals := a.place() >= 0; deals != (share != nil) {
		return nil, fmt.Errorf("%s deals: %t, and a share is given: %t: %w", self, deals, share != nil, ErrParameter)
	}
	if share != nil {
		if err := a.checkShare(share); err != nil {
			return nil, err
		}
		if own, err = a.deal(random, share.secret); err != nil {
			return nil, err
		}
	}
	return &Reshare{newProgress(&a.participants, a, own)}, nil
}

// checkShare holds a dealer's share to the old sharing: what is dealt from another epoch, key or role, or from a damaged
// row, would open for nobody, and must not leave.
func (a *agreement) checkShare(share *KeyShare) error {
	if err := share.usable(); err != nil {
		return err
	}
	if share.id != a.self || !bytes.Equal(share.Sharing().Bytes(), a.old.Bytes()) {
		return fmt.Errorf("share of %s in epoch %d is not of the old sharing: %w", share.id, share.epoch, ErrParameter)
	}
	if _, err := a.old.keyShare(a.self, share.secret); err != nil {
		return fmt.Errorf("own share: %w: %w", err, ErrSelfCheck)
	}
	return nil
}

// Deal returns the own dealing, the same one each time. It is nil for a recipient who does not deal, and once the run has
// ended.
func (x *Reshare) Deal() []byte { return bytes.Clone(x.own) }

// Accept takes both dealings in the dealers' order, the own one included as it came back, verifies them, and returns the own
// certificate: a signature over everything in the run, which the others need if self deals.
//
// It may be repeated with the same dealings. With others it is ErrStage: a participant certifies one transcript, so a state
// that is sealed is sealed again before the certificate leaves. What does not check ends the run, and is a *CulpritError
// where it can be told whose it is.
func (x *Reshare) Accept(deals [2][]byte) (certificate [64]byte, err error) {
	if certificate, err = x.accept(deals[:]); err != nil {
		return certificate, fmt.Errorf("resharing: %w", err)
	}
	return certificate, nil
}

// Finish takes both dealers' certificates in their order, the own one included, and returns the new share once each verifies
// over the own transcript: the dealers have seen the same dealings, and have what they need to finish. It may be repeated,
// also after a refusal, like KeyGeneration.Finish. Call Zero when the share is sealed.
func (x *Reshare) Finish(certificates [2][64]byte) (*KeyShare, error) {
	return x.finish(certificates[:])
}

// OpenReshare is the whole part of a recipient who was offline, from what was kept for it: both dealings and both
// certificates. The certificates cover the ciphertexts, so when they verify and a ciphertext does not, the dealer whom the
// *CulpritError names has certified it itself, and no relay altered it.
//
// Whoever keeps these can keep back the newest, but not pass off others: r is vouched for to the recipient like to anybody.
func OpenReshare(
	self Identifier, static *StaticKey, r Resharing, deals [2][]byte, certificates [2][64]byte,
) (*KeyShare, error) {
	a, err := newAgreement(self, static, r)
	if err != nil {
		return nil, err
	}
	messages, err := a.parseAll(a, deals[:])
	if err != nil {
		return nil, err
	}
	if err := a.checkCertificates(a.transcript(messages), certificates[:]); err != nil {
		return nil, err
	}
	return a.receive(a, messages)
}

// Sharing returns the public half being made, after Accept. It is in force only after Finish and the test signatures.
func (x *Reshare) Sharing() (*Sharing, error) {
	if x.stage != stageCertified {
		return nil, fmt.Errorf("sharing before dealings were accepted: %w", ErrStage)
	}
	return x.share.Sharing(), nil
}

// Zero overwrites the run's secrets and ends it. Key shares that Finish returned stay.
func (x *Reshare) Zero() {
	if x != nil {
		x.end()
	}
}

// Secret returns the whole state as canonical bytes, for sealing between calls; the caller wipes them. Suite with its length
// in one byte, stage (1 byte), then 2 bytes each, big-endian: self, both dealers, number of recipients n, length of the
// session and of the old sharing; session, old sharing, static secret (32), n static public keys (32 each), then the own
// dealing if self deals, or from Accept on both dealings. Everything else follows from these; the old share is not among
// them. It is nil once the run has ended.
func (x *Reshare) Secret() []byte { return x.state(suiteResharing) }

// ParseReshare is the inverse of Secret, and accepts nothing else. It verifies the dealings in it again, so a state that was
// damaged or put together from two runs does not come back.
func ParseReshare(b []byte) (*Reshare, error) {
	x, err := parseReshare(newReader(b, suiteResharing))
	if err != nil {
		return nil, fmt.Errorf("resharing: %w: %w", err, ErrEncoding)
	}
	return x, nil
}

func parseReshare(r *reader) (*Reshare, error) {
	at, self, dealers := stage(r.next(1)[0]), r.id(), [2]Identifier{r.id(), r.id()}
	n, sessionSize, oldSize := r.uint16(), r.uint16(), r.uint16()
	run := Resharing{Session: r.next(sessionSize), Dealers: dealers}
	encoded := r.next(oldSize)
	static, statics, err := parseKeys(r, at, n)
	if err != nil {
		return nil, err
	}
	defer static.Zero()
	run.StaticKeys = statics
	if run.Old, err = ParseSharing(encoded); err != nil {
		return nil, err
	}
	a, err := newAgreement(self, static, run)
	if err != nil {
		return nil, err
	}
	x := &Reshare{newProgress(&a.participants, a, nil)}
	if err := x.resume(r, at); err != nil {
		x.Zero()
		return nil, err
	}
	return x, nil
}
