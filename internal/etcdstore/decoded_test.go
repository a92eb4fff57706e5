package etcdstore_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/halfkey/halfkey/internal/etcdstore"
	"github.com/halfkey/halfkey/internal/etcdstore/embedded"
)

var errNoNumber = errors.New("is no number")

// pairs reads two rows of an id, which belong together, and counts how often they were decoded.
type pairs struct {
	*etcdstore.Decoded[[2]string]
	decoded atomic.Int64
}

func newPairs() *pairs {
	p := new(pairs)
	p.Decoded = etcdstore.NewDecoded(
		func(id string) []string { return []string{id + "/a", id + "/b"} },
		func(_ string, rows []etcdstore.Value) (out [2]string, err error) {
			p.decoded.Add(1)
			if string(rows[0].Bytes) == "bad" {
				return out, errNoNumber
			}
			return [2]string{string(rows[0].Bytes), string(rows[1].Bytes)}, nil
		})
	return p
}

func (p *pairs) want(t *testing.T, kv clientv3.KV, id, a, b string, decoded int64) {
	t.Helper()
	read, err := p.Read(t.Context(), kv, id)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([2]string{a, b}, read.Content); diff != "" {
		t.Errorf("rows of %s (-want +got):\n%s", id, diff)
	}
	if n := p.decoded.Load(); n != decoded {
		t.Errorf("decoded %d times, want %d", n, decoded)
	}
}

func put(t testing.TB, kv clientv3.KV, key, value string) int64 {
	t.Helper()
	resp, err := kv.Put(t.Context(), key, value)
	if err != nil {
		t.Fatal(err)
	}
	return resp.Header.GetRevision()
}

func TestDecodedOnlyWhenChanged(t *testing.T) {
	kv, p := newKV(t), newPairs()
	p.want(t, kv, "w", "", "", 1)
	p.want(t, kv, "w", "", "", 2) // What is absent is not remembered.
	put(t, kv, "w/a", "1")
	p.want(t, kv, "w", "1", "", 3)
	put(t, kv, "w/b", "2")
	p.want(t, kv, "w", "1", "2", 4)
	p.want(t, kv, "w", "1", "2", 4)
	put(t, kv, "v/a", "another's")
	p.want(t, kv, "w", "1", "2", 4)
	put(t, kv, "w/b", "3")
	p.want(t, kv, "w", "1", "3", 5)
	put(t, kv, "w/b", "3") // The same bytes again are another revision.
	p.want(t, kv, "w", "1", "3", 6)
	p.want(t, kv, "w", "1", "3", 6)
	if _, err := kv.Delete(t.Context(), "w/a"); err != nil {
		t.Fatal(err)
	}
	p.want(t, kv, "w", "", "3", 7)
	put(t, kv, "w/a", "bad")
	for want := int64(8); want < 10; want++ { // What does not decode is refused each time.
		if _, err := p.Read(t.Context(), kv, "w"); !errors.Is(err, errNoNumber) || p.decoded.Load() != want {
			t.Errorf("rows that do not decode: %v after %d, want %v after %d", err, p.decoded.Load(), errNoNumber, want)
		}
	}
}

// More operations are answered at the same revision, whether or not the rows have changed, and the revisions are what a decision
// compares.
func TestDecodedReadsMore(t *testing.T) {
	kv, p := newKV(t), newPairs()
	create(t, kv, "w/a", "1")
	create(t, kv, "w/b", "2")
	for _, share := range []string{"first", "second", "third"} {
		put(t, kv, "share", share)
		read, err := p.Read(t.Context(), kv, "w", clientv3.OpGet("share"), clientv3.OpGet("absent"))
		if err != nil {
			t.Fatal(err)
		}
		if len(read.More) != 2 || string(read.More[0].GetResponseRange().GetKvs()[0].Value) != share ||
			len(read.More[1].GetResponseRange().GetKvs()) != 0 {
			t.Errorf("more is %v, want %s and nothing", read.More, share)
		}
		for _, want := range []bool{true, false} {
			done, err := etcdstore.Commit(t.Context(), kv, []etcdstore.Condition{read.Unchanged("w/b", 1)}, etcdstore.Put("w/b", []byte(share)))
			if err != nil || done != want {
				t.Errorf("a decision on what was read was made: %v, %v, want %v", done, err, want)
			}
		}
	}
}

