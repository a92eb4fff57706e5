package gateway_test

import (
	"bytes"
	"context"
	"fmt"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/halfkey/halfkey/halfkeytest"
	"github.com/halfkey/halfkey/internal/fault"
	"github.com/halfkey/halfkey/internal/rpc"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// raw is a codec that sends bytes as they are.
type raw struct{}

func (raw) Name() string { return "proto" }

func (raw) Marshal(v any) (mem.BufferSlice, error) {
	b, ok := v.([]byte)
	if !ok {
		return nil, fmt.Errorf("%T are no bytes", v)
	}
	return mem.BufferSlice{mem.SliceBuffer(b)}, nil
}

func (raw) Unmarshal(mem.BufferSlice, any) error { return nil }

// asksNothing are methods that ask for nothing: an empty request is a good one.
var asksNothing = map[string]bool{
	"/halfkey.gateway.v1.GatewayService/GetInstallations": true, "/halfkey.identity.v1.IdentityService/ListExpired": true,
	"/grpc.health.v1.Health/Check": true, "/grpc.health.v1.Health/List": true, "/grpc.health.v1.Health/Watch": true,
}

// TestMalformedCalls sends every method of every service of a running installation bytes that are no request, a request that is a byte
// too large, an empty one, and one whose every field is of the right type and means nothing: each is refused with a reason, says that
// no money moved, goes no further than the service that it was sent to, and leaves the wallet as it was.
func TestMalformedCalls(t *testing.T) {
	var behind between
	w := newWorld(t, halfkeytest.WithWrap(behind.wrap))
	w.Fund(w.agent, 1_000_000)
	before := w.state(t)

	tooLarge := protowire.AppendTag(nil, 9999, protowire.BytesType)
	tooLarge = protowire.AppendBytes(tooLarge, make([]byte, rpc.RequestBytesMax))
	every := func(service string, conn grpc.ClientConnInterface, file protoreflect.FileDescriptor) {
		for _, m := range methods(file) {
			for name, request := range map[string][]byte{
				"no protobuf": []byte("no protobuf"), "cut off": {0x0a, 0x7f, 0x01}, "too large": tooLarge,
				"empty": {}, "noise": encode(t, noise(m.Input(), 0)),
			} {
				t.Run(service+"/"+string(m.Name())+"/"+name, func(t *testing.T) {
					ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
					defer cancel()
					behind.take()
					err := invoke(ctx, conn, m, request, grpc.ForceCodecV2(raw{}), grpc.MaxCallSendMsgSize(1<<20))
					if asksNothing[fullName(m)] && (name == "empty" || err == nil && name == "noise") {
						if err != nil {
							t.Errorf("got %v", err)
						}
						return
					}
					f := fault.Of(err)
					if f == nil || f.MoneyMoved != typev1.MoneyMoved_MONEY_MOVED_NO || len(status.Convert(err).Details()) == 0 {
						t.Fatalf("got %v, want an ErrorInfo with money_moved NO", err)
					}
					switch want := map[string]typev1.Reason{
						"no protobuf": invalid, "cut off": invalid, "too large": typev1.Reason_REASON_LIMIT_EXCEEDED,
					}[name]; {
					case want != served && f.Reason != want:
						t.Errorf("got %v, want %v", err, want)
					case f.Reason == typev1.Reason_REASON_INTERNAL || f.Reason == typev1.Reason_REASON_UNAVAILABLE:
						t.Errorf("got %v, which blames us", err)
					}
					if calls := behind.take(); len(calls) != 0 && name != "empty" && name != "noise" {
						t.Errorf("it went on to %v", calls)
					}
				})
			}
		}
	}
	for _, file := range publicFiles {
		every("gateway", w.conn, file)
	}
	for service, file := range internalFiles {
		every(service, behind.conns[service], file)
	}
	if after := w.state(t); before != after {
		t.Errorf("something was stored: %s, then %s", before, after)
	}
}

// state is what a call could have changed: the journal, the freezes, the guard rails, the owner's wallets.
func (w *world) state(t *testing.T) string {
	t.Helper()
	account, err := w.owner.Account(t.Context(), w.agent.Wallet())
	if err != nil {
		t.Fatal(err)
	}
	freezes, frozen, err := w.owner.Freezes(t.Context(), w.agent.Wallet())
	if err != nil {
		t.Fatal(err)
	}
	rails, err := w.owner.GuardRails(t.Context(), w.agent.Wallet())
	if err != nil {
		t.Fatal(err)
	}
	wallets, err := w.owner.Wallets(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("entry %d %x, balances %v, %d freezes, frozen %v, guard rails %d, %d wallets",
		account.Head.GetEntry(), account.Head.GetEntryHash(), account.Balances, len(freezes), frozen, rails.Number, len(wallets))
}

// noiseDepth bounds messages inside messages.
const noiseDepth = 4

// noise is a message with something in each field: of its type, of a length that is right for most, and of no meaning.
func noise(d protoreflect.MessageDescriptor, depth int) proto.Message {
	m := newMessage(d)
	fields := d.Fields()
	for i := range fields.Len() {
		f := fields.Get(i)
		var v protoreflect.Value
		switch f.Kind() {
		case protoreflect.MessageKind:
			if depth == noiseDepth {
				continue
			}
			v = protoreflect.ValueOfMessage(noise(f.Message(), depth+1).ProtoReflect())
		case protoreflect.StringKind:
			v = protoreflect.ValueOfString("noise-of-16-bytes")
		case protoreflect.BytesKind:
			size, known := map[protoreflect.Name]int{"run": 16, "signature": 64, "certificate": 64, "commitment": 64}[f.Name()]
			if !known {
				size = 32
			}
			v = protoreflect.ValueOfBytes(bytes.Repeat([]byte{7}, size))
		case protoreflect.EnumKind:
			v = protoreflect.ValueOfEnum(1)
		case protoreflect.BoolKind:
			v = protoreflect.ValueOfBool(true)
		case protoreflect.Int32Kind:
			v = protoreflect.ValueOfInt32(1)
		case protoreflect.Int64Kind:
			v = protoreflect.ValueOfInt64(1)
		case protoreflect.Uint32Kind:
			v = protoreflect.ValueOfUint32(1)
		case protoreflect.Uint64Kind:
			v = protoreflect.ValueOfUint64(1)
		default:
			panic(f.FullName())
		}
		if f.IsList() {
			m.ProtoReflect().Mutable(f).List().Append(v)
		} else {
			m.ProtoReflect().Set(f, v)
		}
	}
	return m
}
