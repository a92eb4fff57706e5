// Package ledger records what was asked, reviewed, held and settled; it keeps balances, windows, freezes and the journal,
// and signs receipts and settlements.
//
// It is for the gateway, which brings it statements, and for recipients, who rely on its settlements. It is not for deciding
// whether a key may sign: that is the co-signer's, which verifies what the ledger signs and judges again.
//
// Every write takes one way. A handler verifies signatures and queues an operation; one writer (combiner.go) takes what has
// gathered, loads every row that it needs, decides operation by operation in order (decide*.go: values and the time in,
// changes out), stores all changes in one transaction, and only then answers. So a budget is exact under any concurrency,
// and a hot wallet is as fast as many cold ones.
//
// What it promises:
//
//   - Units are held, counted in every window and pinned to one message in the transaction that makes a payment AUTHORIZED,
//     and the receipt is signed after that transaction is durable. One payment id has one hold, ever.
//   - A hold ends only by settlement or by proof that its message moves nothing any more: on the book its expiry by the ledger's
//     time, which only moves forward per wallet, on Solana what every endpoint shows. Exactly one of the two happens.
//   - Once a freeze is acknowledged, nothing that it stops is authorized or settled.
//   - The sum of all balances on the book is what was deposited and not redeemed. A balance on Solana is what is known to be in the
//     wallet's token account, without what is held.
//   - Every decision about a wallet is an entry of its hash chain, with the statements that it relied on.
//   - A ledger that lacks an entry which an agent has seen says so and records nothing until an operator accepts the loss.
//
// The database is SQLite: one process per file, held by a lock beside it.
package ledger
