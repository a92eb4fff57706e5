// Package cosigner holds one share of every wallet's key and lets it work for one payment at a time, after it has checked
// all evidence itself. release.go is the gate: read it first.
//
// Who should not use it: whoever wants a signature. It never sees one. It answers a request that carries the agent's
// commitment with its own commitment and share, which are worth nothing without the agent's share.
//
// # Promises
//
//   - No share leaves without an *evidence.Verified, which only evidence.Verify makes, or, for the test of a new key, an
//     *evidence.KeyTest, whose bytes pay nothing. Both open once.
//   - What it relies on is pinned in its own store: the wallet record and the guard rails in force, each vouched for by a key
//     that only the co-signer holds. It takes no other service's word for either.
//   - Guard rails and freezes are read linearizably after the evidence was verified and before a nonce is drawn: what was
//     acknowledged before a release began stops it.
//   - Every decision is one If/Then transaction over the revisions that it relied on. There are no locks, and no lease or
//     watch decides anything.
//   - Nothing is stored per payment. There is no nonce, so there is none to use twice after a crash, a restore or a failover;
//     replicas are interchangeable.
//   - Shares and the state of key generations and resharings are sealed by envelope encryption, each under a data key of its
//     own, bound to installation, wallet and either epoch and group key or the run. They do not print, log or travel in errors.
//   - New shares come into force, and older ones are destroyed or kept for the recovery share, in one transaction, after a
//     test signature by the new ones. No two epochs are in force at once.
//
// Erased rows stay in etcd's history, sealed, until it is compacted: have etcd compact hourly, as docker-compose.yml does.
//
// The package checks its input in plain Go and links no rule engine, no SQL and no HTTP: its dependency list is reviewed
// like code.
package cosigner
