package frost

import (
	"fmt"
	"go/ast"
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

// TestNoPackageState: the only variables of the package are its errors, which nobody assigns to.
func TestNoPackageState(t *testing.T) {
	sentinels := 0
	for _, file := range sourceFiles(t) {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, declaration := range f.Decls {
			group, ok := declaration.(*ast.GenDecl)
			if !ok || group.Tok != token.VAR {
				continue
			}
			for _, spec := range group.Specs {
				for k, name := range spec.(*ast.ValueSpec).Names {
					if isSentinel(spec.(*ast.ValueSpec), k) {
						sentinels++
					} else {
						t.Errorf("%s has the package-level variable %s", file, name)
					}
				}
			}
		}
		ast.Inspect(f, func(n ast.Node) bool {
			assign, ok := n.(*ast.AssignStmt)
			if !ok || assign.Tok == token.DEFINE {
				return true
			}
			for _, to := range assign.Lhs {
				if name, ok := to.(*ast.Ident); ok && (strings.HasPrefix(name.Name, "Err") || name.Name == "errMarshalSecret") {
					t.Errorf("%s assigns to %s", file, name)
				}
			}
			return true
		})
	}
	if sentinels == 0 {
		t.Error("no errors found: the search is broken")
	}
}

// isSentinel reports whether a variable is made by errors.New.
func isSentinel(spec *ast.ValueSpec, k int) bool {
	if k >= len(spec.Values) {
		return false
	}
	call, ok := spec.Values[k].(*ast.CallExpr)
	if !ok {
		return false
	}
	made, ok := call.Fun.(*ast.SelectorExpr)
	return ok && fmt.Sprint(made.X, ".", made.Sel) == "errors.New"
}

func sourceFiles(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob("*.go")
	if err != nil || len(files) == 0 {
		t.Fatalf("no source files: %v", err)
	}
	return files
}
