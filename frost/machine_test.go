package frost

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"testing"

	"filippo.io/edwards25519"
)

// The state machines, driven by scripts: each byte is one decision of a scheduler that is also the relay, so that messages
// come in any order, repeated, altered, from other runs and from a participant who keeps two runs at once. No script may
// bring about a panic, a participant who certifies two transcripts, or two participants who hold shares of different keys.

// script is a fuzzed sequence of decisions. When it is used up, every decision is 0.
type script struct{ rest []byte }

func (s *script) next() int {
	if len(s.rest) == 0 {
		return 0
	}
	b := s.rest[0]
	s.rest = s.rest[1:]
	return int(b)
}

func (s *script) done() bool { return len(s.rest) == 0 }

// addScripts seeds a fuzz target: the given scripts, and some of pure chance, which are all that an ordinary test run has.
func addScripts(f *testing.F, scripts ...[]byte) {
	for _, b := range scripts {
		f.Add(b)
	}
	for k := range 64 {
		b := make([]byte, 16+4*k)
		_, _ = clone(uint64(k)).Read(b)
		f.Add(b)
	}
}

// machine is a protocol's side of one participant: it takes everybody's messages, then everybody's certificates.
type machine interface {
	accept(messages [][]byte) ([64]byte, error)
	finish(certificates [][64]byte) (*KeyShare, error)
	TranscriptDigest() ([32]byte, error)
	Secret() []byte
	Zero()
	reopen() (machine, error)
}

type keyGenerationMachine struct{ *KeyGeneration }

func (m keyGenerationMachine) accept(messages [][]byte) ([64]byte, error) { return m.Round2(messages) }

func (m keyGenerationMachine) finish(certificates [][64]byte) (*KeyShare, error) {
	return m.Finish(certificates)
}

func (m keyGenerationMachine) reopen() (machine, error) {
	k, err := ParseKeyGeneration(m.Secret())
	return keyGenerationMachine{k}, err
}

// actor is a participant in one of the runs, and what it has done so far.
type actor struct {
	id    Identifier
	run   int
	place int // of its message among those of the run, or -1 if it sends none
	// twin is a second run of the same participant under the same keys: an attacker's. Nothing is promised to it.
	twin     bool
	machine  machine
	ended    bool
	accepted [][]byte
	given    [64]byte
	share    *KeyShare
}

// stagePlay is a whole play: several runs at once, whose messages and certificates the relay has all.
type stagePlay struct {
	places       int
	actors       []*actor
	messages     [][]byte // of run r at place k: r·places + k; the twins' follow
	certificates [][64]byte
	from         []*actor // whose certificate each is
}

// message picks what the actor is shown at a place: mostly what it should be, or any message, or an altered one.
func (p *stagePlay) message(s *script, a *actor, k int) []byte {
	pick := s.next()
	b := p.messages[a.run*p.places+k]
	if a.twin && a.place == k {
		b = p.messages[len(p.messages)-1]
	}
	if pick >= 160 {
		b = p.messages[pick%len(p.messages)]
	}
	if pick >= 240 {
		b = bytes.Clone(b)
		at := (s.next()<<8 | s.next()) % len(b)
		b[at] ^= byte(s.next())
	}
	return b
}

// certificate does the same for certificates. The right one may not be there yet.
func (p *stagePlay) certificate(s *script, a *actor, k int) (c [64]byte) {
	pick := s.next()
	for i, by := range p.from {
		if by.run == a.run && by.place == k && !by.twin {
			c = p.certificates[i]
		}
	}
	if a.place == k {
		c = a.given
	}
	if pick >= 160 && len(p.certificates) > 0 {
		c = p.certificates[pick%len(p.certificates)]
	}
	if pick >= 250 {
		c[s.next()%len(c)] ^= byte(s.next())
	}
	return c
}

