package solanarpctest

import (
	"crypto/ed25519"
	"encoding/binary"
	"maps"
	"slices"

	"github.com/halfkey/halfkey/internal/chain/solana"
)

// What the chain charges, in lamports.
const (
	// SignatureFee is for each signature.
	SignatureFee = 5_000
	// TransferFee is what a transaction in the transfer layout costs: one signature, and its priority fee.
	TransferFee = 7_000
	// TokenAccountRent is what a new token account keeps for good.
	TokenAccountRent = 2_039_280
	// RentExempt is the least that an account without data keeps, unless it keeps nothing.
	RentExempt = 890_880
)

// decimals are every mint's.
const decimals = 6

// What a stranger's instruction does.
const (
	opNothing byte = iota
	opMint
	opBurn
)

var (
	computeBudget   = program("ComputeBudget111111111111111111111111111111")
	memo            = program("MemoSq4gqABAXKb96qnH8TysNcWxMyWCqXgDLGmfcHr")
	token           = program(tokenProgramText)
	associatedToken = program("ATokenGPvbdGVxr1b2hvZbsiqW5xWH25efTNsLJA8knL")
	system          = solana.Key{}
	// strangerProgram is this package's own, which mints and burns whatever it is told.
	strangerProgram = solana.Key{'s', 'o', 'l', 'a', 'n', 'a', 'r', 'p', 'c', 't', 'e', 's', 't'}
	// strangerTable is the lookup table that it takes accounts from.
	strangerTable = solana.Key{'t', 'a', 'b', 'l', 'e'}
)

// version1Byte is what a transaction of version 1 begins with.
const version1Byte = 0x81

const tokenProgramText = "TokenkegQfeZyiNwAJbNbGKPFXCWuBvf9Ss623VQ5DA" //nolint:gosec // G101: a program's public address

func program(text string) solana.Key {
	key, err := solana.ParseKey(text)
	if err != nil {
		panic(err)
	}
	return key
}

// transaction is one as it is in a block, or on its way there.
type transaction struct {
	wire         []byte
	signatures   []solana.Signature
	message      []byte
	version      any // "legacy", 0 or 1, as nodes tell it.
	signers      int
	keys         []solana.Key
	loaded       int // How many of keys, the last ones, stand in a lookup table and not in the message.
	blockHash    solana.Key
	instructions []instruction
	failed       bool
	// before and after are the token accounts among its keys, by place.
	before, after map[int]tokenAccount
}

type instruction struct {
	program  solana.Key
	accounts []solana.Key
	data     []byte
}

// cursor reads bytes and remembers that they ended early.
type cursor struct {
	rest  []byte
	short bool
}

func (r *cursor) take(n int) []byte {
	if n > len(r.rest) {
		r.short, r.rest = true, nil
		return make([]byte, n)
	}
	b := r.rest[:n]
	r.rest = r.rest[n:]
	return b
}

// count reads a compact-u16.
func (r *cursor) count() (n int) {
	for shift := 0; shift < 21; shift += 7 {
		b := r.take(1)[0]
		n |= int(b&0x7f) << shift
		if b < 0x80 {
			break
		}
	}
	return n
}

// split reads a transaction of the legacy form or of version 0 without tables, all of whose signatures verify.
func split(wire []byte) (*transaction, string) {
	r := &cursor{rest: wire}
	tx := &transaction{wire: wire}
	for range r.count() {
		tx.signatures = append(tx.signatures, solana.Signature(r.take(len(solana.Signature{}))))
	}
	tx.message = r.rest
	if len(wire) > solana.WireMax || len(r.rest) == 0 || r.short {
		return nil, "is no transaction"
	}
	tx.version = "legacy"
	if r.rest[0] == solana.FirstByte {
		tx.version = 0
		r.take(1)
	}
	header := r.take(3)
	tx.signers = int(header[0])
	for range r.count() {
		tx.keys = append(tx.keys, solana.Key(r.take(len(solana.Key{}))))
	}
	tx.blockHash = solana.Key(r.take(len(solana.Key{})))
	if r.short || tx.signers == 0 || tx.signers != len(tx.signatures) || tx.signers > len(tx.keys) {
		return nil, "does not have its signers"
	}
	for range r.count() {
		program := int(r.take(1)[0])
		places := r.take(r.count())
		in := instruction{data: r.take(r.count())}
		if r.short || program >= len(tx.keys) {
			return nil, "has an instruction that ends early"
		}
		in.program = tx.keys[program]
		for _, place := range places {
			if int(place) >= len(tx.keys) {
				return nil, "has an instruction with an account that is none"
			}
			in.accounts = append(in.accounts, tx.keys[place])
		}
		tx.instructions = append(tx.instructions, in)
	}
	if tx.version == 0 && r.count() != 0 {
		return nil, "has lookup tables"
	}
	if r.short || len(r.rest) != 0 {
		return nil, "has bytes behind its end"
	}
	for i, signature := range tx.signatures {
		if !ed25519.Verify(tx.keys[i][:], tx.message, signature[:]) {
			return nil, "has a signature that does not verify"
		}
	}
	return tx, ""
}

