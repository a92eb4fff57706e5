// Command printvalidate writes third_party/protovalidate/buf/validate/validate.proto
// from the descriptor embedded in protovalidate's generated Go module.
//
// Halfkey's contracts import buf/validate/validate.proto, and buf would fetch it
// from its registry. Printing it from a Go module that go.sum already pins keeps
// code generation off the network and the text in step with the Go code that
// enforces it. Run it with "make validate-proto" after raising the module's
// version, here and in the product's go.mod: a test compares the two.
package main

import (
	"crypto/sha256"
	"encoding/hex"
	"flag"
	"fmt"
	"os"
	"runtime/debug"

	validate "buf.build/gen/go/bufbuild/protovalidate/protocolbuffers/go/buf/validate"
	"github.com/jhump/protoreflect/v2/protoprint"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
)

// module is where the descriptor comes from.
const module = "buf.build/gen/go/bufbuild/protovalidate/protocolbuffers/go"

// header stands above the printed text. The product's test reads version and
// digest back out of it, so their labels are part of the format.
const header = `// Copyright 2023-2026 Buf Technologies, Inc.
//
// Licensed under the Apache License, Version 2.0 (the "License");
// you may not use this file except in compliance with the License.
// You may obtain a copy of the License at
//
//      http://www.apache.org/licenses/LICENSE-2.0
//
// Unless required by applicable law or agreed to in writing, software
// distributed under the License is distributed on an "AS IS" BASIS,
// WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
// See the License for the specific language governing permissions and
// limitations under the License.

// Derived from the descriptor in a Go module, which carries no comments.
// Do not edit: run "make validate-proto".
// module: %s
// version: %s
// descriptor-sha256: %s

`

func main() {
	out := flag.String("o", "", "file to write; standard output when empty")
	flag.Parse()
	if err := run(*out); err != nil {
		fmt.Fprintf(os.Stderr, "printvalidate: error: %v\n", err)
		os.Exit(1)
	}
}

func run(out string) error {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return fmt.Errorf("no build information: build with modules")
	}
	version := ""
	for _, dep := range info.Deps {
		if dep.Path == module {
			version = dep.Version
		}
	}
	if version == "" {
		return fmt.Errorf("module %s is not in the build list", module)
	}
	text, err := render(version)
	if err != nil {
		return err
	}
	if out == "" {
		_, err = os.Stdout.WriteString(text)
		return err
	}
	return os.WriteFile(out, []byte(text), 0o644)
}

// render returns the file's whole text for the descriptor linked into this program.
func render(version string) (string, error) {
	file := validate.File_buf_validate_validate_proto
	raw, err := proto.MarshalOptions{Deterministic: true}.Marshal(protodesc.ToFileDescriptorProto(file))
	if err != nil {
		return "", fmt.Errorf("encode descriptor of %s: %w", file.Path(), err)
	}
	body, err := (&protoprint.Printer{}).PrintProtoToString(file)
	if err != nil {
		return "", fmt.Errorf("print %s: %w", file.Path(), err)
	}
	digest := sha256.Sum256(raw)
	return fmt.Sprintf(header, module, version, hex.EncodeToString(digest[:])) + body, nil
}
