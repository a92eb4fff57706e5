package solana_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/halfkey/halfkey/internal/chain/solana"
)

// The reasons that several rows expect.
const (
	unknownVersion     = "is of an unknown version; only version 0 is signed"
	legacy             = "is of the legacy form; only version 0 is signed"
	version1           = "is of version 1, whose fees stand where this reader does not look; only version 0 is signed"
	lookupTables       = "takes accounts from lookup tables, whose content it does not hold"
	notShortest        = "holds a count that is not in its shortest form"
	countTooLarge      = "holds a count above 65,535"
	counts             = "counts more accounts than there are, or no writable signer"
	notTheTwo          = "does not let exactly the two token accounts be written to"
	notAsMany          = "are not as many as the layout has"
	noSuchProgram      = "call a program that is not among the accounts"
	durableNonce       = "uses a durable nonce, so it would never expire"
	notTheLimit        = "is not the layout's, set by the first instruction"
	notThePrice        = "is not the layout's, set by the second instruction"
	notTheCreation     = "is not the idempotent one of the recipient's token account, by the third instruction"
	notTransferChecked = "is not a TransferChecked of the Token program, by the last instruction but one"
	notFromTo          = "is not of the mint from source to destination by the payer"
	unitsRange         = "is not 1 to 2^63-1"
	notTheMemo         = "is not the last instruction, without accounts"
	memoRange          = "is not 1 to 256 bytes"
	notPayers          = "is not the payer's associated token account for the mint"
	notRecipients      = "is not the recipient's associated token account for the mint"
	notTheOwner        = "is not the owner of the account that is created"
	unknownMint        = "is none that may be paid in"
	otherProgram       = "is another program, or stands in another place"
)

