package main

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// harmless reports whether a character shows as itself on a terminal: no control, no direction, no invisible character, no
// space but the ordinary one.
func harmless(r rune) bool {
	return unicode.IsPrint(r) && !unicode.Is(unicode.Other_Default_Ignorable_Code_Point, r) && !unicode.Is(unicode.Variation_Selector, r)
}

// safe makes a text that came from outside fit for one line of a terminal: what is not harmless is written as its number,
// line ends too.
func safe(s string) string {
	var b strings.Builder
	for i, r := range s {
		size := utf8.RuneLen(r)
		switch {
		case r == utf8.RuneError && !strings.HasPrefix(s[i:], "\uFFFD"):
			fmt.Fprintf(&b, `\x%02x`, s[i])
		case harmless(r):
			b.WriteRune(r)
		case size == 1:
			fmt.Fprintf(&b, `\x%02x`, r)
		case r > 0xFFFF:
			fmt.Fprintf(&b, `\U%08x`, r)
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
	}
	return b.String()
}

// safeJSON makes encoded JSON fit for a terminal and leaves its meaning: outside of strings it is ASCII, and in them every
// character may be written as its number.
func safeJSON(b []byte) []byte {
	var out strings.Builder
	for _, r := range string(b) {
		switch {
		case r == '\n' || harmless(r):
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

// terminal is a writer that lets nothing but harmless characters and line ends through: the last of two defences, for text
// whose parts were not escaped one by one.
type terminal struct{ w io.Writer }

// Write writes p whole.
func (t terminal) Write(p []byte) (int, error) {
	lines := strings.Split(string(p), "\n")
	for i := range lines {
		lines[i] = safe(lines[i])
	}
	if _, err := io.WriteString(t.w, strings.Join(lines, "\n")); err != nil {
		return 0, err
	}
	return len(p), nil
}

// lines hands whole lines on to w, through safe if there is one: what writes them may stop in the middle of a character.
type lines struct {
	w    io.Writer
	safe func([]byte) []byte
	rest []byte
}

// Write keeps what follows the last line end.
func (l *lines) Write(p []byte) (int, error) {
	l.rest = append(l.rest, p...)
	end := bytes.LastIndexByte(l.rest, '\n') + 1
	if end == 0 {
		return len(p), nil
	}
	whole := l.rest[:end]
	if l.safe != nil {
		whole = l.safe(whole)
	}
	_, err := l.w.Write(whole)
	l.rest = append(l.rest[:0], l.rest[end:]...)
	return len(p), err
}

// flush writes a last line without an end.
func (l *lines) flush() error {
	if len(l.rest) == 0 {
		return nil
	}
	_, err := l.Write([]byte("\n"))
	return err
}
