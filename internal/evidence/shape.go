package evidence

import (
	"sync"

	"google.golang.org/protobuf/reflect/protoreflect"
)

// shape is what strict looks at in one kind of message: the fields that can hold more than a value of their own, which are few.
// Looking at all fields by reflection took as long as decoding them.
type shape struct {
	// fields are those of messages and enums, and maps.
	fields []protoreflect.FieldDescriptor
	// extendable says that there may be fields which the descriptor does not list.
	extendable bool
}

// shapes are those of the kinds of messages that this program is built with, by descriptor, each worked out once.
var shapes sync.Map

func shapeOf(d protoreflect.MessageDescriptor) *shape {
	if s, ok := shapes.Load(d); ok {
		return s.(*shape) //nolint:forcetypeassert // nothing else is stored
	}
	s := &shape{extendable: d.ExtensionRanges().Len() > 0}
	for i := range d.Fields().Len() {
		fd := d.Fields().Get(i)
		switch {
		case fd.IsMap(), fd.Message() != nil, fd.Enum() != nil:
			s.fields = append(s.fields, fd)
		}
	}
	shapes.Store(d, s)
	return s
}