// What another replica writes is seen by the next read, and etcd's having forgotten every revision before changes nothing.
func TestDecodedIsNeverBehind(t *testing.T) {
	kv, replicas := newKV(t), []*pairs{newPairs(), newPairs()}
	create(t, kv, "w/a", "a")
	for n := range int64(20) {
		value := strconv.FormatInt(n, 10)
		at := put(t, kv, "w/b", value)
		if n%5 == 4 {
			if _, err := kv.Compact(t.Context(), at, clientv3.WithCompactPhysical()); err != nil {
				t.Fatal(err)
			}
		}
		for _, p := range replicas {
			p.want(t, kv, "w", "a", value, n+1)
			p.want(t, kv, "w", "a", value, n+1)
		}
	}
}

// Of many who read while others write, none is told what was replaced before it asked.
func TestDecodedRaced(t *testing.T) {
	kv, replicas := newKV(t), []*pairs{newPairs(), newPairs()}
	put(t, kv, "w/a", "0")
	put(t, kv, "w/b", "0")
	var written atomic.Int64
	ctx, cancel := context.WithCancel(t.Context())
	var readers sync.WaitGroup
	for n := range 8 {
		readers.Go(func() {
			for ctx.Err() == nil {
				least := written.Load()
				read, err := replicas[n%2].Read(ctx, kv, "w")
				if ctx.Err() != nil {
					return
				}
				if err != nil {
					t.Error(err)
					return
				}
				if got, err := strconv.ParseInt(read.Content[0], 10, 64); err != nil || got < least || read.Content[0] != read.Content[1] {
					t.Errorf("read %v after %d was written", read.Content, least)
				}
			}
		})
	}
	for n := range int64(200) {
		value := strconv.FormatInt(n, 10)
		if done, err := etcdstore.Commit(t.Context(), kv, nil, etcdstore.Put("w/a", []byte(value)),
			etcdstore.Put("w/b", []byte(value))); err != nil || !done {
			t.Fatal(done, err)
		}
		written.Store(n)
	}
	cancel()
	readers.Wait()
}

// Memory is bounded by the rows' bytes, and what was dropped is read again.
func TestDecodedIsBounded(t *testing.T) {
	kv, p := newKV(t), newPairs()
	const ids = 160
	value := func(n int) string {
		return string(bytes.Repeat([]byte{byte(n)}, etcdstore.ValueBytesMax))
	}
	for n := range ids {
		put(t, kv, fmt.Sprintf("%d/a", n), value(n))
		put(t, kv, fmt.Sprintf("%d/b", n), "b")
	}
	for round := range int64(2) {
		for n := range ids {
			read, err := p.Read(t.Context(), kv, strconv.Itoa(n))
			if err != nil {
				t.Fatal(err)
			}
			if read.Content[0] != value(n) {
				t.Fatalf("round %d: id %d has another's rows", round, n)
			}
		}
	}
	const fit = 16 << 20 / etcdstore.ValueBytesMax
	if n := p.decoded.Load(); n < 2*ids-fit {
		t.Errorf("%d of %d reads were decoded: more than %d MiB were remembered", n, 2*ids, fit*etcdstore.ValueBytesMax>>20)
	}
	if n := p.decoded.Load(); n == 2*ids {
		t.Error("nothing was remembered")
	}
}

// A store that does not answer is no store that has not changed; and one that was put back to before, under a service that still
// runs, is read anew although the revisions are the same.
func TestDecodedOfAnotherStore(t *testing.T) {
	p := newPairs()
	stores := make([]*embedded.Server, 2)
	kvs := make([]clientv3.KV, 2)
	for n := range stores {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		var err error
		stores[n], err = embedded.Start(ctx, embedded.Config{Dir: filepath.Join(t.TempDir(), "etcd"), Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		defer stores[n].Close()
		if kvs[n], err = stores[n].KV("w"); err != nil {
			t.Fatal(err)
		}
		value := strconv.Itoa(n)
		if done, err := etcdstore.Commit(t.Context(), kvs[n], nil, etcdstore.Put("w/a", []byte(value)),
			etcdstore.Put("w/b", []byte(value))); err != nil || !done {
			t.Fatal(done, err)
		}
	}
	p.want(t, kvs[0], "w", "0", "0", 1)
	put(t, kvs[0], "more", "of the first")
	p.want(t, kvs[0], "w", "0", "0", 1)
	p.want(t, kvs[1], "w", "1", "1", 2)
	p.want(t, kvs[1], "w", "1", "1", 2)

	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	if err := stores[1].Close(); err != nil {
		t.Fatal(err)
	}
	if read, err := p.Read(ctx, kvs[1], "w"); err == nil {
		t.Errorf("a store that is gone answered %v", read.Content)
	}
}
