package client

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"

	"github.com/halfkey/halfkey/internal/chain/solana"
	"github.com/halfkey/halfkey/internal/evidence"
	"github.com/halfkey/halfkey/internal/resource"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// exitMemoDomain begins what the memo of a transfer to exit is the hash of.
const exitMemoDomain = "halfkey/exit-memo/v1"

// ExitTransfer is a transfer of tokens on Solana that an owner makes without any service, for when an installation is gone for good.
type ExitTransfer struct {
	// Recipient is the address of who gets them: a key, and never a token account. It should be one that was never in one place with others.
	Recipient [32]byte
	// Asset is the token, by its CAIP-19 id, Units the amount in its smallest unit.
	Asset string
	Units int64
	// BlockHash is a recent block's, from any node of the network. The transaction lands within about a minute of that block, or never.
	BlockHash [32]byte
}

// ExitTransaction is a transfer that is ready for any node.
type ExitTransaction struct {
	// Wire is the whole transaction, as nodes take it.
	Wire []byte
	// Signature is the wallet's over it, by which the chain names it.
	Signature [64]byte
}

// message encodes the transfer from a wallet's key, and reads it again as whoever signs does. The memo follows from all else, so the
// same transfer with the same block hash is the same message, which lands once however often it is signed.
func (t ExitTransfer) message(payer [32]byte) ([]byte, error) {
	const op = "sign to exit"
	refuse := func(field, why string) ([]byte, error) {
		return nil, local(op, typev1.Reason_REASON_INVALID_ARGUMENT, why, "field", field)
	}
	token, known := resource.TokenOf(t.Asset)
	if !known {
		return refuse("asset", "the asset is not a token that is paid on Solana")
	}
	mint, err := mintOf(t.Asset)
	switch {
	case err != nil:
		return nil, wrap(op, err, notMoved)
	case t.Recipient == payer:
		return refuse("recipient", "the recipient is the wallet itself")
	case t.Recipient == [32]byte(mint.Key):
		return refuse("recipient", "the recipient is the token itself, and what is paid to it is lost")
	case !evidence.ValidKey(t.Recipient[:]):
		return refuse("recipient", "no private key stands behind the recipient: it is a token account or a program's; give the address of the wallet that owns it")
	case t.Units <= 0:
		return refuse("units", "the amount is not more than zero")
	case t.BlockHash == [32]byte{}:
		return refuse("block_hash", "the block hash is not given")
	}
	h := sha256.New()
	for _, part := range [][]byte{[]byte(exitMemoDomain), payer[:], t.Recipient[:], t.BlockHash[:], []byte(token.Asset())} {
		h.Write(part)
	}
	h.Write(binary.BigEndian.AppendUint64(nil, uint64(t.Units)))
	m := solana.Message{
		Layout: solana.Transfer, FeePayer: payer, Payer: payer, Recipient: t.Recipient, Mint: mint.Key, Units: t.Units, Decimals: mint.Decimals,
		Memo: hex.EncodeToString(h.Sum(nil)[:16]), BlockHash: t.BlockHash,
	}
	b, err := m.Encode()
	if err != nil {
		return nil, wrap(op, err, notMoved)
	}
	again, err := solana.Decode(b, t.Recipient, []solana.Mint{mint})
	switch {
	case err != nil:
		return nil, wrap(op, err, notMoved)
	case again != m:
		return nil, local(op, typev1.Reason_REASON_INTERNAL, "the message does not say what it was made of")
	}
	return b, nil
}

// Check refuses what ExitPay would refuse, before anybody is asked for a share: it opens no file, and asks nobody.
func (t ExitTransfer) Check(agent *Agent) error {
	_, err := t.message(agent.groupKey)
	return err
}

// ExitPay makes a transfer from the agent's share and the owner's recovery share, as ExitSign signs any message: in one place, without
// service or network, and past every guard rail, limit, freeze and review. Whoever sends it to a node moves the money. The ledger, if
// there still is one, books it as an outflow of no payment. The wallet's address pays the fee in SOL, and for the recipient's token
// account if there is none.
//
// With another block hash it is another transaction: both may land. Look for the first one's signature before making a second.
func ExitPay(agent *Agent, file string, passphrase []byte, t ExitTransfer) (*ExitTransaction, error) {
	const op = "sign to exit"
	defer wipe(passphrase)
	message, err := t.message(agent.groupKey)
	if err != nil {
		return nil, err
	}
	signature, err := ExitSign(agent, file, passphrase, message)
	if err != nil {
		return nil, err
	}
	wire, err := solana.Wire(message, solana.Signature(signature))
	if err != nil {
		return nil, wrap(op, err, notMoved)
	}
	return &ExitTransaction{Wire: wire, Signature: signature}, nil
}
