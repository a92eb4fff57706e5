package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// mountSmall mounts an empty file system of 1 MiB and 128 inodes in a mount namespace that a process of its own keeps, and
// returns where it is seen from outside. It ends with that process, whatever becomes of the test. Without a privilege the
// process gets a user namespace too. ok is whether this machine lets anybody do so.
func mountSmall(t testing.TB) (dir string, ok bool) {
	t.Helper()
	at := t.TempDir()
	keeper := exec.CommandContext(t.Context(), "sh", "-c",
		`mount -t tmpfs -o size=1m,nr_inodes=128,mode=0700 halfkey "$1" && echo mounted && exec cat`, "sh", at)
	keeper.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
	if os.Geteuid() != 0 {
		keeper.SysProcAttr.Cloneflags = syscall.CLONE_NEWUSER
		keeper.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{HostID: os.Geteuid(), Size: 1}}
		keeper.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{HostID: os.Getegid(), Size: 1}}
	}
	var stderr bytes.Buffer
	keeper.Stderr = &stderr
	stdin, err := keeper.StdinPipe() // Its end is the process's.
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := keeper.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := keeper.Start(); err != nil {
		t.Logf("no mount namespace: %v", err)
		return "", false
	}
	t.Cleanup(func() {
		_ = stdin.Close()
		_ = keeper.Wait() // Its exit code says nothing more.
	})
	said := make([]byte, len("mounted\n"))
	if n, _ := stdout.Read(said); !strings.HasPrefix(string(said[:n]), "mounted") {
		t.Logf("no mount: %s", stderr.String())
		return "", false
	}
	return filepath.Join(fmt.Sprintf("/proc/%d/root", keeper.Process.Pid), at), true
}

// fill fills a file system until so much is left, and returns what empties it again.
func fill(t testing.TB, dir string, left room) (empty func()) {
	t.Helper()
	filling, err := os.MkdirTemp(dir, "filling-")
	if err != nil {
		t.Fatal(err)
	}
	free := func() (pages, inodes, pageSize int) {
		var s syscall.Statfs_t
		if err := syscall.Statfs(dir, &s); err != nil {
			t.Fatal(err)
		}
		return int(s.Bfree), int(s.Ffree), int(s.Bsize)
	}
	pages, _, pageSize := free()
	if err := os.WriteFile(filepath.Join(filling, "pages"), make([]byte, max(0, pages-left.pages)*pageSize), 0o600); err != nil {
		t.Fatal(err)
	}
	_, inodes, _ := free()
	for i := range max(0, inodes-left.inodes) {
		if err := os.WriteFile(filepath.Join(filling, fmt.Sprint(i)), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return func() {
		if err := os.RemoveAll(filling); err != nil {
			t.Fatal(err)
		}
	}
}