// TestRefusedBytes: every form of message that is not one of the two payments, with the reason that is given for it.
func TestRefusedBytes(t *testing.T) {
	const (
		begin, end       = 0, -1 // instructions
		setAuthority     = 6
		approve          = 13
		closeAccount     = 9
		createNotIdempot = 0
	)
	stranger := solana.Key(sequence(0x20))
	x402, transfer := layouts[:1], layouts[1:]
	// Places of the accounts after the signers.
	first := func(f *forged) byte { return f.header[0] }
	transferOf := func(f *forged) *instruction { return &f.instructions[len(f.instructions)-2] }
	insert := func(at int, i instruction) func(*forged) {
		return func(f *forged) {
			place := at
			if at == end {
				place = len(f.instructions)
			}
			f.instructions = slices.Insert(f.instructions, place, i)
		}
	}
	drop := func(at int) func(*forged) {
		return func(f *forged) { f.instructions = slices.Delete(f.instructions, at, at+1) }
	}
	swap := func(a, b byte) func(*forged) {
		return func(f *forged) {
			f.accounts[first(f)+a], f.accounts[first(f)+b] = f.accounts[first(f)+b], f.accounts[first(f)+a]
		}
	}
	put := func(place byte, text string) func(*forged) {
		return func(f *forged) { f.accounts[first(f)+place] = key(t, text) }
	}
	units := func(n uint64) func(*forged) {
		return func(f *forged) { binary.LittleEndian.PutUint64(transferOf(f).data[1:], n) }
	}
	version := func(b byte) func(*forged) { return func(f *forged) { f.version = b } }
	data := func(at int, data []byte) func(*forged) {
		return func(f *forged) { f.instructions[at].data = data }
	}
	tests := []struct {
		name       string
		layouts    []solana.Layout
		edit       func(*forged)
		field, why string
	}{
		{"version 1", layouts, version(0x81), "message", version1},
		{"version 2", layouts, version(0x82), "message", unknownVersion},
		{"version 126", layouts, version(0xfe), "message", unknownVersion},
		{"0xff", layouts, version(0xff), "message", "begins like a book message or a key test, not like a chain's"},
		{"legacy", layouts, version(2), "message", legacy},
		{"legacy without signers", layouts, version(0), "message", legacy},
		{"0x7f", layouts, version(0x7f), "message", legacy},

		{"a byte after the end", layouts, func(f *forged) { f.tail = []byte{0} }, "message", "goes on after its end"},
		{"a lookup table", layouts, func(f *forged) { f.tables = append([]byte{1}, make([]byte, 35)...) }, "message", lookupTables},
		{"a lookup table that is cut", layouts, func(f *forged) { f.tables = []byte{1} }, "message", lookupTables},
		{"no number of lookup tables", layouts, func(f *forged) { f.tables = nil }, "message", "ends early"},
		{"no tables in two bytes", layouts, func(f *forged) { f.tables = []byte{0x80, 0} }, "message", notShortest},
		{"no tables in three bytes", layouts, func(f *forged) { f.tables = []byte{0x80, 0x80, 0} }, "message", notShortest},
		{"65,536 tables", layouts, func(f *forged) { f.tables = []byte{0x80, 0x80, 4} }, "message", countTooLarge},
		{"a count of four bytes", layouts, func(f *forged) { f.tables = []byte{0x80, 0x80, 0x80, 0} }, "message", countTooLarge},
		{
			"more than a transaction holds", layouts, func(f *forged) { f.tail = make([]byte, 2000) },
			"message", "is longer than 1,232 bytes",
		},
		{"more than a transaction holds with its signatures", layouts, func(f *forged) {
			note := &f.instructions[len(f.instructions)-1]
			note.data = bytes.Repeat([]byte("m"), 1232-64*int(f.header[0])-len(f.bytes())+len(note.data)-1)
		}, "message", "makes a transaction longer than 1,232 bytes"},

		{"no signer", layouts, func(f *forged) { f.header[0] = 0 }, "header", counts},
		{"all signers read-only", layouts, func(f *forged) { f.header[1] = f.header[0] }, "header", counts},
		{"more read-only accounts than there are", layouts, func(f *forged) { f.header[2] = 200 }, "header", counts},
		{"three signers", layouts, func(f *forged) { f.header[0], f.header[2] = 3, 1 }, "header", "asks for more than two signatures"},
		{"x402's wallet is writable", x402, func(f *forged) { f.header[1] = 0 }, "header", "lets the payer's account be written to"},
		{"the mint is writable", layouts, func(f *forged) { f.header[2]-- }, "header", notTheTwo},
		{"the destination is read-only", layouts, func(f *forged) { f.header[2]++ }, "header", notTheTwo},

		{
			"one account more", layouts, func(f *forged) { f.accounts = append(f.accounts, stranger); f.header[2]++ },
			"accounts", notAsMany,
		},
		{"one account less", layouts, func(f *forged) {
			f.accounts = f.accounts[:len(f.accounts)-1]
			f.header[2]--
			f.instructions = f.instructions[:1]
		}, "accounts", notAsMany},
		{"accounts of the other layout", x402, func(f *forged) { f.header = [3]byte{1, 0, 7} }, "accounts", notAsMany},
		{"a program that is no account", layouts, func(f *forged) { f.instructions[0].program = 10 }, "instructions", noSuchProgram},
		{"the fee payer for a program", layouts, func(f *forged) { f.instructions[0].program = 0 }, "instructions", noSuchProgram},
		{
			"an account that is not there", layouts, func(f *forged) { transferOf(f).accounts[1] = 10 },
			"instructions", "name an account that is not there",
		},
		{
			"the mint stands for the token program too", layouts, func(f *forged) { f.accounts[first(f)+5] = f.accounts[first(f)+2] },
			"token_program", otherProgram,
		},

		{"Token-2022", layouts, put(5, token2022), "token_program", "is Token-2022; only mints of the classic Token program are paid"},
		{"another token program", layouts, put(5, usdc), "token_program", otherProgram},
		{"the older memo program", layouts, put(4, "Memo1UhkJRfHyvLMcVucJwxXeuD728EqVDDwQDxFMNo"), "memo_program", otherProgram},
		{"the newer memo program", layouts, put(4, "Memo4c2pN8afCj432Lb7RMVKi9PbQnnW7ewFFaV3oAH"), "memo_program", otherProgram},
		{"another compute budget program", layouts, put(3, usdc), "compute_budget_program", otherProgram},
		{"another program that creates accounts", transfer, put(6, usdcDevnet), "associated_token_program", otherProgram},
		{"another system program", transfer, put(7, usdcDevnet), "system_program", otherProgram},
		{"programs in another order", layouts, swap(3, 4), "compute_budget_program", otherProgram},
		{"token program first", layouts, swap(3, 5), "token_program", otherProgram},

		{"a durable nonce", transfer, insert(begin, instruction{8, []byte{1, 2, 0}, []byte{4, 0, 0, 0}}), "message", durableNonce},
		{
			"a durable nonce with a byte more", transfer, insert(begin, instruction{8, []byte{1, 2, 0}, []byte{4, 0, 0, 0, 0}}),
			"message", durableNonce,
		},
		{"a durable nonce in x402", x402, func(f *forged) {
			f.accounts = append(f.accounts, key(t, systemProgram))
			f.header[2]++
			insert(begin, instruction{8, []byte{2, 3, 1}, []byte{4, 0, 0, 0}})(f)
		}, "message", durableNonce},
		{"no instruction", layouts, func(f *forged) { f.instructions = nil }, "instructions", notAsMany},
		{"a second memo", layouts, insert(end, instruction{6, nil, []byte("m")}), "instructions", notAsMany},
		{
			"a second transfer", x402, insert(3, instruction{7, []byte{2, 4, 3, 1}, unhex(t, "0c 0100000000000000 06")}),
			"instructions", notAsMany,
		},
		{"a hundred and seventy instructions", layouts, func(f *forged) {
			f.instructions = make([]instruction, 170)
			for i := range f.instructions {
				f.instructions[i].program = 5
			}
		}, "instructions", notAsMany},
		{"an approval more", x402, insert(end, instruction{7, []byte{2, 3, 1}, []byte{approve}}), "instructions", notAsMany},
		{
			"x402 that creates an account", x402, insert(2, instruction{7, []byte{1, 3, 0, 4, 5, 6}, []byte{1}}),
			"instructions", notAsMany,
		},
		{"no memo", layouts, func(f *forged) { drop(len(f.instructions) - 1)(f) }, "instructions", notAsMany},
		{"no compute limit", layouts, drop(0), "instructions", notAsMany},
		{"a transfer that creates no account", transfer, drop(2), "instructions", notAsMany},

		{"a higher compute limit", layouts, func(f *forged) { f.instructions[0].data[1]++ }, "compute_limit", notTheLimit},
		{"the highest compute limit", layouts, data(0, unhex(t, "02 ffffffff")), "compute_limit", notTheLimit},
		{
			"a compute limit with a byte more", layouts, func(f *forged) { f.instructions[0].data = append(f.instructions[0].data, 0) },
			"compute_limit", notTheLimit,
		},
		{
			"a compute limit with an account", layouts, func(f *forged) { f.instructions[0].accounts = []byte{0} },
			"compute_limit", notTheLimit,
		},
		{"a heap for a compute limit", layouts, func(f *forged) { f.instructions[0].data[0] = 1 }, "compute_limit", notTheLimit},
		{
			"price before limit", layouts, func(f *forged) { f.instructions[0], f.instructions[1] = f.instructions[1], f.instructions[0] },
			"compute_limit", notTheLimit,
		},
		{"another program's compute limit", layouts, func(f *forged) { f.instructions[0].program++ }, "compute_limit", notTheLimit},
		{"the highest price", layouts, data(1, unhex(t, "03 ffffffffffffffff")), "compute_price", notThePrice},
		{"no price", layouts, data(1, unhex(t, "03 0000000000000000")), "compute_price", notThePrice},
		{
			"a second limit for a price", layouts, func(f *forged) { f.instructions[1] = f.instructions[0] },
			"compute_price", notThePrice,
		},

		{"creation that is not idempotent", transfer, data(2, []byte{createNotIdempot}), "creation", notTheCreation},
		{"creation without data", transfer, data(2, nil), "creation", notTheCreation},
		{"recovery for creation", transfer, data(2, []byte{2}), "creation", notTheCreation},
		{"creation of the source", transfer, func(f *forged) { f.instructions[2].accounts[1] = 1 }, "creation", notTheCreation},
		{
			"creation with an account more", transfer, func(f *forged) { f.instructions[2].accounts = []byte{0, 2, 9, 3, 8, 6, 1} },
			"creation", notTheCreation,
		},
		{"creation by another program", transfer, func(f *forged) { f.instructions[2].program = 6 }, "creation", notTheCreation},
		{"creation for another owner", transfer, func(f *forged) { f.accounts[9] = stranger }, "recipient", notTheOwner},

		{
			"a transfer that checks nothing", layouts, func(f *forged) { transferOf(f).data = unhex(t, "03 0100000000000000") },
			"transfer", notTransferChecked,
		},
		{"approval for transfer", layouts, func(f *forged) { transferOf(f).data[0] = approve }, "transfer", notTransferChecked},
		{
			"change of owner for transfer", layouts, func(f *forged) { transferOf(f).data[0] = setAuthority },
			"transfer", notTransferChecked,
		},
		{"closing for transfer", layouts, func(f *forged) { transferOf(f).data[0] = closeAccount }, "transfer", notTransferChecked},
		{"transfer without data", layouts, func(f *forged) { transferOf(f).data = nil }, "transfer", notTransferChecked},
		{
			"transfer with a byte more", layouts, func(f *forged) { transferOf(f).data = append(transferOf(f).data, 0) },
			"transfer", notTransferChecked,
		},
		{
			"transfer with a byte less", layouts, func(f *forged) { transferOf(f).data = transferOf(f).data[:9] },
			"transfer", notTransferChecked,
		},
		{"transfer by another program", layouts, func(f *forged) { transferOf(f).program-- }, "transfer", notTransferChecked},
		{"memo before transfer", layouts, func(f *forged) {
			n := len(f.instructions)
			f.instructions[n-1], f.instructions[n-2] = f.instructions[n-2], f.instructions[n-1]
		}, "transfer", notTransferChecked},
		{"transfer without accounts", layouts, func(f *forged) { transferOf(f).accounts = nil }, "transfer", notFromTo},
		{
			"transfer with another signer more", layouts, func(f *forged) { transferOf(f).accounts = append(transferOf(f).accounts, 0) },
			"transfer", notFromTo,
		},
		{
			"transfer backwards", layouts, func(f *forged) { a := transferOf(f).accounts; a[0], a[2] = a[2], a[0] },
			"transfer", notFromTo,
		},
		{"transfer to the source itself", layouts, func(f *forged) { a := transferOf(f).accounts; a[2] = a[0] }, "transfer", notFromTo},
		{"the fee payer's units", x402, func(f *forged) { transferOf(f).accounts[3] = 0 }, "transfer", notFromTo},
		{"a delegate's transfer", layouts, func(f *forged) { transferOf(f).accounts[3] = first(f) + 4 }, "transfer", notFromTo},

		{"zero units", layouts, units(0), "units", unitsRange},
		{"2^63 units", layouts, units(1 << 63), "units", unitsRange},
		{"2^64-1 units", layouts, units(math.MaxUint64), "units", unitsRange},
		{"decimals that are not the mint's", layouts, func(f *forged) { transferOf(f).data[9] = 9 }, "decimals", "is not the mint's"},
		{"another mint", layouts, func(f *forged) { f.accounts[first(f)+2] = stranger }, "mint", unknownMint},
		{
			"another mint that is known", layouts, func(f *forged) { put(2, usdcDevnet)(f); transferOf(f).data[9] = 9 },
			"source", notPayers,
		},

		{
			"memo with an account", layouts, func(f *forged) { f.instructions[len(f.instructions)-1].accounts = []byte{first(f) - 1} },
			"memo", notTheMemo,
		},
		{"memo by another program", layouts, func(f *forged) { f.instructions[len(f.instructions)-1].program-- }, "memo", notTheMemo},
		{"empty memo", layouts, func(f *forged) { f.instructions[len(f.instructions)-1].data = nil }, "memo", memoRange},
		{
			"memo of 257 bytes", layouts, func(f *forged) { f.instructions[len(f.instructions)-1].data = bytes.Repeat([]byte("m"), 257) },
			"memo", memoRange,
		},
		{
			"memo that is not UTF-8", layouts, func(f *forged) { f.instructions[len(f.instructions)-1].data = []byte("\xff") },
			"memo", "is not UTF-8",
		},

		{"another source", layouts, func(f *forged) { f.accounts[first(f)] = stranger }, "source", notPayers},
		{"another payer", x402, func(f *forged) { f.accounts[1] = stranger }, "source", notPayers},
		{"another sender", transfer, func(f *forged) { f.accounts[0] = stranger }, "source", notPayers},
		{"another destination", layouts, func(f *forged) { f.accounts[first(f)+1] = stranger }, "destination", notRecipients},
		{
			"the recipient for its token account", layouts, func(f *forged) { f.accounts[first(f)+1] = sequence(0x41) },
			"destination", notRecipients,
		},
		{
			"source and destination are one", layouts, func(f *forged) { f.accounts[first(f)+1] = f.accounts[first(f)] },
			"destination", notRecipients,
		},
		{"source and destination are exchanged", layouts, swap(0, 1), "source", notPayers},
		{
			"the wallet pays the fee", x402, func(f *forged) { f.accounts[0] = f.accounts[1] },
			"fee_payer", "is the payer, who pays no fee in x402",
		},
		{
			"the wallet and the fee payer are exchanged", x402, func(f *forged) { slices.Reverse(f.accounts[:2]) },
			"source", notPayers,
		},
		{"no fee payer", x402, func(f *forged) { f.accounts[0] = solana.Key{} }, "fee_payer", "is not given"},
		{
			"the fee payer is the destination", x402, func(f *forged) { f.accounts[0] = f.accounts[3] },
			"accounts", "name one account twice",
		},
		{"no block hash", layouts, func(f *forged) { f.blockHash = [32]byte{} }, "block_hash", "is not given"},
	}
	for _, test := range tests {
		for _, layout := range test.layouts {
			t.Run(layout.String()+"/"+test.name, func(t *testing.T) {
				f := forge(t, sample(t, layout))
				test.edit(f)
				refuses(t, f.bytes(), sample(t, layout).Recipient, mints(t), test.field, test.why)
			})
		}
	}
}

