package archtest

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Every package of the product keeps every rule.
func TestImportRules(t *testing.T) {
	root := rootDir(t)
	g, err := load(root, "./...")
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range rules() {
		t.Run(r.name, func(t *testing.T) {
			if !present(t, root, g, r.from) {
				t.Skipf("none of %s exists", strings.Join(r.from, ", "))
			}
			for _, line := range r.check(g) {
				t.Error(line)
			}
		})
	}
}

// present says whether a rule binds anything. A directory that holds Go code
// and yet matches no package means a misspelt rule, which would bind nothing
// for ever.
func present(t *testing.T, root string, g graph, patterns []string) bool {
	t.Helper()
	bound := false
	for _, pattern := range patterns {
		if slices.ContainsFunc(g.ours(), func(path string) bool { return match(path, []string{pattern}) }) {
			bound = true
			continue
		}
		dir := filepath.Join(root, strings.TrimSuffix(pattern, "/..."))
		err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err == nil && !d.IsDir() && strings.HasSuffix(path, ".go") {
				t.Errorf("rule for %s matches no package, but %s exists", pattern, path)
				return fs.SkipAll
			}
			return err
		})
		if err != nil && !os.IsNotExist(err) {
			t.Error(err)
		}
	}
	return bound
}

// Each rule finds the import it is there to find, and is content without it.
func TestEachRuleCanFail(t *testing.T) {
	for _, r := range rules() {
		t.Run(r.name, func(t *testing.T) {
			if r.reason == "" {
				t.Error("no reason")
			}
			if len(r.breaks) < 2 {
				t.Fatal("no example that breaks it")
			}
			from := r.breaks[0]
			if found := r.check(chain(from)); len(found) != 0 {
				t.Errorf("refuses a package that imports nothing: %q", found)
			}
			g := chain(r.breaks...)
			if r.atMostOne {
				g = fan(r.breaks...)
			}
			found := r.check(g)
			if len(found) == 0 {
				t.Fatalf("does not see %s", strings.Join(r.breaks, " -> "))
			}
			if want := r.breaks[len(r.breaks)-1]; !slices.ContainsFunc(found, func(line string) bool {
				return strings.HasPrefix(line, from) && strings.Contains(line, " -> "+want+": ")
			}) {
				t.Errorf("does not name %s and %s: %q", from, want, found)
			}
			if r.scope == directOrTest {
				g[from].tests, g[from].imports = g[from].imports, nil
				if len(r.check(g)) == 0 {
					t.Error("does not see the same import in a test")
				}
			}
		})
	}
}

// The parts that the rules are made of.
func TestMatch(t *testing.T) {
	for _, tt := range []struct {
		name, path, pattern string
		want                bool
	}{
		{"itself", "./frost", "./frost", true},
		{"itself by tree", "./frost", "./frost/...", true},
		{"below", "./frost/a/b", "./frost/...", true},
		{"below, not by tree", "./frost/a", "./frost", false},
		{"longer name", "./frostbite", "./frost/...", false},
		{"everything of ours", "./a", "./...", true},
		{"nothing of others", "net", "./...", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := match(tt.path, []string{tt.pattern}); got != tt.want {
				t.Errorf("match(%q, %q) = %v", tt.path, tt.pattern, got)
			}
		})
	}
}

func TestReachNamesTheShortestChain(t *testing.T) {
	g := chain("./a", "./b", "./c", "net")
	g["./a"].imports = append(g["./a"].imports, "./c")
	got := g.reach("./a")
	want := map[string][]string{"./b": {"./a", "./b"}, "./c": {"./a", "./c"}, "net": {"./a", "./c", "net"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("reach (-want +got):\n%s", diff)
	}
}

// chain is a graph in which each path imports the next.
func chain(paths ...string) graph {
	g := graph{}
	for i, path := range paths {
		g[path] = &pkg{path: path}
		if i > 0 {
			g[paths[i-1]].imports = []string{path}
		}
	}
	for path, p := range g {
		first, _, _ := strings.Cut(path, "/")
		p.standard = !strings.Contains(first, ".")
	}
	return g
}

// fan is a graph in which the first path imports all others.
func fan(paths ...string) graph {
	g := chain(paths...)
	for _, p := range g {
		p.imports = nil
	}
	g[paths[0]].imports = paths[1:]
	return g
}

func rootDir(t *testing.T) string {
	t.Helper()
	root, err := moduleRoot()
	if err != nil {
		t.Fatal(err)
	}
	return root
}
