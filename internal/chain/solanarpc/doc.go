// Package solanarpc asks Solana's RPC nodes, for the ledger alone: for a recent block hash, a balance, the transfers of a token
// account, what a payer has in SOL, and what has become of a message. It also hands them a transaction that is to be sent.
//
// Who should not use it: policy, the co-signer and clients, which judge bytes and reach no chain; and whoever wants to know from sending
// whether something was paid, which nothing but its outcome says.
//
// # What is believed
//
// A node may be down, slow, behind, pruned or lying, and what stands behind one address may be many nodes. One configured endpoint is
// taken at its word, for there is nobody else to ask; of several, one that is honest is enough:
//
//	question    answered by
//	BlockHash   every endpoint has the finalised block of that slot, hash and height, and takes the hash; all say the same
//	Balance     the lowest that any says; Sure where all say the same
//	Lamports    the lowest that any says
//	Transfers   every endpoint shows the same transactions, in the same order, with the same effect, without a gap in the balance
//	Outcome     Landed, Failed: every endpoint shows the finalised transaction, with our bytes and signatures that verify
//	            Dead: every endpoint shows the whole window in which the message could land, and nothing in it
//	            Unknown: anything else, with the reason; asking again later is the remedy
//
// Send asks nothing: a node that refuses a transaction, or says that it took it, has said nothing that counts.
//
// So a lie, or silence, may delay and never frees or settles. An endpoint that stays away, or has lost what it should show, delays until
// the operator configures another one. Many machines behind one address are one witness: where their histories differ, and it is the
// only endpoint, nothing here notices. Configure two that have nothing in common.
//
// # The window
//
// A message names a block's hash and lands in one of the next 150 blocks, or never. Its fate is proven dead by an endpoint that
//
//   - is of the configured network, by its genesis hash, asked anew each time;
//   - has finalised a block 32 heights past the last one in which the message could land. The chain's own count of "150" is by
//     one larger where a block is being made, and nodes index a block's transactions some time after they have it;
//   - has history from before the block hash on, has that very block at its slot with its hash and height, and every single one of the
//     151 blocks after it: it lists them, and the last one's height is the first one's and their number. A node that started from a
//     snapshot in between has a hole, and it shows there;
//   - lists the token account's transactions from now back to before the window, answered by a node that has finalised at least what
//     was seen before (minContextSlot), and shows each one within the window with its bytes: no one is ours.
//
// Short pages are not taken for the end of a list; only an empty page is, or what lies before the window.
//
// # Promises
//
//   - Answers are bounded in bytes, depth and number of values, and strictly read: no member twice, no number but whole ones in range,
//     one text for each address, nothing compressed, no redirect.
//   - Nothing that a node wrote reaches an error. An error names the endpoint by number and host; a URL may hold a provider's key, and
//     no more of it is told.
//   - Nothing needs to survive: what is kept in memory saves calls.
package solanarpc
