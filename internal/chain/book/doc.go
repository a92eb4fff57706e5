// Package book encodes and decodes the message of a book payment: the exact bytes that a wallet's group key signs so that the
// ledger moves money to another wallet of the same installation.
//
// Who should not use it: whoever wants to know whether a payment is allowed. This package says what bytes mean, and nothing
// about balances, rules or time.
//
// # The bytes
//
// Integers are unsigned and big-endian, there is no padding, and nothing follows the last field.
//
//	offset  size  content
//	0       1     0xff
//	1       15    "halfkey/book/v1", ASCII
//	16      1     n, length of the installation's id: 1 to 32
//	17      n     installation's id
//	.       1     p, length of the payment's name: 20 to 144
//	.       p     payment's name, wallets/{wallet}/payments/{payment}
//	.       32    payer: group key of the paying wallet
//	.       32    recipient: group key of the wallet paid
//	.       2     a, length of the asset's id: 21 to 52
//	.       a     asset's id, halfkey:{installation}/iso4217:USD
//	.       8     units: 1 to 2^63-1
//	.       32    digest of the intent
//	.       8     expiry in milliseconds since the Unix epoch: 1 to the end of the year 9999
//
// No chain's transaction begins with 0xff, and every chain decoder refuses that byte, so a signature over these bytes means
// nothing anywhere else; a key-generation test begins with 0xff and another name.
//
// # Promises
//
//   - One content has one encoding and one encoding one content: Decode encodes again what it read and compares.
//   - Decode is an allow-list: lengths, characters, ranges and the asset are checked, not only framed. What Encode refuses,
//     Decode refuses.
package book
