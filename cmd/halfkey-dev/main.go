// Command halfkey-dev runs a whole Halfkey installation in one process, for development: `serve` keeps one running for the
// CLI and the SDK, `demo` shows on one what Halfkey is for. Production runs the five services apart.
package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/alecthomas/kong"
)

// cli is the command line.
type cli struct {
	Demo     demoCommand      `cmd:"" help:"Show what Halfkey does, on an installation of its own that is removed at the end."`
	Serve    serveCommand     `cmd:"" help:"Run an installation until SIGTERM."`
	Sell     sellCommand      `cmd:"" help:"Sell a resource over HTTP on this machine, for an agent's wallet, to try fetching and confirming."`
	Certs    certsCommand     `cmd:"" help:"Make keys, certificates and configuration for the five programs, for development."`
	Users    etcdUsersCommand `cmd:"" name:"etcd-users" help:"Give each service a user of its own in an etcd that asks for certificates."`
	KEK      kekCommands      `cmd:"" name:"kek" help:"Make the co-signer's key-encryption key, and rotate it."`
	LogLevel slog.Level       `default:"error" help:"What the services log to standard error: debug, info, warn or error."`
}

func main() {
	var c cli
	parsed := kong.Parse(&c, kong.Name("halfkey-dev"),
		kong.Description("A whole Halfkey installation in one process, for development."), kong.UsageOnError())
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	logger := slog.New(slog.NewJSONHandler(os.Stderr, &slog.HandlerOptions{Level: c.LogLevel}))
	parsed.BindTo(ctx, (*context.Context)(nil))
	if err := parsed.Run(logger, c.LogLevel); err != nil {
		fmt.Fprintln(os.Stderr, "halfkey-dev: error:", err)
		stop()
		os.Exit(1) //nolint:gocritic // stop has run
	}
}
