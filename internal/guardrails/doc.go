// Package guardrails judges one payment by a wallet's guard rails, the numbered document that its owner signed. Policy,
// ledger, co-signer and client call the same functions, so a dry run, a replay over history and the gate agree.
//
// Who should not use it: whoever wants to know whether a document is signed, or in force (package evidence), or what has been
// paid (the ledger).
//
// Rules are judged where their facts are. Judge takes those that need no history: rail, asset, recipient, HTTP request, limits per
// payment. Count takes limits per window, over sums that the caller has for each of Spans, and rules about what was paid before for
// the same HTTP request. A payment's light is the stricter of both.
//
// # Promises
//
//   - Default deny. No document, number 0, an asset without unit of account, an enum value or a rule that is not known, a
//     number that does not parse, a time zone that does not load, a sum that overflows: each is RED, and no call panics.
//   - GREEN from both means: every limit of the payment's unit holds with this payment counted in.
//   - What is judged comes from values alone. No clock is read; a time zone's rules are read once, from the machine's
//     database or, where it has none, from the one inside this binary.
//   - Windows are strict. Both their ends lie on UTC quarter hours, in which the ledger keeps its sums; an end that would not
//     is moved outwards. A rolling window counts the whole of its oldest quarter hour, so it is up to 15 minutes too long and
//     never too short.
//   - An HTTP request is judged by what the intent says of it, which is the agent's word: these rules hold an agent to what it says
//     that it buys, and a seller to what it asked before. What can leave the wallet is bounded by the other rules.
//   - No document opens room by being replaced: sums are over recorded payments, whichever document was in force.
//
// # Calendar windows
//
// A day begins when the date is first reached in the owner's zone, and ends when the next is. So a day is 23 or 25 hours long
// where a clock changes; it begins at one where midnight does not exist, and at the first midnight where there are two; a
// date that the zone skips is no day. A clock that is set back over midnight does not bring yesterday back. Weeks begin on
// Monday. A calendar window lets an agent spend a day's limit before midnight and again after it; who minds asks for a
// rolling window.
package guardrails
