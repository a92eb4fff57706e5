package e2e_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// limitRow is a row of the table of docs/operate.md, "Limits": what, bound, why, and the constant by its directory and name.
var limitRow = regexp.MustCompile("(?m)^\\| ([^|]+) \\| ([^|]+) \\| ([^|]+) \\| `([a-z0-9/]+)` `([A-Za-z0-9]+)` \\|$")

// Every bound in the table of docs/operate.md, "Limits", is the one in the code, and every settings' default is the configuration's.
func TestOperateLimits(t *testing.T) {
	t.Parallel()
	root := filepath.Join("..", "..")
	page := read(t, filepath.Join(root, "docs", "operate.md"))
	rows := limitRow.FindAllStringSubmatch(page, -1)
	if len(rows) < 40 {
		t.Errorf("the table has %d rows that can be read", len(rows))
	}
	packages := make(map[string]constants)
	for _, row := range rows {
		what, bound, dir, name := row[1], row[2], row[4], row[5]
		if packages[dir] == nil {
			packages[dir] = constantsOf(t, filepath.Join(root, filepath.FromSlash(dir)))
		}
		value, isTime, err := packages[dir].value(name)
		if err != nil {
			t.Errorf("%s: %s of %s: %v", what, name, dir, err)
			continue
		}
		if spelled := spellings(value, isTime); !slices.Contains(spelled, bound) {
			t.Errorf("%s: the page says %s, and %s of %s is one of %q", what, bound, name, dir, spelled)
		}
	}
	// The settings' row gives the lines of the example that bear them.
	gateway := read(t, filepath.Join(root, "deploy", "config", "gateway.yaml"))
	for _, setting := range []string{
		"source: {per_second: 2000, burst: 4000, at_once: 512}", "caller: {per_second: 200, burst: 400, at_once: 64}",
	} {
		if !strings.Contains(page, "`"+setting+"`") || !strings.Contains(gateway, setting) {
			t.Errorf("page and example do not both have %q", setting)
		}
	}
}

// spellings are the ways in which a page may write a bound.
func spellings(value int64, isTime bool) []string {
	if !isTime {
		spelled := []string{grouped(value)}
		for _, unit := range []struct {
			size int64
			name string
		}{{1 << 20, "MiB"}, {1 << 10, "KiB"}} {
			if value%unit.size == 0 {
				spelled = append(spelled, grouped(value/unit.size)+" "+unit.name)
			}
		}
		return append(spelled, grouped(value)+" bytes")
	}
	var spelled []string
	for _, unit := range []struct {
		size time.Duration
		name string
	}{
		{24 * time.Hour, "days"},
		{time.Hour, "h"},
		{time.Minute, "min"},
		{time.Second, "s"},
		{time.Millisecond, "ms"},
		{time.Microsecond, "µs"},
	} {
		if value%int64(unit.size) == 0 {
			spelled = append(spelled, grouped(value/int64(unit.size))+" "+unit.name)
		}
	}
	return spelled
}

// grouped writes 10000 as 10,000.
func grouped(n int64) string {
	s := strconv.FormatInt(n, 10)
	for at := len(s) - 3; at > 0; at -= 3 {
		s = s[:at] + "," + s[at:]
	}
	return s
}

// constants are a package's, unevaluated.
type constants map[string]ast.Expr

func constantsOf(t *testing.T, dir string) constants {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil || len(files) == 0 {
		t.Fatalf("%s: %v, %d files", dir, err, len(files))
	}
	all := make(constants)
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range f.Decls {
			g, ok := d.(*ast.GenDecl)
			if !ok || g.Tok != token.CONST {
				continue
			}
			for _, s := range g.Specs {
				spec, ok := s.(*ast.ValueSpec)
				for n := 0; ok && n < len(spec.Values); n++ {
					all[spec.Names[n].Name] = spec.Values[n]
				}
			}
		}
	}
	return all
}

func (c constants) value(name string) (value int64, isTime bool, err error) {
	expr, ok := c[name]
	if !ok {
		return 0, false, fmt.Errorf("there is no constant %s", name)
	}
	return c.eval(expr)
}

// units are package time's that bounds are made of.
var units = map[string]time.Duration{
	"Microsecond": time.Microsecond, "Millisecond": time.Millisecond, "Second": time.Second, "Minute": time.Minute, "Hour": time.Hour,
}

// eval evaluates what bounds are written with: numbers, names of the same package, sums, products, shifts and units of time.
func (c constants) eval(expr ast.Expr) (value int64, isTime bool, err error) {
	switch e := expr.(type) {
	case *ast.BasicLit:
		value, err = strconv.ParseInt(e.Value, 0, 64)
		return value, false, err
	case *ast.ParenExpr:
		return c.eval(e.X)
	case *ast.Ident:
		return c.value(e.Name)
	case *ast.SelectorExpr:
		if unit, ok := units[e.Sel.Name]; ok {
			return int64(unit), true, nil
		}
	case *ast.BinaryExpr:
		x, xTime, err := c.eval(e.X)
		if err != nil {
			return 0, false, err
		}
		y, yTime, err := c.eval(e.Y)
		if err != nil {
			return 0, false, err
		}
		switch e.Op {
		case token.ADD:
			return x + y, xTime || yTime, nil
		case token.MUL:
			return x * y, xTime || yTime, nil
		case token.SHL:
			return x << y, xTime, nil
		}
	}
	return 0, false, fmt.Errorf("%T is not evaluated here", expr)
}
