package etcdstore

import (
	"context"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/halfkey/halfkey/internal/evidence"
)

// acceptMax bounds the look into the store: a service that cannot read it at once is not ready.
const acceptMax = 10 * time.Second

// AcceptInstallation keeps, under a key of a service's namespace, the highest installation file that any replica was given, and
// refuses a chain that ends before it. A replica that was rolled back would take what retired keys sign.
func AcceptInstallation(kv clientv3.KV, key string, chain []*evidence.Installation) error {
	ctx, cancel := context.WithTimeout(context.Background(), acceptMax)
	defer cancel()
	return Update(ctx, kv, key, func(held Value) ([]byte, error) {
		next, err := evidence.Advance(string(held.Bytes), chain)
		if err != nil || next == string(held.Bytes) {
			return nil, err
		}
		return []byte(next), nil
	})
}
