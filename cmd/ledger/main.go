// Command ledger is the ledger: accounts, holds, budgets, freezes and the journal.
package main

import (
	"context"
	"fmt"
	"time"

	"github.com/halfkey/halfkey/internal/authz"
	"github.com/halfkey/halfkey/internal/chain/solanarpc"
	"github.com/halfkey/halfkey/internal/config"
	"github.com/halfkey/halfkey/internal/program"
	"github.com/halfkey/halfkey/internal/rpc/validate"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
	"github.com/halfkey/halfkey/services/ledger"
)

// checkMax bounds how long `check` waits for the chain's endpoints.
const checkMax = 30 * time.Second

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
	rail, err := openSolana(e, &c.Solana)
	if err != nil {
		return nil, err
	}
	check, err := validate.New()
	if err != nil {
		return nil, err
	}
	return func(context.Context) (program.Server, error) {
		service, err := ledger.New(ledger.Config{
			Installations: e.Installations, Key: key, Path: c.Database, Logger: e.Logger, Solana: rail,
			Tracer: e.Tracer, Meter: e.Meter,
		})
		if err != nil {
			return nil, err
		}
		return e.ServeService(c.Listen, service, check)
	}, nil
}

// openSolana makes the rail on Solana, if one is configured. That its endpoints are of the network is asked by `check`, and by each of
// them before it is believed anything.
func openSolana(e *program.Environment, c *config.Solana) (*ledger.Solana, error) {
	if !c.Configured() {
		return nil, nil //nolint:nilnil // As ledger.Config has it.
	}
	endpoints, err := config.ReadEndpoints(c.EndpointsFile)
	if err != nil {
		return nil, err
	}
	client, err := solanarpc.New(solanarpc.Config{Network: c.Network, Endpoints: endpoints})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", c.EndpointsFile, err)
	}
	e.AtClose(func() error { client.Close(); return nil })
	e.Check(func(time.Time) error {
		ctx, cancel := context.WithTimeout(context.Background(), checkMax)
		defer cancel()
		return client.Check(ctx)
	})
	return &ledger.Solana{Network: c.Network, Client: client, Assets: c.Assets()}, nil
}
