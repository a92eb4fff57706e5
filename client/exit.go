package client

import (
	"crypto/ed25519"
	"errors"
	"io/fs"

	"google.golang.org/protobuf/proto"

	"github.com/halfkey/halfkey/frost"
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
	if _, err := agent.reload(); err != nil {
		return frost.Signature{}, err
	}
	share1, share3, err := agent.exitPair(f)
	if err != nil {
		return frost.Signature{}, wrap(op, err, notMoved)
	}
	if share3 == nil {
		err := local(op, typev1.Reason_REASON_KEY_LOST, "the agent's share and the recovery file's are not of one sharing", "wallet", agent.wallet)
		return frost.Signature{}, advised(err, "use the newest home and the newest recovery file")
	}
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
func (a *Agent) exitPair(f *recoveryFile) (share1, share3 *frost.KeyShare, err error) {
	k := a.state.now()
	shares := []*frost.KeyShare{k.share}
	if k.pending != nil {
		shares = append(shares, k.pending.share)
	}
	for _, one := range shares {
		for _, three := range []*frost.KeyShare{f.share, f.next} {
			if three != nil && sameSharing(one.Sharing(), three.Sharing()) {
				return one, three, nil
			}
		}
	}
	told, err := a.c.pinnedResharing(a.wallet)
	if err != nil || told == nil {
		return nil, nil, err
	}
	three, err := f.open(a.c.Installation(), told, k.share.Sharing())
	return k.share, three, err
}

// pinnedResharing is the newest resharing that this home has verified, nil for none.
func (c *Client) pinnedResharing(wallet string) (*typev1.Resharing, error) {
	b, err := c.payments.Pinned(resharingPin(wallet))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	told := new(typev1.Resharing)
	if err := proto.Unmarshal(b, told); err != nil {
		return nil, err
	}
	return told, nil
}
