package x402

import "github.com/halfkey/halfkey/internal/resource"

// What offers in these tests name.
const (
	SolanaMainnet = resource.SolanaMainnet
	SolanaDevnet  = resource.SolanaDevnet
	USDCMainnet   = "EPjFWdd5AufqSSqeM2qN1xzybapC8G4wEGGkZwyTDt1v"
	USDCDevnet    = "4zMMC9srt5Ri5X14GAgXhaHii3GnPAEERYPJgZJDncDU"
)
