package frost

import (
	"bytes"
	"crypto/sha256"
	"crypto/sha512"
	"fmt"
	"slices"

	"filippo.io/edwards25519"
)

// participants is who takes part in one run of key generation or resharing, and who one of them is.
type participants struct {
	self    Identifier
	session []byte
	statics [][pointSize]byte     // in identifier order
	points  []*edwards25519.Point // the same, decoded strictly
	context [sha512.Size]byte     // binds all that was agreed on into every ciphertext and certificate
	senders []Identifier          // who sends a message and certifies, ascending
}

// place returns where self stands among the senders, or -1.
func (p *participants) place() int { return slices.Index(p.senders, p.self) }

// checkCertificates verifies all senders' certificates over a transcript.
func (p *participants) checkCertificates(transcript []byte, certificates [][signatureSize]byte) error {
	for k, id := range p.senders {
		if !schnorrVerify(p.points[id-1], p.statics[id-1], transcript, certificates[k]) {
			return blame(id, fmt.Errorf("it, or the relay, has seen other messages: %w", ErrCertificate))
		}
	}
	return nil
}

// stage is how far a run has come.
type stage byte

const (
	stageEnded     stage = 0 // refused what it was given, or erased
	stageDrawn     stage = 1 // the own message is made
	stageCertified stage = 2 // all messages were verified, the own certificate is made
)

// progress is one participant's way through a run over an untrusted relay: a message from each sender, then a certificate
// from each over all of it, then the share. A run differs in what its messages are and how a share is made of them, which
// is a function: it verifies all messages, and returns the transcript to certify and the share.
type progress struct {
	redacted
	among  *participants
	static *edwards25519.Scalar
	stage  stage
	own    []byte // the own message; nil for one who sends none
	// From stageCertified on.
	messages    [][]byte
	transcript  []byte
	certificate [signatureSize]byte
	share       *KeyShare
}

type combiner func(messages [][]byte) (transcript []byte, share *KeyShare, err error)

// accept takes all messages, and returns the own certificate. A participant certifies one transcript: the same messages
// again are answered alike, others are refused, and messages that do not check end the run.
func (p *progress) accept(messages [][]byte, combine combiner) (certificate [signatureSize]byte, err error) {
	switch p.stage {
	case stageDrawn:
	case stageCertified:
		if !equalMessages(p.messages, messages) {
			return certificate, fmt.Errorf("other messages than were accepted: %w", ErrStage)
		}
		return p.certificate, nil
	default:
		return certificate, fmt.Errorf("messages for an ended run: %w", ErrStage)
	}
	if err := p.certify(messages, combine); err != nil {
		p.end()
		return certificate, err
	}
	return p.certificate, nil
}

func equalMessages(a, b [][]byte) bool { return slices.EqualFunc(a, b, bytes.Equal) }

func (p *progress) certify(messages [][]byte, combine combiner) error {
	if len(messages) != len(p.among.senders) {
		return fmt.Errorf("%d messages of %d participants: %w", len(messages), len(p.among.senders), ErrParameter)
	}
	if k := p.among.place(); k >= 0 && !bytes.Equal(messages[k], p.own) {
		return blame(Relay, fmt.Errorf("own message came back as another: %w", ErrReplay))
	}
	transcript, share, err := combine(messages)
	if err != nil {
		return err
	}
	certificate, err := schnorrSign(p.static, transcript)
	if err != nil {
		share.Zero()
		return err
	}
	for _, b := range messages {
		p.messages = append(p.messages, bytes.Clone(b))
	}
	p.transcript, p.certificate, p.share = transcript, certificate, share
	p.stage = stageCertified
	return nil
}

// finish returns the share once every sender's certificate verifies over the own transcript: all have seen the same
// messages. It may be repeated, also after a refusal: others may hold all certificates by then and be done, so a bad one
// must not cost this participant its share.
func (p *progress) finish(certificates [][signatureSize]byte) (*KeyShare, error) {
	if p.stage != stageCertified {
		return nil, fmt.Errorf("finish before messages were accepted: %w", ErrStage)
	}
	if len(certificates) != len(p.among.senders) {
		return nil, fmt.Errorf("%d certificates of %d participants: %w", len(certificates), len(p.among.senders), ErrParameter)
	}
	if k := p.among.place(); k >= 0 && certificates[k] != p.certificate {
		return nil, blame(Relay, fmt.Errorf("own certificate came back as another: %w", ErrReplay))
	}
	if err := p.among.checkCertificates(p.transcript, certificates); err != nil {
		return nil, err
	}
	share := *p.share
	share.secret = new(edwards25519.Scalar).Set(p.share.secret) // Zero of either leaves the other
	return &share, nil
}

// TranscriptDigest returns SHA-256 of the transcript that the certificates sign, once all messages were accepted.
func (p *progress) TranscriptDigest() ([32]byte, error) {
	if p.stage != stageCertified {
		return [32]byte{}, fmt.Errorf("transcript before messages were accepted: %w", ErrStage)
	}
	return sha256.Sum256(p.transcript), nil
}

// end overwrites the run's secrets. Key shares that finish returned stay.
func (p *progress) end() {
	if p.static != nil {
		wipe(p.static)
	}
	p.share.Zero()
	p.stage, p.own, p.messages, p.transcript, p.share = stageEnded, nil, nil, nil, nil
	p.certificate = [signatureSize]byte{}
}

// kept is what a sealed state ends with: the own message, or all of them once they were accepted.
func (p *progress) kept() []byte {
	if p.stage == stageCertified {
		return slices.Concat(p.messages...)
	}
	return p.own
}

// resume takes what was kept from r, messages of one size, and leads the run to the stage it was in. checkOwn verifies an
// own message as far as it can be without the others.
func (p *progress) resume(at stage, r reader, size int, checkOwn func([]byte) error, combine combiner) error {
	place := p.among.place()
	count := len(p.among.senders)
	switch {
	case at == stageCertified:
	case place >= 0:
		count = 1
	default:
		count = 0
	}
	if len(r.rest) != count*size {
		return fmt.Errorf("messages of %d bytes: %w", len(r.rest), ErrEncoding)
	}
	messages := make([][]byte, count)
	for k := range messages {
		messages[k] = r.next(size)
	}
	switch {
	case at == stageCertified:
		if place >= 0 {
			p.own = bytes.Clone(messages[place])
		}
		return p.certify(messages, combine)
	case place >= 0:
		p.own = bytes.Clone(messages[0])
		return checkOwn(p.own)
	}
	return nil
}
