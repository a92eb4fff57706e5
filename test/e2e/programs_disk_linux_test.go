package e2e_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/halfkey/halfkey/client"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// disk is a small file system that only processes see which are started on it.
type disk struct {
	t testing.TB
	// inside is where those processes see it, outside where the test does.
	inside, outside string
	enter           []string
}

// newDisk mounts one in a mount namespace that a process of its own keeps, or skips the test and says why.
func newDisk(t testing.TB, bytesMax int) *disk {
	t.Helper()
	nsenter, err := exec.LookPath("nsenter")
	if err != nil {
		t.Skipf("nothing enters a mount namespace here: %v", err)
	}
	at := t.TempDir()
	keeper := exec.CommandContext(t.Context(), "sh", "-c",
		`mount -t tmpfs -o "size=$2,mode=0700" halfkey "$1" && echo mounted && exec cat`, "sh", at, fmt.Sprint(bytesMax))
	keeper.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
	user := os.Geteuid() != 0
	if user {
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
		t.Skipf("no mount namespace here: %v", err)
	}
	t.Cleanup(func() {
		_ = stdin.Close()
		_ = keeper.Wait() // Its exit code says nothing more.
	})
	said := make([]byte, len("mounted\n"))
	if n, _ := stdout.Read(said); !strings.HasPrefix(string(said[:n]), "mounted") {
		t.Skipf("nothing can be mounted here: %s", stderr.String())
	}
	proc := fmt.Sprintf("/proc/%d", keeper.Process.Pid)
	d := &disk{t: t, inside: at, outside: filepath.Join(proc, "root", at), enter: []string{nsenter, "--mount=" + proc + "/ns/mnt"}}
	if user {
		d.enter = append(d.enter, "--user="+proc+"/ns/user", "--preserve-credentials")
	}
	return d
}

// put makes a program's processes see the disk.
func (d *disk) put(p *program) {
	on := p.command
	p.command = func(args ...string) *exec.Cmd {
		cmd := on(args...)
		cmd.Args = append(append(append([]string(nil), d.enter...), "--", cmd.Path), cmd.Args[1:]...)
		cmd.Path = d.enter[0]
		return cmd
	}
}

// fill takes what is left, and returns what gives it back.
func (d *disk) fill() (empty func()) {
	d.t.Helper()
	path := filepath.Join(d.outside, "filling")
	f, err := os.Create(path)
	for err == nil {
		_, err = f.Write(make([]byte, 4<<10))
	}
	if !errors.Is(err, syscall.ENOSPC) {
		d.t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		d.t.Fatal(err)
	}
	return func() { remove(d.t, path) }
}

// released is how often the co-signer has given a share away.
func (s *site) released() int {
	n := 0
	for line := range strings.Lines(s.programs["cosigner"].logs.String()) {
		if strings.Contains(line, "CosignerService/Release") && strings.Contains(line, `"code":"OK"`) {
			n++
		}
	}
	return n
}

// refuses pays until that is refused because something is not available, and demands that the refused one released nothing.
func (s *site) refuses(ctx context.Context, t *testing.T, p *people, payer int, prefix string) (paid int) {
	t.Helper()
	const most = 100 // What is left in the files of a store takes fewer.
	for n := range most {
		before := s.released()
		got, err := p.payers[payer].Pay(ctx, p.order(fmt.Sprintf("%s-%d", prefix, n)))
		if err == nil && got.State == settled {
			paid++
			continue
		}
		if client.ReasonOf(err) != typev1.Reason_REASON_UNAVAILABLE {
			t.Fatalf("on a full disk: %v, %v, want UNAVAILABLE", got, err)
		}
		// A payment whose hold found room, and whose settlement did not, is the one that may have been released.
		if after := s.released(); after != before {
			payment, err := p.payers[payer].Payment(ctx, fmt.Sprintf("%s-%d", prefix, n))
			if err != nil || payment.State != authorized || after != before+1 {
				t.Fatalf("%d shares were given away for %v, %v", after-before, payment, err)
			}
			continue
		}
		return paid
	}
	t.Fatalf("%d payments were paid on a full disk", most)
	return 0
}

