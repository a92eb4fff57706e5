// Command policy is the policy service: guard rails, verdicts and dry runs.
package main

import (
	"context"
	"errors"

	"github.com/halfkey/halfkey/internal/authz"
	"github.com/halfkey/halfkey/internal/config"
	"github.com/halfkey/halfkey/internal/etcdstore"
	"github.com/halfkey/halfkey/internal/program"
	"github.com/halfkey/halfkey/internal/rpc/validate"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
	"github.com/halfkey/halfkey/services/policy"
)

func main() {
	program.Spec[config.Policy, *config.Policy]{
		Name: authz.Policy, About: "Halfkey's policy service: guard rails, signed verdicts and dry runs.", Open: open,
	}.Main()
}

func open(e *program.Environment, c *config.Policy) (program.Starter, error) {
	key, err := e.StatementKey(c.StatementKey, typev1.Purpose_PURPOSE_POLICY)
	if err != nil {
		return nil, err
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
		service, err := policy.New(policy.Config{
			Installations: e.Installations, Key: key, KV: store.KV(), Logger: e.Logger,
			Tracer: e.Tracer, Meter: e.Meter,
		})
		if err != nil {
			return nil, errors.Join(err, store.Close())
		}
		return e.ServeService(c.Listen, service, check, store.Close)
	}, nil
}
