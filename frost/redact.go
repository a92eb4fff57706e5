package frost

import (
	"errors"
	"fmt"
	"log/slog"
)

const redactedText = "[frost secret]"

var errMarshalSecret = errors.New("frost: a secret does not marshal; Secret returns the bytes to seal")

// redacted is embedded in every secret type: it prints one constant through every verb and logger, and fails to marshal. Its
// methods have value receivers, so a dereferenced secret does not print either; secret types hold scalars behind pointers,
// so that a struct which embeds one in an unexported field, where fmt cannot call methods, prints an address.
type redacted struct{}

// String returns a constant.
func (redacted) String() string { return redactedText }

// GoString returns a constant.
func (redacted) GoString() string { return redactedText }

// Format writes a constant for every verb.
func (redacted) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(redactedText)) }

// LogValue returns a constant.
func (redacted) LogValue() slog.Value { return slog.StringValue(redactedText) }

// MarshalJSON fails.
func (redacted) MarshalJSON() ([]byte, error) { return nil, errMarshalSecret }

// MarshalText fails.
func (redacted) MarshalText() ([]byte, error) { return nil, errMarshalSecret }

// MarshalBinary fails, and with it gob.
func (redacted) MarshalBinary() ([]byte, error) { return nil, errMarshalSecret }
