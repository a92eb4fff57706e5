// Package etcdstore is how identity, policy and co-signer use etcd: linearizable reads, and one If/Then transaction per
// decision that compares the revision of everything the decision relied on. There are no locks, no elections and no
// read-then-write here, and a watch would only wake, never decide. Decoded saves decoding what has not changed, and has the
// store say each time that it has not.
//
// The functions take a clientv3.KV that is confined to one service's namespace, made by Open for a cluster or by the
// embedded package for a laptop and for tests: the same code either way. Values are bytes, encoded by the caller.
//
// The ledger does not use it: it grows without bound, is queried, and lives in SQL.
//
// Errors are faults. One that leaves open whether a write took place is UNAVAILABLE, so every decision must be safe to
// repeat. They say nothing about money, because a key-value store does not know: fault.Wrap fills that in.
package etcdstore
