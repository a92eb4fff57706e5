// Command ledger is the ledger: accounts, holds, budgets, freezes and the journal.
package main

import (
	"context"

	"github.com/halfkey/halfkey/internal/authz"
	"github.com/halfkey/halfkey/internal/config"
	"github.com/halfkey/halfkey/internal/program"
	"github.com/halfkey/halfkey/internal/rpc/validate"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
	"github.com/halfkey/halfkey/services/ledger"
)

func main() {
	program.Spec[config.Ledger, *config.Ledger]{
		Name: authz.Ledger, About: "Halfkey's ledger: accounts, holds, budgets, freezes and the journal.", Open: open,
	}.Main()
}

func open(e *program.Environment, c *config.Ledger) (program.Starter, error) {
	key, err := e.StatementKey(c.StatementKey, typev1.Purpose_PURPOSE_LEDGER)
	if err != nil {
		return nil, err
	}
	check, err := validate.New()
	if err != nil {
		return nil, err
	}
	return func(context.Context) (program.Server, error) {
		service, err := ledger.New(ledger.Config{
			Installations: e.Installations, Key: key, Path: c.Database, Logger: e.Logger,
			Tracer: e.Tracer, Meter: e.Meter,
		})
		if err != nil {
			return nil, err
		}
		return e.ServeService(c.Listen, service, check)
	}, nil
}
