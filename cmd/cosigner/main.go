// Command cosigner is the co-signer: one share of every key, given out against evidence.
package main

import (
	"context"
	"errors"

	"github.com/halfkey/halfkey/internal/authz"
	"github.com/halfkey/halfkey/internal/config"
	"github.com/halfkey/halfkey/internal/etcdstore"
	"github.com/halfkey/halfkey/internal/program"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
	"github.com/halfkey/halfkey/services/cosigner"
)

func main() {
	program.Spec[config.Cosigner, *config.Cosigner]{
		Name: authz.Cosigner, About: "Halfkey's co-signer: one share of every key, given out against evidence.", Open: open,
	}.Main()
}

func open(e *program.Environment, c *config.Cosigner) (program.Starter, error) {
	key, err := e.StatementKey(c.StatementKey, typev1.Purpose_PURPOSE_COSIGNER)
	if err != nil {
		return nil, err
	}
	kek, err := cosigner.ReadKEK(c.KeyEncryptionKey)
	if err != nil {
		return nil, err
	}
	cluster, err := etcdstore.Configured(c.Etcd, e.Logger)
	if err != nil {
		return nil, err
	}
	e.AtClose(cluster.Credentials.Close)
	return func(ctx context.Context) (program.Server, error) {
		store, err := etcdstore.Open(ctx, cluster)
		if err != nil {
			return nil, err
		}
		service, err := cosigner.New(cosigner.Config{
			Installations: e.Installations, Key: key, KV: store.KV(), Lease: store.Lease(), KEK: kek, Logger: e.Logger,
			Tracer: e.Tracer, Meter: e.Meter,
		})
		if err != nil {
			return nil, errors.Join(err, store.Close())
		}
		return e.ServeService(c.Listen, service, nil, store.Close) // It checks its few messages itself.
	}, nil
}
