package ledger

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"github.com/halfkey/halfkey/internal/evidence/evidencetest"
	"github.com/halfkey/halfkey/internal/fault"
	"github.com/halfkey/halfkey/internal/telemetry/instrument"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// diskPath tells this test's binary, run again, that a file system of its own is mounted there.
const diskPath = "HALFKEY_LEDGER_DISK_PATH"

// diskBytes is its size: the reserve, and some transactions.
const diskBytes = 2 * reserveBytes

// On a full disk nothing is recorded but freezes, which are stored in the room that is kept for them, also after a restart. When
// there is room again everything is recorded again, without anybody doing anything.
func TestFullDisk(t *testing.T) {
	if dir := os.Getenv(diskPath); dir != "" {
		fillDisk(t, dir)
		return
	}
	// The process gets a mount namespace, and without the privilege for one a user namespace too.
	child := exec.CommandContext(t.Context(), "sh", "-c",
		`mount -t tmpfs -o size=$2,mode=0700 halfkey "$1" || exit 77; shift 2; exec "$@"`,
		"sh", t.TempDir(), fmt.Sprint(diskBytes), os.Args[0], "-test.run=^TestFullDisk$", "-test.v")
	child.Env = append(os.Environ(), diskPath+"="+child.Args[4])
	child.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
	if os.Geteuid() != 0 {
		child.SysProcAttr.Cloneflags = syscall.CLONE_NEWUSER
		child.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{HostID: os.Geteuid(), Size: 1}}
		child.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{HostID: os.Getegid(), Size: 1}}
	}
	out, err := child.CombinedOutput()
	if child.ProcessState == nil || child.ProcessState.ExitCode() == 77 {
		t.Skipf("nothing can be mounted here: %v\n%s", err, out)
	}
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Logf("%s", out)
}

// fill takes what is left of a disk, and returns what gives it back.
func fill(t *testing.T, dir string) (empty func()) {
	t.Helper()
	path := filepath.Join(dir, "filling")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	for err == nil {
		_, err = f.Write(make([]byte, 4<<10))
	}
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
}

// gauge is what a metric says now; -1 if it says nothing. A ledger that was opened again says it last.
func gauge(t *testing.T, from sdkmetric.Reader, m instrument.Metric) int64 {
	t.Helper()
	var all metricdata.ResourceMetrics
	if err := from.Collect(t.Context(), &all); err != nil {
		t.Fatal(err)
	}
	for _, scope := range all.ScopeMetrics {
		for _, found := range scope.Metrics {
			if points, ok := found.Data.(metricdata.Gauge[int64]); ok && found.Name == m.Name && len(points.DataPoints) == 1 {
				return points.DataPoints[0].Value
			}
		}
	}
	return -1
}

func fillDisk(t *testing.T, dir string) {
	f := &fixture{World: evidencetest.New(t), t: t, path: filepath.Join(dir, "ledger.db")}
	f.clock.set(noon)
	scraper := sdkmetric.NewManualReader()
	f.meter = sdkmetric.NewMeterProvider(sdkmetric.WithReader(scraper))
	wantGauges := func(when string, whole, size int64) {
		t.Helper()
		for m, want := range map[instrument.Metric]int64{instrument.ReserveWhole: whole, instrument.ReserveSize: size} {
			if got := gauge(t, scraper, m); got != want {
				t.Errorf("%s: %s is %d, want %d", when, m.Name, got, want)
			}
		}
	}
	f.open()
	defer f.close()
	wantGauges("with room", 1, reserveBytes)
	payer, payee := f.two()
	other := f.wallet("other", paying([]*evidencetest.Wallet{payee}, loose))
	f.deposit(other, "d2", 1000*usd)
	n := 0
	pay := func(w *evidencetest.Wallet) (*typev1.Payment, error) {
		n++
		return f.create(f.payment(w, evidencetest.PaymentConfig{ID: fmt.Sprintf("p-%d", n), To: payee.GroupKey, Units: 1}))
	}
	freezes := 0
	freeze := func(w *evidencetest.Wallet) {
		t.Helper()
		freezes++
		f.freeze(w, fmt.Sprintf("stop-%d", freezes))
	}
	if got, err := pay(payer); err != nil || got.GetState() != authorized {
		t.Fatalf("with room: %v, %v", got, err)
	}

	empty := fill(t, dir)
	refused := func() {
		t.Helper()
		// What SQLite's log has left of its own may still take some.
		const most = 100
		for range most {
			got, err := pay(other)
			if err == nil {
				continue
			}
			if is := fault.Of(err); is.Reason != typev1.Reason_REASON_UNAVAILABLE || is.MoneyMoved == movedYes {
				t.Fatalf("on a full disk: %v", err)
			}
			if got != nil {
				t.Fatalf("on a full disk an answer: %v", got)
			}
			return
		}
		t.Fatalf("%d payments were recorded on a full disk", most)
	}
	refused()
	const many = 100 // Far more than what lies around of any file.
	for range many {
		freeze(payer)
	}
	refused()
	wantGauges("after freezes on a full disk", 0, 0)
	f.reopen()
	refused()
	freeze(payer)
	if got := f.freezes(payer); !got.GetFrozen() || len(got.GetFreezes()) != freezes {
		t.Errorf("%d freezes are held, and %d were acknowledged", len(got.GetFreezes()), freezes)
	}
	f.get(fmt.Sprintf("%s/payments/p-1", payer.Name))

	empty()
	for end := time.Now().Add(time.Minute); ; time.Sleep(reserveEvery / 10) {
		got, err := pay(other)
		if err == nil && got.GetState() == authorized {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("with room again: %v, %v", got, err)
		}
	}
	if info, err := os.Stat(f.path + ".reserve"); err != nil || info.Size() != reserveBytes {
		t.Errorf("the reserve is %v, %v", info, err)
	}
	wantGauges("with room again", 1, reserveBytes)
	if err := os.Rename(f.path+".reserve", f.path+".elsewhere"); err != nil {
		t.Fatal(err)
	}
	wantGauges("without the file", 0, 0)
	if err := os.Rename(f.path+".elsewhere", f.path+".reserve"); err != nil {
		t.Fatal(err)
	}
	_, err := pay(payer)
	wantReason(t, err, typev1.Reason_REASON_FROZEN, movedNo)
	f.check()

	// A reserve that was not there to be made is none: a ledger starts on what room there is, and says so.
	f.close()
	if err := os.Remove(f.path + ".reserve"); err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	room := make([]byte, 1<<20)
	if err := os.WriteFile(filepath.Join(dir, "room"), room, 0o600); err != nil {
		t.Fatal(err)
	}
	fill(t, dir)
	if err := os.Remove(filepath.Join(dir, "room")); err != nil {
		t.Fatal(err)
	}
	f.open()
	if _, err := pay(other); fault.Of(err).Reason != typev1.Reason_REASON_UNAVAILABLE {
		t.Errorf("a ledger that has no reserve records %v", err)
	}
	freeze(other)
	f.check()
}
