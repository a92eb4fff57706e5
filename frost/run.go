package frost

import (
	"bytes"
	"crypto/sha256"
	"crypto/sha512"
	"fmt"
	"slices"

	"filippo.io/edwards25519"
)

const (
	// SessionSizeMin keeps sessions unique: less cannot hold a drawn value.
	SessionSizeMin = 16
	// SessionSizeMax is ample for three names.
	SessionSizeMax = 1 << 10
)

// participants is who takes part in one run of key generation or resharing, and which of them this is.
type participants struct {
	prefix  string // keeps the keys of one protocol's encryption apart from another's
	self    Identifier
	static  *edwards25519.Scalar // self's static key
	session []byte
	statics [][pointSize]byte     // the public static keys in identifier order
	points  []*edwards25519.Point // the same, decoded strictly
	senders []Identifier          // who sends a message and certifies, ascending
	context [sha512.Size]byte     // binds all that was agreed on into every ciphertext and certificate
}

// newParticipants checks what all participants of a run agree on: the session's size, and their public static keys, of which no
// two may be one. It refuses a static key that is erased or that is not self's among them. It keeps a reference to the secret.
func newParticipants(prefix string, self Identifier, static *StaticKey, session []byte, statics [][pointSize]byte) (participants, error) {
	p := participants{prefix: prefix, self: self, session: bytes.Clone(session), statics: slices.Clone(statics)}
	if self < 1 || int(self) > len(statics) {
		return p, fmt.Errorf("participant %d of %d: %w", uint16(self), len(statics), ErrParameter)
	}
	if len(session) < SessionSizeMin || len(session) > SessionSizeMax {
		return p, fmt.Errorf("session of %d bytes: %w", len(session), ErrParameter)
	}
	for k, encoded := range statics {
		point, err := decodePoint(encoded[:])
		if err != nil {
			return p, fmt.Errorf("static key of %s: %w", Identifier(k+1), err)
		}
		if slices.Contains(statics[:k], encoded) {
			return p, fmt.Errorf("static key of %s is another's too: %w", Identifier(k+1), ErrParameter)
		}
		p.points = append(p.points, point)
	}
	if static.erased() {
		return p, fmt.Errorf("static key: %w", ErrErased)
	}
	if statics[self-1] != static.public {
		return p, fmt.Errorf("static key of %s is not the one in the run: %w", self, ErrParameter)
	}
	p.static = static.secret
	return p, nil
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

// protocol is what key generation and resharing each have of their own.
type protocol interface {
	// messageSize is that of every message in the run.
	messageSize() int
	// parse decodes the message of the sender at a place, and checks what can be checked without the others.
	parse(place int, b []byte) (*message, error)
	// combine makes the public half of the new sharing of all messages.
	combine(messages []*message) (*sharing, error)
	// transcript is what the senders certify.
	transcript(messages []*message) []byte
	// agreed is what a state begins with: who self is, and what all agreed on, but for the static keys.
	agreed() []byte
}

// parseAll decodes the messages of all senders. It refuses one that carries self's own contribution or ephemeral key: a proof
// of possession does not name its sender, so a copy of it verifies. The ciphertexts of a copy do not open, by which open finds
// who has copied from a third party; of a copy of the own message it is said here what is wrong.
func (p *participants) parseAll(x protocol, encoded [][]byte) (messages []*message, err error) {
	for k, b := range encoded {
		m, err := x.parse(k, b)
		if err != nil {
			return nil, blame(p.senders[k], err)
		}
		messages = append(messages, m)
	}
	place := p.place()
	for k, m := range messages {
		if place < 0 || k == place {
			continue
		}
		if own := messages[place]; m.ephemeralKey == own.ephemeralKey || m.commitment[0].Equal(own.commitment[0]) == 1 {
			return nil, blame(p.senders[k], fmt.Errorf("a key in it is the %s's: %w", p.self, ErrReplay))
		}
	}
	return messages, nil
}

// receive opens self's value in every message. Their sum is its share of the sharing that the messages make.
func (p *participants) receive(x protocol, messages []*message) (share *KeyShare, err error) {
	secret := new(edwards25519.Scalar)
	defer func() {
		if err != nil {
			wipe(secret)
		}
	}()
	for k, m := range messages {
		value, err := p.open(p.senders[k], m)
		if err != nil {
			return nil, blame(p.senders[k], err)
		}
		secret.Add(secret, value)
		wipe(value)
	}
	made, err := x.combine(messages)
	if err != nil {
		return nil, p.blameOther(err)
	}
	if share, err = made.keyShare(p.self, secret); err != nil {
		return nil, fmt.Errorf("new share: %w: %w", err, ErrSelfCheck)
	}
	return share, nil
}

// blameOther names who brought about what no honest sender does, if there is but one sender besides self. Of several, nobody
// can tell which.
func (p *participants) blameOther(err error) error {
	others := slices.DeleteFunc(slices.Clone(p.senders), func(id Identifier) bool { return id == p.self })
	if len(others) == 1 {
		return blame(others[0], err)
	}
	return err
}

// stage is how far a run has come.
type stage byte

const (
	stageEnded     stage = 0 // refused what it was given, or erased
	stageDrawn     stage = 1 // the own message is made
	stageCertified stage = 2 // all messages were verified, the own certificate is made
)

// progress is one participant's way through a run over an untrusted relay: a message from each sender, then a certificate
// from each over all of it, then the share.
type progress struct {
	redacted
	*participants
	protocol protocol
	stage    stage
	own      []byte // the own message; nil for one who sends none
	// From stageCertified on.
	messages    [][]byte
	certified   []byte // the transcript
	certificate [signatureSize]byte
	share       *KeyShare
}

// newProgress takes a copy of the static key, so that the caller can erase its own.
func newProgress(p *participants, x protocol, own []byte) progress {
	p.static = new(edwards25519.Scalar).Set(p.static)
	return progress{participants: p, protocol: x, stage: stageDrawn, own: own}
}

// accept takes all messages, and returns the own certificate. A participant certifies one transcript: the same messages
// again are answered alike, others are refused, and messages that do not check end the run.
func (p *progress) accept(messages [][]byte) (certificate [signatureSize]byte, err error) {
	if p.stage == stageCertified {
		if !equalMessages(p.messages, messages) {
			return certificate, fmt.Errorf("other messages than were accepted: %w", ErrStage)
		}
		return p.certificate, nil
	}
	if p.stage != stageDrawn {
		return certificate, fmt.Errorf("messages for an ended run: %w", ErrStage)
	}
	if err := p.certify(messages); err != nil {
		p.end()
		return certificate, err
	}
	return p.certificate, nil
}

func equalMessages(a, b [][]byte) bool { return slices.EqualFunc(a, b, bytes.Equal) }

func (p *progress) certify(encoded [][]byte) error {
	if len(encoded) != len(p.senders) {
		return fmt.Errorf("%d messages of %d participants: %w", len(encoded), len(p.senders), ErrParameter)
	}
	if k := p.place(); k >= 0 && !bytes.Equal(encoded[k], p.own) {
		return blame(Relay, fmt.Errorf("own message came back as another: %w", ErrReplay))
	}
	messages, err := p.parseAll(p.protocol, encoded)
	if err != nil {
		return err
	}
	if p.share, err = p.receive(p.protocol, messages); err != nil {
		return err
	}
	p.certified = p.protocol.transcript(messages)
	if p.certificate, err = schnorrSign(p.static, p.certified); err != nil {
		return err
	}
	for _, b := range encoded {
		p.messages = append(p.messages, bytes.Clone(b))
	}
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
	if len(certificates) != len(p.senders) {
		return nil, fmt.Errorf("%d certificates of %d participants: %w", len(certificates), len(p.senders), ErrParameter)
	}
	if k := p.place(); k >= 0 && certificates[k] != p.certificate {
		return nil, blame(Relay, fmt.Errorf("own certificate came back as another: %w", ErrReplay))
	}
	if err := p.checkCertificates(p.certified, certificates); err != nil {
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
	return sha256.Sum256(p.certified), nil
}

// end overwrites the run's secrets. Key shares that finish returned stay.
func (p *progress) end() {
	if p.participants != nil {
		wipe(p.static)
	}
	p.share.Zero()
	p.stage, p.own, p.messages, p.certified, p.share = stageEnded, nil, nil, nil, nil
	p.certificate = [signatureSize]byte{}
}

// state returns the run as canonical bytes. It is nil once the run has ended. All but the static key and the messages follows
// from what was agreed on.
func (p *progress) state(suite string) []byte {
	if p.stage == stageEnded {
		return nil
	}
	static, kept := p.static.Bytes(), p.own
	defer clear(static)
	if p.stage == stageCertified {
		kept = slices.Concat(p.messages...)
	}
	return slices.Concat(suiteID(suite), []byte{byte(p.stage)}, p.protocol.agreed(), static, joined(p.statics), kept)
}

// parseKeys takes the static key and the public static keys of n participants from a state. The caller erases the key.
func parseKeys(r *reader, at stage, n int) (*StaticKey, [][pointSize]byte, error) {
	secret, statics := r.next(scalarSize), make([][pointSize]byte, min(n, participantsMax+1))
	for k := range statics {
		statics[k] = r.point()
	}
	if r.err == nil && at != stageDrawn && at != stageCertified {
		r.err = fmt.Errorf("at stage %d: %w", at, ErrEncoding)
	}
	if r.err != nil {
		return nil, nil, r.err
	}
	static, err := decodeScalar(secret)
	if err != nil {
		return nil, nil, fmt.Errorf("static key: %w", err)
	}
	return newStaticKey(static), statics, nil
}

// resume takes the messages that a state ends with, and leads the run to the stage it was in: it verifies them again, the
// own one alone as far as it can be without the others.
func (p *progress) resume(r *reader, at stage) error {
	place := p.place()
	var messages [][]byte
	for k := range p.senders {
		if at == stageCertified || k == place {
			messages = append(messages, bytes.Clone(r.next(p.protocol.messageSize())))
		}
		if k == place {
			p.own = messages[len(messages)-1]
		}
	}
	if err := r.end(); err != nil {
		return err
	}
	if at == stageCertified {
		return p.certify(messages)
	}
	if place < 0 {
		return nil
	}
	m, err := p.protocol.parse(place, p.own)
	if err != nil {
		return err
	}
	value, err := p.open(p.self, m)
	if err != nil {
		return err
	}
	wipe(value)
	return nil
}
