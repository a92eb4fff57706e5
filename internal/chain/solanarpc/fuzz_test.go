package solanarpc

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"reflect"
	"testing"

	"github.com/halfkey/halfkey/internal/chain/solana"
)

// signedWire is a legacy transaction by one signer, and its signature.
func signedWire() (wire []byte, signature solana.Signature) {
	private := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
	message := append([]byte{1, 0, 0, 1}, private.Public().(ed25519.PublicKey)...)
	message = append(message, make([]byte, 33)...)
	signature = solana.Signature(ed25519.Sign(private, message))
	return append(append([]byte{1}, signature[:]...), message...), signature
}

// FuzzAnswer: whatever a node answers, nothing panics, and what is taken is in range and what it claims to be.
func FuzzAnswer(f *testing.F) {
	wire, signature := signedWire()
	of := entry{signature: signature, slot: 5}
	f.Add([]byte(`{"jsonrpc":"2.0","id":7,"result":null}`))
	f.Add([]byte(`{"jsonrpc":"2.0","id":7,"error":{"code":-32016,"message":"no"}}`))
	f.Add(fmt.Appendf(nil, `{"jsonrpc":"2.0","id":7,"result":[{"signature":%q,"slot":5,"err":null,"confirmationStatus":"finalized"}]}`,
		signature))
	f.Add(fmt.Appendf(nil, `{"jsonrpc":"2.0","id":7,"result":{"slot":5,"blockTime":1,"version":"legacy","transaction":[%q,"base64"],"meta":`+
		`{"err":null,"preTokenBalances":[],"postTokenBalances":[{"accountIndex":0,"uiTokenAmount":{"amount":"1"}}]}}}`,
		base64.StdEncoding.EncodeToString(wire)))
	f.Add(fmt.Appendf(nil, `{"jsonrpc":"2.0","id":7,"result":{"context":{"slot":1},"value":{"owner":%q,"data":[%q,"base64"]}}}`,
		tokenProgram, base64.StdEncoding.EncodeToString(make([]byte, accountSize))))
	f.Fuzz(func(t *testing.T, b []byte) {
		v, why := parseAnswer(b, 7)
		if why != "" {
			return
		}
		if !json.Valid(b) {
			t.Fatal("took what is not JSON")
		}
		if page, why := parsePage(v); why == "" && len(page) > pageSize {
			t.Error("a page too long")
		}
		if balance, why := parseBalance(v, solana.Key{}, solana.Key{}); why == "" && (balance.Units < 0 || balance.Slot > numberMax) {
			t.Errorf("%+v", balance)
		}
		one, why := parseTransaction(v, of)
		if why != "" {
			return
		}
		if one.entry != of || one.version < versionLegacy || one.version > versionMax || one.version != 1 && !bytes.Equal(one.wire, wire) {
			t.Errorf("%+v", one)
		}
		if len(one.parts.keys) != 0 {
			if before, after, why := change(one.meta, one.parts.keys, one.parts.keys[0]); why == "" && (before < 0 || after < 0) {
				t.Error(before, after)
			}
		}
	})
}

// FuzzJSON: what is taken is what encoding/json reads.
func FuzzJSON(f *testing.F) {
	for _, seed := range []string{
		`{"a":[1,2.5,"x",true,null,{}]}`, `{"a":1,"a":1}`, `[[[[]]]]`, `"\ud800"`, `1e999`, `{"a":1}{`, `{"a":`, ``, `[1 2]`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		got, why := parseJSON(b)
		d := json.NewDecoder(bytes.NewReader(b))
		d.UseNumber()
		var want any
		err := d.Decode(&want)
		if why == "" && (err != nil || !reflect.DeepEqual(got, want)) {
			t.Errorf("%v, want %v, %v", got, want, err)
		}
	})
}

// FuzzTransaction: splitting anybody's bytes never panics, and what comes out stands in them.
func FuzzTransaction(f *testing.F) {
	wire, _ := signedWire()
	f.Add(wire)
	f.Add(append([]byte{1}, make([]byte, 64+1+36+64)...))
	f.Fuzz(func(t *testing.T, b []byte) {
		signatures, message, why := splitWire(b)
		if why != "" {
			return
		}
		if len(signatures) == 0 || 1+64*len(signatures)+len(message) != len(b) {
			t.Fatal("parts are missing")
		}
		p, why := splitMessage(message)
		if why == "" && (p.signers == 0 || p.signers > len(p.keys) || len(message) < 32*len(p.keys)) {
			t.Errorf("%+v", p)
		}
	})
}
