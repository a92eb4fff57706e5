package solana

import (
	"bytes"
	"encoding/binary"
)

// Decode reads the bytes of a payment in one of mints to recipient. The bytes name token accounts and not who owns them, so the
// reader says whose account it expects, and Decode derives that account and the payer's and compares. It keeps no reference to b.
func Decode(b []byte, recipient Key, mints []Mint) (Message, error) {
	p, err := parse(b)
	if err != nil {
		return Message{}, err
	}
	m := Message{Recipient: recipient, BlockHash: Key(p.blockHash)}
	if err := p.layout(&m); err != nil {
		return Message{}, err
	}
	if err := p.fixed(&m); err != nil {
		return Message{}, err
	}
	if err := p.transfer(&m, mints); err != nil {
		return Message{}, err
	}
	if err := m.check(); err != nil {
		return Message{}, err
	}
	accounts, err := m.accounts()
	if err != nil {
		return Message{}, err
	}
	at := m.Layout.template().first
	switch {
	case p.account(at+source) != accounts[at+source]:
		return Message{}, refuse("source", "is not the payer's associated token account for the mint")
	case p.account(at+destination) != accounts[at+destination]:
		return Message{}, refuse("destination", "is not the recipient's associated token account for the mint")
	}
	// All else has been compared in its place. This comparison stands here because a second encoding of one payment would be a
	// second signature for it, and because it does not depend on what was compared above.
	var again [Size]byte
	if !bytes.Equal(m.append(again[:0], &accounts), b) {
		return Message{}, refuse("message", "is not in its one encoding")
	}
	return m, nil
}

// BlockHash is the block hash that a message of version 0 names. All of the message has to be well-formed, and nothing else of it is
// judged: this is for bytes that Decode took when they were signed, and for whoever no longer knows what it compared them with.
func BlockHash(b []byte) (hash [32]byte, err error) {
	p, err := parse(b)
	if err != nil {
		return hash, err
	}
	return [32]byte(p.blockHash), nil
}

// layout finds the layout by the number of signers, and checks that the message has its form.
func (p *parsed) layout(m *Message) error {
	// A durable nonce must be the first instruction. It would let the message land at any time, also after its hold has ended.
	if first := p.instructions[0]; p.count != 0 && p.account(first.program) == systemProgram &&
		bytes.HasPrefix(first.data, []byte{advanceNonce, 0, 0, 0}) {
		return refuse("message", "uses a durable nonce, so it would never expire")
	}
	switch p.signers {
	case 1:
		m.Layout = Transfer
	case 2:
		m.Layout = X402
	default:
		return refuse("header", "asks for more than two signatures")
	}
	t := m.Layout.template()
	switch {
	case p.readonlySigners != t.readonlySigners:
		return refuse("header", "lets the payer's account be written to")
	case len(p.accounts) != int(t.accounts)*len(Key{}):
		return refuse("accounts", "are not as many as the layout has")
	case p.readonlyOthers != t.readonlyOthers:
		return refuse("header", "does not let exactly the two token accounts be written to")
	case p.count != int(t.instructions):
		return refuse("instructions", "are not as many as the layout has")
	}
	m.FeePayer, m.Payer = p.account(0), p.account(t.payer)
	return nil
}

// fixed checks what is the same in every message of a layout: the programs, and all instructions but the transfer's amount.
func (p *parsed) fixed(m *Message) error {
	t := m.Layout.template()
	at := t.first
	switch {
	case p.account(at+token) == token2022Program:
		return refuse("token_program", "is Token-2022; only mints of the classic Token program are paid")
	case p.account(at+token) != tokenProgram:
		return refuse("token_program", "is another program, or stands in another place")
	case p.account(at+computeBudget) != computeBudgetProgram:
		return refuse("compute_budget_program", "is another program, or stands in another place")
	case p.account(at+memo) != memoProgram:
		return refuse("memo_program", "is another program, or stands in another place")
	}
	var data [9]byte
	data[0] = setComputeUnitLimit
	binary.LittleEndian.PutUint32(data[1:], t.unitLimit)
	if !p.instructions[0].is(at+computeBudget, nil, data[:5]) {
		return refuse("compute_limit", "is not the layout's, set by the first instruction")
	}
	data[0] = setComputeUnitPrice
	binary.LittleEndian.PutUint64(data[1:], t.unitPrice)
	if !p.instructions[1].is(at+computeBudget, nil, data[:9]) {
		return refuse("compute_price", "is not the layout's, set by the second instruction")
	}
	if m.Layout == X402 {
		return nil
	}
	switch {
	case p.account(at+associatedToken) != associatedTokenProgram:
		return refuse("associated_token_program", "is another program, or stands in another place")
	case p.account(at+system) != systemProgram:
		return refuse("system_program", "is another program, or stands in another place")
	case p.account(at+recipient) != m.Recipient:
		return refuse("recipient", "is not the owner of the account that is created")
	case !p.instructions[2].is(at+associatedToken,
		[]byte{t.payer, at + destination, at + recipient, at + mint, at + system, at + token}, []byte{createIdempotent}):
		return refuse("creation", "is not the idempotent one of the recipient's token account, by the third instruction")
	}
	return nil
}

// transfer reads the instructions that move the units and carry the memo, which are the last two.
func (p *parsed) transfer(m *Message, mints []Mint) error {
	t := m.Layout.template()
	at := t.first
	transfer, note := p.instructions[t.instructions-2], p.instructions[t.instructions-1]
	switch {
	case transfer.program != at+token || len(transfer.data) != 10 || transfer.data[0] != transferChecked:
		return refuse("transfer", "is not a TransferChecked of the Token program, by the last instruction but one")
	case !bytes.Equal(transfer.accounts, []byte{at + source, at + mint, at + destination, t.payer}):
		return refuse("transfer", "is not of the mint from source to destination by the payer")
	case note.program != at+memo || len(note.accounts) != 0:
		return refuse("memo", "is not the last instruction, without accounts")
	}
	// What int64 does not hold becomes negative here, and check refuses it.
	m.Units = int64(binary.LittleEndian.Uint64(transfer.data[1:]))
	m.Decimals = transfer.data[9]
	m.Memo = string(note.data)
	m.Mint = p.account(at + mint)
	for _, known := range mints {
		if known.Key != m.Mint {
			continue
		}
		if known.Decimals != m.Decimals {
			return refuse("decimals", "is not the mint's")
		}
		return nil
	}
	return refuse("mint", "is none that may be paid in")
}

// is compares all of an instruction.
func (i instruction) is(program byte, accounts, data []byte) bool {
	return i.program == program && bytes.Equal(i.accounts, accounts) && bytes.Equal(i.data, data)
}
