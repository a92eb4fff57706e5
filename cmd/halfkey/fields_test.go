package main

import (
	"fmt"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
)

// commonFields say what a name means in whatever object it stands, where the object itself says no more.
var commonFields = map[string]string{
	"account":           "What the wallet holds.",
	"agents":            "The owner's agents.",
	"amount":            "The amount for people, in whole units and with its unit: `5 USD`.",
	"asset":             "The asset's CAIP-19 id.",
	"balances":          "One for each asset.",
	"caller":            "Who did it: `owners/{owner}`, `agents/{wallet}` or `operator`.",
	"deadline":          "Until when it may be authorized.",
	"digest":            "The SHA-256 digest, in hexadecimal.",
	"display_name":      "What the agent is called, for people.",
	"email":             "The address of whoever it is for.",
	"entries":           "In their order.",
	"epoch":             "The number of the sharing; each resharing raises it by one.",
	"expiry":            "Until when it is good.",
	"exit_code":         "The command's exit code.",
	"file":              "The file's name, as the command line gave it.",
	"freeze_id":         "The freeze's id, which ends it.",
	"freezes":           "The freezes that concern the wallet.",
	"frozen":            "Whether the wallet is stopped.",
	"gateway_addresses": "Where the gateway is, `host:port`.",
	"group_key":         "The wallet's public key, 64 hexadecimal digits.",
	"handle":            "The agent's handle, with its `@`; empty if it is not known.",
	"home":              "The home's directory.",
	"https_addresses":   "Where the HTTPS interface is, base URLs.",
	"installation":      "The installation's id.",
	"key":               "A public key, 64 hexadecimal digits.",
	"limits":            "The limits.",
	"memo":              "What it is for, in the agent's words; may be empty.",
	"message":           "What is wrong, for people.",
	"number":            "The number of the guard rails' version.",
	"operator_keys":     "The operator's public keys, in hexadecimal.",
	"owner":             "`owners/{owner}`.",
	"owner_keys":        "The public owner keys, in hexadecimal.",
	"payments":          "The payments, in the order of the command.",
	"platform":          "The operating system and processor that it was built for.",
	"public_key":        "The public half of the key, 64 hexadecimal digits.",
	"recipient_key":     "The recipient's public key, 64 hexadecimal digits.",
	"request_key":       "The public key by which the agent signs its calls, in hexadecimal.",
	"results":           "What every rule said, in the guard rails' order.",
	"reviews":           "The payments that wait, oldest first.",
	"shell":             "The shell.",
	"signature":         "The Ed25519 signature, 128 hexadecimal digits.",
	"time":              "When it happened, by the ledger's time.",
	"tokens":            "The tokens, each for one agent.",
	"units":             "The amount in the asset's smallest unit.",
	"wallet":            "`wallets/{wallet}`.",
	"wallets":           "The wallets.",
}

// fieldsHead is what the page says before the objects.
const fieldsHead = `
## What --json prints

One object on one line, whose fields stay: their names, kinds and meanings. Fields may be added, so leave those alone that you do not know.
A field is always there unless its kind says "or absent". Numbers of money are text, for they may be larger than a program's numbers; a time
is RFC 3339 in UTC; a handle has its ` + "`@`" + ` everywhere, as people and the command line type it. A command that fails prints a
[failure](#object-failure) on standard error, and nothing on standard output.
`

// checked is this package as the compiler sees it.
type checked struct {
	t     *testing.T
	pkg   *types.Package
	info  *types.Info
	funcs map[*types.Func]*ast.FuncDecl
	// comments are those of struct types and their fields, by package and name: `main.payCommand`, `main.payCommand.Wait`.
	comments map[string]string
	// used are the objects that the page has to explain.
	used map[string]types.Type
}

// check loads this package from its source, and what it imports from the build cache.
func check(t *testing.T) *checked {
	t.Helper()
	const format = "{{if .Export}}{{.ImportPath}} {{.Export}}{{end}}"
	out, err := exec.CommandContext(t.Context(), "go", "list", "-export", "-deps", "-f", format, ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	exports := make(map[string]string)
	for line := range strings.Lines(string(out)) {
		path, file, _ := strings.Cut(strings.TrimSpace(line), " ")
		exports[path] = file
	}
	c := &checked{
		t: t, funcs: make(map[*types.Func]*ast.FuncDecl), comments: make(map[string]string), used: make(map[string]types.Type),
		info: &types.Info{
			Types: make(map[ast.Expr]types.TypeAndValue), Uses: make(map[*ast.Ident]types.Object), Defs: make(map[*ast.Ident]types.Object),
		},
	}
	fset := token.NewFileSet()
	files := c.parse(fset, ".", "main")
	c.parse(fset, "../../client", "client")
	open := func(path string) (io.ReadCloser, error) { return os.Open(exports[path]) }
	config := types.Config{Importer: importer.ForCompiler(fset, "gc", open)}
	if c.pkg, err = config.Check("main", fset, files, c.info); err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		for _, d := range f.Decls {
			if d, ok := d.(*ast.FuncDecl); ok {
				if f, ok := c.info.Defs[d.Name].(*types.Func); ok {
					c.funcs[f] = d
				}
			}
		}
	}
	return c
}

