package cosigner

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/halfkey/halfkey/internal/etcdstore"
)

const (
	// operationMax bounds one operation: a cluster that has no leader for longer is not there.
	operationMax = 5 * time.Second
	// rootSize is the size of the key that vouches for rows: HMAC-SHA256's own.
	rootSize = 32
	tagSize  = sha256.Size
)

// store is the co-signer's namespace of etcd. Each value begins with a tag under the root key, which binds it to its place:
// whoever can write to etcd can destroy and roll back, but cannot make a document that nobody signed the guard rails in
// force, nor move a row of one wallet to another. Sealed shares need no tag: they are bound by their sealing.
type store struct {
	kv    clientv3.KV
	lease clientv3.Lease
	root  []byte
	// sealedRoot opened when the store did: if it does not now, the key-encryption key is away.
	sealedRoot []byte
	documents  *etcdstore.Decoded[*documents]
}

// row is what a key held at one revision; mod is 0 and value nil for a key that held nothing.
type row struct {
	key   string
	value []byte
	mod   int64
}

func (r row) exists() bool { return r.mod != 0 }

// openStore opens the root key, or makes it in a store that holds nothing yet. A store without its root that holds rows was
// restored in part, and what its rows say cannot be told from what somebody made up.
func openStore(ctx context.Context, kv clientv3.KV, lease clientv3.Lease, s *sealer) (*store, error) {
	sealed, err := sealedRoot(ctx, kv)
	if err == nil && sealed == nil {
		if err := createRoot(ctx, kv, s); err != nil {
			return nil, err
		}
		sealed, err = sealedRoot(ctx, kv)
	}
	if err != nil {
		return nil, err
	}
	root, err := s.open(sealed, s.boundRoot())
	if err != nil {
		return nil, fmt.Errorf("root key was sealed under another key-encryption key or for another installation: %w", err)
	}
	if len(root) != rootSize {
		return nil, fmt.Errorf("root key of %d bytes: %w", len(root), errDamaged)
	}
	opened := &store{kv: kv, lease: lease, root: root, sealedRoot: sealed}
	opened.documents = opened.newDocuments()
	return opened, nil
}

// sealedRoot reads the sealed root key; nil in a store that holds nothing.
func sealedRoot(ctx context.Context, kv clientv3.KV) ([]byte, error) {
	resp, err := kv.Txn(ctx).Then(
		clientv3.OpGet(keyRoot),
		clientv3.OpGet("", clientv3.WithPrefix(), clientv3.WithCountOnly()),
	).Commit()
	if err != nil {
		return nil, storeError(ctx, err)
	}
	if kvs := resp.Responses[0].GetResponseRange().GetKvs(); len(kvs) > 0 {
		return kvs[0].Value, nil
	}
	if n := resp.Responses[1].GetResponseRange().GetCount(); n > 0 {
		return nil, fmt.Errorf("store holds %d rows and no root key: %w", n, errDamaged)
	}
	return nil, nil
}

func createRoot(ctx context.Context, kv clientv3.KV, s *sealer) error {
	root := make([]byte, rootSize)
	if _, err := rand.Read(root); err != nil {
		return fmt.Errorf("draw root key: %w", err)
	}
	sealed, err := s.seal(root, s.boundRoot())
	if err != nil {
		return err
	}
	// Another replica may have made it first; then its root is everybody's.
	_, err = kv.Txn(ctx).
		If(clientv3.Compare(clientv3.ModRevision(keyRoot), "=", 0)).
		Then(clientv3.OpPut(keyRoot, string(sealed))).
		Commit()
	if err != nil {
		return storeError(ctx, err)
	}
	return nil
}

func (s *store) close() { clear(s.root) }

// read returns rows as they are together at one revision, linearizably.
func (s *store) read(ctx context.Context, keys ...string) ([]row, error) {
	ops := make([]clientv3.Op, len(keys))
	for i, k := range keys {
		ops[i] = clientv3.OpGet(k)
	}
	operation, cancel := context.WithTimeout(ctx, operationMax)
	defer cancel()
	resp, err := s.kv.Txn(operation).Then(ops...).Commit()
	if err != nil {
		return nil, storeError(ctx, err)
	}
	rows := make([]row, len(keys))
	for i, k := range keys {
		if rows[i], err = s.one(k, resp.Responses[i]); err != nil {
			return nil, err
		}
	}
	return rows, nil
}

// one is the row of a key in a transaction's answer.
func (s *store) one(key string, resp *pb.ResponseOp) (row, error) {
	kvs := resp.GetResponseRange().GetKvs()
	if len(kvs) == 0 {
		return row{key: key}, nil
	}
	value, err := s.untag(key, kvs[0].Value)
	return row{key: key, value: value, mod: kvs[0].ModRevision}, err
}

// row is the row of a key that holds a value.
func (s *store) row(key string, v etcdstore.Value) (row, error) {
	if !v.Exists() {
		return row{key: key}, nil
	}
	value, err := s.untag(key, v.Bytes)
	return row{key: key, value: value, mod: v.Revision}, err
}

// write carries out changes if every row is still as it was read, in one transaction. It says false, and nothing has
// changed, if one is not.
func (s *store) write(ctx context.Context, unchanged []row, changes ...clientv3.Op) (bool, error) {
	operation, cancel := context.WithTimeout(ctx, operationMax)
	defer cancel()
	resp, err := s.kv.Txn(operation).If(compare(unchanged)...).Then(changes...).Commit()
	if err != nil {
		return false, storeError(ctx, err)
	}
	return resp.Succeeded, nil
}

// count counts the keys that begin with a prefix.
func (s *store) count(ctx context.Context, prefix string) (int64, error) {
	operation, cancel := context.WithTimeout(ctx, operationMax)
	defer cancel()
	resp, err := s.kv.Get(operation, prefix, clientv3.WithPrefix(), clientv3.WithCountOnly())
	if err != nil {
		return 0, storeError(ctx, err)
	}
	return resp.Count, nil
}

// put is the change that makes a key hold a value.
func (s *store) put(key string, value []byte, opts ...clientv3.OpOption) clientv3.Op {
	return clientv3.OpPut(key, string(append(s.tag(key, value), value...)), opts...)
}

func (s *store) tag(key string, value []byte) []byte {
	h := hmac.New(sha256.New, s.root)
	h.Write(appendPart(nil, []byte(key)))
	h.Write(value)
	return h.Sum(nil)
}

func (s *store) untag(key string, stored []byte) ([]byte, error) {
	if len(stored) < tagSize || !hmac.Equal(stored[:tagSize], s.tag(key, stored[tagSize:])) {
		return nil, fmt.Errorf("%s: %w", key, errDamaged)
	}
	return stored[tagSize:], nil
}

func compare(rows []row) []clientv3.Cmp {
	cmps := make([]clientv3.Cmp, len(rows))
	for i, r := range rows {
		cmps[i] = clientv3.Compare(clientv3.ModRevision(r.key), "=", r.mod)
	}
	return cmps
}