// step lets one actor do one thing.
func (p *stagePlay) step(t *testing.T, s *script) {
	a := p.actors[s.next()%len(p.actors)]
	switch act := s.next() % 16; {
	case act < 7:
		messages := make([][]byte, p.places)
		for k := range messages {
			messages[k] = p.message(s, a, k)
		}
		certificate, err := a.machine.accept(messages)
		p.accepted(t, a, messages, certificate, err)
	case act < 13:
		certificates := make([][64]byte, p.places)
		for k := range certificates {
			certificates[k] = p.certificate(s, a, k)
		}
		share, err := a.machine.finish(certificates)
		p.finished(t, a, share, err)
	case act < 15:
		restored, err := a.machine.reopen()
		if (err != nil) != a.ended {
			t.Fatalf("%s: restoring the sealed state: %v, ended: %v", a.id, err, a.ended)
		}
		if err == nil {
			a.machine.Zero()
			a.machine = restored
		}
	case s.next() >= 128: // once in a while; a run that ends early shows little
		a.machine.Zero()
		a.ended = true
	}
}

// refused holds a refusal to what a refusal may be: one of the package's errors, and never a participant blaming itself.
func (p *stagePlay) refused(t *testing.T, a *actor, err error) {
	t.Helper()
	var culprit *CulpritError
	if errors.As(err, &culprit) && culprit.Culprit == a.id && !a.twin {
		t.Errorf("%s blames itself: %v", a.id, err)
	}
	known := []error{ErrEncoding, ErrParameter, ErrErased, ErrShare, ErrStage, ErrProof, ErrDecryption, ErrReplay, ErrCertificate}
	if !slices.ContainsFunc(known, func(k error) bool { return errors.Is(err, k) }) {
		t.Errorf("%s refuses with %v", a.id, err)
	}
}

func (p *stagePlay) accepted(t *testing.T, a *actor, messages [][]byte, certificate [64]byte, err error) {
	t.Helper()
	if err != nil {
		p.refused(t, a, err)
		if certificate != [64]byte{} {
			t.Errorf("%s: a certificate came with %v", a.id, err)
		}
		// A refusal of the first messages ends the run; of others, once some were accepted, it does not.
		a.ended = a.ended || a.accepted == nil
		return
	}
	switch {
	case a.ended:
		t.Fatalf("%s certifies in an ended run", a.id)
	case a.accepted == nil:
		a.accepted, a.given = messages, certificate
		p.certificates, p.from = append(p.certificates, certificate), append(p.from, a)
	case !equalMessages(a.accepted, messages) || a.given != certificate:
		t.Fatalf("%s has certified two transcripts", a.id)
	}
}

func (p *stagePlay) finished(t *testing.T, a *actor, share *KeyShare, err error) {
	t.Helper()
	if err != nil {
		p.refused(t, a, err)
		return
	}
	if a.accepted == nil || a.ended {
		t.Fatalf("%s has a share of messages that it never accepted", a.id)
	}
	if a.share != nil && !bytes.Equal(a.share.Secret(), share.Secret()) {
		t.Fatalf("%s has two shares", a.id)
	}
	a.share = share
	if a.twin {
		return
	}
	mine, err := a.machine.TranscriptDigest()
	if err != nil {
		t.Fatal(err)
	}
	for _, other := range p.actors {
		if other.run != a.run || other.twin || other == a {
			continue
		}
		if other.share != nil && !bytes.Equal(other.share.Sharing().Bytes(), share.Sharing().Bytes()) {
			t.Fatalf("%s and %s hold shares of different sharings", a.id, other.id)
		}
		// Who sends a message has certified, and the same, before anybody is done: none is left behind with nothing. That is not
		// promised to who runs twice.
		if other.place < 0 || other.ended ||
			slices.ContainsFunc(p.actors, func(b *actor) bool { return b.twin && b.run == other.run && b.id == other.id }) {
			continue
		}
		if theirs, err := other.machine.TranscriptDigest(); err != nil || theirs != mine {
			t.Fatalf("%s is done, and %s has not certified the same: %v", a.id, other.id, err)
		}
	}
}

// sign makes a signature with every two shares of one run: what is there at the end belongs together.
func (p *stagePlay) sign(t *testing.T) {
	message := []byte("key test")
	for i, a := range p.actors {
		for _, b := range p.actors[:i] {
			if a.run != b.run || a.share == nil || b.share == nil || a.twin || b.twin {
				continue
			}
			signature, err := Exit(message, a.share, b.share)
			if err != nil || !VerifySignature(a.share.GroupKey(), message, signature[:]) {
				t.Errorf("%s and %s do not sign together: %v", a.id, b.id, err)
			}
		}
	}
}