// parse parses a package's files and notes the comments of its structs.
func (c *checked) parse(fset *token.FileSet, dir, name string) []*ast.File {
	c.t.Helper()
	paths, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		c.t.Fatal(err)
	}
	var files []*ast.File
	for _, path := range paths {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(fset, path, nil, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			c.t.Fatal(err)
		}
		files = append(files, f)
		for _, d := range f.Decls {
			if d, ok := d.(*ast.GenDecl); ok && d.Tok == token.TYPE && len(d.Specs) == 1 {
				c.note(name, d)
			}
		}
	}
	return files
}

// note notes a struct's comments. A comment that names later fields of its struct is theirs too, as far as its sentences do.
func (c *checked) note(pkg string, d *ast.GenDecl) {
	spec, ok := d.Specs[0].(*ast.TypeSpec)
	if !ok {
		return
	}
	s, ok := spec.Type.(*ast.StructType)
	if !ok {
		return
	}
	name := pkg + "." + spec.Name.Name
	c.comments[name] = flat(d.Doc.Text())
	before := ""
	for _, f := range s.Fields.List {
		own := flat(f.Doc.Text() + " " + f.Comment.Text())
		before += " " + own
		for _, n := range f.Names {
			if c.comments[name+"."+n.Name] = own; own == "" {
				c.comments[name+"."+n.Name] = sentencesAbout(before, n.Name)
			}
		}
	}
}

func flat(s string) string { return strings.Join(strings.Fields(s), " ") }

func sentencesAbout(text, word string) string {
	about := regexp.MustCompile(`\b` + word + `\b`)
	var found []string
	for _, s := range strings.SplitAfter(text, ". ") {
		if s = strings.TrimSpace(s); about.MatchString(s) {
			found = append(found, s)
		}
	}
	return strings.Join(found, " ")
}

// shows are the types that a command's Run shows, in whatever it calls of this package.
func (c *checked) shows(command reflect.Type) []types.Type {
	c.t.Helper()
	named := c.pkg.Scope().Lookup(command.Name())
	run, _, _ := types.LookupFieldOrMethod(types.NewPointer(named.Type()), true, c.pkg, "Run")
	todo := []*types.Func{run.(*types.Func)} //nolint:forcetypeassert // kong has called it
	seen := map[*types.Func]bool{todo[0]: true}
	var found []types.Type
	for ; len(todo) > 0; todo = todo[1:] {
		if c.funcs[todo[0]] == nil {
			continue
		}
		ast.Inspect(c.funcs[todo[0]].Body, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			callee := c.callee(call)
			switch {
			case callee == nil || callee.Pkg() != c.pkg:
			case callee.FullName() == "(*main.app).show":
				shown := deref(c.info.TypeOf(call.Args[0]))
				if !slices.ContainsFunc(found, func(t types.Type) bool { return types.Identical(t, shown) }) {
					found = append(found, shown)
				}
			case !seen[callee]:
				seen[callee] = true
				todo = append(todo, callee)
			}
			return true
		})
	}
	return found
}

func (c *checked) callee(call *ast.CallExpr) *types.Func {
	var name *ast.Ident
	switch f := call.Fun.(type) {
	case *ast.Ident:
		name = f
	case *ast.SelectorExpr:
		name = f.Sel
	default:
		return nil
	}
	f, _ := c.info.Uses[name].(*types.Func)
	return f
}

func deref(t types.Type) types.Type {
	if p, ok := t.(*types.Pointer); ok {
		return p.Elem()
	}
	return t
}

// object is the name of a result's type on the page, and its anchor; the page explains it.
func (c *checked) object(t types.Type) string {
	c.t.Helper()
	named, ok := t.(*types.Named)
	if !ok {
		c.t.Fatalf("%s is shown, which is no object of its own", t)
	}
	words := regexp.MustCompile(`[A-Z]?[a-z]+`).FindAllString(strings.TrimSuffix(named.Obj().Name(), "Result"), -1)
	name := strings.ToLower(strings.Join(words, " "))
	c.used[name] = t
	return fmt.Sprintf("[%s](#object-%s)", name, strings.ReplaceAll(name, " ", "-"))
}

