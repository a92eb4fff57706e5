package frost

import (
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// TestImports holds the package to what it may import: the standard library without math/rand, and two modules. It imports
// nothing else of ours, so that it can be reviewed and reused alone.
func TestImports(t *testing.T) {
	modules := []string{"filippo.io/edwards25519", "golang.org/x/crypto/chacha20poly1305"}
	testModules := append(slices.Clone(modules), "github.com/google/go-cmp/cmp", "github.com/halfkey/halfkey/frost")
	refused := []string{"math/rand", "math/rand/v2", "unsafe", "net", "os", "time"}
	for _, file := range sourceFiles(t) {
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
		if err != nil {
			t.Fatal(err)
		}
		isTest := strings.HasSuffix(file, "_test.go")
		for _, spec := range f.Imports {
			path, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				t.Fatal(err)
			}
			first, _, _ := strings.Cut(path, "/")
			standard := !strings.Contains(first, ".")
			ok := standard && !slices.Contains(refused, path) || slices.Contains(modules, path)
			if isTest {
				ok = standard || slices.Contains(testModules, path)
			}
			if !ok {
				t.Errorf("%s imports %s", file, path)
			}
		}
	}
}

// TestVariableTime holds variable-time operations to vartime.go, whose functions take public values.
func TestVariableTime(t *testing.T) {
	found := false
	for _, file := range sourceFiles(t) {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		switch {
		case !strings.Contains(string(b), "VarTime"):
		case file == "vartime.go":
			found = true
		default:
			t.Errorf("%s uses a VarTime function", file)
		}
	}
	if !found {
		t.Error("vartime.go uses none: the search is broken")
	}
}

func sourceFiles(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob("*.go")
	if err != nil || len(files) == 0 {
		t.Fatalf("no source files: %v", err)
	}
	return files
}
