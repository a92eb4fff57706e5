package main

import (
	"context"
	"encoding/json"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/halfkey/halfkey/internal/resource"
)

// exitScript does what an owner does by hand who leaves without the installation: `node hash` puts a block hash of now into HASH, and
// `node send FILE` sends the wire of a command's result. `node holds UNITS` waits until the ledger says that so much can be paid.
func (s *chainScripts) exitScript(ts *testscript.TestScript, neg bool, args []string) {
	switch {
	case !neg && len(args) == 1 && args[0] == "hash":
		ts.Setenv("HASH", s.chain.Tip().Hash.String())
	case !neg && len(args) == 2 && args[0] == "send":
		var result struct {
			Wire []byte `json:"wire"`
		}
		ts.Check(json.Unmarshal([]byte(ts.ReadFile(args[1])), &result))
		s.chain.Send(result.Wire)
	case !neg && len(args) == 2 && args[0] == "holds":
		s.holds(ts, args[1])
	default:
		ts.Fatalf("usage: node hash|send FILE|holds UNITS")
	}
}

func (s *chainScripts) holds(ts *testscript.TestScript, want string) {
	ctx, cancel := context.WithTimeout(context.Background(), stepMax)
	defer cancel()
	for {
		acc, err := s.owner.Account(ctx, ts.Getenv("WALLET"))
		if err != nil {
			ts.Fatalf("the ledger does not come to say that %s can be paid: %v", want, err)
		}
		for _, b := range acc.Balances {
			if b.Asset == devnetUSDC && resource.FormatUnits(b.Available) == want {
				return
			}
		}
	}
}
