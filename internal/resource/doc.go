// Package resource reads and writes the words that stand in requests, statements and rows: names of resources, ids and
// handles, amounts, and the unit of account of an asset.
//
// Who should not use it: whoever wants to know whether a wallet exists or a key is good. This package only says whether a
// text is well formed.
//
// # Promises
//
//   - One spelling each. What parses, formats again to the same text: no case folding, no trimming, no second form of a
//     number. Two texts that differ name two things.
//   - Amounts are int64 and whole units of the asset. Floats appear nowhere, decimals only in ParseDecimal and FormatDecimal,
//     which are for the edge of a user interface.
//   - Nothing but ASCII passes: neither digits nor letters of other scripts that look alike.
//   - A refusal shows at most 40 bytes of what was refused, quoted, so that it can be logged and shown.
package resource

import "strconv"

// valueShown is how much of a refused text an Error repeats: enough to recognise it, too little to fill a log.
const valueShown = 40

// Error says which kind of text was refused, what it was and why.
type Error struct {
	// Field is what the text should have been, for example "payment" or "units".
	Field string
	// Value is the text itself, shortened to 40 bytes, quoted and escaped to printable ASCII.
	Value string
	// Why says what is wrong with it; a constant of this package.
	Why string
}

// Error joins field, value and why.
func (e *Error) Error() string { return e.Field + " " + e.Value + " " + e.Why }

func refuse(field, value, why string) *Error {
	shown := value
	if len(shown) > valueShown {
		shown = shown[:valueShown]
	}
	shown = strconv.QuoteToASCII(shown)
	if len(value) > valueShown {
		shown += "..."
	}
	return &Error{Field: field, Value: shown, Why: why}
}