// refuses decodes and wants this one refusal.
func refuses(t *testing.T, b []byte, recipient solana.Key, known []solana.Mint, field, why string) {
	t.Helper()
	m, err := solana.Decode(b, recipient, known)
	var refused *solana.Error
	if !errors.As(err, &refused) || refused.Field != field || refused.Why != why {
		t.Errorf("Decode = %+v, %v; want a refusal: %s %s", m, err, field, why)
	}
	if m != (solana.Message{}) {
		t.Errorf("Decode returns a message with its error: %+v", m)
	}
}

// TestRefusedExpectations: a good message to another recipient, or in a token that the reader does not take, is refused.
func TestRefusedExpectations(t *testing.T) {
	good := sample(t, solana.X402)
	tests := []struct {
		name       string
		recipient  solana.Key
		mints      []solana.Mint
		field, why string
	}{
		{"another recipient", sequence(0x41), mints(t), "destination", notRecipients},
		{"no recipient", solana.Key{}, mints(t), "recipient", "is not given"},
		{"the payer", good.Payer, mints(t), "recipient", "is the payer"},
		{"the recipient's token account", account(t, good.Recipient, good.Mint), mints(t), "destination", notRecipients},
		{"no mints", good.Recipient, nil, "mint", unknownMint},
		{"another mint", good.Recipient, mints(t)[:1], "mint", unknownMint},
		{"other decimals", good.Recipient, []solana.Mint{{Key: good.Mint, Decimals: 9}}, "decimals", "is not the mint's"},
		{"no decimals", good.Recipient, []solana.Mint{{Key: good.Mint}}, "decimals", "is not the mint's"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			refuses(t, encode(t, good), test.recipient, test.mints, test.field, test.why)
		})
	}
	// A transfer names its recipient, and that is compared too.
	refuses(t, encode(t, sample(t, solana.Transfer)), sequence(0x41), mints(t), "recipient", notTheOwner)
}

