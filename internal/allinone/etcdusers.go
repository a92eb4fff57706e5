package allinone

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/halfkey/halfkey/internal/config"
	"github.com/halfkey/halfkey/internal/etcdstore"
)

// etcdUsersEvery is how often an etcd that is not there yet is tried again.
const etcdUsersEvery = time.Second

// NamespaceOf is where a service's keys are, as the example configurations have it.
func NamespaceOf(service string) string { return "halfkey/" + service }

// MakeEtcdUsers gives each service that stores in etcd a user of its own, by the name in its certificate, who reaches its own
// namespace and no other, and then lets in nobody without one. It waits for etcd until ctx ends, and may be repeated.
func (d Deployment) MakeEtcdUsers(ctx context.Context, endpoints []string) error {
	dir := filepath.Join(d.Dir, dirEtcdRoot)
	c, err := etcdstore.Configured(config.Etcd{Endpoints: endpoints, TLS: config.TLS{
		Certificate: filepath.Join(dir, fileEtcdRoot), Key: filepath.Join(dir, fileRootKey), Authorities: filepath.Join(dir, fileAuthority),
	}}, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	defer func() { _ = c.Credentials.Close() }() // nothing is open
	cluster, err := c.Client()
	if err != nil {
		return err
	}
	client, err := clientv3.New(cluster)
	if err != nil {
		return fmt.Errorf("allinone: etcd: %w", err)
	}
	defer func() { _ = client.Close() }() // nothing is pending
	for {
		attempt, cancel := context.WithTimeout(ctx, 5*etcdUsersEvery)
		err := makeEtcdUsers(attempt, client)
		cancel()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("allinone: etcd: %w", err)
		case <-time.After(etcdUsersEvery):
		}
	}
}

func makeEtcdUsers(ctx context.Context, client *clientv3.Client) error {
	steps := []func() error{
		func() error { _, err := client.RoleAdd(ctx, etcdRoot); return err },
		func() error { return addUser(ctx, client, etcdRoot) },
	}
	for _, service := range storing {
		name := string(service)
		from := NamespaceOf(name) + "/"
		steps = append(steps,
			func() error { _, err := client.RoleAdd(ctx, name); return err },
			func() error {
				_, err := client.RoleGrantPermission(ctx, name, from, clientv3.GetPrefixRangeEnd(from), clientv3.PermissionType(clientv3.PermReadWrite))
				return err
			},
			func() error { return addUser(ctx, client, name) },
		)
	}
	steps = append(steps, func() error { _, err := client.AuthEnable(ctx); return err })
	for _, step := range steps {
		err := rpctypes.Error(step())
		if err != nil && !errors.Is(err, rpctypes.ErrRoleAlreadyExist) && !errors.Is(err, rpctypes.ErrUserAlreadyExist) {
			return err
		}
	}
	return nil
}

// addUser makes a user without a password, whom only a certificate of that name lets in.
func addUser(ctx context.Context, client *clientv3.Client, name string) error {
	_, err := client.UserAddWithOptions(ctx, name, "", &clientv3.UserAddOptions{NoPassword: true})
	if err != nil && !errors.Is(rpctypes.Error(err), rpctypes.ErrUserAlreadyExist) {
		return err
	}
	_, err = client.UserGrantRole(ctx, name, name)
	return err
}
