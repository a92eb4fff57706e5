package solana

// What is the same in every message of a layout.
const (
	// FirstByte begins a message of version 0, and so every message that is signed here.
	FirstByte = 0x80
	version0  = FirstByte

	// x402UnitLimit and x402UnitPrice are what the stock x402 client asks for. Facilitators settle that, and several refuse more.
	x402UnitLimit = 20_000
	x402UnitPrice = 1

	// transferUnitLimit is what the runtime allows one instruction by default. A transfer that creates the recipient's account
	// takes about 15,000 with the programs of 2026, and took several times that with those before them. Each further step of the
	// search for that account's address adds 1,500, and is half as likely as the one before.
	transferUnitLimit = 200_000
	// transferUnitPrice, in millionths of a lamport, makes the priority fee 2,000 lamports, less than one signature's fee of 5,000:
	// enough to stand before messages that offer nothing.
	transferUnitPrice = 10_000

	// accountsMax is the number of accounts in the larger layout, and instructionsMax its number of instructions.
	accountsMax     = 10
	instructionsMax = 5
)

// template is a layout's fixed part. Its accounts are the signers, then from first on the two token accounts, which are written,
// and then those that are only read, in this order: mint, ComputeBudget, Memo, Token, and for a transfer also Associated Token
// Account, System and the recipient.
type template struct {
	signers         byte // the fee payer, then under X402 the payer
	readonlySigners byte // the payer under X402: its SOL cannot move
	readonlyOthers  byte
	accounts        byte
	instructions    byte
	payer           byte // place of the payer
	first           byte // place of the source; the others follow it
	unitLimit       uint32
	unitPrice       uint64
}

// Places of accounts, counted from template.first.
const (
	source = iota
	destination
	mint
	computeBudget
	memo
	token
	associatedToken
	system
	recipient
)

func (l Layout) template() template {
	if l == X402 {
		return template{
			signers: 2, readonlySigners: 1, readonlyOthers: 4, accounts: 8, instructions: 4, payer: 1, first: 2,
			unitLimit: x402UnitLimit, unitPrice: x402UnitPrice,
		}
	}
	return template{
		signers: 1, readonlySigners: 0, readonlyOthers: 7, accounts: 10, instructions: 5, payer: 0, first: 1,
		unitLimit: transferUnitLimit, unitPrice: transferUnitPrice,
	}
}

// accounts lists a message's accounts in their one order, and refuses a message that names one account in two places: chain and
// reader would then disagree on what its place allows.
func (m *Message) accounts() ([accountsMax]Key, error) {
	var keys [accountsMax]Key
	from, ok := AssociatedTokenAccount(m.Payer, m.Mint)
	if !ok {
		return keys, refuse("source", "has no address")
	}
	to, ok := AssociatedTokenAccount(m.Recipient, m.Mint)
	if !ok {
		return keys, refuse("destination", "has no address")
	}
	t := m.Layout.template()
	keys[0] = m.FeePayer
	keys[t.payer] = m.Payer
	rest := keys[t.first:t.accounts]
	rest[source], rest[destination], rest[mint] = from, to, m.Mint
	rest[computeBudget], rest[memo], rest[token] = computeBudgetProgram, memoProgram, tokenProgram
	if m.Layout == Transfer {
		rest[associatedToken], rest[system], rest[recipient] = associatedTokenProgram, systemProgram, m.Recipient
	}
	if twice(keys[:t.accounts]) {
		return keys, refuse("accounts", "name one account twice")
	}
	return keys, nil
}

// twice says whether a key stands in two places. There are few keys in a message.
func twice(keys []Key) bool {
	for i := range keys {
		for j := range i {
			if keys[i] == keys[j] {
				return true
			}
		}
	}
	return false
}
