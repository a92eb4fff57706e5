package archtest

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write cmd/cosigner/deps.txt")

const depsHeader = `# Every package that the co-signer links on linux/amd64, the standard library's internal ones left out.
# Reviewed like code: a new line is a new way to the key shares. "make deps" writes this file.
`

// The co-signer's dependency list is committed, so that a package that comes in
// with somebody's upgrade is seen in review.
func TestCosignerDependencies(t *testing.T) {
	root := rootDir(t)
	dir := filepath.Join(root, "cmd/cosigner")
	g, err := load(root, "./cmd/cosigner")
	if err != nil {
		t.Fatal(err)
	}
	got := dependencyList(g, "./cmd/cosigner")
	file := filepath.Join(dir, "deps.txt")
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatalf("no dependency list, \"make deps\" writes it: %v", err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("the co-signer's dependencies changed (-committed +linked); review them, then \"make deps\":\n%s", diff)
	}
}

// dependencyList prints what from links: ours, then others', then the standard
// library's, whose internal packages change with every Go release and are no
// decision of ours.
func dependencyList(g graph, from string) string {
	var ours, others, standard []string
	for _, path := range slices.Sorted(maps.Keys(g.reach(from))) {
		switch {
		case strings.HasPrefix(path, "./"):
			ours = append(ours, path)
		case !g.isStandard(path):
			others = append(others, path)
		case strings.HasPrefix(path, "vendor/") || strings.Contains("/"+path+"/", "/internal/"):
		default:
			standard = append(standard, path)
		}
	}
	var out strings.Builder
	out.WriteString(depsHeader)
	for _, section := range []struct {
		title string
		paths []string
	}{{"ours", ours}, {"others", others}, {"standard library", standard}} {
		fmt.Fprintf(&out, "\n# %s\n", section.title)
		for _, path := range section.paths {
			fmt.Fprintln(&out, path)
		}
	}
	return out.String()
}

func TestDependencyList(t *testing.T) {
	g := chain("./services/cosigner", "./frost", "filippo.io/edwards25519", "crypto/sha512", "crypto/internal/boring",
		"vendor/golang.org/x/net", "io")
	want := depsHeader + "\n# ours\n./frost\n\n# others\nfilippo.io/edwards25519\n\n# standard library\ncrypto/sha512\nio\n"
	g["vendor/golang.org/x/net"].standard = true
	if diff := cmp.Diff(want, dependencyList(g, "./services/cosigner")); diff != "" {
		t.Errorf("dependency list (-want +got):\n%s", diff)
	}
}
