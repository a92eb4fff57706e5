// Command teeth shows that the safety tests have teeth: for each defence listed under test/teeth/defences it takes the
// defence out of a copy of its file, builds the package with that copy (go test -overlay), and runs the test that
// guards it. The defence has teeth if that test fails. A build error, a text that is not in the file exactly once, or
// a test that still passes is a failure of this command. Product code has no switches for any of this.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
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
}

// testTimeout bounds one run: a defence whose absence makes its test hang is not shown by it.
const testTimeout = 5 * time.Minute

func main() {
	only := flag.String("only", "", "run only defences whose name matches this regular expression")
	parallel := flag.Int("parallel", runtime.NumCPU(), "how many to build and run at once")
	share := flag.String("share", "0/1", "which `part` of them to run: 0/2 is every second one, 1/2 the others")
	flag.Parse()
	if err := run(*only, *share, *parallel); err != nil {
		fmt.Fprintln(os.Stderr, "teeth: error:", err)
		os.Exit(1)
	}
}

func run(only, share string, parallel int) (err error) {
	match, err := regexp.Compile(only)
	if err != nil {
		return err
	}
	var part, parts int
	if _, err := fmt.Sscanf(share, "%d/%d", &part, &parts); err != nil || part < 0 || part >= parts {
		return fmt.Errorf("-share %s: want a part and how many there are, such as 0/2", share)
	}
	defences, err := load("test/teeth/defences")
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "halfkey-teeth-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()

	var mu sync.Mutex
	var wait sync.WaitGroup
	slots := make(chan struct{}, max(parallel, 1))
	ran, failed := 0, 0
	for n, d := range defences {
		if n%parts != part || !match.MatchString(d.Name) {
			continue
		}
		ran++
		slots <- struct{}{}
		wait.Go(func() {
			defer func() { <-slots }()
			started := time.Now()
			err := check(d, filepath.Join(dir, fmt.Sprint(n)))
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				failed++
				fmt.Printf("NO TEETH  %s (%s): %v\n", d.Name, d.Test, err)
				return
			}
			fmt.Printf("ok        %s: %s fails without it (%.1fs)\n", d.Name, d.Test, time.Since(started).Seconds())
		})
	}
	wait.Wait()
	fmt.Printf("teeth: %d passed, %d failed\n", ran-failed, failed)
	if failed > 0 || ran == 0 {
		return fmt.Errorf("%d of %d defences not shown", failed, ran)
	}
	return nil
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
	return all, nil
}

// check takes one defence out and reports an error unless its test then fails.
func check(d defence, dir string) error {
	src, err := os.ReadFile(d.File)
	if err != nil {
		return err
	}
	if n := strings.Count(string(src), d.Text); n != 1 {
		return fmt.Errorf("its text stands in %s %d times, want once", d.File, n)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	without := filepath.Join(dir, filepath.Base(d.File))
	if err := os.WriteFile(without, []byte(strings.Replace(string(src), d.Text, d.Replacement, 1)), 0o600); err != nil { //nolint:gosec // a file name of the repository's own data, in a temporary directory
		return err
	}
	original, err := filepath.Abs(d.File)
	if err != nil {
		return err
	}
	overlay, err := json.Marshal(map[string]map[string]string{"Replace": {original: without}})
	if err != nil {
		return err
	}
	overlayFile := filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(overlayFile, overlay, 0o600); err != nil {
		return err
	}

	ctx, cancel := context.WithTimeout(context.Background(), testTimeout+time.Minute)
	defer cancel()
	// Nearly all of a run is compiling and linking, so nothing is vetted, no code of ours inlined and no debug information
	// made, and the compiler takes more memory before it collects.
	cmd := exec.CommandContext(ctx, "go", "test", "-json", "-count=1", "-vet=off", "-gcflags=github.com/halfkey/halfkey/...=-l -dwarf=false", //nolint:gosec // arguments are the repository's own data
		"-ldflags=-s -w", "-overlay", overlayFile, "-run", pattern(d.Test), "-timeout", testTimeout.String(), d.Package)
	cmd.Env = append(os.Environ(), "GOGC=800")
	out, err := cmd.Output()
	if err == nil {
		return errors.New("the test passes without the defence")
	}
	return named(out, d.Test)
}

// pattern is the -run expression that selects exactly one test.
func pattern(test string) string {
	parts := strings.Split(test, "/")
	for i, p := range parts {
		parts[i] = "^" + regexp.QuoteMeta(p) + "$"
	}
	return strings.Join(parts, "/")
}

// named finds the failure of the named test in go test's JSON.
func named(out []byte, test string) error {
	var last string
	dec := json.NewDecoder(bytes.NewReader(out))
	for dec.More() {
		var event struct{ Action, Test, Output string }
		if err := dec.Decode(&event); err != nil {
			return fmt.Errorf("go test's output: %w", err)
		}
		if event.Action == "fail" && event.Test == test {
			return nil
		}
		if event.Action == "build-output" || event.Action == "output" {
			last = strings.TrimSpace(event.Output)
		}
	}
	return fmt.Errorf("the test did not run and fail: %s", last)
}
