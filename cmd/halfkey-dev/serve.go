package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/halfkey/halfkey/internal/allinone"
	"github.com/halfkey/halfkey/internal/authz"
	"github.com/halfkey/halfkey/internal/config"
	"github.com/halfkey/halfkey/internal/program"
	"github.com/halfkey/halfkey/internal/telemetry"
)

// drainMax bounds how long calls that run may take to end after SIGTERM.
const drainMax = 20 * time.Second

// serveCommand is `halfkey-dev serve`.
type serveCommand struct {
	DataDir   string `type:"path" help:"Where the installation lives; made if absent. Default: halfkey-dev in the user's data directory."`
	Listen    string `default:"127.0.0.1:0" help:"The gateway's address on the first start; the installation keeps it."`
	Demand    bool   `name:"demand-enrolment-token" help:"Refuse agents that register without an owner's enrolment token."`
	Config    string `short:"c" type:"existingfile" placeholder:"FILE" help:"Says where health, metrics and traces go, in the words of the five programs."`
	Network   string `name:"solana-network" placeholder:"CAIP-2" help:"Gives the ledger a rail on Solana: solana: and the first 32 characters of the network's genesis hash."`
	Endpoints string `name:"solana-endpoints-file" type:"existingfile" placeholder:"FILE" help:"The RPC URLs of its nodes, one a line, in a file of mode 0600."`
	ReadyFile string `type:"path" help:"Written, mode 0600, once the installation serves. Default: ready.json in the data directory."`
}

// ready is the content of the ready file.
type ready struct {
	Gateway          string `json:"gateway"`
	HTTPS            string `json:"https"`
	InstallationFile string `json:"installation_file"`
	OperatorKeyFile  string `json:"operator_key_file"`
	// OwnerBootstrapCode is empty once it was used.
	OwnerBootstrapCode string `json:"owner_bootstrap_code"`
}

// Run serves until ctx ends, and then drains.
func (s *serveCommand) Run(ctx context.Context, logger *slog.Logger, level slog.Level) (err error) {
	if s.DataDir == "" {
		dir, err := dataDir()
		if err != nil {
			return err
		}
		s.DataDir = dir
	}
	if s.ReadyFile == "" {
		s.ReadyFile = filepath.Join(s.DataDir, "ready.json")
	}
	program.CollectLess()
	asked := ctx
	ctx, fail := context.WithCancelCause(asked)
	defer fail(nil)
	observed := &observed{level: level}
	defer func() { err = errors.Join(err, observed.close(ctx)) }()
	if err := observed.open(s.Config); err != nil {
		return err
	}
	start := allinone.Config{DataDir: s.DataDir, Listen: s.Listen, DemandEnrolment: s.Demand, Logger: logger, Locked: s.retract}
	if start.Solana, err = s.solana(); err != nil {
		return err
	}
	if s.Config != "" {
		start.Observe = func(installation string) (map[authz.Service]*telemetry.Telemetry, error) {
			return observed.start(ctx, installation, fail)
		}
	}
	system, err := allinone.Start(ctx, start)
	switch {
	case err != nil && asked.Err() != nil: // It was told to end before it had started.
		return nil
	case err != nil:
		return err
	}
	if err := s.announce(system); err != nil {
		return errors.Join(err, system.Kill())
	}
	fmt.Printf("Halfkey serves on %s. Connect with %s.\n", system.Address(), system.InstallationFile())
	fmt.Printf("It has one operator key, %s. Keep a copy elsewhere: whoever loses the last one can never again\n"+
		"issue or redeem book money, unfreeze the installation or replace a service's key.\n", system.OperatorKeyFile())
	observed.ready(true)
	<-ctx.Done()
	observed.ready(false)
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainMax)
	defer cancel()
	err = errors.Join(s.retract(), system.Stop(drain))
	if asked.Err() == nil { // Nobody asked for the end: a listener failed.
		err = errors.Join(context.Cause(ctx), err)
	}
	return err
}

// solana is the rail that was asked for, nil if none was.
func (s *serveCommand) solana() (*allinone.Solana, error) {
	switch {
	case s.Network == "" && s.Endpoints == "":
		return nil, nil //nolint:nilnil // As allinone.Config has it.
	case s.Network == "" || s.Endpoints == "":
		return nil, errors.New("--solana-network and --solana-endpoints-file go together")
	}
	endpoints, err := config.ReadEndpoints(s.Endpoints)
	if err != nil {
		return nil, err
	}
	return &allinone.Solana{Network: s.Network, Endpoints: endpoints}, nil
}

// dataDir follows the XDG base directories.
func dataDir() (string, error) {
	if dir := os.Getenv("XDG_DATA_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "halfkey-dev"), nil
	}
	home, err := os.UserHomeDir()
	return filepath.Join(home, ".local", "share", "halfkey-dev"), err
}

// retract removes the ready file. One that a crash left behind would announce an installation that does not serve; one of a process
// that still has the directory stays, for nothing is removed before the directory is this one's.
func (s *serveCommand) retract() error {
	if err := os.Remove(s.ReadyFile); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// announce writes the ready file whole or not at all.
func (s *serveCommand) announce(system *allinone.System) error {
	b, err := json.Marshal(ready{
		Gateway: system.Address(), HTTPS: system.HTTPS(), InstallationFile: system.InstallationFile(),
		OperatorKeyFile: system.OperatorKeyFile(), OwnerBootstrapCode: system.BootstrapCode(),
	})
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(s.ReadyFile), ".ready-*") // mode 0600
	if err != nil {
		return err
	}
	_, err = f.Write(append(b, '\n'))
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), s.ReadyFile)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}
