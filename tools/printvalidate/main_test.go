package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	validate "buf.build/gen/go/bufbuild/protovalidate/protocolbuffers/go/buf/validate"
	"github.com/bufbuild/protocompile"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/descriptorpb"
)

const root = "../../third_party/protovalidate"

// The committed text must mean exactly what the Go module enforces, down to
// every option: compile the text and compare descriptors.
func TestCommittedTextCompilesToTheModulesDescriptor(t *testing.T) {
	want := protodesc.ToFileDescriptorProto(validate.File_buf_validate_validate_proto)
	got := compile(t, read(t))
	if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" {
		t.Errorf("committed validate.proto differs from the module's descriptor (-module +text):\n%s", diff)
	}

	// The comparison sees a changed rule.
	const from, to = "optional bool required = 25", "optional bool required = 125"
	changed := strings.Replace(read(t), from, to, 1)
	if changed == read(t) {
		t.Fatalf("validate.proto has no %q to change", from)
	}
	if proto.Equal(want, compile(t, changed)) {
		t.Error("a changed field number went unnoticed")
	}
}

// Printing again gives the committed bytes, so nobody edited them by hand.
func TestCommittedTextIsWhatThePrinterPrints(t *testing.T) {
	committed := read(t)
	_, rest, ok := strings.Cut(committed, "// version: ")
	if !ok {
		t.Fatal("validate.proto names no version")
	}
	version, _, _ := strings.Cut(rest, "\n")
	got, err := render(version)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(committed, got); diff != "" {
		t.Errorf("validate.proto is stale (-committed +printed):\n%s", diff)
	}
}

func read(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, "buf/validate/validate.proto"))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func compile(t *testing.T, text string) *descriptorpb.FileDescriptorProto {
	t.Helper()
	const path = "buf/validate/validate.proto"
	compiler := protocompile.Compiler{Resolver: protocompile.WithStandardImports(&protocompile.SourceResolver{
		Accessor: protocompile.SourceAccessorFromMap(map[string]string{path: text}),
	})}
	files, err := compiler.Compile(t.Context(), path)
	if err != nil {
		t.Fatalf("compile validate.proto: %v", err)
	}
	return through(t, protodesc.ToFileDescriptorProto(files.FindFileByPath(path)))
}

// through encodes and decodes once: the compiler keeps options it read as
// dynamic messages, and only generated ones compare by their fields.
func through(t *testing.T, in *descriptorpb.FileDescriptorProto) *descriptorpb.FileDescriptorProto {
	t.Helper()
	raw, err := proto.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	out := new(descriptorpb.FileDescriptorProto)
	if err := proto.Unmarshal(raw, out); err != nil {
		t.Fatal(err)
	}
	return out
}
