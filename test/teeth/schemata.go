package main

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"slices"
	"strings"
)

// A function that defences are taken out of is woven: it gets another name, each of its rows adds a copy with the row's
// body, and a new function of the old name calls the one that the environment chooses. All rows of all files are then
// in one build, and a row is one run of its test's binary. What the compiler sees of the file otherwise stays as it is,
// down to its line numbers.

// switchVariable holds the number of the row that is taken out, from 1 on; nothing or 0 takes nothing out.
const switchVariable = "HALFKEY_TEETH"

// switchFile is added to each package that has woven functions.
const switchFile = "teeth_switch.go"

// A change is one row's change of a file: its number, and by its function's place in the file the new body.
type change struct {
	row    int
	bodies map[int]string
}

// errElsewhere says that a row changes more than bodies of functions that can be woven, and needs a build of its own.
var errElsewhere = errors.New("changes more than bodies of functions")

// source is a parsed file.
type source struct {
	text  string
	fset  *token.FileSet
	file  *ast.File
	funcs []*ast.FuncDecl // all of its functions and methods, in their order
}

func parse(text string) (*source, error) {
	s := &source{text: text, fset: token.NewFileSet()}
	var err error
	if s.file, err = parser.ParseFile(s.fset, "", text, parser.SkipObjectResolution); err != nil {
		return nil, err
	}
	for _, d := range s.file.Decls {
		if f, ok := d.(*ast.FuncDecl); ok {
			s.funcs = append(s.funcs, f)
		}
	}
	return s, nil
}

func (s *source) offset(p token.Pos) int { return s.fset.PositionFor(p, false).Offset }

// of is the text of a node, or nothing.
func (s *source) of(from, to token.Pos) string { return s.text[s.offset(from):s.offset(to)] }

// compare finds the bodies that a row's text has in place of the file's own. Put into the file they must give the row's text.
func (s *source) compare(row int, text string) (change, error) {
	c := change{row: row, bodies: make(map[int]string)}
	after, err := parse(text)
	if err != nil || len(after.funcs) != len(s.funcs) {
		return c, errElsewhere
	}
	var made strings.Builder
	end := 0
	for n, f := range s.funcs {
		if f.Body == nil || after.funcs[n].Body == nil {
			continue
		}
		body := after.of(after.funcs[n].Body.Pos(), after.funcs[n].Body.End())
		made.WriteString(s.text[end:s.offset(f.Body.Pos())] + body)
		end = s.offset(f.Body.End())
		if body == s.of(f.Body.Pos(), f.Body.End()) {
			continue
		}
		if !weavable(f) || !weavable(after.funcs[n]) {
			return c, errElsewhere
		}
		c.bodies[n] = body
	}
	if made.String()+s.text[end:] != text || len(c.bodies) == 0 {
		return c, errElsewhere
	}
	return c, nil
}

// weavable says whether a function may be called by another of its name: init and main are no functions to call, recover
// works only in the deferred function itself, and runtime.Callers counts who called.
func weavable(f *ast.FuncDecl) bool {
	if f.Name.Name == "_" || f.Recv == nil && (f.Name.Name == "init" || f.Name.Name == "main") {
		return false
	}
	can := true
	ast.Inspect(f.Body, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.FuncLit:
			return false
		case *ast.Ident:
			can = can && n.Name != "recover"
		case *ast.SelectorExpr:
			if x, ok := n.X.(*ast.Ident); ok && x.Name == "runtime" && strings.HasPrefix(n.Sel.Name, "Caller") {
				can = false
			}
		}
		return true
	})
	return can
}

// span is lines of a woven file that the compiler finds wanting only because of one row.
type span struct{ row, first, last int }

