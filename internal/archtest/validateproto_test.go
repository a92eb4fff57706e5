package archtest

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	validate "buf.build/gen/go/bufbuild/protovalidate/protocolbuffers/go/buf/validate"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
)

// validate.proto in third_party was printed from the module that the product
// links: same version, same descriptor. tools/printvalidate compiles the text
// itself and compares; here no proto compiler is needed, and an upgrade in
// go.mod alone is still noticed.
func TestValidateProtoIsTheLinkedVersion(t *testing.T) {
	root := rootDir(t)
	text, err := os.ReadFile(filepath.Join(root, "third_party/protovalidate/buf/validate/validate.proto"))
	if err != nil {
		t.Fatal(err)
	}
	field := func(name string) string {
		m := regexp.MustCompile(`(?m)^// ` + name + `: (\S+)$`).FindSubmatch(text)
		if m == nil {
			t.Fatalf("validate.proto names no %s", name)
		}
		return string(m[1])
	}

	cmd := exec.Command("go", "list", "-m", "-f", "{{.Version}}", field("module"))
	cmd.Dir = root
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list -m: %v", err)
	}
	if got, want := field("version"), strings.TrimSpace(string(out)); got != want {
		t.Errorf("validate.proto is of version %s, the product links %s: raise tools/printvalidate too, then \"make validate-proto\"", got, want)
	}

	raw, err := proto.MarshalOptions{Deterministic: true}.Marshal(protodesc.ToFileDescriptorProto(validate.File_buf_validate_validate_proto))
	if err != nil {
		t.Fatal(err)
	}
	digest := sha256.Sum256(raw)
	if got, want := field("descriptor-sha256"), hex.EncodeToString(digest[:]); got != want {
		t.Errorf("validate.proto was printed from descriptor %s, the product links %s", got, want)
	}
}
