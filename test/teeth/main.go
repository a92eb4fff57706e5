// Command teeth shows that the safety tests have teeth: for each defence listed under test/teeth/defences it takes the
// defence out of a copy of its file and runs the test that guards it, built with that copy (go build's -overlay). The
// defence has teeth if that test fails. A build error, a text that is not in the file exactly once, or a test that still
// passes is a failure of this command. Product code has no switches for any of this.
//
// Nearly all defences stand in bodies of functions. The copies hold those functions once with each defence and once
// without it, and an environment variable says which of them runs: all are built together (schemata.go, together.go). A
// defence that stands elsewhere, or whose test does not fail this way, is built alone (alone.go). The same tests also run
// with every defence in place and must pass then.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"
)

// defence is one row: what is taken out, and the test that must then fail.
type defence struct {
	Name        string `json:"name"`        // what is defended, in a few words
	File        string `json:"file"`        // from the repository's root
	Text        string `json:"text"`        // stands in the file exactly once
	Replacement string `json:"replacement"` // the same code without the defence
	Package     string `json:"package"`     // for example ./services/cosigner
	Test        string `json:"test"`        // top-level test, or Test/subtest

	number int // from 1 on, over all lists
}

// testTimeout bounds one run: a defence whose absence makes its test hang is not shown by it.
const testTimeout = 5 * time.Minute

// errPasses says that a defence has no teeth.
var errPasses = errors.New("the test passes without the defence")

func main() {
	only := flag.String("only", "", "run only defences whose name matches this regular expression")
	// A test whose defence is out often waits for what does not come.
	parallel := flag.Int("parallel", 2*runtime.NumCPU(), "how many tests to run at once")
	flag.Parse()
	if err := run(*only, *parallel); err != nil {
		fmt.Fprintln(os.Stderr, "teeth: error:", err)
		os.Exit(1)
	}
}

