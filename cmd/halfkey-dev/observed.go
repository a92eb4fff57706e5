package main

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"os"
	"time"

	"github.com/halfkey/halfkey/internal/authz"
	"github.com/halfkey/halfkey/internal/config"
	"github.com/halfkey/halfkey/internal/program"
	"github.com/halfkey/halfkey/internal/telemetry"
)

// pushMax bounds what is left to do after draining: the last spans are sent.
const pushMax = 5 * time.Second

// observed is what a process of all five services tells about itself, if a file says to whom. Each service tells it as if it were a
// process of its own.
type observed struct {
	level      slog.Level
	config     config.AllInOne
	services   map[authz.Service]*telemetry.Telemetry
	operations *program.Operations
}

// open reads the file, if there is one.
func (o *observed) open(file string) error {
	if file == "" {
		return nil
	}
	return config.Load(file, &o.config)
}

// start makes telemetry of every service, and listens to probes and scrapers.
func (o *observed) start(ctx context.Context, installation string, fail func(error)) (map[authz.Service]*telemetry.Telemetry, error) {
	o.services = make(map[authz.Service]*telemetry.Telemetry)
	metrics := make(map[string]http.Handler)
	for _, name := range authz.Services() {
		made, err := program.NewTelemetry(ctx, name, installation, o.config.Telemetry, o.level, os.Stderr)
		if err != nil {
			return nil, err
		}
		o.services[name] = made
		metrics[program.PathMetrics+"/"+string(name)] = made.Metrics()
	}
	if o.config.Operations == "" {
		return o.services, nil
	}
	var err error
	o.operations, err = program.ListenOperations(o.config.Operations, metrics, fail)
	return o.services, err
}

// ready tells probes whether the installation serves.
func (o *observed) ready(is bool) {
	if o.operations != nil {
		o.operations.SetReady(is)
	}
}

// close sends what was not sent yet, and ends.
func (o *observed) close(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), pushMax)
	defer cancel()
	var errs []error
	if o.operations != nil {
		errs = append(errs, o.operations.Close())
	}
	for _, t := range o.services {
		errs = append(errs, t.Shutdown(ctx))
	}
	return errors.Join(errs...)
}
