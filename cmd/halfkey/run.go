package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/alecthomas/kong"

	"github.com/halfkey/halfkey/client"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

var (
	errInterrupted = errors.New("interrupted")
	errTimeout     = errors.New("the time that --timeout gives has passed")
)

// exited is what kong's exit panics with: it prints help and wants to end the process.
type exited int

// run runs one command line and returns the exit code. It reads nothing but what it is given, the home, and files that args
// name.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer, env func(string) string) (code int) {
	var c cli
	a := &app{globals: &c.globals, stdin: stdin, stdout: stdout, stderr: stderr, env: env}
	defer a.close()
	defer func() {
		switch v := recover().(type) {
		case nil:
		case exited:
			code = int(v)
		default:
			panic(v)
		}
	}()
	parser, err := newParser(&c, a)
	if err != nil {
		return a.fail(ctx, err)
	}
	a.model = parser.Model
	if i := slices.IndexFunc(args, func(arg string) bool { return !utf8.ValidString(arg) }); i >= 0 {
		c.JSON = wantsJSON(args)
		return a.fail(ctx, usage(fmt.Sprintf("argument %d", i+1), "an argument is not text in UTF-8", "value", shorten(args[i])))
	}
	parsed, err := parser.Parse(args)
	if err != nil {
		c.JSON = c.JSON || wantsJSON(args)
		return a.fail(ctx, misuse(parsed, args, err))
	}
	if err := refuseEmpty(parsed); err != nil {
		return a.fail(ctx, err)
	}
	if c.Timeout < 0 {
		return a.fail(ctx, usage("--timeout", "a timeout is not negative"))
	}
	if c.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, c.Timeout, errTimeout)
		defer cancel()
	}
	parsed.BindTo(ctx, (*context.Context)(nil))
	if err := parsed.Run(a); err != nil {
		return a.fail(ctx, err)
	}
	return a.code
}

// newParser builds the parser. Its help goes where results go, its exit ends run.
func newParser(c *cli, a *app) (*kong.Kong, error) {
	return kong.New(c,
		kong.Name("halfkey"),
		kong.Description("Every AI agent its own wallet.\n\n"+
			"Exit codes: 0 done, 1 other, 2 usage, 3 refused, 4 waits for a person, 5 frozen or revoked, 6 outcome unknown, 7 unavailable."),
		kong.Writers(terminal{a.stdout}, terminal{a.stderr}),
		kong.Exit(func(code int) { panic(exited(code)) }),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, WrapUpperBound: 120}),
	)
}

// wantsJSON looks for --json in a command line that does not parse.
func wantsJSON(args []string) bool {
	if end := slices.Index(args, "--"); end >= 0 {
		args = args[:end]
	}
	return slices.Contains(args, "--json") || slices.Contains(args, "--json=true")
}

// misuse is a command line that does not parse, and where to read how it would.
func misuse(parsed *kong.Context, args []string, err error) error {
	command := "halfkey"
	var parsing *kong.ParseError
	if errors.As(err, &parsing) && parsed == nil {
		parsed = parsing.Context
	}
	if parsed != nil && parsed.Selected() != nil {
		command += " " + parsed.Selected().Path()
		minus := slices.IndexFunc(args, negative)
		if minus >= 0 && takesAmount(parsed.Selected()) && strings.HasPrefix(err.Error(), "unknown flag "+args[minus][:2]) {
			return usage("AMOUNT", "an amount is more than zero: it has no sign", "value", shorten(args[minus]))
		}
	}
	return &client.Error{
		Op: "read the command line", Reason: typev1.Reason_REASON_INVALID_ARGUMENT, MoneyMoved: notMoved, Message: err.Error(),
		Next: fmt.Sprintf("run `%s --help`", command),
	}
}

// refuseEmpty refuses a value that is given and empty. It comes from a variable of a script that is not set, and taken as if it were
// not there it would mean another home, another wallet, or any agent's handle.
func refuseEmpty(parsed *kong.Context) error {
	for _, p := range parsed.Path {
		switch {
		case p.Flag != nil && p.Flag.Name != "memo" && empty(p.Flag.Target):
			return usage("--"+p.Flag.Name, "the value of the flag is empty: give one, or leave the flag out")
		case p.Positional != nil && empty(p.Positional.Target):
			return usage(strings.ToUpper(p.Positional.Name), "the argument is empty")
		}
	}
	return nil
}

// empty reports whether a value of the command line is a text without any.
func empty(v reflect.Value) bool {
	if v.Kind() == reflect.Pointer && !v.IsNil() {
		v = v.Elem()
	}
	return v.Kind() == reflect.String && v.Len() == 0
}

// pathOf is how a command is typed: one that its noun stands for by itself by the noun alone.
func pathOf(n *kong.Node) string {
	if n.Parent != nil && n.Parent.DefaultCmd == n {
		return n.Parent.Path()
	}
	return n.Path()
}

// negative reports whether an argument is a number with a minus, which reads as a flag.
func negative(arg string) bool {
	return len(arg) > 1 && arg[0] == '-' && (arg[1] >= '0' && arg[1] <= '9' || arg[1] == '.')
}

// takesAmount reports whether a command is given an amount.
func takesAmount(command *kong.Node) bool {
	return slices.ContainsFunc(command.Positional, func(p *kong.Positional) bool { return p.Name == "amount" })
}
