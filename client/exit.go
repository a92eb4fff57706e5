package client

import (
	"bytes"
	"crypto/ed25519"

	"github.com/halfkey/halfkey/frost"
	"github.com/halfkey/halfkey/internal/evidence"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// ExitSign signs a message with a wallet's key from the agent's share and the owner's recovery share, in one place and without
// any service or network: the owner's last way out, for when an installation is gone for good. It returns the Ed25519 signature,
// verified under the wallet's key.
//
// It bypasses everything: no guard rail, limit, recipient list, freeze, review, ledger or journal sees what is signed, and
// while it runs the whole key is in this process. message is a whole transaction that the owner has looked at; what it moves
// should go to a key that was never in one place. As long as the installation answers, pay through it instead; an agent that was
// lost is replaced by Replace.
//
// Both shares must be of one sharing. A recovery share that was not opened since the last refresh is opened here, from what the
// agent's home has kept of that, and the file is left as it is. The passphrase is wiped when the call returns.
func ExitSign(agent *Agent, file string, passphrase, message []byte) (frost.Signature, error) {
	const op = "sign to exit"
	defer wipe(passphrase)
	f, err := readRecovery(op, file, passphrase)
	if err != nil {
		return frost.Signature{}, err
	}
	defer f.zero()
	if f.wallet != agent.wallet || f.installation != agent.c.Installation().ID() || f.groupKey != agent.groupKey {
		return frost.Signature{}, local(op, typev1.Reason_REASON_INVALID_ARGUMENT, "the recovery file is another wallet's", "field", "file")
	}
	// A copy of its own: what makes new shares meanwhile, here or in another program, erases no share that this call uses.
	k, err := agent.c.loadAgentKey(agent.state.now().keyName())
	if err != nil {
		return frost.Signature{}, wrap(op, err, notMoved)
	}
	defer k.zeroShares()
	share1, share3, err := agent.exitPair(k, f)
	if err != nil {
		return frost.Signature{}, wrap(op, err, notMoved)
	}
	if share3 == nil {
		err := local(op, typev1.Reason_REASON_KEY_LOST, "the agent's share and the recovery file's are not of one sharing", "wallet", agent.wallet)
		return frost.Signature{}, advised(err, "use the newest home and the newest recovery file")
	}
	defer share3.Zero()
	signature, err := frost.Exit(message, share1, share3)
	if err != nil {
		return frost.Signature{}, wrap(op, err, notMoved)
	}
	if !ed25519.Verify(agent.groupKey[:], message, signature[:]) {
		return frost.Signature{}, local(op, typev1.Reason_REASON_INTERNAL, "the signature does not verify")
	}
	return signature, nil
}

// exitPair finds an agent's share and a recovery share of one sharing; nil for none. A share whose record was not seen serves as
// well: both are there.
func (a *Agent) exitPair(k *agentKey, f *recoveryFile) (share1, share3 *frost.KeyShare, err error) {
	for _, one := range k.shares() {
		for _, three := range []*frost.KeyShare{f.share, f.next} {
			if three != nil && sameSharing(one.Sharing(), three.Sharing()) {
				return one, three, nil
			}
		}
	}
	pinned, _, err := a.c.pinnedResharing(a.wallet)
	if err != nil {
		return nil, nil, err
	}
	kept := []*typev1.Resharing{pinned}
	if k.pending != nil {
		kept = append(kept, k.pending.run)
	}
	for _, run := range kept {
		order := new(typev1.ResharingOrder)
		if run == nil || len(run.GetDealings()) == 0 || evidence.Peek(run.GetOrder(), order) != nil || !f.isRecipient(order) {
			continue
		}
		for _, one := range k.shares() {
			if one.Epoch() == order.GetToEpoch() {
				share3, err = f.open(a.c.Installation(), run, one.Sharing())
				return one, share3, err
			}
		}
	}
	return nil, nil, nil
}

// isRecipient reports whether an order deals to the file's key.
func (f *recoveryFile) isRecipient(order *typev1.ResharingOrder) bool {
	own := f.static.Public()
	return bytes.Equal(order.GetRecoveryKey(), own[:])
}

// shares are the shares that the secret holds.
func (k *agentKey) shares() []*frost.KeyShare {
	var shares []*frost.KeyShare
	if k.share != nil {
		shares = append(shares, k.share)
	}
	if k.pending != nil {
		shares = append(shares, k.pending.share)
	}
	return shares
}

func (k *agentKey) zeroShares() {
	for _, share := range k.shares() {
		share.Zero()
	}
}
