package frost

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
	"slices"

	"filippo.io/edwards25519"
)

// Resharing is what all participants of one resharing agree on before it; whoever disagrees opens no share and verifies no
// certificate.
type Resharing struct {
	// Session is unique to this run and binds what it is for, as Run.Session does. SessionSizeMin to SessionSizeMax bytes.
	Session []byte
	// Old is the sharing that ends.
	Old *Sharing
	// Dealers are two participants of the old sharing, ascending.
	Dealers [2]Identifier
	// StaticKeys are the recipients' public static keys in identifier order, from Agent: two or three, and no fewer than the old
	// sharing has participants. That each is its recipient's is for the caller to know: whoever holds the private half of
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
// Refresh: agent and co-signer deal, to all who hold a share. Enrolment of the recovery share: agent and co-signer deal, to three.
// Replacement of an agent's share that was lost or stolen: co-signer and recovery deal, to three, and the agent that gets
// the share is whoever holds the private half of its static key.
//
// The group key stays. Old and new shares do not sign together, but two old ones still do: a leaked share is worthless only
// when every other share of its epoch is destroyed, and not before every pair of new shares has made a test signature.
// Dealers cannot see whether what they sealed for a recipient who is offline opens: until that recipient has its share,
// the old ones are what it can fall back on.
//
// It does not print or marshal, and is for one goroutine at a time.
type Reshare struct {
	redacted
	a      *agreement
	static *edwards25519.Scalar
	stage  stage
	own    []byte // the own dealing; nil for one who does not deal
	// From stageCertified on.
	deals       [2][]byte
	transcript  []byte
	certificate [signatureSize]byte
	share       *KeyShare
}

// NewReshare begins a resharing for self, who gives its share of r.Old if it deals and nil if not: it checks both, and draws
// the dealing. The run keeps nothing of share.
func NewReshare(self Identifier, static *StaticKey, share *KeyShare, r Resharing) (*Reshare, error) {
	return newReshare(systemRandom(), self, static, share, r)
}

func newReshare(random io.Reader, self Identifier, static *StaticKey, share *KeyShare, r Resharing) (*Reshare, error) {
	a, err := newAgreement(self, r)
	if err != nil {
		return nil, err
	}
	if err := static.usable(self, a.statics); err != nil {
		return nil, err
	}
	x := &Reshare{a: a, stage: stageDrawn}
	if deals := a.place() >= 0; deals != (share != nil) {
		return nil, fmt.Errorf("share given: %t, in a resharing where %s deals: %t: %w", share != nil, self, deals, ErrParameter)
	}
	if share != nil {
		if err := a.checkShare(share); err != nil {
			return nil, err
		}
		if x.own, err = a.deal(random, static, share); err != nil {
			return nil, err
		}
	}
	x.static = new(edwards25519.Scalar).Set(static.secret)
	return x, nil
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
// It may be repeated with the same dealings. With others it is ErrStage: a participant certifies one transcript. What does
// not check is a *CulpritError and ends the run.
func (x *Reshare) Accept(deals [2][]byte) (certificate [64]byte, err error) {
	switch x.stage {
	case stageDrawn:
	case stageCertified:
		if !equalMessages(x.deals[:], deals[:]) {
			return certificate, fmt.Errorf("accepting again, other dealings: %w", ErrStage)
		}
		return x.certificate, nil
	default:
		return certificate, fmt.Errorf("accepting in an ended run: %w", ErrStage)
	}
	if err := x.certify(deals); err != nil {
		x.Zero()
		return certificate, fmt.Errorf("resharing: %w", err)
	}
	return x.certificate, nil
}

func (x *Reshare) certify(deals [2][]byte) error {
	if d := x.a.place(); d >= 0 && !bytes.Equal(deals[d], x.own) {
		return blame(Relay, fmt.Errorf("own dealing came back as another: %w", ErrReplay))
	}
	messages, renewed, err := x.a.verify(deals)
	if err != nil {
		return err
	}
	share, err := x.a.receive(messages, renewed, x.static)
	if err != nil {
		return err
	}
	transcript := x.a.transcript(deals)
	certificate, err := schnorrSign(x.static, transcript)
	if err != nil {
		share.Zero()
		return err
	}
	for d, b := range deals {
		x.deals[d] = bytes.Clone(b)
	}
	x.transcript, x.certificate, x.share = transcript, certificate, share
	x.stage = stageCertified
	return nil
}

// Finish takes both dealers' certificates in their order, the own one included, and returns the new share once each verifies
// over the own transcript: the dealers have seen the same dealings, and have what they need to finish. It may be repeated,
// also after a refusal, like KeyGeneration.Finish. Call Zero when the share is sealed.
func (x *Reshare) Finish(certificates [2][64]byte) (*KeyShare, error) {
	if x.stage != stageCertified {
		return nil, fmt.Errorf("finish before dealings were accepted: %w", ErrStage)
	}
	if d := x.a.place(); d >= 0 && certificates[d] != x.certificate {
		return nil, blame(Relay, fmt.Errorf("own certificate came back as another: %w", ErrReplay))
	}
	if err := x.a.checkCertificates(x.transcript, certificates); err != nil {
		return nil, err
	}
	share := *x.share
	share.secret = new(edwards25519.Scalar).Set(x.share.secret) // Zero of either leaves the other
	return &share, nil
}

// OpenReshare is the whole part of a recipient who was offline, from what was kept for it: both dealings and both
// certificates. The certificates cover the ciphertexts, so when they verify and a ciphertext does not, the dealer whom the
// *CulpritError names has certified it itself, and no relay altered it.
//
// Whoever keeps these can keep back the newest, but not pass off others: r is vouched for to the recipient like to anybody.
func OpenReshare(self Identifier, static *StaticKey, r Resharing, deals [2][]byte, certificates [2][64]byte) (*KeyShare, error) {
	a, err := newAgreement(self, r)
	if err != nil {
		return nil, err
	}
	if err := static.usable(self, a.statics); err != nil {
		return nil, err
	}
	messages, renewed, err := a.verify(deals)
	if err != nil {
		return nil, err
	}
	if err := a.checkCertificates(a.transcript(deals), certificates); err != nil {
		return nil, err
	}
	return a.receive(messages, renewed, static.secret)
}

// Sharing returns the public half being made, after Accept. It is in force only after Finish and the test signatures.
func (x *Reshare) Sharing() (*Sharing, error) {
	if x.stage != stageCertified {
		return nil, fmt.Errorf("sharing before dealings were accepted: %w", ErrStage)
	}
	return x.share.Sharing(), nil
}

// TranscriptDigest returns SHA-256 of the transcript that the certificates sign, after Accept.
func (x *Reshare) TranscriptDigest() ([32]byte, error) {
	if x.stage != stageCertified {
		return [32]byte{}, fmt.Errorf("transcript before dealings were accepted: %w", ErrStage)
	}
	return sha256.Sum256(x.transcript), nil
}

// Zero overwrites the run's secrets and ends it. Key shares that Finish returned stay.
func (x *Reshare) Zero() {
	if x == nil {
		return
	}
	if x.static != nil {
		wipe(x.static)
	}
	x.share.Zero()
	x.stage, x.own, x.deals, x.transcript, x.share = stageEnded, nil, [2][]byte{}, nil, nil
	x.certificate = [signatureSize]byte{}
}

// Secret returns the whole state as canonical bytes, for sealing between calls; the caller wipes them. Suite with its length
// in one byte, stage (1 byte), then 2 bytes each, big-endian: self, both dealers, number of recipients n, length of the
// session and of the old sharing; session, old sharing, static secret (32), n static public keys (32 each), then the own
// dealing if self deals, or from Accept on both dealings. Everything else follows from these; the old share is not among
// them. It is nil once the run has ended.
func (x *Reshare) Secret() []byte {
	if x.stage == stageEnded {
		return nil
	}
	deals := [][]byte{x.own}
	if x.stage == stageCertified {
		deals = x.deals[:]
	}
	a, old := x.a, x.a.old.Bytes()
	b := make([]byte, 0, reshareHeader+len(a.session)+len(old)+scalarSize+len(a.statics)*pointSize+2*a.dealingSize())
	b = append(b, byte(len(suiteResharing)))
	b = append(b, suiteResharing...)
	b = append(b, byte(x.stage))
	for _, number := range []int{int(a.self), int(a.dealers[0]), int(a.dealers[1]), len(a.statics), len(a.session), len(old)} {
		b = binary.BigEndian.AppendUint16(b, uint16(number))
	}
	b = append(b, a.session...)
	b = append(b, old...)
	b = append(b, x.static.Bytes()...)
	for _, static := range a.statics {
		b = append(b, static[:]...)
	}
	for _, deal := range deals {
		b = append(b, deal...)
	}
	return b
}

const reshareHeader = 1 + len(suiteResharing) + 1 + 6*2

// ParseReshare is the inverse of Secret, and accepts nothing else. It verifies the dealings in it again, so a state that was
// damaged or put together from two runs does not come back.
func ParseReshare(b []byte) (*Reshare, error) {
	r := reader{b}
	if err := r.suite(suiteResharing); err != nil {
		return nil, fmt.Errorf("resharing: %w", err)
	}
	if len(b) < reshareHeader {
		return nil, fmt.Errorf("resharing of %d bytes: %w", len(b), ErrEncoding)
	}
	at, self, dealers := stage(r.next(1)[0]), Identifier(r.uint16()), [2]Identifier{Identifier(r.uint16()), Identifier(r.uint16())}
	n, sessionSize, oldSize := int(r.uint16()), int(r.uint16()), int(r.uint16())
	if at != stageDrawn && at != stageCertified || n > participantsMax || len(r.rest) < sessionSize+oldSize+scalarSize+n*pointSize {
		return nil, fmt.Errorf("resharing of %d bytes at stage %d with %d recipients: %w", len(b), at, n, ErrEncoding)
	}
	run := Resharing{Session: r.next(sessionSize), Dealers: dealers}
	old, err := ParseSharing(r.next(oldSize))
	if err != nil {
		return nil, fmt.Errorf("resharing: %w", err)
	}
	run.Old = old
	static, err := decodeScalar(r.next(scalarSize))
	if err != nil {
		return nil, fmt.Errorf("resharing: static key: %w", err)
	}
	for range n {
		run.StaticKeys = append(run.StaticKeys, [pointSize]byte(r.next(pointSize)))
	}
	x, err := resumeReshare(at, self, static, run, r)
	if err != nil {
		wipe(static)
		return nil, fmt.Errorf("resharing: %w: %w", err, ErrEncoding)
	}
	return x, nil
}

// resumeReshare takes the dealings from r and leads a run to the stage it was in.
func resumeReshare(at stage, self Identifier, static *edwards25519.Scalar, run Resharing, r reader) (*Reshare, error) {
	a, err := newAgreement(self, run)
	if err != nil {
		return nil, err
	}
	if err := newStaticKey(static).usable(self, a.statics); err != nil {
		return nil, err
	}
	x, d := &Reshare{a: a, static: static, stage: stageDrawn}, a.place()
	size := a.dealingSize()
	if at == stageCertified {
		if len(r.rest) != 2*size {
			return nil, fmt.Errorf("dealings of %d bytes: %w", len(r.rest), ErrEncoding)
		}
		deals := [2][]byte{r.next(size), r.next(size)}
		if d >= 0 {
			x.own = bytes.Clone(deals[d])
		}
		return x, x.certify(deals)
	}
	if d < 0 && len(r.rest) == 0 {
		return x, nil
	}
	if d < 0 || len(r.rest) != size {
		return nil, fmt.Errorf("dealing of %d bytes: %w", len(r.rest), ErrEncoding)
	}
	x.own = slices.Clone(r.rest)
	m, err := a.parse(d, x.own)
	if err != nil {
		return nil, err
	}
	value, err := a.open(d, m, static)
	if err != nil {
		return nil, err
	}
	wipe(value)
	return x, nil
}
