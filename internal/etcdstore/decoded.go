package etcdstore

import (
	"context"
	"slices"
	"sync"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

const (
	// decodedMax bounds how many groups of rows a Decoded remembers: the wallets that pay, not those that there are.
	decodedMax = 16 << 10
	// decodedBytesMax bounds their rows' bytes together. What they decode to takes some times as much.
	decodedBytesMax = 16 << 20
)

// Decoded reads groups of rows, and remembers what they decode to, so that documents which did not change are neither sent nor
// decoded anew for each decision that rests on them.
//
// Nothing is ever taken for unchanged. Each Read is one linearizable transaction, which compares the mod revision of every row with
// the one that was decoded, and reads all rows anew if one has another. So a Decoded can forget anything at any time, which costs time,
// and cannot be behind: it needs no watch, and does not mind when etcd compacts.
//
// What decode answers is shared by all who read, and none of them may change it. It must be decoded from the rows alone. A Decoded is
// safe for concurrent use, in any number of replicas.
type Decoded[T any] struct {
	keys   func(id string) []string
	decode func(id string, rows []Value) (T, error)

	mu    sync.Mutex
	known map[string]decodedRows[T]
	bytes int
	// newest is the highest revision at which the store has answered. It goes back only when another store is put in its place.
	newest int64
}

// decodedRows is what the rows of an id decode to.
type decodedRows[T any] struct {
	content   T
	revisions []int64
	bytes     int
}

// NewDecoded makes a Decoded of the rows that belong together under an id. decode is given one Value per key, in order; a key that
// is absent holds the zero Value. Remembered is only what all keys were there for, and what decode made no error of.
func NewDecoded[T any](keys func(id string) []string, decode func(id string, rows []Value) (T, error)) *Decoded[T] {
	return &Decoded[T]{keys: keys, decode: decode, known: make(map[string]decodedRows[T])}
}

// Reading is what a Read has found at one revision.
type Reading[T any] struct {
	// Content is what the rows decode to.
	Content T
	// Revisions are the rows' mod revisions, in order of the keys; 0 for one that is absent.
	Revisions []int64
	// More answers the further operations, in order.
	More []*pb.ResponseOp
}

// Unchanged demands that the key n of the group still has the revision that it was read with.
func (r Reading[T]) Unchanged(key string, n int) Condition {
	return Condition{key: key, revision: r.Revisions[n]}
}

// Read reads the rows of an id linearizably, and more of the store at the same revision. The further operations only read.
func (d *Decoded[T]) Read(ctx context.Context, kv clientv3.KV, id string, more ...clientv3.Op) (Reading[T], error) {
	keys := d.keys(id)
	if len(keys) == 0 || len(keys)+len(more) > operationsMax {
		return Reading[T]{}, tooLarge()
	}
	for _, key := range keys {
		if err := checkKey(key); err != nil {
			return Reading[T]{}, err
		}
	}
	known, newest := d.remembered(id)
	operation, cancel := context.WithTimeout(ctx, operationMax)
	defer cancel()
	resp, err := conditional(operation, kv, keys, known.revisions, more)
	if err != nil {
		return Reading[T]{}, storeError(ctx, err)
	}
	if resp.Header.GetRevision() < newest {
		// A linearizable read is never older than one that was answered before it began: this is another store than before, whose
		// revisions say nothing about what this one's mean.
		d.forget()
		known = decodedRows[T]{}
		if resp, err = conditional(operation, kv, keys, nil, more); err != nil {
			return Reading[T]{}, storeError(ctx, err)
		}
	}
	if known.revisions != nil && resp.Succeeded {
		d.answered(resp.Header.GetRevision())
		return Reading[T]{Content: known.content, Revisions: known.revisions, More: resp.Responses}, nil
	}
	return d.read(id, keys, resp)
}

// conditional reads rows only if one of them has another revision than it had, and more in any case. No revisions are as if all had
// others.
func conditional(ctx context.Context, kv clientv3.KV, keys []string, revisions []int64, more []clientv3.Op) (*clientv3.TxnResponse, error) {
	reads := make([]clientv3.Op, 0, len(keys)+len(more))
	for _, key := range keys {
		reads = append(reads, clientv3.OpGet(key))
	}
	reads = append(reads, more...)
	if revisions == nil {
		return kv.Txn(ctx).Then(reads...).Commit()
	}
	same := make([]clientv3.Cmp, len(keys))
	for i, key := range keys {
		same[i] = clientv3.Compare(clientv3.ModRevision(key), "=", revisions[i])
	}
	return kv.Txn(ctx).If(same...).Then(more...).Else(reads...).Commit()
}

// read decodes the rows of an answer that has them, and remembers what they decode to.
func (d *Decoded[T]) read(id string, keys []string, resp *clientv3.TxnResponse) (Reading[T], error) {
	rows, next := make([]Value, len(keys)), decodedRows[T]{revisions: make([]int64, len(keys))}
	for i := range keys {
		if kvs := resp.Responses[i].GetResponseRange().GetKvs(); len(kvs) > 0 {
			rows[i] = Value{Bytes: kvs[0].Value, Revision: kvs[0].ModRevision}
			next.revisions[i] = kvs[0].ModRevision
			next.bytes += len(kvs[0].Value)
		}
	}
	var err error
	if next.content, err = d.decode(id, rows); err != nil {
		return Reading[T]{}, err
	}
	if !slices.Contains(next.revisions, 0) {
		d.remember(id, next, resp.Header.GetRevision())
	}
	return Reading[T]{Content: next.content, Revisions: next.revisions, More: resp.Responses[len(keys):]}, nil
}

func (d *Decoded[T]) remembered(id string) (known decodedRows[T], newest int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.known[id], d.newest
}

func (d *Decoded[T]) answered(revision int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.newest = max(d.newest, revision)
}

func (d *Decoded[T]) forget() {
	d.mu.Lock()
	defer d.mu.Unlock()
	clear(d.known)
	d.bytes, d.newest = 0, 0
}

// remember keeps what rows decode to, and makes room for it by dropping others, whichever come first: dropped is read again.
func (d *Decoded[T]) remember(id string, next decodedRows[T], revision int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.newest = max(d.newest, revision)
	d.drop(id)
	for other := range d.known {
		if len(d.known) < decodedMax && d.bytes+next.bytes <= decodedBytesMax {
			break
		}
		d.drop(other)
	}
	d.known[id] = next
	d.bytes += next.bytes
}

func (d *Decoded[T]) drop(id string) {
	d.bytes -= d.known[id].bytes
	delete(d.known, id)
}
