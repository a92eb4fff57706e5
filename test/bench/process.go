package bench

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// readyMax bounds how long a process may take until it serves, endMax until it has ended.
	readyMax = time.Minute
	endMax   = 30 * time.Second
	// metricsMax bounds one scrape.
	metricsMax = 16 << 20
)

// process is a program of the system under load.
type process struct {
	name string
	cmd  *exec.Cmd
	// metrics is the URL of its metrics.
	metrics string
	// ended is closed when it has ended, with err.
	ended chan struct{}
	err   error
}

// start starts a program. Its log goes to this process's standard error.
func start(name, metrics, path string, args ...string) (*process, error) {
	p := &process{name: name, metrics: metrics, ended: make(chan struct{})}
	p.cmd = exec.Command(path, args...) //nolint:gosec // what it has just built itself
	p.cmd.Stderr = os.Stderr
	// Whatever ends this process, its programs do not outlive it.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.ended)
	}()
	return p, nil
}

// end stops the program as an operator does.
func (p *process) end() error {
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	timer := time.AfterFunc(endMax, func() { _ = p.cmd.Process.Kill() })
	defer timer.Stop()
	<-p.ended
	if p.err != nil {
		return fmt.Errorf("%s: %w", p.name, p.err)
	}
	return nil
}

// cpu is the processor time that a process has used since it began, all its threads together.
func cpuOf(pid int) (time.Duration, error) {
	// The clock of another process, as clock_getcpuclockid(3) makes it.
	var at unix.Timespec
	if err := unix.ClockGettime(int32(^pid<<3|2), &at); err != nil {
		return 0, fmt.Errorf("processor time of process %d: %w", pid, err)
	}
	return time.Duration(at.Nano()), nil
}

// clockTick is the unit of /proc/stat: Linux shows user space hundredths of a second, whatever it counts in.
const clockTick = 10 * time.Millisecond

// machineCPU is the time that all CPUs together have not been idle, since the machine began.
func machineCPU() (time.Duration, error) {
	b, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, err
	}
	first, _, _ := strings.Cut(string(b), "\n")
	fields := strings.Fields(first)
	// cpu user nice system idle iowait irq softirq steal guest guest_nice; guests are in user and nice already.
	if len(fields) < 9 || fields[0] != "cpu" {
		return 0, fmt.Errorf("/proc/stat begins with %q", first)
	}
	var ticks uint64
	for i, f := range fields[1:9] {
		n, err := strconv.ParseUint(f, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("/proc/stat: %w", err)
		}
		if i != 3 && i != 4 {
			ticks += n
		}
	}
	return time.Duration(ticks) * clockTick, nil
}

// ready waits until a URL of the program answers 200.
func (p *process) ready(ctx context.Context, url string) error {
	ctx, cancel := context.WithTimeout(ctx, readyMax)
	defer cancel()
	for {
		body, err := get(ctx, url)
		if err == nil {
			return body.Close()
		}
		select {
		case <-p.ended:
			return fmt.Errorf("%s: it has ended", p.name)
		case <-ctx.Done():
			return fmt.Errorf("%s: it does not serve: %w", p.name, err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func get(ctx context.Context, url string) (io.ReadCloser, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	resp, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(req) // No proxy: these are on this host.
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		return nil, errors.Join(fmt.Errorf("%s: %s", url, resp.Status), resp.Body.Close())
	}
	return resp.Body, nil
}

// counter is the sum of a metric's series in which every one of labels stands, such as method="Judge".
func counter(ctx context.Context, url, name string, labels ...string) (float64, error) {
	body, err := get(ctx, url)
	if err != nil {
		return 0, err
	}
	defer func() { _ = body.Close() }()
	var sum float64
	found := false
	lines := bufio.NewScanner(io.LimitReader(body, metricsMax))
	lines.Buffer(nil, 1<<20)
series:
	for lines.Scan() {
		rest, ok := strings.CutPrefix(lines.Text(), name)
		if !ok || rest == "" || rest[0] != '{' && rest[0] != ' ' {
			continue
		}
		found = true
		for _, l := range labels {
			if !strings.Contains(rest, l) {
				continue series
			}
		}
		value, err := strconv.ParseFloat(rest[strings.LastIndexByte(rest, ' ')+1:], 64)
		if err != nil {
			return 0, fmt.Errorf("%s: %s: %w", url, name, err)
		}
		sum += value
	}
	if err := lines.Err(); err != nil {
		return 0, err
	}
	if !found {
		return 0, fmt.Errorf("%s: no metric %s", url, name)
	}
	return sum, nil
}