func run(only string, parallel int) (err error) {
	match, err := regexp.Compile(only)
	if err != nil {
		return err
	}
	defences, err := load("test/teeth/defences")
	if err != nil {
		return err
	}
	defences = slices.DeleteFunc(defences, func(d defence) bool { return !match.MatchString(d.Name) })
	if len(defences) == 0 {
		return fmt.Errorf("no defence's name matches %s", only)
	}
	dir, err := os.MkdirTemp("", "halfkey-teeth-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()

	began := time.Now()
	ctx := context.Background()
	built, err := buildTogether(ctx, dir, defences)
	if err != nil {
		return err
	}
	fmt.Printf("teeth: built %d defences together in %.0f s; %d are built alone\n",
		len(built.rows), time.Since(began).Seconds(), len(defences)-len(built.rows))

	r := &runner{dir: dir, built: built, slots: make(chan struct{}, max(parallel, 1))}
	for _, d := range defences {
		if !built.rows[d.number] {
			r.start(func() { r.alone(ctx, d) })
		}
	}
	for pkg := range built.binaries {
		r.start(func() { r.inPlace(ctx, pkg, defences) })
	}
	for _, d := range defences {
		if built.rows[d.number] {
			r.start(func() { r.together(ctx, d) })
		}
	}
	r.wait.Wait()
	fmt.Printf("teeth: %d of %d defences shown, %d built together and %d alone, in %.0f s\n",
		r.shown, len(defences), r.shown-r.shownAlone, r.shownAlone, time.Since(began).Seconds())
	if r.shown < len(defences) || r.broken > 0 {
		return fmt.Errorf("%d of %d defences not shown; the tests of %d packages fail with every defence in place",
			len(defences)-r.shown, len(defences), r.broken)
	}
	return nil
}

// runner runs tests, some at once, and counts.
type runner struct {
	dir   string
	built *together
	slots chan struct{}
	wait  sync.WaitGroup

	mu                        sync.Mutex
	shown, shownAlone, broken int
}

func (r *runner) start(task func()) {
	r.slots <- struct{}{}
	r.wait.Go(func() {
		defer func() { <-r.slots }()
		task()
	})
}

// together runs a defence's test with the build of all, and alone if that test passes: it may have started a program that
// the environment did not reach.
func (r *runner) together(ctx context.Context, d defence) {
	began := time.Now()
	switch err := r.built.check(ctx, d); {
	case errors.Is(err, errPasses):
		r.alone(ctx, d)
	default:
		r.tell(d, began, err, false)
	}
}

func (r *runner) alone(ctx context.Context, d defence) {
	began := time.Now()
	r.tell(d, began, checkAlone(ctx, d, filepath.Join(r.dir, fmt.Sprint("alone-", d.number))), true)
}

func (r *runner) tell(d defence, began time.Time, err error, alone bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err != nil {
		fmt.Printf("NO TEETH  %s (%s): %v\n", d.Name, d.Test, err)
		return
	}
	r.shown++
	how := ""
	if alone {
		r.shownAlone++
		how = ", alone"
	}
	fmt.Printf("ok        %s: %s fails without it (%.1fs%s)\n", d.Name, d.Test, time.Since(began).Seconds(), how)
}

// inPlace runs all tests of a package with every defence in place.
func (r *runner) inPlace(ctx context.Context, pkg string, defences []defence) {
	var patterns []string
	for _, d := range defences {
		if d.Package == pkg && r.built.rows[d.number] {
			patterns = append(patterns, pattern(d.Test))
		}
	}
	slices.Sort(patterns)
	patterns = slices.Compact(patterns)
	began := time.Now()
	events, err := r.built.test(ctx, pkg, 0, strings.Join(patterns, "|"))
	r.mu.Lock()
	defer r.mu.Unlock()
	if err != nil {
		r.broken++
		fmt.Printf("BROKEN    %s fails with every defence in place: %v\n%s\n", pkg, err, printed(events))
		return
	}
	fmt.Printf("ok        %s passes with every defence in place (%d tests, %.1fs)\n", pkg, len(patterns), time.Since(began).Seconds())
}

// load reads every list of defences of a folder.
func load(dir string) ([]defence, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.json"))
	if err != nil {
		return nil, err
	}
	var all []defence
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		var list []defence
		dec := json.NewDecoder(bytes.NewReader(b))
		dec.DisallowUnknownFields()
		if err := dec.Decode(&list); err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		all = append(all, list...)
	}
	for n := range all {
		all[n].number = n + 1
	}
	return all, nil
}

// without is a defence's file, and the same with the defence taken out.
func (d defence) without() (src, changed string, err error) {
	b, err := os.ReadFile(d.File)
	if err != nil {
		return "", "", err
	}
	if n := strings.Count(string(b), d.Text); n != 1 {
		return "", "", fmt.Errorf("its text stands in %s %d times, want once", d.File, n)
	}
	return string(b), strings.Replace(string(b), d.Text, d.Replacement, 1), nil
}

// pattern is the -run expression that selects exactly one test.
func pattern(test string) string {
	parts := strings.Split(test, "/")
	for i, p := range parts {
		parts[i] = "^" + regexp.QuoteMeta(p) + "$"
	}
	return strings.Join(parts, "/")
}

// event is one line of go test's JSON.
type event struct{ Action, Test, Output string }

func events(out []byte) (all []event, err error) {
	dec := json.NewDecoder(bytes.NewReader(out))
	for dec.More() {
		var e event
		if err := dec.Decode(&e); err != nil {
			return all, fmt.Errorf("go test's output: %w", err)
		}
		all = append(all, e)
	}
	return all, nil
}

// named finds the failure of the named test in go test's JSON.
func named(out []byte, test string) error {
	all, err := events(out)
	if err != nil {
		return err
	}
	var last string
	for _, e := range all {
		if e.Action == "fail" && e.Test == test {
			return nil
		}
		if e.Action == "build-output" || e.Action == "output" {
			last = strings.TrimSpace(e.Output)
		}
	}
	return fmt.Errorf("the test did not run and fail: %s", last)
}

// printed is what the tests printed.
func printed(out []byte) string {
	all, err := events(out)
	if err != nil {
		return err.Error()
	}
	var b strings.Builder
	for _, e := range all {
		b.WriteString(e.Output)
	}
	return b.String()
}
