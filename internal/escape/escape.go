package escape

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// Harmless reports whether a character shows as itself on a terminal: no control, no direction, no invisible character, no
// space but the ordinary one.
func Harmless(r rune) bool {
	return unicode.IsPrint(r) && !unicode.Is(unicode.Other_Default_Ignorable_Code_Point, r) && !unicode.Is(unicode.Variation_Selector, r)
}

// Line makes a text that came from outside fit for one line of a terminal: what is not harmless is written as its number,
// line ends too. A text that is fit already stays as it is.
func Line(s string) string {
	var b strings.Builder
	for i, r := range s {
		one(&b, s[i:], r)
	}
	return b.String()
}

// Quote is a text that came from outside in double quotation marks, fit for one line as Line makes it, with \ before each
// quotation mark and backslash of its own, so that it cannot look as if it ended early. What is longer than most characters is
// cut there, and three dots after the closing mark say so.
func Quote(s string, most int) string {
	var b strings.Builder
	b.WriteByte('"')
	n := 0
	for i, r := range s {
		if n == most {
			return b.String() + `"...`
		}
		n++
		if r == '"' || r == '\\' {
			b.WriteByte('\\')
		}
		one(&b, s[i:], r)
	}
	return b.String() + `"`
}

// one writes the character r, with which rest begins.
func one(b *strings.Builder, rest string, r rune) {
	switch {
	case r == utf8.RuneError && !strings.HasPrefix(rest, "\uFFFD"):
		fmt.Fprintf(b, `\x%02x`, rest[0])
	case Harmless(r):
		b.WriteRune(r)
	case r < utf8.RuneSelf:
		fmt.Fprintf(b, `\x%02x`, r)
	case r > 0xFFFF:
		fmt.Fprintf(b, `\U%08x`, r)
	default:
		fmt.Fprintf(b, `\u%04x`, r)
	}
}

// JSON makes encoded JSON fit for a terminal and leaves its meaning: outside of strings it is ASCII, and in them every
// character may be written as its number.
func JSON(b []byte) []byte {
	var out strings.Builder
	for _, r := range string(b) {
		switch {
		case r == '\n' || Harmless(r):
			out.WriteRune(r)
		case r > 0xFFFF:
			high, low := utf16.EncodeRune(r)
			fmt.Fprintf(&out, `\u%04x\u%04x`, high, low)
		default:
			fmt.Fprintf(&out, `\u%04x`, r)
		}
	}
	return []byte(out.String())
}
