package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// together is the one build of all defences that it can hold.
type together struct {
	rows     map[int]bool      // the defences in it, by number
	binaries map[string]string // test binaries, by package
	json     string            // the program that turns a test's output into events
}

// weft is the files of one build: what they hold, and where each defence's copies stand in them.
type weft struct {
	files map[string]string
	spans map[string][]span
}

// buildTogether builds the test binaries of all packages that defences name. A defence that changes more than functions or
// does not compile is left out.
func buildTogether(ctx context.Context, dir string, defences []defence) (*together, error) {
	left := slices.Clone(defences)
	for {
		w, rows := weaveAll(left)
		left = slices.DeleteFunc(left, func(d defence) bool { return !rows[d.number] })
		overlay, err := writeOverlay(filepath.Join(dir, "together"), w.files)
		if err != nil {
			return nil, err
		}
		binaries, said, err := buildTests(ctx, filepath.Join(dir, "bin"), overlay, left)
		if err != nil {
			return nil, err
		}
		blamed := w.blame(said)
		if len(blamed) > 0 {
			left = slices.DeleteFunc(left, func(d defence) bool { return blamed[d.number] })
			continue
		}
		if len(said) > 0 {
			return nil, fmt.Errorf("the tests are not built:\n%s", said)
		}
		json, err := test2json(ctx)
		return &together{rows: rows, binaries: binaries, json: json}, err
	}
}

// weaveAll puts all defences that can be woven into copies of their files. One whose text is not in its file is left for
// its own build to complain of.
func weaveAll(defences []defence) (w weft, rows map[int]bool) {
	w = weft{files: make(map[string]string), spans: make(map[string][]span)}
	rows = make(map[int]bool)
	sources := make(map[string]*source)
	changes := make(map[string][]change)
	for _, d := range defences {
		src, changed, err := d.without()
		if err != nil {
			continue
		}
		if sources[d.File] == nil {
			if sources[d.File], err = parse(src); err != nil {
				continue
			}
		}
		if c, err := sources[d.File].compare(d.number, changed); err == nil {
			changes[d.File] = append(changes[d.File], c)
			rows[d.number] = true
		}
	}
	for file, of := range changes {
		w.files[file], w.spans[file] = sources[file].weave(of)
		w.files[path.Join(path.Dir(file), switchFile)] = switchSource(sources[file].file.Name.Name)
	}
	return w, rows
}

// position is where a compiler's error says that it stands.
var position = regexp.MustCompile(`(?m)^(\S+\.go):(\d+):`)

// blame finds the defences whose copies the compiler complains of.
func (w weft) blame(said []byte) map[int]bool {
	rows := make(map[int]bool)
	for _, m := range position.FindAllSubmatch(said, -1) {
		line, err := strconv.Atoi(string(m[2]))
		if err != nil {
			continue
		}
		for file, spans := range w.spans {
			if file != path.Clean(string(m[1])) && !strings.HasSuffix(string(m[1]), "/"+file) {
				continue
			}
			for _, s := range spans {
				if s.first <= line && line <= s.last {
					rows[s.row] = true
				}
			}
		}
	}
	return rows
}

// buildTests builds the packages' test binaries. What the compiler complains of is no error.
func buildTests(ctx context.Context, dir, overlay string, defences []defence) (binaries map[string]string, said []byte, err error) {
	binaries = make(map[string]string)
	for n, packages := range batches(defences) {
		into := filepath.Join(dir, strconv.Itoa(n))
		if err := os.MkdirAll(into, 0o700); err != nil {
			return nil, nil, err
		}
		args := append([]string{"test", "-c", "-o", into + string(filepath.Separator)}, buildFlags(overlay)...)
		cmd := exec.CommandContext(ctx, "go", append(args, packages...)...) //nolint:gosec // arguments are the repository's own data
		cmd.Env = buildEnv()
		out, err := cmd.CombinedOutput()
		if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
			return nil, nil, err
		}
		if err != nil {
			said = append(said, out...)
		}
		for _, p := range packages {
			binaries[p] = filepath.Join(into, path.Base(p)+".test")
		}
	}
	return binaries, said, nil
}

// batches are the packages of defences. go test names a binary after its package's last element, so those of one batch differ
// in it.
func batches(defences []defence) (all [][]string) {
	for _, d := range defences {
		if slices.ContainsFunc(all, func(b []string) bool { return slices.Contains(b, d.Package) }) {
			continue
		}
		n := slices.IndexFunc(all, func(b []string) bool {
			return !slices.ContainsFunc(b, func(p string) bool { return path.Base(p) == path.Base(d.Package) })
		})
		if n < 0 {
			n = len(all)
			all = append(all, nil)
		}
		all[n] = append(all[n], d.Package)
	}
	return all
}

// test2json is where Go's own tool of this name lies; go builds it if it has not yet.
func test2json(ctx context.Context) (string, error) {
	out, err := exec.CommandContext(ctx, "go", "tool", "-n", "test2json").Output()
	if err != nil {
		return "", fmt.Errorf("go tool -n test2json: %w", err)
	}
	return strings.TrimSpace(string(out)), nil
}

// check runs a defence's test without it, and reports an error unless the test then fails.
func (t *together) check(ctx context.Context, d defence) error {
	events, err := t.test(ctx, d.Package, d.number, pattern(d.Test))
	if err == nil {
		return errPasses
	}
	return named(events, d.Test)
}

// test runs tests of a package as go test does, in the package's folder, with one defence taken out, or with number 0 none.
func (t *together) test(ctx context.Context, pkg string, number int, tests string) (events []byte, err error) {
	ctx, cancel := context.WithTimeout(ctx, testTimeout+time.Minute)
	defer cancel()
	//nolint:gosec // Go's own tool on what this command built
	cmd := exec.CommandContext(ctx, t.json, t.binaries[pkg], "-test.v=test2json", "-test.paniconexit0",
		"-test.run", tests, "-test.timeout", testTimeout.String())
	cmd.Dir = pkg
	cmd.Env = environment(number)
	// A program that the test started and left behind holds on to its output.
	cmd.WaitDelay = 10 * time.Second
	return cmd.Output()
}

// environment tells programs which defence is taken out.
func environment(number int) []string {
	return append(os.Environ(), fmt.Sprintf("%s=%d", switchVariable, number))
}
