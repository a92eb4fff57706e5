package frost

import (
	"fmt"
	"testing"

	"filippo.io/edwards25519"
)

// The attack of Benhamouda, Lepoint, Loss, Orrù and Raykova, "On the (in)security of ROS" (ePrint 2020/945, section 3), on
// signers that commit before the other party does. With as many sessions open at once as L has bits, it makes one more
// signature than was asked for, in polynomial time and without the victim's share. It is why FROST has binding factors.

// rosSessions is ceil(log2 L).
const rosSessions = 253

// rosSession is one open session of the victim, for which the attacker has prepared two answers, b = 0 and 1.
type rosSession struct {
	nonce     [2]*edwards25519.Point  // the victim's nonce commitment that enters R, under each
	challenge [2]*edwards25519.Scalar // the challenge, under each
	// close sends one of the two and returns z = nonce + challenge·x, x being the victim's part of the key.
	close func(b int) *edwards25519.Scalar
}

// ros forges a signature over message under groupKey. mine is the attacker's own part of the key. For each session i,
// f_i(X) = (X - c_i0)/(c_i1 - c_i0) is b at c_ib, so that the sum of 2^i·f_i takes any value there is by choice of the bits.
// Written out it is sum of a_i·X_i less a constant. The forged R is the sum of a_i times the victim's nonces, which fixes the
// forged challenge c*; the bits of c* less that constant then lead the sum of a_i·c_i to c*, and that of a_i·z_i to the
// victim's part of the forged z.
func ros(sessions []rosSession, groupKey [pointSize]byte, mine *edwards25519.Scalar, message []byte) Signature {
	a := make([]*edwards25519.Scalar, len(sessions))
	constant := new(edwards25519.Scalar) // the sum of a_i·c_i0
	power := Identifier(1).scalar()
	r := edwards25519.NewIdentityPoint()
	for i, s := range sessions {
		difference := new(edwards25519.Scalar).Subtract(s.challenge[1], s.challenge[0])
		a[i] = new(edwards25519.Scalar).Multiply(power, difference.Invert(difference))
		constant.MultiplyAdd(a[i], s.challenge[0], constant)
		power = new(edwards25519.Scalar).Add(power, power)
		// Where the two answers give the victim's nonce two values, only one can enter R: b is not known yet.
		r.Add(r, new(edwards25519.Point).ScalarMult(a[i], s.nonce[0]))
	}
	encoded := encodePoint(r)
	forged := h2(encoded[:], groupKey[:], message)
	bits := new(edwards25519.Scalar).Subtract(forged, constant).Bytes()

	z := new(edwards25519.Scalar).Multiply(forged, mine)
	for i, s := range sessions {
		z.MultiplyAdd(a[i], s.close(int(bits[i/8]>>(i%8)&1)), z)
	}
	var signature Signature
	copy(signature[:], encoded[:])
	copy(signature[pointSize:], z.Bytes())
	return signature
}

// TestROS opens 253 sessions at once, and forges a payment that nobody asked for.
func TestROS(t *testing.T) {
	forged := []byte("pay 1000000 to mallory")
	shares := deal(t, 2, 1)
	groupKey := shares[0].groupKey
	part := func(share *KeyShare, peer Identifier) *edwards25519.Scalar {
		return new(edwards25519.Scalar).Multiply(lambda(share.id, peer), share.secret)
	}

	// A co-signer with one nonce for each session and no binding factor: R = R1 + R2, c = H2(R ‖ A ‖ m). It opens a session by
	// sending R2, and answers each once, with a share over the message it was to sign. Nothing else is wrong with it.
	t.Run("naive", func(t *testing.T) {
		sessions := make([]rosSession, rosSessions)
		for i := range sessions {
			message := fmt.Appendf(nil, "payment %d", i)
			nonce := random(t)
			s := &sessions[i]
			for b := range s.nonce {
				s.nonce[b] = basePoint(nonce)
				r := encodePoint(new(edwards25519.Point).Add(basePoint(random(t)), s.nonce[b]))
				s.challenge[b] = h2(r[:], groupKey[:], message)
			}
			s.close = func(b int) *edwards25519.Scalar {
				return new(edwards25519.Scalar).MultiplyAdd(s.challenge[b], part(shares[1], Agent), nonce)
			}
		}
		signature := ros(sessions, groupKey, part(shares[0], CoSigner), forged)
		if !VerifySignature(groupKey, forged, signature[:]) {
			t.Fatal("the attack does not succeed against the naive co-signer, so that nothing is shown")
		}
	})

	// Ours: whoever commits first is the victim, and the other answers after it has seen the commitments. In a payment that is
	// the agent, and its share stands in the signature, less the attacker's own. In two rounds it can be anybody, who hands its
	// share out.
	for _, tt := range []struct {
		name             string
		victim, attacker *KeyShare
		open             func(*KeyShare) (*Nonces, Commitment, error)
		close            func(*Nonces, Commitment, []byte, SignerCommitment, SignatureShare) (*edwards25519.Scalar, error)
	}{
		{
			"ours: the agent in a payment", shares[0], shares[1], (*KeyShare).Commit,
			func(nonces *Nonces, _ Commitment, message []byte, answer SignerCommitment, z SignatureShare) (*edwards25519.Scalar, error) {
				signature, err := nonces.Finish(message, Release{Commitment: answer.Commitment, Share: z})
				if err != nil {
					return nil, err
				}
				sum := mustScalar(t, signature[pointSize:])
				return sum.Subtract(sum, mustScalar(t, z[:])), nil
			},
		},
		{
			"ours: the co-signer in two rounds", shares[1], shares[0], (*KeyShare).NewNonces,
			func(nonces *Nonces, mine Commitment, message []byte, answer SignerCommitment, _ SignatureShare) (*edwards25519.Scalar, error) {
				share, err := nonces.SignShare(message, []SignerCommitment{answer, {CoSigner, mine}})
				if err != nil {
					return nil, err
				}
				return mustScalar(t, share[:]), nil
			},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			sessions := make([]rosSession, rosSessions)
			for i := range sessions {
				message := fmt.Appendf(nil, "payment %d", i)
				nonces, commitment, err := tt.open(tt.victim)
				if err != nil {
					t.Fatal(err)
				}
				s := &sessions[i]
				var answers [2]SignerCommitment
				var shares [2]SignatureShare
				for b := range answers {
					mine := newToyNonces(random(t), random(t))
					q := observe(t, groupKey, tt.victim.id, commitment, tt.attacker.id, mine.commitment, message)
					s.nonce[b], s.challenge[b] = q.nonce, q.c
					z := toyShare(t, tt.attacker, mine, tt.victim.id, commitment, message)
					answers[b], shares[b] = SignerCommitment{tt.attacker.id, mine.commitment}, SignatureShare(z.Bytes())
				}
				s.close = func(b int) *edwards25519.Scalar {
					z, err := tt.close(nonces, commitment, message, answers[b], shares[b])
					if err != nil {
						t.Fatalf("session %d: %v", i, err)
					}
					return z
				}
			}
			signature := ros(sessions, groupKey, part(tt.attacker, tt.victim.id), forged)
			if VerifySignature(groupKey, forged, signature[:]) {
				t.Error("forged")
			}
		})
	}
}
