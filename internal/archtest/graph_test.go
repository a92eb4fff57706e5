package archtest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// module is the product's module path; rules write its packages as "./x".
const module = "github.com/halfkey/halfkey"

// pkg is one package as go list sees it, with the product's own packages
// shortened to "./path" and the root package to ".".
type pkg struct {
	path     string
	standard bool
	imports  []string // of the code that ships
	tests    []string // of its test files, inside and outside the package
}

// graph is a set of packages by path.
type graph map[string]*pkg

// load reads the product's packages and all that they link. The platform is
// fixed, so that the answer is the same on every developer's machine.
func load(root string, patterns ...string) (graph, error) {
	cmd := exec.Command("go", append([]string{
		"list", "-deps",
		"-json=ImportPath,Standard,Imports,ImportMap,TestImports,XTestImports",
	}, patterns...)...)
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "GOOS=linux", "GOARCH=amd64", "CGO_ENABLED=0")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("go list %s: %s: %w", strings.Join(patterns, " "), stderr.String(), err)
	}
	g := graph{}
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p struct {
			ImportPath                         string
			Standard                           bool
			Imports, TestImports, XTestImports []string
			ImportMap                          map[string]string
		}
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return g, nil
		} else if err != nil {
			return nil, fmt.Errorf("read go list: %w", err)
		}
		// The standard library vendors x/net and x/crypto; ImportMap tells these
		// copies from the real ones.
		mapped := func(paths []string) []string {
			var short []string
			for _, path := range paths {
				if to, ok := p.ImportMap[path]; ok {
					path = to
				}
				short = append(short, shorten(path))
			}
			return short
		}
		g[shorten(p.ImportPath)] = &pkg{
			path:     shorten(p.ImportPath),
			standard: p.Standard,
			imports:  mapped(p.Imports),
			tests:    mapped(slices.Concat(p.TestImports, p.XTestImports)),
		}
	}
}

// shorten writes a package of ours as "./path".
func shorten(path string) string {
	if path == module {
		return "."
	}
	if rest, ok := strings.CutPrefix(path, module+"/"); ok {
		return "./" + rest
	}
	return path
}

// ours lists the product's packages, sorted.
func (g graph) ours() []string {
	var paths []string
	for path := range g {
		if path == "." || strings.HasPrefix(path, "./") {
			paths = append(paths, path)
		}
	}
	slices.Sort(paths)
	return paths
}

// reach gives every package that from links, itself left out, with the chain of
// imports that leads there: the shortest, for the message.
func (g graph) reach(from string) map[string][]string {
	chains := map[string][]string{from: {from}}
	for queue := []string{from}; len(queue) > 0; queue = queue[1:] {
		p := g[queue[0]]
		if p == nil {
			continue // a leaf of a synthetic graph, or "C" and "unsafe"
		}
		for _, next := range p.imports {
			if _, seen := chains[next]; !seen {
				chains[next] = append(slices.Clone(chains[queue[0]]), next)
				queue = append(queue, next)
			}
		}
	}
	delete(chains, from)
	return chains
}

// isStandard says whether path is of the standard library.
func (g graph) isStandard(path string) bool {
	if p := g[path]; p != nil {
		return p.standard
	}
	first, _, _ := strings.Cut(path, "/")
	return first != "." && !strings.Contains(first, ".")
}

// match says whether path is one of the patterns: a path, or a path and all
// below it by "/...".
func match(path string, patterns []string) bool {
	return slices.ContainsFunc(patterns, func(pattern string) bool {
		base, below := strings.CutSuffix(pattern, "/...")
		return path == base || below && strings.HasPrefix(path, base+"/")
	})
}

// moduleRoot is the directory of the product's go.mod.
func moduleRoot() (string, error) {
	out, err := exec.Command("go", "env", "GOMOD").Output()
	if err != nil {
		return "", fmt.Errorf("go env GOMOD: %w", err)
	}
	return filepath.Dir(strings.TrimSpace(string(out))), nil
}
