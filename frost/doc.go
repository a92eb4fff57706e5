// Package frost holds a Halfkey wallet's key in shares: key generation between agent and co-signer, the one-call co-signature
// in which two shares make one Ed25519 signature, and resharing, which gives the same key new shares. It implements
// FROST(Ed25519, SHA-512) of RFC 9591 and the suite COCKTAIL(Ed25519, SHA-512) of COCKTAIL-DKG v0.2.1
// (c2sp.org/cocktail-dkg), strategy (b), on filippo.io/edwards25519.
//
// Who should not use it: whoever wants to sign with a whole key (use crypto/ed25519), or needs more than three parties or
// another threshold than two. A share does not authenticate anybody: requests are signed with other keys.
//
// # A payment
//
// The agent commits first, the co-signer answers commitment and share in one call, and the agent finishes:
//
//	nonces, commitment, err := agentShare.Commit()                         // agent
//	release, err := frost.CoSign(share, commitment, message, request)      // co-signer
//	signature, err := nonces.Finish(message, release)                      // agent
//
// Each such call is a preprocessing query followed by a signing query of FROST, so it is no weaker than RFC 9591's two
// rounds; the co-signer holds no nonce before or after it, so nothing can be reused after a crash, a restore or a failover.
// RFC 9591's two rounds are there too (NewNonces, SignShare, AggregateShares), for other implementations, and Exit for the
// owner whom no service serves any more.
//
// # Resharing
//
// Two holders of shares deal the key anew (Reshare, OpenReshare). It is one protocol for three needs: to refresh the shares,
// to enrol the owner's recovery share, and to replace a share that was lost or stolen. Dealer i, whose Lagrange coefficient
// among the two dealers is lambda_i, draws a line
//
//	g_i(x) = lambda_i·s_i + r_i·x
//
// publishes r_i·B, and gives g_i(j) to each recipient j, encrypted. The new share of j is the sum of the two values it gets,
// and everybody computes every new public share, lambda_1·Y_1 + lambda_2·Y_2 + j·(r_1 + r_2)·B. What that promises:
//
//   - The key stays: both lines begin where the old public shares say, and no dealer can choose where, so there is no rogue key
//     to prove oneself free of. A value off its line is refused, and its dealer named.
//   - Threshold and participants stay: a dealing has room for one slope, and nobody who has a share is left out.
//   - No mixed pair signs: an old and a new share lie on two lines that meet in the key alone. Two old shares still sign: a
//     stolen share is worthless only once all others of its epoch are destroyed, backups included.
//   - A relay learns nothing, and what it alters, reorders, replays, mixes or shows to one and not to another is refused. A
//     recipient that is offline opens later what was kept for it, under both dealers' certificates over what they sent it.
//   - A dealer learns nothing new. Whoever holds a static key gets that recipient's share: who that is, the caller vouches for.
//   - Repeated randomness repeats a line only in the identical resharing.
//
// What it does not do is decide: who may order a resharing, when the new epoch is in force, and that the old one is
// destroyed are the caller's.
//
// # Promises
//
//   - The signature is a plain Ed25519 signature under the group key. What does not verify with crypto/ed25519 is not returned.
//   - Every point from outside is refused unless it is canonically encoded, of prime order and not the identity; every scalar
//     unless it is canonical. Stored ones included.
//   - Secrets meet only constant-time operations. Variable-time ones are in vartime.go, which takes public values.
//   - Nonces serve once: the agent's are consumed before anything is computed with them and cannot be serialised; the
//     co-signer's are hedged, so that randomness which repeats repeats a nonce only in the identical transcript.
//   - Secret types do not print, log or marshal. Their only serialisation is the method Secret, for sealing; a share's Scalar
//     is for another implementation.
//   - There is no package-level state that changes.
//
// # Sources
//
//   - RFC 9591: encodings and hash functions (6.1), nonces (4.1), Lagrange coefficients (4.2), the commitment list (4.3), binding
//     factors, group commitment and challenge (4.4 to 4.6), shares and their verification (5.1 to 5.4).
//   - RFC 8032 section 5.1: points and signatures. That points are of prime order is RFC 9591's, section 6.1.
//   - COCKTAIL-DKG v0.2.1, algorithms 2 to 6: key generation, its proofs, encryption and certificates.
//   - BIP-445, DeterministicSign: what the co-signer's nonces must be bound to. The hedge, and one call in place of two rounds, are
//     adaptations of our own; so is resharing, of Feldman's check and Lagrange's formula. Their arguments, and what rests on what, are in
//     docs/frost.md of the repository. Nobody outside the project has reviewed them.
//
// Go gives no promise that erased memory was never copied; Zero overwrites what this package holds.
package frost

import "strconv"

// Suite is the RFC 9591 context string of FROST(Ed25519, SHA-512), section 6.1. It begins every serialised share.
const Suite = "FROST-ED25519-SHA512-v1"

// Identifier is a participant's number, the x-coordinate of its share. Identifiers are fixed per role and never come from
// the wire. In a CulpritError it can also be Relay.
type Identifier uint16

// The participants of a wallet's key, and Relay, which holds no share.
const (
	Relay    Identifier = 0 // whoever carried the messages of a key generation between the participants
	Agent    Identifier = 1
	CoSigner Identifier = 2
	Recovery Identifier = 3 // the owner's share, kept offline
)

// String names the role.
func (id Identifier) String() string {
	switch id {
	case Relay:
		return "relay"
	case Agent:
		return "agent"
	case CoSigner:
		return "co-signer"
	case Recovery:
		return "recovery"
	}
	return "participant " + strconv.Itoa(int(id))
}
