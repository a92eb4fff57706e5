package client

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"io/fs"
	"strings"

	"github.com/halfkey/halfkey/internal/chain/solana"
	"github.com/halfkey/halfkey/internal/evidence"
	"github.com/halfkey/halfkey/internal/resource"
	gatewayv1 "github.com/halfkey/halfkey/proto/gen/halfkey/gateway/v1"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// resolve finds a recipient's key: 64 hexadecimal digits are one, and so is a Solana address; a wallet's name or a handle resolves to
// a wallet record, verified under the co-signer's key and pinned, so that the same name never means another key.
func (c *Client) resolve(ctx context.Context, who *caller, recipient string) ([32]byte, error) {
	const op = "resolve recipient"
	if b, err := hex.DecodeString(recipient); err == nil && len(b) == 32 {
		if !evidence.ValidKey(b) {
			return [32]byte{}, local(op, typev1.Reason_REASON_INVALID_ARGUMENT, "the recipient's key is not a key", "field", "recipient")
		}
		return [32]byte(b), nil
	}
	if key, err := solana.ParseKey(recipient); err == nil {
		// No key signs for an address off the curve: it is a token account's, or a program's, and tokens sent there are mostly lost.
		if !evidence.ValidKey(key[:]) {
			return [32]byte{}, local(op, typev1.Reason_REASON_INVALID_ARGUMENT,
				"the address is not a wallet's: give the owner's address, and not that of its token account or of a program", "field", "recipient")
		}
		return key, nil
	}
	if !strings.HasPrefix(recipient, "@") {
		if _, err := resource.ParseWallet(recipient); err != nil {
			return [32]byte{}, local(op, typev1.Reason_REASON_INVALID_ARGUMENT,
				"a recipient is wallets/{wallet}, @handle, a key of 64 hexadecimal digits, or a Solana address in base58", "field", "recipient")
		}
	} else if err := resource.ValidHandle(recipient[1:]); err != nil {
		return [32]byte{}, wrap(op, err, notMoved)
	}
	pinned, err := c.pinnedRecord(recipient)
	if err != nil {
		return [32]byte{}, wrap(op, err, notMoved)
	}
	if pinned != nil {
		return [32]byte(pinned.GetGroupKey()), nil
	}
	record, err := c.lookUp(ctx, who, recipient)
	if err != nil {
		return [32]byte{}, err
	}
	return [32]byte(record.GetGroupKey()), nil
}

// lookUp asks the directory for a wallet, verifies its record, and pins it.
func (c *Client) lookUp(ctx context.Context, who *caller, name string) (*typev1.WalletRecord, error) {
	const op = "resolve recipient"
	w, err := invoke(ctx, c, rpc{op: op, method: gatewayv1.GatewayService_GetWallet_FullMethodName, who: who, about: who.name},
		&gatewayv1.GetWalletRequest{Name: name}, gatewayv1.GatewayServiceClient.GetWallet)
	if err != nil {
		return nil, err
	}
	if w.GetRecord() == nil {
		return nil, local(op, typev1.Reason_REASON_NOT_ACTIVE, "the recipient's wallet has not been claimed yet")
	}
	record, err := evidence.CheckRecord(c.Installation(), w.GetRecord())
	if err != nil {
		return nil, distrust(op, notMoved, "the recipient's wallet record does not verify", err)
	}
	if record.GetWallet() != name && "@"+record.GetHandle() != name {
		return nil, distrust(op, notMoved, "the directory answered with the record of another wallet", nil)
	}
	return record, c.pinRecord(record)
}

// recordPinPrefix begins the names of pinned records; a wallet's name, a handle, or a key in hexadecimal follows.
const recordPinPrefix = "records/"

// keyPin is the name under which a key's record is pinned.
func keyPin(key [32]byte) string { return recordPinPrefix + "keys/" + hex.EncodeToString(key[:]) }

// pinRecord pins a verified record under its wallet, its handle and its key. What was pinned before stays: neither ever means
// another wallet, so a co-signer that says otherwise is not believed, and nothing of what it says is pinned.
func (c *Client) pinRecord(r *typev1.WalletRecord) error {
	const op = "pin wallet record"
	b, err := evidence.Marshal(r)
	if err != nil {
		return wrap(op, err, notMoved)
	}
	names := []string{recordPinPrefix + r.GetWallet(), recordPinPrefix + "@" + r.GetHandle(), keyPin([32]byte(r.GetGroupKey()))}
	var missing []string
	for _, name := range names {
		before, err := c.payments.Pinned(name)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			missing = append(missing, name)
		case err != nil:
			return wrap(op, err, notMoved)
		case !bytes.Equal(before, b):
			return distrust(op, notMoved, "the wallet record contradicts the one that was pinned before", nil)
		}
	}
	for _, name := range missing {
		if err := c.payments.Pin(name, b); err != nil {
			return wrap(op, err, notMoved)
		}
	}
	return nil
}

// pinnedRecord returns what was pinned under a wallet's name or a handle, or nil.
func (c *Client) pinnedRecord(name string) (*typev1.WalletRecord, error) {
	b, err := c.payments.Pinned(recordPinPrefix + name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	r := new(typev1.WalletRecord)
	if err := evidence.Unmarshal(b, r); err != nil {
		return nil, err
	}
	if r.GetInstallation() != c.Installation().ID() {
		return nil, errors.New("halfkey: a pinned wallet record is of another installation")
	}
	return r, nil
}
