package embedded_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/halfkey/halfkey/internal/etcdstore"
	"github.com/halfkey/halfkey/internal/etcdstore/embedded"
)

func start(t *testing.T, dir string) *embedded.Server {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	s, err := embedded.Start(ctx, embedded.Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func TestStartAgainHasEverything(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "etcd")
	first := start(t, dir)
	kv, err := first.KV("cosigner")
	if err != nil {
		t.Fatal(err)
	}
	if _, created, err := etcdstore.Create(t.Context(), kv, "pins/a", []byte("one")); err != nil || !created {
		t.Fatalf("create: %v, %v", created, err)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}

	second := start(t, dir)
	kv, err = second.KV("cosigner")
	if err != nil {
		t.Fatal(err)
	}
	got, err := etcdstore.Get(t.Context(), kv, "pins/a")
	if err != nil || string(got.Bytes) != "one" {
		t.Fatalf("after a start: %q, %v", got.Bytes, err)
	}
}

func TestStartRefuses(t *testing.T) {
	used := t.TempDir()
	if err := os.Chmod(used, 0o700); err != nil {
		t.Fatal(err)
	}
	start(t, used)
	readable := t.TempDir()
	if err := os.Chmod(readable, 0o750); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, dir, want string
		is              error
	}{
		{name: "no directory", dir: "", want: "no directory"},
		{name: "a file", dir: file, want: "not a directory"},
		{name: "readable by others", dir: readable, want: "0700", is: fs.ErrPermission},
		{name: "used by another", dir: used, want: "another process"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, err := embedded.Start(t.Context(), embedded.Config{Dir: tt.dir})
			if err == nil {
				s.Close()
				t.Fatal("started")
			}
			if !strings.Contains(err.Error(), tt.want) || tt.is != nil && !errors.Is(err, tt.is) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}

func TestKVAfterClose(t *testing.T) {
	s := start(t, filepath.Join(t.TempDir(), "etcd"))
	kv, err := s.KV("policy")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := etcdstore.Get(t.Context(), kv, "a"); err == nil {
		t.Error("a closed member answers")
	}
	if err := s.Close(); err != nil {
		t.Errorf("closing twice: %v", err)
	}
}
