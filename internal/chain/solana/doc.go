// Package solana encodes and decodes the messages of payments on Solana: the exact bytes that a wallet's group key signs so that
// its units of a token move to another owner. It also writes and reads addresses, finds an owner's token account, and puts
// signatures around a message.
//
// Who should not use it: whoever wants to read Solana's transactions in general, for all but two kinds of payment are refused
// here; and whoever wants to know whether a payment is allowed. This package says what bytes mean, and nothing about balances,
// rules or time.
//
// # The bytes
//
// A message is of version 0, without lookup tables. Counts are compact-u16 (one byte below 128), integers are unsigned and
// little-endian, and nothing follows the last field. An instruction is the place of its program among the accounts, the
// number and places of its accounts, and the length and bytes of its data.
//
//	X402: somebody else pays the fee        Transfer: the wallet sends it alone
//
//	80                                      80                                      version 0
//	02 01 04                                01 00 07                                signers, read-only ones, read-only others
//	08                                      0a                                      number of accounts, 32 bytes each:
//	0  fee payer                                                                      signs, written
//	1  payer                                0  payer                                  signs; written in a transfer alone
//	2  source                               1  source                                 payer's token account, written
//	3  destination                          2  destination                            recipient's token account, written
//	4  mint                                 3  mint
//	5  ComputeBudget                        4  ComputeBudget
//	6  Memo                                 5  Memo
//	7  Token                                6  Token
//	                                        7  Associated Token Account
//	                                        8  System
//	                                        9  recipient
//	32 bytes                                32 bytes                                block hash
//	04                                      05                                      number of instructions:
//	05 00    05 02 20000 (4 bytes)          04 00    05 02 200000 (4 bytes)           SetComputeUnitLimit
//	05 00    09 03 1 (8 bytes)              04 00    09 03 10000 (8 bytes)            SetComputeUnitPrice
//	                                        07 06 00 02 09 03 08 06    01 01          CreateIdempotent of the destination
//	07 04 02 04 03 01    0a 0c u d          06 04 01 03 02 00    0a 0c u d            TransferChecked: units (8 bytes), decimals
//	06 00    n memo                         05 00    n memo                           Memo: 1 to 256 bytes of UTF-8, no NUL
//	00                                      00                                      number of lookup tables
//
// The chain lets the accounts that are only read stand in any order. Here they have one, and a message that another client made
// is refused for having another: a wallet signs what this package wrote.
//
// Source and destination are the accounts that the Associated Token Account program derives from owner, classic Token program
// and mint. A token account does not tell its owner, so a reader names the recipient that it expects.
//
// # Promises
//
//   - One content has one encoding and one encoding one content: Decode encodes again what it read and compares.
//   - Decode is an allow-list: each program, account, instruction and number is what the table says, or the message is refused.
//     So nothing but the units leaves the payer's token account, and in X402 no SOL of the payer moves. What Encode refuses,
//     Decode refuses.
//   - No message outlives its block hash: durable nonces are refused.
//   - No bytes make it panic, and it keeps no reference to them, but for ParseWire, which says so.
package solana