// printed is what the page says about a command's object.
func (c *checked) printed(n *kong.Node) string {
	c.t.Helper()
	var names []string
	for _, t := range c.shows(n.Target.Type()) {
		names = append(names, c.object(t))
	}
	if len(names) == 0 {
		c.t.Errorf("`halfkey %s` shows no object", n.Path())
	}
	return "\nWith `--json`: " + strings.Join(names, " or ") + ".\n"
}

// objects explains all objects that were named, and those in them.
func (c *checked) objects() string {
	c.t.Helper()
	c.object(c.pkg.Scope().Lookup("failure").Type())
	sections := make(map[string]string)
	for len(sections) < len(c.used) {
		for _, name := range slices.Sorted(maps.Keys(c.used)) {
			if _, ok := sections[name]; !ok {
				sections[name] = c.section(name, c.used[name])
			}
		}
	}
	var b strings.Builder
	b.WriteString(fieldsHead)
	for _, name := range slices.Sorted(maps.Keys(sections)) {
		b.WriteString(sections[name])
	}
	return b.String()
}

func (c *checked) section(name string, t types.Type) string {
	c.t.Helper()
	var b strings.Builder
	fmt.Fprintf(&b, "\n### Object %s\n", name)
	goName := t.(*types.Named).Obj().Name() //nolint:forcetypeassert // object has seen to it
	about, ok := strings.CutPrefix(c.comments["main."+goName], goName+" is ")
	if !ok {
		about = ""
	}
	if about != "" {
		fmt.Fprintf(&b, "\n%s%s\n", strings.ToUpper(about[:1]), about[1:])
	}
	if c.marshals(t) {
		return b.String()
	}
	b.WriteString("\n| Field | Kind | Meaning |\n|---|---|---|\n")
	c.fields(&b, "main", t)
	return b.String()
}

// marshals reports whether a type brings its own JSON: a message of the contracts.
func (c *checked) marshals(t types.Type) bool {
	m, _, _ := types.LookupFieldOrMethod(t, true, c.pkg, "MarshalJSON")
	return m != nil
}

// fields writes a row for every field, and for those of embedded structs in their place, as encoding/json has them.
func (c *checked) fields(b *strings.Builder, pkg string, t types.Type) {
	c.t.Helper()
	goName := t.(*types.Named).Obj().Name() //nolint:forcetypeassert // results are named types
	s := t.Underlying().(*types.Struct)     //nolint:forcetypeassert // results are structs
	names := make(map[string]string, s.NumFields())
	for i := range s.NumFields() {
		names[s.Field(i).Name()], _, _ = strings.Cut(reflect.StructTag(s.Tag(i)).Get("json"), ",")
	}
	for i := range s.NumFields() {
		f := s.Field(i)
		name, options, _ := strings.Cut(reflect.StructTag(s.Tag(i)).Get("json"), ",")
		switch {
		case f.Embedded() && name == "":
			inner := deref(f.Type())
			c.fields(b, inner.(*types.Named).Obj().Pkg().Name(), inner) //nolint:forcetypeassert // embedded types have names
			continue
		case !f.Exported():
			continue
		case name == "":
			c.t.Errorf("%s.%s has no name in JSON", goName, f.Name())
		}
		meaning := c.comments[pkg+"."+goName+"."+f.Name()]
		for of, as := range names {
			if as != "" {
				meaning = regexp.MustCompile(`\b`+of+`\b`).ReplaceAllLiteralString(meaning, "`"+as+"`")
			}
		}
		if meaning == "" {
			meaning = commonFields[name]
		}
		if meaning == "" {
			c.t.Errorf("nothing says what %s of %s means: write a comment", name, goName)
		}
		kind := c.kind(f.Type())
		if strings.Contains(options, "omitempty") {
			kind += ", or absent"
		}
		fmt.Fprintf(b, "| `%s` | %s | %s |\n", name, kind, cell(meaning))
	}
}

// kind is what a field holds, as JSON has it.
func (c *checked) kind(t types.Type) string {
	c.t.Helper()
	switch t := t.(type) {
	case *types.Basic:
		switch {
		case t.Info()&types.IsBoolean != 0:
			return "true or false"
		case t.Info()&types.IsInteger != 0:
			return "number"
		default:
			return "text"
		}
	case *types.Pointer:
		return c.kind(t.Elem()) + " or null"
	case *types.Slice:
		if types.Identical(t.Elem(), types.Typ[types.Byte]) {
			return "base64"
		}
		return "list of " + c.kind(deref(t.Elem()))
	case *types.Map:
		return "object of " + c.kind(deref(t.Elem())) + " by name"
	case *types.Named:
		switch {
		case t.Obj().Pkg().Path() == "time" && t.Obj().Name() == "Time":
			return "time"
		case c.marshals(t):
			return "message of the [contracts](api.md)"
		default:
			return c.object(t)
		}
	default:
		c.t.Fatalf("%s has no kind", t)
		return ""
	}
}
