package solana

import "encoding/binary"

// Size is the largest encoding: a transfer with a memo of MemoMax bytes.
const Size = 4 + 1 + accountsMax*len(Key{}) + 32 + 1 + // version and header, accounts, block hash, number of instructions
	(3 + 5) + (3 + 9) + (3 + 6 + 1) + (3 + 4 + 10) + (3 + 1 + MemoMax) + 1 // instructions, number of lookup tables

// Encode returns the bytes to be signed, or an Error where the message says something it may not.
func (m Message) Encode() ([]byte, error) {
	if err := m.check(); err != nil {
		return nil, err
	}
	accounts, err := m.accounts()
	if err != nil {
		return nil, err
	}
	return m.append(make([]byte, 0, Size), &accounts), nil
}

// append writes a checked message after b.
func (m *Message) append(b []byte, accounts *[accountsMax]Key) []byte {
	t := m.Layout.template()
	b = append(b, version0, t.signers, t.readonlySigners, t.readonlyOthers)
	b = append(b, t.accounts)
	for i := range t.accounts {
		b = append(b, accounts[i][:]...)
	}
	b = append(b, m.BlockHash[:]...)
	b = append(b, t.instructions)

	// An instruction is its program's place, its accounts' places after their number, and its data after their length.
	at := t.first
	b = append(b, at+computeBudget, 0, 5, setComputeUnitLimit)
	b = binary.LittleEndian.AppendUint32(b, t.unitLimit)
	b = append(b, at+computeBudget, 0, 9, setComputeUnitPrice)
	b = binary.LittleEndian.AppendUint64(b, t.unitPrice)
	if m.Layout == Transfer {
		b = append(b, at+associatedToken, 6, t.payer, at+destination, at+recipient, at+mint, at+system, at+token, 1, createIdempotent)
	}
	b = append(b, at+token, 4, at+source, at+mint, at+destination, t.payer, 10, transferChecked)
	b = binary.LittleEndian.AppendUint64(b, uint64(m.Units))
	b = append(b, m.Decimals)
	b = append(b, at+memo, 0)
	b = appendCompact(b, len(m.Memo))
	b = append(b, m.Memo...)
	return append(b, 0) // lookup tables
}

// appendCompact writes n, at most 65,535, as a compact-u16: seven bits a byte, the lowest first, the top bit set on all but the last.
func appendCompact(b []byte, n int) []byte {
	for ; n > 0x7f; n >>= 7 {
		b = append(b, byte(n)|0x80)
	}
	return append(b, byte(n))
}
