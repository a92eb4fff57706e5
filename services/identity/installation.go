package identity

import (
	"context"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/halfkey/halfkey/internal/etcdstore"
	"github.com/halfkey/halfkey/internal/evidence"
)

// openTimeout bounds New's look into the store: a service that cannot read it at once is not ready.
const openTimeout = 10 * time.Second

// acceptInstallation keeps the highest installation file that any replica was given, and refuses a chain that ends before it. A
// replica that was rolled back would take what retired keys sign.
func acceptInstallation(kv clientv3.KV, chain []*evidence.Installation) error {
	ctx, cancel := context.WithTimeout(context.Background(), openTimeout)
	defer cancel()
	return etcdstore.Update(ctx, kv, installationKey, func(held etcdstore.Value) ([]byte, error) {
		next, err := evidence.Advance(string(held.Bytes), chain)
		if err != nil || next == string(held.Bytes) {
			return nil, err
		}
		return []byte(next), nil
	})
}