func (p *stagePlay) perform(t *testing.T, s *script) {
	for steps := 0; !s.done() && steps < 200; steps++ {
		p.step(t, s)
	}
	p.sign(t)
}

// honestScript lets every actor of a play do its part in turn; each decision that is left is the right one.
func honestScript(actors, places int) []byte {
	var b []byte
	for _, act := range []byte{0, 14, 7} { // accept, seal and restore, finish
		for a := range actors {
			b = append(b, byte(a), act)
			if act != 14 {
				b = append(b, make([]byte, places)...)
			}
		}
	}
	return b
}

// FuzzKeyGenerationMachine plays two key generations at once, of two or three participants, the co-signer twice in the first.
func FuzzKeyGenerationMachine(f *testing.F) {
	draw := func(n, run int, id Identifier, stream byte, keys []*StaticKey) *KeyGeneration {
		k, err := newKeyGeneration(clone(uint64(n)<<24|uint64(run)<<16|uint64(id)<<8|uint64(stream)), id, keys[id-1],
			newRun(fmt.Sprint("machine ", run), keys))
		if err != nil {
			f.Fatal(err)
		}
		return k
	}
	// What a play begins with, drawn once and sealed: a fuzz target's processes must all begin with the same.
	type beginning struct {
		actors   []actor
		states   [][]byte
		messages [][]byte
	}
	var beginnings []beginning
	for n := participantsMin; n <= participantsMax; n++ {
		keys := make([]*StaticKey, n)
		for k := range keys {
			secret, err := randomScalar(clone(uint64(k)))
			if err != nil {
				f.Fatal(err)
			}
			keys[k] = newStaticKey(secret)
		}
		var b beginning
		add := func(k *KeyGeneration, a actor) {
			b.states, b.messages, b.actors = append(b.states, k.Secret()), append(b.messages, k.Round1()), append(b.actors, a)
		}
		for run := range 2 {
			for id := Identifier(1); int(id) <= n; id++ {
				add(draw(n, run, id, 0, keys), actor{id: id, run: run, place: int(id - 1)})
			}
		}
		add(draw(n, 0, CoSigner, 1, keys), actor{id: CoSigner, place: int(CoSigner - 1), twin: true})
		beginnings = append(beginnings, b)
	}
	addScripts(f,
		append([]byte{0}, honestScript(5, 2)...),
		append([]byte{1}, honestScript(7, 3)...),
		// The agent is shown the twin's message, the co-signer its own; then each other's certificates.
		[]byte{0, 0, 0, 0, 164, 1, 0, 0, 0, 4, 0, 0, 0, 0, 7, 0, 162, 1, 7, 0, 0, 4, 7, 0, 0},
	)
	f.Fuzz(func(t *testing.T, b []byte) {
		s := &script{b}
		begin := beginnings[s.next()%len(beginnings)]
		p := &stagePlay{places: len(begin.messages) / 2, messages: begin.messages}
		for k := range begin.actors {
			restored, err := ParseKeyGeneration(begin.states[k])
			if err != nil {
				t.Fatal(err)
			}
			a := begin.actors[k]
			a.machine = keyGenerationMachine{restored}
			p.actors = append(p.actors, &a)
		}
		p.perform(t, s)
	})
}

