// Command identity is the identity service: owners, agents and the directory of wallets.
package main

import (
	"context"
	"errors"

	"github.com/halfkey/halfkey/internal/authz"
	"github.com/halfkey/halfkey/internal/config"
	"github.com/halfkey/halfkey/internal/etcdstore"
	"github.com/halfkey/halfkey/internal/program"
	"github.com/halfkey/halfkey/internal/rpc/validate"
	"github.com/halfkey/halfkey/services/identity"
)

func main() {
	program.Spec[config.Identity, *config.Identity]{
		Name: authz.Identity, About: "Halfkey's identity service: owners, agents and the directory of wallets.", Open: open,
	}.Main()
}

func open(e *program.Environment, c *config.Identity) (program.Starter, error) {
	var bootstrap []byte
	if c.BootstrapKey != "" {
		var err error
		if bootstrap, err = config.ReadPublicKey(c.BootstrapKey); err != nil {
			return nil, err
		}
	}
	cluster, err := etcdstore.Configured(c.Etcd, e.Logger)
	if err != nil {
		return nil, err
	}
	e.AtClose(cluster.Credentials.Close)
	check, err := validate.New()
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context) (program.Server, error) {
		store, err := etcdstore.Open(ctx, cluster)
		if err != nil {
			return nil, err
		}
		service, err := identity.New(identity.Config{
			Installations: e.Installations, KV: store.KV(), BootstrapKey: bootstrap, DemandEnrolment: c.DemandEnrolment, Logger: e.Logger,
			Tracer: e.Tracer, Meter: e.Meter,
		})
		if err != nil {
			return nil, errors.Join(err, store.Close())
		}
		return e.ServeService(c.Listen, service, check, store.Close)
	}, nil
}
