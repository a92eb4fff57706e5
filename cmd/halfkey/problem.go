package main

import (
	"context"
	"encoding/hex"
	"errors"
	"maps"
	"slices"
	"strings"

	"github.com/halfkey/halfkey/client"
	"github.com/halfkey/halfkey/internal/fault"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// reasonLocal stands where a failure has no reason of the contracts': something on this machine failed, a file, a disk, a
// permission.
const reasonLocal = "LOCAL"

// failure is a failed command as --json shows it, on standard error.
type failure struct {
	// Reason is a reason of docs/errors.md without its prefix, or LOCAL.
	Reason  string `json:"reason"`
	Message string `json:"message"`
	// Metadata is what else is known, by the names that docs/errors.md gives.
	Metadata map[string]string `json:"metadata"`
	// Retryable says that the same command, repeated unchanged, can succeed.
	Retryable bool `json:"retryable"`
	// MoneyMoved is NO, UNKNOWN or YES.
	MoneyMoved string `json:"money_moved"`
	// Next says what to do.
	Next     string `json:"next"`
	ExitCode int    `json:"exit_code"`
}

// usage is a value of the command line that is wrong.
func usage(field, message string, kv ...string) error {
	return localError(typev1.Reason_REASON_INVALID_ARGUMENT, message, "correct it and run the command again", append([]string{"field", field}, kv...)...)
}

// localError is a failure of this program's own finding, before anything was sent. kv are pairs of metadata.
func localError(reason typev1.Reason, message, next string, kv ...string) *client.Error {
	e := &client.Error{Reason: reason, MoneyMoved: notMoved, Message: message, Next: next, Metadata: map[string]string{}}
	for i := 0; i+1 < len(kv); i += 2 {
		e.Metadata[kv[i]] = kv[i+1]
	}
	return e
}

// unmoved makes a failure of an error that says nothing about money, in a step that cannot have moved any: work on files of
// this machine. One that does say keeps its own word.
func unmoved(err error) error {
	var said *client.Error
	if err == nil || errors.As(err, &said) {
		return err
	}
	return localError(typev1.Reason_REASON_UNSPECIFIED, strings.TrimPrefix(err.Error(), "halfkey: "), "put it right on this machine, then run the command again")
}

// fail tells of a failed command and returns its exit code.
func (a *app) fail(ctx context.Context, err error) int {
	f := describe(ctx, err)
	if a.globals.JSON {
		// Nothing is left to tell anybody if this cannot be written, but the exit code is.
		_ = writeJSON(a.stderr, f)
		return f.ExitCode
	}
	p := printer{w: a.stderr}
	p.line("halfkey: error: %s (%s)", f.Message, f.Reason)
	for _, key := range slices.Sorted(maps.Keys(f.Metadata)) {
		p.line("halfkey: %s: %s", key, f.Metadata[key])
	}
	if f.Next != "" {
		p.line("halfkey: hint: %s", f.Next)
	}
	p.line("halfkey: money moved: %s", f.MoneyMoved)
	return f.ExitCode
}

// describe says everything that is known of a failure. What nobody explained may have moved money.
func describe(ctx context.Context, err error) failure {
	said := client.Error{MoneyMoved: unknown, Message: err.Error(), Next: "repeat the same command with the same id"}
	var e *client.Error
	if errors.As(err, &e) {
		said = *e
	}
	f := failure{
		Reason: reasonLocal, Message: said.Message, Metadata: map[string]string{}, Next: said.Next,
		MoneyMoved: strings.TrimPrefix(said.MoneyMoved.String(), "MONEY_MOVED_"), ExitCode: exitCode(said.Reason, said.MoneyMoved),
	}
	if said.Op != "" {
		f.Message = said.Op + ": " + f.Message
	}
	if said.Reason != typev1.Reason_REASON_UNSPECIFIED {
		f.Reason = fault.ReasonName(said.Reason)
		f.Retryable = fault.Of(fault.New(said.Reason, said.MoneyMoved, "")).RetryAfter() > 0
	}
	for key, value := range said.Metadata {
		if key != fault.KeyNext && key != fault.KeyMoneyMoved && value != "" {
			f.Metadata[key] = bounded(value)
		}
	}
	// A call that was cut off says UNAVAILABLE; who cut it off is known here.
	if ctx.Err() != nil && (errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) || said.Reason == typev1.Reason_REASON_UNAVAILABLE) {
		cause := errInterrupted
		if errors.Is(context.Cause(ctx), errTimeout) {
			cause = errTimeout
		}
		f.Message = cause.Error() + " (" + f.Message + ")"
	}
	f.Message = bounded(f.Message)
	return f
}

// textMax bounds what a failure repeats of anything: it may be an argument of any size.
const textMax = 1024

func bounded(s string) string {
	if len(s) > textMax {
		return strings.ToValidUTF8(s[:textMax], "") + "…"
	}
	return s
}

// keyText is a public key as this program prints it.
func keyText(key []byte) string { return hex.EncodeToString(key) }
