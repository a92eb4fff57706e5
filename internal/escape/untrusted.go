package escape

import (
	"fmt"
	"io"
	"log/slog"
)

// untrustedShown is how many characters of a stranger's text one printing of it repeats: a sentence or two.
const untrustedShown = 256

// Untrusted is text that a stranger wrote. However it is printed or logged, it comes out quoted, escaped and cut as Quote does
// it, so that it can neither act on a terminal nor pass for words of ours. Conversion to string gives the text itself; JSON
// holds it whole, for the program that reads it.
type Untrusted string

// String is the text as it may be shown.
func (u Untrusted) String() string { return Quote(string(u), untrustedShown) }

// GoString is the same.
func (u Untrusted) GoString() string { return u.String() }

// Format prints the same whatever the verb: even %s and %x show no other form.
func (u Untrusted) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, u.String()) }

// LogValue logs the same.
func (u Untrusted) LogValue() slog.Value { return slog.StringValue(u.String()) }
