// Package identity knows who is calling: owners, agents, their keys, and the directory of wallets.
//
// It is for the gateway, which asks it whose token or request it was brought and hands on what it answers. It is not for
// deciding what may be paid or signed: policy, ledger and co-signer verify every statement themselves, so whoever breaks
// into identity can lock people out, read and stop in anyone's name, and bind no key or name to a wallet.
//
// What it promises:
//
//   - A key authenticates only by documents that identity has verified itself: the registration, the co-signer's wallet
//     record and guard rails from number 0 on. It admits no request key that the head does not name.
//   - A directory that was restored from a backup, or has lost a wallet, is led forward on these documents.
//   - The bootstrap code makes one owner, once. Open registrations are bounded per owner address, per source and in all, in
//     the transaction that opens one.
//   - Every decision is one transaction that compares all it has read, and every read that decides is linearizable.
//
// It never ends a registration by its own clock: that is a transaction of the co-signer, whose signed answer it follows.
package identity
