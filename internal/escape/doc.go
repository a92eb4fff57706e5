// Package escape makes text that came from outside fit to be shown: on a terminal, in a log, in an error.
//
// Who should not use it: whoever wants to know whether a text may be stored, signed or compared. It says nothing about meaning,
// and what it gives back is for eyes only.
//
// # Promises
//
//   - What comes out of Line and Quote is one line of characters that show as themselves: no control, no direction, no
//     invisible character, no space but the ordinary one. Everything else is written as its number.
//   - Quote ends where it says that it ends: its text can neither close the quotation nor be longer than was asked.
//   - JSON keeps its meaning.
package escape