// fee is what the transaction costs, in lamports.
func (tx *transaction) fee() uint64 {
	limit, price := uint64(200_000*len(tx.instructions)), uint64(0)
	for _, in := range tx.instructions {
		switch {
		case in.program != computeBudget || len(in.data) == 0:
		case in.data[0] == 2 && len(in.data) == 5:
			limit = uint64(binary.LittleEndian.Uint32(in.data[1:]))
		case in.data[0] == 3 && len(in.data) == 9:
			price = binary.LittleEndian.Uint64(in.data[1:])
		}
	}
	return SignatureFee*uint64(tx.signers) + (limit*price+999_999)/1_000_000
}

// execute changes the accounts and says whether the transaction gets into a block at all, failed or not.
func (c *Chain) execute(tx *transaction, a *accounts) bool {
	tx.failed, tx.before, tx.after = false, a.held(tx.keys), nil
	payer, fee := tx.keys[0], tx.fee()
	if stranger := slices.Contains(tx.keys, strangerProgram); !stranger {
		if a.lamports[payer] < fee || !exempt(a.lamports[payer]-fee) {
			return false
		}
		a.lamports[payer] -= fee
	}
	tried := a.clone()
	for _, in := range tx.instructions {
		if !c.run(tx, in, tried) {
			tx.failed = true
			break
		}
	}
	for key, lamports := range tried.lamports {
		tx.failed = tx.failed || lamports != a.lamports[key] && !exempt(lamports)
	}
	if !tx.failed {
		maps.Copy(a.tokens, tried.tokens)
		maps.Copy(a.lamports, tried.lamports)
	}
	tx.after = a.held(tx.keys)
	return true
}

// exempt says whether an account without data may keep so much.
func exempt(lamports uint64) bool { return lamports == 0 || lamports >= RentExempt }

// held are the token accounts among keys.
func (a *accounts) held(keys []solana.Key) map[int]tokenAccount {
	held := map[int]tokenAccount{}
	for i, key := range keys {
		if account, ok := a.tokens[key]; ok {
			held[i] = account
		}
	}
	return held
}

// run does one instruction and says whether it succeeded.
func (c *Chain) run(tx *transaction, in instruction, a *accounts) bool {
	switch in.program {
	case computeBudget, memo:
		return true
	case token:
		return c.transfer(tx, in, a)
	case associatedToken:
		return create(tx, in, a)
	case strangerProgram:
		return stranger(in, a)
	}
	return false
}

// transfer is TransferChecked.
func (c *Chain) transfer(tx *transaction, in instruction, a *accounts) bool {
	if len(in.accounts) != 4 || len(in.data) != 10 || in.data[0] != 12 {
		return false
	}
	from, to := a.tokens[in.accounts[0]], a.tokens[in.accounts[2]]
	units, mint, owner := binary.LittleEndian.Uint64(in.data[1:]), in.accounts[1], in.accounts[3]
	switch {
	case from.mint != mint || to.mint != mint || mint == solana.Key{}, from.owner != owner, from.frozen || to.frozen,
		!slices.Contains(tx.keys[:tx.signers], owner), in.data[9] != decimals, from.units < units,
		in.accounts[0] == in.accounts[2]:
		return false
	}
	from.units -= units
	to.units += units
	a.tokens[in.accounts[0]], a.tokens[in.accounts[2]] = from, to
	return true
}

// create is CreateIdempotent.
func create(tx *transaction, in instruction, a *accounts) bool {
	if len(in.accounts) != 6 || len(in.data) != 1 || in.data[0] != 1 || in.accounts[4] != system || in.accounts[5] != token {
		return false
	}
	payer, account, owner, mint := in.accounts[0], in.accounts[1], in.accounts[2], in.accounts[3]
	want, ok := solana.AssociatedTokenAccount(owner, mint)
	if !ok || want != account || !slices.Contains(tx.keys[:tx.signers], payer) {
		return false
	}
	if held, is := a.tokens[account]; is {
		return held.owner == owner && held.mint == mint
	}
	if a.lamports[payer] < TokenAccountRent {
		return false
	}
	a.lamports[payer] -= TokenAccountRent
	a.tokens[account] = tokenAccount{mint: mint, owner: owner}
	return true
}

// stranger mints to an account, or burns of it.
func stranger(in instruction, a *accounts) bool {
	account, owner, mint := in.accounts[0], in.accounts[1], in.accounts[2]
	what, units := in.data[0], binary.LittleEndian.Uint64(in.data[1:])
	held, is := a.tokens[account]
	switch {
	case what == opNothing:
		return true
	case what == opMint:
		held.mint, held.owner = mint, owner
		held.units += units
	case !is || held.units < units:
		return false
	default:
		held.units -= units
	}
	a.tokens[account] = held
	return true
}
