package x402

import (
	"strings"

	"github.com/halfkey/halfkey/internal/resource"
)

// Schemes that this project pays by.
const (
	// SchemeExact is x402's own: the price, no more and no less.
	SchemeExact = "exact"
	// SchemeBook is ours: a payment on the book of one installation, proved by its ledger's statement. See BookPayload.
	SchemeBook = "halfkey-book"
)

// networksV1 are the networks that version 1 has words for, of those an Ed25519 key can pay on.
var networksV1 = map[string]string{
	"solana":         resource.SolanaMainnet,
	"solana-devnet":  resource.SolanaDevnet,
	"solana-testnet": resource.SolanaTestnet,
}

// BookNetwork is the network that an installation's book is, `halfkey:{installation}`.
func BookNetwork(installation string) string { return "halfkey:" + installation }

// namedNetwork reports whether s has the form of a CAIP-2 name: 3 to 8 of [a-z0-9-], a colon, 1 to 32 of [A-Za-z0-9_-].
func namedNetwork(s string) bool {
	namespace, reference, _ := strings.Cut(s, ":")
	return len(namespace) >= 3 && len(namespace) <= 8 && only(namespace, lower+"-") &&
		reference != "" && len(reference) <= 32 && only(reference, lower+upper+"_-")
}

const (
	lower = "abcdefghijklmnopqrstuvwxyz0123456789"
	upper = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
)

// only reports whether s is made of these characters.
func only(s, characters string) bool { return strings.Trim(s, characters) == "" }

// named reports whether s can be the name of an asset or an address on some network: no character in it needs to be escaped.
func named(s string) bool { return s != "" && len(s) <= TextMax && only(s, lower+upper+":/._@%-") }
