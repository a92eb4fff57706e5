package etcdstore_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/codes"

	"github.com/halfkey/halfkey/internal/etcdstore"
	"github.com/halfkey/halfkey/internal/etcdstore/embedded"
	"github.com/halfkey/halfkey/internal/fault"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// member is one for all tests of this package; each test has a namespace of its own.
var member *embedded.Server

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "etcdstore")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	member, err = embedded.Start(ctx, embedded.Config{Dir: filepath.Join(dir, "etcd"), Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		panic(err)
	}
	defer member.Close()
	return m.Run()
}

var namespaces atomic.Int64

func newKV(t testing.TB) clientv3.KV {
	t.Helper()
	kv, err := member.KV(fmt.Sprintf("test-%d", namespaces.Add(1)))
	if err != nil {
		t.Fatal(err)
	}
	return kv
}

func create(t testing.TB, kv clientv3.KV, key, value string) {
	t.Helper()
	if _, created, err := etcdstore.Create(t.Context(), kv, key, []byte(value)); err != nil || !created {
		t.Fatalf("create %s: %v, %v", key, created, err)
	}
}

func get(t testing.TB, kv clientv3.KV, key string) etcdstore.Value {
	t.Helper()
	v, err := etcdstore.Get(t.Context(), kv, key)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestCreateOnce(t *testing.T) {
	kv := newKV(t)
	if v := get(t, kv, "a"); v.Exists() || v.Bytes != nil {
		t.Errorf("an absent key holds %v", v)
	}
	create(t, kv, "a", "one")
	existing, created, err := etcdstore.Create(t.Context(), kv, "a", []byte("two"))
	if err != nil || created || string(existing.Bytes) != "one" || !existing.Exists() {
		t.Errorf("again: %v, %q, %v", created, existing.Bytes, err)
	}
	if v := get(t, kv, "a"); string(v.Bytes) != "one" {
		t.Errorf("it holds %q", v.Bytes)
	}
	// An empty value exists.
	create(t, kv, "empty", "")
	if v := get(t, kv, "empty"); !v.Exists() || len(v.Bytes) != 0 {
		t.Errorf("an empty value is %v", v)
	}
}

// Of many who create one key, one wins, and all others see what it wrote.
func TestCreateRace(t *testing.T) {
	kv := newKV(t)
	const callers = 16
	var wins atomic.Int32
	var seen sync.Map
	var wait sync.WaitGroup
	for i := range callers {
		wait.Go(func() {
			mine := strconv.Itoa(i)
			existing, created, err := etcdstore.Create(t.Context(), kv, "a", []byte(mine))
			if err != nil {
				t.Error(err)
			}
			if created {
				wins.Add(1)
				seen.Store(mine, true)
			} else {
				seen.Store(string(existing.Bytes), true)
			}
		})
	}
	wait.Wait()
	values := 0
	seen.Range(func(any, any) bool { values++; return true })
	if wins.Load() != 1 || values != 1 {
		t.Errorf("%d won, %d values were seen", wins.Load(), values)
	}
}

// A counter that many raise loses nothing.
func TestUpdateRace(t *testing.T) {
	kv := newKV(t)
	const callers, raises = 8, 10
	var wait sync.WaitGroup
	for range callers {
		wait.Go(func() {
			for range raises {
				err := etcdstore.Update(t.Context(), kv, "counter", func(old etcdstore.Value) ([]byte, error) {
					n := 0
					if old.Exists() {
						var err error
						if n, err = strconv.Atoi(string(old.Bytes)); err != nil {
							return nil, err
						}
					}
					return []byte(strconv.Itoa(n + 1)), nil
				})
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	wait.Wait()
	if got := string(get(t, kv, "counter").Bytes); got != strconv.Itoa(callers*raises) {
		t.Errorf("counted %s", got)
	}
}

func TestUpdate(t *testing.T) {
	kv := newKV(t)
	create(t, kv, "a", "one")
	before := get(t, kv, "a")
	if err := etcdstore.Update(t.Context(), kv, "a", func(etcdstore.Value) ([]byte, error) { return nil, nil }); err != nil {
		t.Error(err)
	}
	mine := errors.New("mine")
	if err := etcdstore.Update(t.Context(), kv, "a", func(etcdstore.Value) ([]byte, error) { return []byte("x"), mine }); err != mine {
		t.Errorf("the error of change: %v", err)
	}
	if diff := cmp.Diff(before, get(t, kv, "a")); diff != "" {
		t.Errorf("it has changed:\n%s", diff)
	}
	if err := etcdstore.Update(t.Context(), kv, "a",
		func(old etcdstore.Value) ([]byte, error) { return append(old.Bytes, "!"...), nil }); err != nil {
		t.Error(err)
	}
	if got := string(get(t, kv, "a").Bytes); got != "one!" {
		t.Errorf("it holds %q", got)
	}
}

// Who always loses is told so, after a bounded number of attempts.
func TestUpdateEndsInAborted(t *testing.T) {
	kv := newKV(t)
	attempts := 0
	err := etcdstore.Update(t.Context(), kv, "a", func(etcdstore.Value) ([]byte, error) {
		attempts++
		// Somebody else is faster each time.
		if _, err := kv.Put(t.Context(), "a", strconv.Itoa(attempts)); err != nil {
			return nil, err
		}
		return []byte("mine"), nil
	})
	if got := fault.ReasonOf(err); got != typev1.Reason_REASON_ABORTED {
		t.Errorf("got %v", err)
	}
	if attempts < 2 || attempts > 100 {
		t.Errorf("%d attempts", attempts)
	}
	if got := string(get(t, kv, "a").Bytes); got == "mine" {
		t.Error("a write on an old revision went through")
	}
	// A caller who has left is not kept trying.
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err = etcdstore.Retry(ctx, func(context.Context) (bool, error) { return false, nil })
	if !errors.Is(err, context.Canceled) {
		t.Errorf("after the caller left: %v", err)
	}
}

// A transaction writes all or nothing, on conditions about keys that it also reads only.
func TestCommit(t *testing.T) {
	kv := newKV(t)
	create(t, kv, "head", "1")
	create(t, kv, "frozen", "no")
	head, frozen := get(t, kv, "head"), get(t, kv, "frozen")
	for _, tt := range []struct {
		name       string
		before     func()
		conditions []etcdstore.Condition
		ok         bool
	}{
		{"all hold", nil, []etcdstore.Condition{
			etcdstore.Unchanged("head", head), etcdstore.Unchanged("frozen", frozen),
			etcdstore.Absent("other"),
		}, true},
		{"none", nil, nil, true},
		{"absent, but it exists", nil, []etcdstore.Condition{etcdstore.Absent("head")}, false},
		{"unchanged, but it was absent", nil, []etcdstore.Condition{etcdstore.Unchanged("other", head)}, false},
		{"absent as it was read", nil, []etcdstore.Condition{etcdstore.Unchanged("other", etcdstore.Value{})}, true},
		{"one of two has changed", func() {
			if _, err := kv.Put(t.Context(), "frozen", "yes"); err != nil {
				t.Fatal(err)
			}
		}, []etcdstore.Condition{etcdstore.Unchanged("head", head), etcdstore.Unchanged("frozen", frozen)}, false},
		{"changed and changed back", func() {
			if _, err := kv.Put(t.Context(), "frozen", "no"); err != nil {
				t.Fatal(err)
			}
		}, []etcdstore.Condition{etcdstore.Unchanged("frozen", frozen)}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.before != nil {
				tt.before()
			}
			ok, err := etcdstore.Commit(t.Context(), kv, tt.conditions, etcdstore.Put("a/"+tt.name, []byte("x")), etcdstore.Put("b/"+tt.name, nil))
			if err != nil || ok != tt.ok {
				t.Errorf("got %v, %v", ok, err)
			}
			for _, key := range []string{"a/", "b/"} {
				if got := get(t, kv, key+tt.name).Exists(); got != tt.ok {
					t.Errorf("%s exists: %v", key, got)
				}
			}
		})
	}
	if ok, err := etcdstore.Commit(t.Context(), kv, nil, etcdstore.Delete("head"), etcdstore.Delete("never there")); err != nil || !ok {
		t.Errorf("delete: %v, %v", ok, err)
	}
	if get(t, kv, "head").Exists() {
		t.Error("head is still there")
	}
}

// What is read together was true together, while a writer always changes both.
func TestReadIsOneMoment(t *testing.T) {
	kv := newKV(t)
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for n := 0; ; n++ {
			select {
			case <-stop:
				return
			default:
			}
			value := []byte(strconv.Itoa(n))
			if ok, err := etcdstore.Commit(t.Context(), kv, nil, etcdstore.Put("a", value), etcdstore.Put("b", value)); err != nil || !ok {
				t.Errorf("writing: %v, %v", ok, err)
				return
			}
		}
	}()
	for range 100 {
		values, err := etcdstore.Read(t.Context(), kv, "a", "absent", "b")
		if err != nil {
			t.Fatal(err)
		}
		if len(values) != 3 || values[1].Exists() {
			t.Fatalf("got %v", values)
		}
		if diff := cmp.Diff(values[0], values[2]); diff != "" {
			t.Errorf("of two moments:\n%s", diff)
		}
	}
	close(stop)
	<-stopped
}

func TestList(t *testing.T) {
	kv := newKV(t)
	for _, key := range []string{"w/a", "w/b", "w/b/x", "w/c", "w0", "v/z", "w"} {
		create(t, kv, key, "value of "+key)
	}
	for _, tt := range []struct {
		name, prefix, after string
		limit               int
		want                []string
		more                bool
	}{
		{"all", "w/", "", 10, []string{"w/a", "w/b", "w/b/x", "w/c"}, false},
		{"exactly all", "w/", "", 4, []string{"w/a", "w/b", "w/b/x", "w/c"}, false},
		{"first page", "w/", "", 2, []string{"w/a", "w/b"}, true},
		{"second page", "w/", "w/b", 2, []string{"w/b/x", "w/c"}, false},
		{"after a key that is gone", "w/", "w/aa", 1, []string{"w/b"}, true},
		{"after the last", "w/", "w/c", 2, nil, false},
		{"after another prefix's", "w/", "x", 2, nil, false},
		{"before the prefix", "w/", "a", 1, []string{"w/a"}, true},
		{"none", "x/", "", 2, nil, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			items, more, err := etcdstore.List(t.Context(), kv, tt.prefix, tt.after, tt.limit)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, item := range items {
				got = append(got, item.Key)
				if string(item.Value.Bytes) != "value of "+item.Key || !item.Value.Exists() {
					t.Errorf("%s holds %q", item.Key, item.Value.Bytes)
				}
			}
			if diff := cmp.Diff(tt.want, got); diff != "" || more != tt.more {
				t.Errorf("more %v (-want +got):\n%s", more, diff)
			}
		})
	}
}

// One service's names are not another's, whatever they look like.
func TestNamespaces(t *testing.T) {
	policy, err := member.KV("policy")
	if err != nil {
		t.Fatal(err)
	}
	longer, err := member.KV("policy-b")
	if err != nil {
		t.Fatal(err)
	}
	inner, err := member.KV("policy/x")
	if err != nil {
		t.Fatal(err)
	}
	create(t, policy, "a", "policy's")
	create(t, longer, "a", "another's")
	create(t, inner, "b", "inner")
	if items, _, err := etcdstore.List(t.Context(), longer, "a", "", 10); err != nil || len(items) != 1 {
		t.Errorf("got %v, %v", items, err)
	}
	if items, _, err := etcdstore.List(t.Context(), policy, "a", "", 10); err != nil || len(items) != 1 ||
		string(items[0].Value.Bytes) != "policy's" {
		t.Errorf("got %v, %v", items, err)
	}
	// Without the slash between, "policy" would see the keys of "policy-b".
	if items, _, err := etcdstore.List(t.Context(), policy, "-", "", 10); err != nil || len(items) != 0 {
		t.Errorf("another's keys are listed: %v, %v", items, err)
	}
	for _, name := range []string{"", "/", "/policy", "policy/", "Policy", "po licy", "policy\x00", strings.Repeat("a", 129)} {
		if _, err := member.KV(name); err == nil {
			t.Errorf("%q is taken", name)
		}
	}
}

// Sizes are bounded before etcd sees them, and errors say so.
func TestBounds(t *testing.T) {
	kv := newKV(t)
	ctx := t.Context()
	long := strings.Repeat("k", etcdstore.KeyBytesMax+1)
	large := make([]byte, etcdstore.ValueBytesMax+1)
	many := make([]etcdstore.Write, 129)
	manyKeys := make([]string, 129)
	for i := range many {
		manyKeys[i] = fmt.Sprintf("m/%d", i)
		many[i] = etcdstore.Put(manyKeys[i], nil)
	}
	heavy := make([]etcdstore.Write, 9)
	for i := range heavy {
		heavy[i] = etcdstore.Put(fmt.Sprintf("h/%d", i), large[:etcdstore.ValueBytesMax])
	}
	commit := func(writes ...etcdstore.Write) func() error {
		return func() error { _, err := etcdstore.Commit(ctx, kv, nil, writes...); return err }
	}
	list := func(prefix, after string, limit int) func() error {
		return func() error { _, _, err := etcdstore.List(ctx, kv, prefix, after, limit); return err }
	}
	read := func(keys ...string) func() error {
		return func() error { _, err := etcdstore.Read(ctx, kv, keys...); return err }
	}
	limit, defect := typev1.Reason_REASON_LIMIT_EXCEEDED, typev1.Reason_REASON_INTERNAL
	for _, tt := range []struct {
		name string
		call func() error
		want typev1.Reason // unspecified: it goes through
	}{
		{"the largest value", commit(etcdstore.Put("a", large[:etcdstore.ValueBytesMax])), 0},
		{"a larger value", commit(etcdstore.Put("a", large)), limit},
		{"the most writes", commit(many[:128]...), 0},
		{"more writes", commit(many...), limit},
		{"the heaviest", commit(heavy[:7]...), 0},
		{"heavier", commit(heavy...), limit},
		{"the longest key", commit(etcdstore.Put(long[1:], nil)), 0},
		{"a longer key", commit(etcdstore.Put(long, nil)), defect},
		{"no key", commit(etcdstore.Put("", nil)), defect},
		{"the same key twice", commit(etcdstore.Put("a", nil), etcdstore.Put("a", nil)), defect},
		{"a long condition", func() error {
			_, err := etcdstore.Commit(ctx, kv, []etcdstore.Condition{etcdstore.Absent(long)})
			return err
		}, defect},
		{"reading no key", read(""), defect},
		{"reading many", read(manyKeys...), limit},
		{"a page of none", list("a", "", 0), limit},
		{"a page of too many", list("a", "", etcdstore.PageMax+1), limit},
		{"a list of all", list("", "", 1), defect},
		{"a list after a long key", list("a", long, 1), defect},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := fault.ReasonOf(tt.call()); got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}

// A store that is gone is UNAVAILABLE and says nothing about money; a caller who left is told of that instead.
func TestUnavailable(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	other, err := embedded.Start(ctx, embedded.Config{Dir: filepath.Join(t.TempDir(), "etcd"), Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	kv, err := other.KV("a")
	if err != nil {
		t.Fatal(err)
	}
	left, leave := context.WithCancel(t.Context())
	leave()
	if _, err := etcdstore.Get(left, kv, "a"); !errors.Is(err, context.Canceled) || fault.Of(err).Code != codes.Canceled {
		t.Errorf("canceled: %v", err)
	}
	if err := other.Close(); err != nil {
		t.Fatal(err)
	}
	_, getErr := etcdstore.Get(t.Context(), kv, "a")
	_, commitErr := etcdstore.Commit(t.Context(), kv, nil, etcdstore.Put("a", nil))
	_, _, listErr := etcdstore.List(t.Context(), kv, "a", "", 1)
	for name, err := range map[string]error{"get": getErr, "commit": commitErr, "list": listErr} {
		f := fault.Of(err)
		if f == nil || f.Reason != typev1.Reason_REASON_UNAVAILABLE || f.MoneyMoved != typev1.MoneyMoved_MONEY_MOVED_UNKNOWN {
			t.Errorf("%s: got %v", name, err)
		}
		if f := fault.Of(fault.Wrap(err, typev1.MoneyMoved_MONEY_MOVED_NO)); f.MoneyMoved != typev1.MoneyMoved_MONEY_MOVED_NO {
			t.Errorf("%s: who knows better cannot say so", name)
		}
	}
}

// callContext bounds calls that would otherwise wait for a store that does not come.
func callContext(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func TestOpenRefuses(t *testing.T) {
	ca := authority(t)
	own := credentials(t, ca, ca)
	for _, tt := range []struct {
		name string
		c    etcdstore.Config
		want string
	}{
		{"no endpoint", etcdstore.Config{Credentials: own, Namespace: "a"}, "no endpoint"},
		{"plaintext", etcdstore.Config{Endpoints: []string{"127.0.0.1:1"}, Namespace: "a"}, "TLS 1.3"},
		{"no namespace", etcdstore.Config{Endpoints: []string{"127.0.0.1:1"}, Credentials: own}, "a namespace is"},
		{"nobody there", etcdstore.Config{Endpoints: []string{"127.0.0.1:1"}, Credentials: own, Namespace: "a"}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
			defer cancel()
			s, err := etcdstore.Open(ctx, tt.c)
			if err == nil {
				s.Close()
				t.Fatal("opened")
			}
			if !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}
