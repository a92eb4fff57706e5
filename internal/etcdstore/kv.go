package etcdstore

import (
	"context"
	"crypto/rand"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/halfkey/halfkey/internal/fault"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

const (
	// KeyBytesMax bounds a key: a few ids of at most 63 bytes, or hashes in hex.
	KeyBytesMax = 512
	// ValueBytesMax bounds a value: a document of at most 64 KiB with its envelope, twice over.
	ValueBytesMax = 128 << 10
	// transactionBytesMax stays below etcd's request limit of 1.5 MiB, and operationsMax is etcd's own.
	transactionBytesMax = 1 << 20
	operationsMax       = 128
	// PageMax bounds one page of List; with the largest values it stays within what a client takes in one answer.
	PageMax = 1000
	// operationMax bounds one operation: a cluster that has no leader for longer is not there.
	operationMax = 5 * time.Second
	// attemptsMax bounds how often a decision is made again because somebody else changed what it relied on. Each loss
	// means that another got through, so this many callers may fight over one key.
	attemptsMax = 32
	// backoffStep spreads attempts: the n-th waits up to n steps.
	backoffStep = time.Millisecond
)

// Value is what a key holds. The zero Value is an absent key.
type Value struct {
	// Bytes is what the caller has stored.
	Bytes []byte
	// Revision is etcd's mod revision; 0 means absent. It grows over the whole store.
	Revision int64
}

// Exists says whether the key is there.
func (v Value) Exists() bool { return v.Revision != 0 }

// Get reads a key linearizably.
func Get(ctx context.Context, kv clientv3.KV, key string) (Value, error) {
	values, err := Read(ctx, kv, key)
	if err != nil {
		return Value{}, err
	}
	return values[0], nil
}

// Read reads several keys linearizably at one revision, so that what it answers was all true at the same time. The answer
// has one Value per key, in order.
func Read(ctx context.Context, kv clientv3.KV, keys ...string) ([]Value, error) {
	if len(keys) > operationsMax {
		return nil, tooLarge()
	}
	reads := make([]clientv3.Op, len(keys))
	for i, key := range keys {
		if err := checkKey(key); err != nil {
			return nil, err
		}
		reads[i] = clientv3.OpGet(key)
	}
	operation, cancel := context.WithTimeout(ctx, operationMax)
	defer cancel()
	resp, err := kv.Txn(operation).Then(reads...).Commit()
	if err != nil {
		return nil, storeError(ctx, err)
	}
	values := make([]Value, len(keys))
	for i, r := range resp.Responses {
		if kvs := r.GetResponseRange().GetKvs(); len(kvs) > 0 {
			values[i] = Value{Bytes: kvs[0].Value, Revision: kvs[0].ModRevision}
		}
	}
	return values, nil
}

// Condition is what a decision relied on: that a key is unchanged since it had this revision.
type Condition struct {
	key      string
	revision int64
}

// Unchanged demands that a key still has the revision it was read with; that of an absent key is 0.
func Unchanged(key string, v Value) Condition { return Condition{key: key, revision: v.Revision} }

// Absent demands that a key does not exist.
func Absent(key string) Condition { return Condition{key: key} }

// Write is one change.
type Write struct {
	key    string
	value  []byte
	delete bool
}

// Put sets a key.
func Put(key string, value []byte) Write { return Write{key: key, value: value} }

// Delete removes a key; removing an absent one is no error.
func Delete(key string) Write { return Write{key: key, delete: true} }

// Commit makes all writes if all conditions hold, in one transaction; false means that one did not, and nothing was
// written. An error UNAVAILABLE leaves open whether it was.
func Commit(ctx context.Context, kv clientv3.KV, conditions []Condition, writes ...Write) (bool, error) {
	if len(conditions) > operationsMax || len(writes) > operationsMax {
		return false, tooLarge()
	}
	size := 0
	compares := make([]clientv3.Cmp, len(conditions))
	for i, c := range conditions {
		if err := checkKey(c.key); err != nil {
			return false, err
		}
		size += len(c.key)
		compares[i] = clientv3.Compare(clientv3.ModRevision(c.key), "=", c.revision)
	}
	changes := make([]clientv3.Op, len(writes))
	for i, w := range writes {
		if err := checkKey(w.key); err != nil {
			return false, err
		}
		if len(w.value) > ValueBytesMax {
			return false, tooLarge()
		}
		size += len(w.key) + len(w.value)
		if w.delete {
			changes[i] = clientv3.OpDelete(w.key)
		} else {
			changes[i] = clientv3.OpPut(w.key, string(w.value))
		}
	}
	if size > transactionBytesMax {
		return false, tooLarge()
	}
	operation, cancel := context.WithTimeout(ctx, operationMax)
	defer cancel()
	resp, err := kv.Txn(operation).If(compares...).Then(changes...).Commit()
	if err != nil {
		return false, storeError(ctx, err)
	}
	return resp.Succeeded, nil
}

// Create writes a key that does not exist yet. If it exists, nothing is written and the answer is what it holds.
func Create(ctx context.Context, kv clientv3.KV, key string, value []byte) (existing Value, created bool, err error) {
	err = Retry(ctx, func(ctx context.Context) (bool, error) {
		created, err = Commit(ctx, kv, []Condition{Absent(key)}, Put(key, value))
		if err != nil || created {
			return true, err
		}
		existing, err = Get(ctx, kv, key)
		return existing.Exists(), err // Deleted in between: the key is free again.
	})
	return existing, created, err
}

// Update changes one key: change gets what it holds, absent or not, and answers what it shall hold; nil leaves it as it
// is. When somebody else was faster, change is asked again with the new value, a bounded number of times; then the error
// is ABORTED. An error of change ends it and is returned as it is.
func Update(ctx context.Context, kv clientv3.KV, key string, change func(old Value) ([]byte, error)) error {
	return Retry(ctx, func(ctx context.Context) (bool, error) {
		old, err := Get(ctx, kv, key)
		if err != nil {
			return false, err
		}
		value, err := change(old)
		if err != nil || value == nil {
			return true, err
		}
		return Commit(ctx, kv, []Condition{Unchanged(key, old)}, Put(key, value))
	})
}

// Retry makes a decision over several keys: attempt reads, decides and commits, and answers whether that is done; false
// means that what it relied on has changed, and it is asked again. After a bounded number of attempts the error is ABORTED.
// An error of attempt ends it and is returned as it is.
func Retry(ctx context.Context, attempt func(ctx context.Context) (done bool, err error)) error {
	for n := range attemptsMax {
		done, err := attempt(ctx)
		if err != nil || done {
			return err
		}
		if err := wait(ctx, n); err != nil {
			return err
		}
	}
	return fault.New(typev1.Reason_REASON_ABORTED, typev1.MoneyMoved_MONEY_MOVED_UNSPECIFIED, "too many others changed the same record")
}

// wait spreads those who lost the same race.
func wait(ctx context.Context, n int) error {
	var random [1]byte
	if _, err := rand.Read(random[:]); err != nil {
		return err
	}
	timer := time.NewTimer(time.Duration(n) * backoffStep * time.Duration(random[0]) / 256)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Item is one key of a list.
type Item struct {
	// Key is the whole key, with the prefix.
	Key string
	// Value is what it holds.
	Value Value
}

// List reads up to limit keys that begin with prefix, in ascending order, from the first one after the key `after` (empty:
// from the beginning), linearizably. More says that the list goes on.
func List(ctx context.Context, kv clientv3.KV, prefix, after string, limit int) (items []Item, more bool, err error) {
	if limit < 1 || limit > PageMax {
		return nil, false, tooLarge()
	}
	if err := checkKey(prefix); err != nil {
		return nil, false, err
	}
	from := prefix
	if after != "" {
		if err := checkKey(after); err != nil {
			return nil, false, err
		}
		from = max(from, after+"\x00") // The least key that is greater.
	}
	end := clientv3.GetPrefixRangeEnd(prefix)
	operation, cancel := context.WithTimeout(ctx, operationMax)
	defer cancel()
	resp, err := kv.Get(operation, from, clientv3.WithRange(end), clientv3.WithLimit(int64(limit)),
		clientv3.WithSort(clientv3.SortByKey, clientv3.SortAscend))
	if err != nil {
		return nil, false, storeError(ctx, err)
	}
	for _, kv := range resp.Kvs {
		items = append(items, Item{Key: string(kv.Key), Value: Value{Bytes: kv.Value, Revision: kv.ModRevision}})
	}
	return items, resp.More, nil
}
