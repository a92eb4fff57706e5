package evidence

import (
	"bytes"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

const (
	// PayloadMax bounds a payload. The largest honest one, guard rails with both recipient lists full and as many rules about HTTP
	// requests as they hold, is under 48 KiB; a journal entry that holds it holds nothing else, and others at most three statements.
	PayloadMax = 64 << 10
	// SignaturesMax bounds signatures: an owner's registration carries two, everything else one.
	SignaturesMax = 2
	// TypeMax bounds a payload type.
	TypeMax = 64
	// EnvelopeMax bounds an encoded envelope: payload, type, signatures and their framing.
	EnvelopeMax = PayloadMax + 1<<10
	// depthMax bounds nesting: guard rails, their rules about HTTP requests, a host, its price is the deepest that the contract knows.
	depthMax = 8
)

// Marshal returns the one encoding of m. It refuses what Unmarshal would refuse, so that a program which makes a malformed
// statement learns it from itself and not from the other side.
func Marshal(m proto.Message) ([]byte, error) {
	if m == nil || !m.ProtoReflect().IsValid() {
		return nil, invalid("statement", "", "is missing")
	}
	piece := pieceOf(m)
	if err := strict(piece, m.ProtoReflect(), 0); err != nil {
		return nil, err
	}
	if err := checkFields(m); err != nil {
		return nil, err
	}
	b, err := encode(m)
	if err != nil {
		// The runtime's text may quote what it could not encode; ours does not.
		return nil, bad(piece, "", "does not encode: a string is not UTF-8")
	}
	if len(b) > sizeMax(m) {
		return nil, bad(piece, "", "is too large")
	}
	return b, nil
}

// Unmarshal decodes b into m and accepts only the one encoding: no unknown field or enum value at any depth, statements
// inside a journal entry included; encoding again gives b; every field within its bounds. It verifies no signature.
func Unmarshal(b []byte, m proto.Message) error {
	if m == nil || !m.ProtoReflect().IsValid() {
		return invalid("statement", "", "is missing")
	}
	piece := pieceOf(m)
	if len(b) > sizeMax(m) {
		return bad(piece, "", "is too large")
	}
	if err := (proto.UnmarshalOptions{RecursionLimit: depthMax}).Unmarshal(b, m); err != nil {
		return bad(piece, "", "does not decode")
	}
	if err := strict(piece, m.ProtoReflect(), 0); err != nil {
		return err
	}
	// Order, defaults spelled out, long varints, repeated scalars, unpacked lists: all show as other bytes.
	again, err := encode(m)
	if err != nil || !bytes.Equal(again, b) {
		return bad(piece, "", "is not in its one encoding")
	}
	if err := checkFields(m); err != nil {
		return err
	}
	return nil
}

func sizeMax(m proto.Message) int {
	if _, ok := m.(*typev1.Envelope); ok {
		return EnvelopeMax
	}
	return PayloadMax
}

// encode relies on what protobuf's Go runtime does and does not promise, ascending field order: the golden vectors and a
// second encoder in the tests hold it to that.
func encode(m proto.Message) ([]byte, error) {
	return proto.MarshalOptions{Deterministic: true}.Marshal(m)
}

// strict refuses unknown fields and enum values. Protobuf keeps both and encodes them again, so comparing bytes cannot see
// them; they would be signed, hashed and stored without anyone having read them.
func strict(piece string, m protoreflect.Message, depth int) *Error {
	if depth > depthMax {
		return bad(piece, "", "nests too deep")
	}
	if len(m.GetUnknown()) > 0 {
		return bad(piece, string(m.Descriptor().Name()), "holds an unknown field")
	}
	shape := shapeOf(m.Descriptor())
	if shape.extendable {
		return bad(piece, string(m.Descriptor().Name()), "is of a kind that has no one encoding")
	}
	for _, fd := range shape.fields {
		if !m.Has(fd) {
			continue
		}
		if err := strictField(piece, fd, m.Get(fd), depth); err != nil {
			return err
		}
	}
	return nil
}

func strictField(piece string, fd protoreflect.FieldDescriptor, v protoreflect.Value, depth int) *Error {
	switch {
	case fd.IsMap():
		return bad(piece, string(fd.Name()), "is of a kind that has no one encoding")
	case fd.IsList():
		for i := range v.List().Len() {
			if err := strictValue(piece, fd, v.List().Get(i), depth); err != nil {
				return err
			}
		}
		return nil
	default:
		return strictValue(piece, fd, v, depth)
	}
}

func strictValue(piece string, fd protoreflect.FieldDescriptor, v protoreflect.Value, depth int) *Error {
	switch fd.Kind() {
	case protoreflect.MessageKind, protoreflect.GroupKind:
		return strict(piece, v.Message(), depth+1)
	case protoreflect.EnumKind:
		if fd.Enum().Values().ByNumber(v.Enum()) == nil {
			return bad(piece, string(fd.Name()), "holds an unknown enum value")
		}
	}
	return nil
}