// weave gives the file with all changes in it.
func (s *source) weave(changes []change) (text string, spans []span) {
	byFunc := make(map[int][]change)
	for _, c := range changes {
		for n := range c.bodies {
			byFunc[n] = append(byFunc[n], c)
		}
	}
	var kept, added strings.Builder
	end := 0
	for n, f := range s.funcs {
		of := byFunc[n]
		if len(of) == 0 {
			continue
		}
		slices.SortFunc(of, func(a, b change) int { return cmp.Compare(a.row, b.row) })
		kept.WriteString(s.text[end:s.offset(f.Name.Pos())] + wovenName(f, 0))
		end = s.offset(f.Name.End())

		line := func() int { return strings.Count(s.text, "\n") + strings.Count(added.String(), "\n") + 1 }
		first := line()
		added.WriteString(s.dispatcher(f, of))
		for _, c := range of {
			spans = append(spans, span{c.row, first, line()})
		}
		for _, c := range of {
			first := line()
			fmt.Fprintf(&added, "\n%s%s%s%s\n", s.of(f.Type.Func, f.Name.Pos()), wovenName(f, c.row), s.of(f.Name.End(), f.Body.Pos()), c.bodies[n])
			spans = append(spans, span{c.row, first, line()})
		}
	}
	return kept.String() + s.text[end:] + added.String(), spans
}

// wovenName is unexported, so that reflection over exported methods finds none that the product does not have.
func wovenName(f *ast.FuncDecl, row int) string { return fmt.Sprintf("teeth%d_%s", row, f.Name.Name) }

// dispatcher is the function of the old name.
func (s *source) dispatcher(f *ast.FuncDecl, changes []change) string {
	var types, receiver, call string // call stands before the called function's name
	if f.Recv != nil {
		receiver, call = fmt.Sprintf("(teethR %s) ", s.typeOf(f.Recv.List[0])), "teethR."
	}
	var typeArguments string
	if p := f.Type.TypeParams; p != nil {
		types = s.of(p.Pos(), p.End())
		var names []string
		for _, field := range p.List {
			for _, name := range field.Names {
				names = append(names, name.Name)
			}
		}
		typeArguments = "[" + strings.Join(names, ", ") + "]"
	}
	var parameters, arguments []string
	for _, field := range f.Type.Params.List {
		for range max(len(field.Names), 1) {
			name := fmt.Sprintf("teethP%d", len(parameters))
			parameters = append(parameters, name+" "+s.typeOf(field))
			if _, ok := field.Type.(*ast.Ellipsis); ok {
				name += "..."
			}
			arguments = append(arguments, name)
		}
	}
	result := func(row int) string {
		made := call + wovenName(f, row) + typeArguments + "(" + strings.Join(arguments, ", ") + ")"
		if f.Type.Results == nil {
			return made + "\n\t\treturn"
		}
		return "return " + made
	}
	var b strings.Builder
	fmt.Fprintf(&b, "\nfunc %s%s%s(%s) ", receiver, f.Name.Name, types, strings.Join(parameters, ", "))
	if r := f.Type.Results; r != nil {
		b.WriteString(s.of(r.Pos(), r.End()) + " ")
	}
	b.WriteString("{\n\tswitch teethOn {\n")
	for _, c := range changes {
		fmt.Fprintf(&b, "\tcase %d:\n\t\t%s\n", c.row, result(c.row))
	}
	fmt.Fprintf(&b, "\tdefault:\n\t\t%s\n\t}\n}\n", result(0))
	return b.String()
}

func (s *source) typeOf(field *ast.Field) string { return s.of(field.Type.Pos(), field.Type.End()) }

// switchSource is the file that tells a package which row is taken out.
func switchSource(pkg string) string {
	var b bytes.Buffer
	fmt.Fprintf(&b, "package %s\n\nimport (\n\tteethOS \"os\"\n\tteethNumber \"strconv\"\n)\n\n", pkg)
	fmt.Fprintf(&b, "var teethOn, _ = teethNumber.Atoi(teethOS.Getenv(%q))\n", switchVariable)
	return b.String()
}
