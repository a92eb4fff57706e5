// Package solanarpctest is a small chain for tests, and nodes that show it over HTTP on loopback as Solana's do: slots, blocks, forks and
// finality, token accounts and SOL, and the transactions that package solana writes, which it executes by the chain's rules, written here
// a second time.
//
// Who should not use it: anything but a test. It keeps all of its blocks, and whoever reaches it may have tokens.
//
//	chain := solanarpctest.New(t, resource.SolanaDevnet)
//	chain.Fund(payer, mint, 5_000_000)
//	chain.Airdrop(payer, 10_000_000)
//	chain.Finalize()
//	honest, behind := chain.Endpoint(), chain.Endpoint(solanarpctest.Behind(40))
//	… New(solanarpc.Config{Network: chain.Network(), Endpoints: []string{honest.URL, behind.URL}})
//
// A chain stands still until a test calls Advance, Finalize or Fork, or has it go by itself with Run.
package solanarpctest