// FuzzNonces plays an agent and a co-signer with a bad generator. Nonces are committed, copied, answered for any message,
// finished with any answer, or used in two rounds; the co-signer's generator may be set back at every call. No nonce pair
// makes two shares, and what is signed is signed for the message at hand.
func FuzzNonces(f *testing.F) {
	var coefficients []*edwards25519.Scalar
	for k := range 2 {
		c, err := randomScalar(clone(uint64(100 + k)))
		if err != nil {
			f.Fatal(err)
		}
		coefficients = append(coefficients, c)
	}
	messages := [][]byte{[]byte("pay 5 to alice"), []byte("pay 6 to alice"), nil}
	type held struct {
		nonces     *Nonces
		owner      *KeyShare
		commitment Commitment
	}
	type asked struct {
		commitment Commitment
		message    string
		generator  int
	}
	addScripts(f,
		[]byte{0, 1, 0, 0, 0, 2, 0, 0, 0, 0},
		[]byte{0, 1, 0, 0, 0, 1, 0, 1, 0, 2, 0, 0, 0, 0, 2, 0, 1, 1, 0},             // two answers to one commitment
		[]byte{0, 4, 0, 1, 0, 0, 0, 2, 0, 0, 0, 0, 2, 1, 0, 0, 0},                   // a copy
		[]byte{0, 1, 0, 0, 0, 3, 0, 0, 0, 0, 2, 0, 0, 0, 0},                         // two rounds, then a payment
		[]byte{0, 5, 1, 0, 0, 0, 3, 0, 0, 0, 0, 3, 0, 1, 0, 0, 1, 0, 0, 0, 2, 0, 0}, // the co-signer commits
	)
	f.Fuzz(func(t *testing.T, b []byte) {
		s := &script{b}
		shares := dealFrom(t, coefficients, 2, 1)
		var pairs []held
		var releases []Release
		signed := map[Commitment]bool{} // the commitments whose nonces have made a share
		answers := map[Commitment]Release{}
		transcripts := map[Commitment]asked{}
		random := clone(uint64(len(b)))

		use := func(h held, err error) bool {
			if err != nil {
				if signed[h.commitment] && !errors.Is(err, ErrNoncesUsed) {
					t.Fatalf("nonces that have served: %v, want ErrNoncesUsed", err)
				}
				return false
			}
			if signed[h.commitment] {
				t.Fatal("one pair of nonces has made two shares")
			}
			signed[h.commitment] = true
			return true
		}
		for steps := 0; !s.done() && steps < 60; steps++ {
			act := s.next() % 8
			if act != 0 && act < 5 && len(pairs) == 0 {
				continue
			}
			switch act {
			case 0, 5: // somebody commits
				owner := shares[act/5]
				nonces, commitment, err := owner.commit(random)
				if err != nil {
					t.Fatal(err)
				}
				pairs = append(pairs, held{nonces, owner, commitment})
			case 1, 6, 7: // the co-signer answers
				if len(pairs) == 0 {
					continue
				}
				h := pairs[s.next()%len(pairs)]
				q := asked{h.commitment, string(messages[s.next()%len(messages)]), s.next() % 3}
				r, err := coSign(clone(uint64(q.generator)), shares[1], Agent, q.commitment, []byte(q.message), nil)
				if err != nil {
					t.Fatal(err)
				}
				if earlier, ok := answers[r.Commitment]; ok && (earlier != r || transcripts[r.Commitment] != q) {
					t.Fatal("one nonce of the co-signer in two transcripts")
				}
				answers[r.Commitment], transcripts[r.Commitment] = r, q
				releases = append(releases, r)
			case 2, 3: // a pair serves, in a payment or in two rounds
				if len(releases) == 0 {
					continue
				}
				h, message, r := pairs[s.next()%len(pairs)], messages[s.next()%len(messages)], releases[s.next()%len(releases)]
				if alter := s.next(); alter >= 200 {
					r.Share[alter%scalarSize] ^= 1 << (alter % 8)
				}
				if act == 2 {
					signature, err := h.nonces.Finish(message, r)
					if use(h, err) && !VerifySignature(h.owner.GroupKey(), message, signature[:]) {
						t.Fatal("what came back is no signature over the message")
					}
					continue
				}
				signers := []SignerCommitment{{Agent, r.Commitment}, {CoSigner, r.Commitment}}
				signers[h.owner.id-1].Commitment = h.commitment
				_, err := h.nonces.SignShare(message, signers)
				use(h, err)
			case 4: // a copy of the value
				h := pairs[s.next()%len(pairs)]
				copied := *h.nonces
				pairs = append(pairs, held{&copied, h.owner, h.commitment})
			}
		}
	})
}

type reshareMachine struct{ *Reshare }

func (m reshareMachine) accept(messages [][]byte) ([64]byte, error) {
	return m.Accept([2][]byte(messages))
}

func (m reshareMachine) finish(certificates [][64]byte) (*KeyShare, error) {
	return m.Finish([2][64]byte(certificates))
}

func (m reshareMachine) reopen() (machine, error) {
	x, err := ParseReshare(m.Secret())
	return reshareMachine{x}, err
}

