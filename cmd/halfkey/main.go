// Command halfkey is an agent's, an owner's and an operator's command line: it registers wallets, pays, and reads what became
// of payments, over the SDK in client/.
//
// # Output
//
// Without --json it prints text for people, which may change. With --json it prints exactly one JSON object on standard
// output, or where a command follows what happens, as `payments watch` without a payment does, one a line; its field names are the json tags of the types in this package and stay. Names of the contracts' own messages, such
// as a rule's result or guard rails, are theirs in proto/. Amounts are strings of whole units of the asset's smallest part.
//
// A command that fails prints what is wrong, what to do and whether money moved on standard error; with --json that is one
// object too, a failure. A payment that was refused or waits for a person is no failure: it is printed on standard output,
// and the exit code says so. Whatever came from outside is printed with control, format and direction characters escaped.
//
// # Exit codes
//
//	0  done
//	1  something else failed
//	2  the command line, or a value in it, is wrong
//	3  refused
//	4  waits for a person
//	5  frozen or revoked
//	6  the outcome is unknown: repeat the same command with the same id
//	7  unavailable, or not now: repeat later
//
// # Environment
//
// HALFKEY_HOME is the home's directory, HALFKEY_WALLET the wallet to use, HALFKEY_INSTALLATION an installation file that a
// home which is not connected yet is connected with. Nothing is read from the working directory but files that the command
// line names, and secrets come from a file or standard input, never from an argument.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// The first interrupt ends the command truthfully, the second at once.
	context.AfterFunc(ctx, stop)
	code := run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr, os.Getenv)
	stop()
	os.Exit(code)
}
