package main

import (
	"bytes"
	"io"
	"strings"

	"github.com/halfkey/halfkey/internal/escape"
)

// terminal is a writer that lets nothing but harmless characters and line ends through: the last of two defences, for text
// whose parts were not escaped one by one.
type terminal struct{ w io.Writer }

// Write writes p whole.
func (t terminal) Write(p []byte) (int, error) {
	lines := strings.Split(string(p), "\n")
	for i := range lines {
		lines[i] = escape.Line(lines[i])
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