// FuzzReshareMachine plays two resharings of one key at once: refresh by agent and co-signer, enrolment of the recovery share, and
// replacement of the agent's share by co-signer and recovery; the second dealer twice in the first. Shares of the old epoch
// and of a new one never sign together, nor do those of the two runs, though they have one epoch number.
func FuzzReshareMachine(f *testing.F) {
	drawn := func(stream uint64) *edwards25519.Scalar {
		s, err := randomScalar(clone(stream))
		if err != nil {
			f.Fatal(err)
		}
		return s
	}
	coefficients := []*edwards25519.Scalar{drawn(100), drawn(101)}
	type beginning struct {
		old      []*KeyShare
		actors   []actor
		states   [][]byte
		messages [][]byte
	}
	var beginnings []beginning
	for kind, tt := range []struct {
		before, after int
		dealers       [2]Identifier
	}{
		{2, 2, [2]Identifier{Agent, CoSigner}},    // refresh
		{2, 3, [2]Identifier{Agent, CoSigner}},    // enrolment
		{3, 3, [2]Identifier{CoSigner, Recovery}}, // replacement
	} {
		b := beginning{old: dealFrom(f, coefficients, tt.before, 7)}
		var keys []*StaticKey
		r := Resharing{Old: b.old[0].Sharing(), Dealers: tt.dealers}
		for k := range tt.after {
			keys = append(keys, newStaticKey(drawn(uint64(k))))
			r.StaticKeys = append(r.StaticKeys, keys[k].Public())
		}
		add := func(run int, id Identifier, stream uint64, twin bool) {
			r := r
			r.Session = fmt.Appendf(nil, "session of a machine/%d", run)
			place := slices.Index(tt.dealers[:], id)
			var share *KeyShare
			if place >= 0 {
				share = b.old[id-1]
			}
			x, err := newReshare(clone(uint64(kind)<<24|uint64(run)<<16|uint64(id)<<8|stream), id, keys[id-1], share, r)
			if err != nil {
				f.Fatal(err)
			}
			if place >= 0 {
				b.messages = append(b.messages, x.Deal())
			}
			b.actors, b.states = append(b.actors, actor{id: id, run: run, place: place, twin: twin}), append(b.states, x.Secret())
		}
		for run := range 2 {
			for id := Identifier(1); int(id) <= tt.after; id++ {
				add(run, id, 0, false)
			}
		}
		add(0, tt.dealers[1], 1, true)
		beginnings = append(beginnings, b)
	}
	addScripts(f,
		append([]byte{0}, honestScript(5, 2)...),
		append([]byte{1}, honestScript(7, 2)...),
		append([]byte{2}, honestScript(7, 2)...),
		// The agent is shown the twin's dealing, the co-signer its own; then each other's certificates.
		[]byte{0, 0, 0, 0, 164, 1, 0, 0, 0, 4, 0, 0, 0, 0, 7, 0, 162, 1, 7, 0, 0, 4, 7, 0, 0},
	)
	f.Fuzz(func(t *testing.T, b []byte) {
		s := &script{b}
		begin := beginnings[s.next()%len(beginnings)]
		p := &stagePlay{places: 2, messages: begin.messages}
		for k := range begin.actors {
			restored, err := ParseReshare(begin.states[k])
			if err != nil {
				t.Fatal(err)
			}
			a := begin.actors[k]
			a.machine = reshareMachine{restored}
			p.actors = append(p.actors, &a)
		}
		p.perform(t, s)
		for _, a := range p.actors {
			if a.share == nil {
				continue
			}
			if a.share.GroupKey() != begin.old[0].GroupKey() || a.share.Epoch() != 8 {
				t.Errorf("%s: share of %x in epoch %d", a.id, a.share.GroupKey(), a.share.Epoch())
			}
			for _, old := range begin.old {
				if _, err := Exit([]byte("m"), old, a.share); err == nil {
					t.Errorf("old share of %s and new share of %s sign together", old.id, a.id)
				}
			}
			for _, b := range p.actors {
				if b.share == nil || b.run == a.run {
					continue
				}
				if _, err := Exit([]byte("m"), a.share, b.share); err == nil {
					t.Errorf("shares of %s and %s of two runs sign together", a.id, b.id)
				}
			}
		}
	})
}
