package frost

import (
	"encoding/binary"
	"fmt"
)

// suiteID is what every serialised object begins with: its suite, with the length in one byte before it.
func suiteID(suite string) []byte { return append([]byte{byte(len(suite))}, suite...) }

// uint16s encodes numbers in two bytes each, big-endian.
func uint16s(numbers ...int) (b []byte) {
	for _, n := range numbers {
		b = binary.BigEndian.AppendUint16(b, uint16(n))
	}
	return b
}

// framed is b with its length in eight bytes, big-endian, before it.
func framed(b []byte) []byte {
	return append(binary.BigEndian.AppendUint64(nil, uint64(len(b))), b...)
}

// joined is all points' encodings in a row.
func joined(points [][pointSize]byte) (b []byte) {
	for _, p := range points {
		b = append(b, p[:]...)
	}
	return b
}

// reader takes a byte string apart. Beyond its end it reads zeros and remembers, so that a decoder takes all fields and then
// asks once, by end, or by err when more is to come.
type reader struct {
	rest []byte
	err  error
}

// newReader takes the suite.
func newReader(b []byte, suite string) *reader {
	r := &reader{rest: b}
	if want := suiteID(suite); string(r.next(len(want))) != string(want) {
		r.err = fmt.Errorf("not of suite %s: %w", suite, ErrEncoding)
	}
	return r
}

func (r *reader) next(n int) []byte {
	if n > len(r.rest) {
		if r.err == nil {
			r.err = fmt.Errorf("ends %d bytes early: %w", n-len(r.rest), ErrEncoding)
		}
		r.rest = nil
		return make([]byte, n)
	}
	b := r.rest[:n:n]
	r.rest = r.rest[n:]
	return b
}

func (r *reader) uint16() int            { return int(binary.BigEndian.Uint16(r.next(2))) }
func (r *reader) uint64() uint64         { return binary.BigEndian.Uint64(r.next(8)) }
func (r *reader) id() Identifier         { return Identifier(r.uint16()) }
func (r *reader) point() [pointSize]byte { return [pointSize]byte(r.next(pointSize)) }

// end says what was wrong, also that something is left.
func (r *reader) end() error {
	if r.err == nil && len(r.rest) > 0 {
		return fmt.Errorf("%d bytes too many: %w", len(r.rest), ErrEncoding)
	}
	return r.err
}