// TestRefusedFrames: bytes that are no message at all.
func TestRefusedFrames(t *testing.T) {
	recipient := sample(t, solana.X402).Recipient
	for _, layout := range layouts {
		good := encode(t, sample(t, layout))
		for name, b := range map[string][]byte{
			"nil":                            nil,
			"empty":                          {},
			"first byte alone":               good[:1],
			"twice":                          append(bytes.Clone(good), good...),
			"a megabyte":                     append(bytes.Clone(good), make([]byte, 1<<20)...),
			"counts that reach past the end": append([]byte{0x80}, bytes.Repeat([]byte{0xff}, 200)...),
			"all 0x80":                       bytes.Repeat([]byte{0x80}, len(good)),
			"a book message":                 []byte("\xffhalfkey/book/v1" + strings.Repeat("a", 300)),
			"a key test":                     []byte("\xffhalfkey/keygen-test/v1" + strings.Repeat("a", 300)),
			"text":                           []byte(strings.Repeat("Sign in with your account. ", 12)),
			"the transaction around it":      append([]byte{1}, append(make([]byte, 64), good...)...),
		} {
			var refused *solana.Error
			if m, err := solana.Decode(b, recipient, mints(t)); !errors.As(err, &refused) || m != (solana.Message{}) {
				t.Errorf("%v, %s: Decode = %+v, %v", layout, name, m, err)
			}
		}
		for n := range good {
			if m, err := solana.Decode(good[:n], recipient, mints(t)); err == nil {
				t.Errorf("%v: the first %d bytes of %d decode to %+v", layout, n, len(good), m)
			}
		}
	}
}
