// Package frost holds both halves of a Halfkey wallet's key: key generation between agent and co-signer, and the one-call
// co-signature in which the two halves make one Ed25519 signature. It implements FROST(Ed25519, SHA-512) of RFC 9591 and the
// suite COCKTAIL(Ed25519, SHA-512) of COCKTAIL-DKG v0.2.1 (c2sp.org/cocktail-dkg), strategy (b), on filippo.io/edwards25519.
//
// Who should not use it: whoever wants to sign with a whole key (use crypto/ed25519), needs more than three parties, or wants
// to store nonces. A share does not authenticate anybody: requests are signed with other keys.
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
//
// # Other ways to sign
//
// NewNonces, SignShare and AggregateShares are RFC 9591's two rounds for any two participants. Exit signs with two shares in one
// place, for an owner whose service is gone. NewKeyShare and Scalar exchange shares with other implementations of the RFC.
//
// # Promises
//
//   - The signature is a plain Ed25519 signature under the group key. What does not verify with crypto/ed25519 is not returned.
//   - Every point from outside is refused unless it is canonically encoded, of prime order and not the identity; every scalar
//     unless it is canonical. Stored ones included.
//   - Secrets meet only constant-time operations. Variable-time ones are in vartime.go, which takes public values.
//   - Nonces serve once: the agent's are consumed before anything is computed with them and cannot be serialised; the
//     co-signer's are hedged, so that randomness which repeats repeats a nonce only in the identical transcript.
//   - Secret types do not print, log or marshal. Their only serialisation is the method Secret, for sealing, and a share's
//     Scalar, for another implementation.
//   - There is no package-level state that changes.
//
// Go gives no promise that erased memory was never copied; Zero overwrites what this package holds.
package frost

import "strconv"

// Suite is the RFC 9591 context string of FROST(Ed25519, SHA-512), section 6.1. It begins every serialised secret.
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
