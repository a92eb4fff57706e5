// Package recoverywork says what one try at the passphrase of a recovery file costs. Whoever finds such a file can try for as
// long as its wallet lives, so nobody who uses the client can make the work less: the zero Factor is all that they have. Tests of
// this module, and those of integrators by way of halfkeytest, open many files that protect nothing, and take ForTests.
package recoverywork

// Factor is scrypt's work factor. The zero value is age's own, about a second.
type Factor struct{ power int }

// ForTests is next to no work.
func ForTests() Factor { return Factor{power: 4} }

// Power is the factor as a power of two; 0 means age's own.
func (f Factor) Power() int { return f.power }
