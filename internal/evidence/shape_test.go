package evidence

import (
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/known/structpb"

	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// TestShapeListsWhatCanHoldMore compares each statement's shape, and those of what is inside, with a look at every field.
func TestShapeListsWhatCanHoldMore(t *testing.T) {
	seen := make(map[protoreflect.FullName]bool)
	var look func(d protoreflect.MessageDescriptor)
	look = func(d protoreflect.MessageDescriptor) {
		if seen[d.FullName()] {
			return
		}
		seen[d.FullName()] = true
		listed := make(map[protoreflect.FieldNumber]bool)
		for _, fd := range shapeOf(d).fields {
			listed[fd.Number()] = true
		}
		for i := range d.Fields().Len() {
			fd := d.Fields().Get(i)
			more := fd.Kind() == protoreflect.MessageKind || fd.Kind() == protoreflect.GroupKind || fd.Kind() == protoreflect.EnumKind
			if listed[fd.Number()] != more {
				t.Errorf("%s is listed: %v, want %v", fd.FullName(), listed[fd.Number()], more)
			}
			if fd.Message() != nil {
				look(fd.Message())
			}
		}
	}
	for _, m := range []proto.Message{
		new(typev1.Entry), new(typev1.GuardRails), new(typev1.Installation), new(typev1.Verdict), new(typev1.Receipt),
	} {
		look(m.ProtoReflect().Descriptor())
	}
	if len(seen) < 8 {
		t.Errorf("only %d kinds of messages were looked at", len(seen))
	}
}

// TestStrictRefusesOtherKinds brings messages that have no one encoding: with a map, and with room for extensions.
func TestStrictRefusesOtherKinds(t *testing.T) {
	for name, m := range map[string]proto.Message{
		"a map":      &structpb.Struct{Fields: map[string]*structpb.Value{"a": structpb.NewNullValue()}},
		"extensions": &descriptorpb.FieldOptions{},
	} {
		if err := strict("statement", m.ProtoReflect(), 0); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
}

// BenchmarkStrict looks at a document of guard rails.
func BenchmarkStrict(b *testing.B) {
	limit := &typev1.Limit{Measure: typev1.Measure_MEASURE_UNITS, Window: typev1.Window_WINDOW_DAY, Amount: "50000000"}
	doc := &typev1.GuardRails{
		Installation: "i", Wallet: "wallets/w", Number: 7, Owner: "owners/o", OwnerKeys: [][]byte{make([]byte, 32)}, RequestKey: make([]byte, 32),
		Replaces: [][]byte{make([]byte, 32)}, Limits: []*typev1.Limit{limit, limit, limit},
	}
	b.ReportAllocs()
	for b.Loop() {
		if err := strict("guard-rails", doc.ProtoReflect(), 0); err != nil {
			b.Fatal(err)
		}
	}
}