// A ledger whose disk is full records nothing and so nothing is released; freezes are acknowledged from its reserve, also after it was
// killed; and when there is room again payments go on by themselves.
func TestProgramsLedgerDiskFull(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	d := newDisk(t, 24<<20)
	s := newSite(t)
	ledger := s.programs["ledger"]
	change(t, ledger.config, "database: ledger.db", "database: "+filepath.Join(d.inside, "ledger.db"))
	d.put(ledger)
	s.up()
	p := s.people(ctx, t, 2)
	p.pay(ctx, t, 0, "first")

	empty := d.fill()
	s.refuses(ctx, t, p, 1, "full")
	freeze := func(id string) {
		t.Helper()
		if status, err := p.owner.Freeze(ctx, p.payers[0].Wallet(), id); err != nil || !status.Frozen {
			t.Fatalf("freeze %s on a full disk: %v, %v", id, status, err)
		}
	}
	for n := range 5 {
		freeze(fmt.Sprintf("stop-%d", n))
	}
	s.refuses(ctx, t, p, 1, "frozen")
	if !ledger.ready() {
		t.Error("a ledger that takes freezes is not ready")
	}
	ledger.kill()
	ledger.start()
	ledger.awaitReady()
	freeze("stop-after-restart")
	s.refuses(ctx, t, p, 1, "restarted")

	empty()
	for _, prefix := range []string{"full", "frozen", "restarted"} {
		for n := 0; ; n++ {
			id := fmt.Sprintf("%s-%d", prefix, n)
			known, err := p.payers[1].Payment(ctx, id)
			awaits(t, id+" is paid when there is room again", func() bool {
				got, err := p.payers[1].Pay(ctx, p.order(id))
				return err == nil && got.State == settled
			})
			if err != nil || known.State != settled { // The last one of its kind.
				break
			}
		}
	}
	if _, err := p.payers[0].Pay(ctx, p.order("frozen")); client.ReasonOf(err) != typev1.Reason_REASON_FROZEN {
		t.Errorf("a wallet that was frozen on a full disk: %v", err)
	}
	payments := statesOf(ctx, t, p.payers[1], false)
	wantBalance(ctx, t, p.payers[1], deposited-int64(len(payments))*usd)
	wantBalance(ctx, t, p.payers[0], deposited-usd)
	wantBalance(ctx, t, p.shop, int64(len(payments)+1)*usd)
	observer := s.client(t, "observer")
	for _, a := range append(p.payers, p.shop) {
		journal, err := a.Journal(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if err := journal.Verify(observer.Installation()); err != nil {
			t.Errorf("journal of %s: %v", a.Handle(), err)
		}
	}
}

// root is etcd's administrator.
func (s *site) root(t testing.TB) *clientv3.Client {
	t.Helper()
	etcd, err := clientv3.New(s.member.root(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = etcd.Close() })
	return etcd
}

// junk writes to etcd until it takes no more, and returns why.
func junk(ctx context.Context, t testing.TB, etcd *clientv3.Client) error {
	t.Helper()
	const most = 4096
	for n := range most {
		once, cancel := context.WithTimeout(ctx, 5*time.Second)
		_, err := etcd.Put(once, fmt.Sprintf("junk/%d", n), strings.Repeat("x", 64<<10))
		cancel()
		if err != nil {
			return rpctypes.Error(err)
		}
	}
	t.Fatalf("etcd takes %d times 64 KiB", most)
	return nil
}

// An etcd that has reached its quota takes no writes: what needs one is UNAVAILABLE, and what a holder could record is in force. When
// somebody has made room and lifted the alarm, everything goes on.
func TestProgramsEtcdQuota(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	s := newSite(t)
	s.member.Quota = 4 << 20
	s.up()
	p := s.people(ctx, t, 2)
	etcd := s.root(t)
	if err := junk(ctx, t, etcd); !errors.Is(err, rpctypes.ErrNoSpace) {
		t.Fatalf("got %v, want NOSPACE", err)
	}
	unavailable := func(what string, err error) {
		t.Helper()
		if client.ReasonOf(err) != typev1.Reason_REASON_UNAVAILABLE {
			t.Errorf("%s: %v, want UNAVAILABLE", what, err)
		}
	}
	_, err := p.owner.Freeze(ctx, p.payers[0].Wallet(), "stop")
	unavailable("a freeze that the co-signer cannot store", err)
	if _, err := p.payers[0].Pay(ctx, p.order("stopped")); client.ReasonOf(err) != typev1.Reason_REASON_FROZEN {
		t.Errorf("a freeze that the ledger has: %v", err)
	}
	rules := client.StandardRules(p.shop.GroupKey())
	rules.Daily = 1
	_, err = p.owner.SetGuardRails(ctx, p.payers[1].Wallet(), rules)
	unavailable("guard rails", err)
	_, err = s.client(t, "late").Register(ctx, client.RegisterOptions{Name: "late", OwnerEmail: "you@company.com"})
	unavailable("a registration", err)
	p.pay(ctx, t, 1, "nothing-is-written-for-a-payment")

	got, err := etcd.Delete(ctx, "junk/", clientv3.WithPrefix())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := etcd.Compact(ctx, got.Header.GetRevision()); err != nil {
		t.Fatal(err)
	}
	if _, err := etcd.Defragment(ctx, s.member.Address); err != nil {
		t.Fatal(err)
	}
	if _, err := etcd.AlarmDisarm(ctx, &clientv3.AlarmMember{}); err != nil {
		t.Fatal(err)
	}
	awaits(t, "the freeze is in force everywhere", func() bool {
		status, err := p.owner.Freeze(ctx, p.payers[0].Wallet(), "stop")
		return err == nil && status.Frozen
	})
	if _, err := p.owner.SetGuardRails(ctx, p.payers[1].Wallet(), rules); err != nil {
		t.Errorf("guard rails when there is room: %v", err)
	}
}

// An etcd whose disk is full ends. Then nothing is released, and when it was started again with room everything that was acknowledged
// is there.
func TestProgramsEtcdDiskFull(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	d := newDisk(t, 24<<20)
	s := newSite(t)
	s.member.Dir, s.member.Segment = filepath.Join(d.inside, "etcd"), 1<<20
	d.put(s.etcd)
	s.up()
	p := s.people(ctx, t, 2)
	p.pay(ctx, t, 0, "first")
	if _, err := p.owner.Freeze(ctx, p.payers[1].Wallet(), "stop"); err != nil {
		t.Fatal(err)
	}
	empty := d.fill()
	if err := junk(ctx, t, s.root(t)); err == nil {
		t.Fatal("a full disk takes everything")
	}
	awaits(t, "etcd has ended", func() bool { return !s.etcd.running() })
	s.refuses(ctx, t, p, 0, "full")
	for _, name := range programNames {
		if !s.programs[name].running() {
			t.Errorf("%s has ended with etcd", name)
		}
	}
	empty()
	s.etcd.start()
	awaits(t, "payments go on", func() bool {
		got, err := p.payers[0].Pay(ctx, p.order("full-0"))
		return err == nil && got.State == settled
	})
	if _, err := p.payers[1].Pay(ctx, p.order("stopped")); client.ReasonOf(err) != typev1.Reason_REASON_FROZEN {
		t.Errorf("a freeze that was acknowledged before: %v", err)
	}
	wantBalance(ctx, t, p.shop, 2*usd)
}
