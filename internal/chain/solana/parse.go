package solana

import "math"

// parsed is any message of version 0 without lookup tables, split up and not yet judged. It points into the bytes it was read from.
type parsed struct {
	signers, readonlySigners, readonlyOthers byte
	accounts                                 []byte // 32 bytes each
	blockHash                                []byte
	count                                    int // of instructions; those past instructionsMax are read and not kept
	instructions                             [instructionsMax]instruction
}

// instruction names program and accounts by their places in parsed.accounts.
type instruction struct {
	program  byte
	accounts []byte
	data     []byte
}

// account is the key in a place that the caller knows to exist.
func (p *parsed) account(place byte) Key {
	return Key(p.accounts[int(place)*len(Key{}):][:len(Key{})])
}

// parse splits a message up. Everything that it returns is in range: signers are accounts, and so are programs and their accounts.
func parse(b []byte) (parsed, error) {
	var p parsed
	if why := version(b); why != "" {
		return parsed{}, refuse("message", why)
	}
	r := reader{rest: b[1:]}
	p.signers, p.readonlySigners, p.readonlyOthers = r.uint8(), r.uint8(), r.uint8()
	accounts := r.count()
	p.accounts = r.take(accounts * len(Key{}))
	p.blockHash = r.take(len(Key{}))
	p.count = r.count()
	for i := range p.count {
		one := instruction{program: r.uint8(), accounts: r.take(r.count()), data: r.take(r.count())}
		if r.why != "" {
			break
		}
		// Program 0 would be the fee payer.
		if one.program == 0 || int(one.program) >= accounts {
			return parsed{}, refuse("instructions", "call a program that is not among the accounts")
		}
		for _, place := range one.accounts {
			if int(place) >= accounts {
				return parsed{}, refuse("instructions", "name an account that is not there")
			}
		}
		if i < len(p.instructions) {
			p.instructions[i] = one
		}
	}
	tables := r.count()
	switch {
	case r.why != "":
		return parsed{}, refuse("message", r.why)
	case tables != 0:
		return parsed{}, refuse("message", "takes accounts from lookup tables, whose content it does not hold")
	case len(r.rest) != 0:
		return parsed{}, refuse("message", "goes on after its end")
	case 1+len(Signature{})*int(p.signers)+len(b) > WireMax:
		return parsed{}, refuse("message", "makes a transaction longer than 1,232 bytes")
	case p.signers == 0 || int(p.signers)+int(p.readonlyOthers) > accounts || p.readonlySigners >= p.signers:
		return parsed{}, refuse("header", "counts more accounts than there are, or no writable signer")
	}
	return p, nil
}

// version says what else b is than a message of version 0.
func version(b []byte) (why string) {
	switch {
	case len(b) == 0:
		return "is empty"
	case len(b) > WireMax:
		return "is longer than 1,232 bytes"
	case b[0] == version0:
		return ""
	case b[0] == 0xff:
		return "begins like a book message or a key test, not like a chain's"
	case b[0] == 0x81:
		return "is of version 1, whose fees stand where this reader does not look; only version 0 is signed"
	case b[0] < 0x80:
		return "is of the legacy form; only version 0 is signed"
	}
	return "is of an unknown version; only version 0 is signed"
}

// reader takes fields from the front. After the first that is wrong it says why and yields zeros.
type reader struct {
	rest []byte
	why  string
}

func (r *reader) take(n int) []byte {
	if r.why == "" && n > len(r.rest) {
		r.why = "ends early"
	}
	if r.why != "" {
		return nil
	}
	field := r.rest[:n]
	r.rest = r.rest[n:]
	return field
}

func (r *reader) uint8() byte {
	if b := r.take(1); b != nil {
		return b[0]
	}
	return 0
}

// count takes a compact-u16 in its shortest form.
func (r *reader) count() int {
	n := 0
	for shift := 0; ; shift += 7 {
		b := r.uint8()
		n |= int(b&0x7f) << shift
		switch {
		case r.why != "":
			return 0
		case n > math.MaxUint16 || shift == 14 && b > 0x7f:
			r.why = "holds a count above 65,535"
			return 0
		case b == 0 && shift > 0:
			r.why = "holds a count that is not in its shortest form"
			return 0
		case b <= 0x7f:
			return n
		}
	}
}
