// Package policy judges payments by every rule that needs no history, and signs what it says. It holds each wallet's
// guard rails, every version of them, as their owner signed them. Default deny: no document, no payment.
//
// A policy service that approves everything gets no further than the owner-signed rules, which the co-signer judges again,
// and the windows, which the ledger counts.
package policy
