package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/halfkey/halfkey/internal/authz"
)

// restTime is how long the system is watched while nobody pays.
const restTime = 2 * time.Second

// callsMetric counts the calls that a server has answered.
const callsMetric = "rpc_server_call_duration_seconds_count"

// Options say where things of a run go; their zero is usable.
type Options struct {
	// Homes is the directory that the agents' homes are made in; empty is the system's for temporary files. On a file system in
	// memory the agents' durable files cost next to nothing, as if they were on machines of their own.
	Homes string
	// Profile is the file that the services' CPU profile goes to; empty makes none.
	Profile string
}

// Load starts an installation in one mode, lets agents pay by a plan, and measures the irreducible parts of a payment and what the
// payments of the run took.
func Load(ctx context.Context, mode string, plan Plan, options Options) (_ *Report, err error) {
	profile := options.Profile
	if mode != AllInOne && mode != Programs {
		return nil, fmt.Errorf("mode %q: want %s or %s", mode, AllInOne, Programs)
	}
	if profile != "" && mode != AllInOne {
		return nil, fmt.Errorf("a profile is made in mode %s alone: the programs have no listener for it", AllInOne)
	}
	if err := plan.check(); err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "halfkey-load-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	homes, err := os.MkdirTemp(options.Homes, "halfkey-homes-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(homes)) }()
	r := &Report{Mode: mode, Plan: plan}
	if r.floor, err = newFloor(ctx, mode, filepath.Join(dir, "parts"), homes); err != nil {
		return nil, fmt.Errorf("making the parts: %w", err)
	}
	defer r.floor.close()
	if err := r.floor.measure(ctx); err != nil {
		return nil, err
	}
	s, err := startSystem(ctx, mode, dir)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.end()) }()
	w, err := newWorld(ctx, homes, s.access, plan.Agents)
	if err != nil {
		return nil, err
	}
	defer w.close()

	resting, err := s.take(ctx)
	if err != nil {
		return nil, err
	}
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-time.After(restTime):
	}
	before, err := s.take(ctx)
	if err != nil {
		return nil, err
	}
	r.rest = before.since(resting)
	profiled := make(chan error, 1)
	go func() { profiled <- s.saveProfile(ctx, profile, plan.Duration) }()
	began := time.Now()
	if r.Outcome, err = Run(ctx, plan, w.pay); err != nil {
		return nil, err
	}
	after, err := s.take(ctx)
	if err != nil {
		return nil, err
	}
	r.used, r.took = after.since(before), time.Since(began)
	if err := r.floor.measure(ctx); err != nil {
		return nil, err
	}
	r.floor.share(float64(r.used.transactions) / float64(max(r.Outcome.Paid, 1)))
	if err := r.floor.pace(ctx, plan); err != nil {
		return nil, fmt.Errorf("the parts at the run's rate: %w", err)
	}
	if err := <-profiled; err != nil {
		return nil, fmt.Errorf("profile: %w", err)
	}
	r.Settled, err = w.settled(ctx)
	return r, err
}

// usage is what the processes have used so far, by name; the agents are this process.
type usage struct {
	cpu map[string]time.Duration
	// machine is what all programs together have used, and what a virtual machine was denied.
	machine time.Duration
	// calls are those that each service's server has answered.
	calls map[string]float64
	// transactions are the ledger's durable ones.
	transactions uint32
	// reads are the calls that etcd has answered about keys, and syncs its durable writes; -1 where it is embedded and shows none.
	reads, syncs float64
}

func (s *system) take(ctx context.Context) (*usage, error) {
	u := &usage{cpu: map[string]time.Duration{agent: cpu()}, calls: make(map[string]float64), reads: -1, syncs: -1}
	var err error
	if u.machine, err = machineCPU(); err != nil {
		return nil, err
	}
	if u.transactions, err = transactions(s.database); err != nil {
		return nil, err
	}
	for _, p := range s.processes {
		used, err := cpuOf(p.cmd.Process.Pid)
		if err != nil {
			return nil, err
		}
		u.cpu[p.name] = used
		switch p.name {
		case "etcd":
			if u.reads, err = counter(ctx, p.metrics, "grpc_server_handled_total", `grpc_service="etcdserverpb.KV"`); err == nil {
				u.syncs, err = counter(ctx, p.metrics, "etcd_disk_wal_fsync_duration_seconds_count")
			}
		case AllInOne:
			for _, name := range authz.Services() {
				if u.calls[string(name)], err = counter(ctx, p.metrics+"/"+string(name), callsMetric); err != nil {
					break
				}
			}
		default:
			u.calls[p.name], err = counter(ctx, p.metrics, callsMetric)
		}
		if err != nil {
			return nil, err
		}
	}
	return u, nil
}

func (u *usage) since(before *usage) *usage {
	d := &usage{
		cpu: make(map[string]time.Duration), machine: u.machine - before.machine, calls: make(map[string]float64),
		transactions: u.transactions - before.transactions, reads: u.reads, syncs: u.syncs,
	}
	for name, used := range u.cpu {
		d.cpu[name] = used - before.cpu[name]
	}
	for name, calls := range u.calls {
		d.calls[name] = calls - before.calls[name]
	}
	if u.syncs >= 0 {
		d.reads, d.syncs = u.reads-before.reads, u.syncs-before.syncs
	}
	return d
}

// saveProfile writes the system's CPU profile of the time from now on.
func (s *system) saveProfile(ctx context.Context, file string, d time.Duration) (err error) {
	if file == "" {
		return nil
	}
	body, err := get(ctx, fmt.Sprintf("%s?seconds=%d", s.profile, max(1, int(d.Seconds()))))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, body.Close()) }()
	f, err := os.OpenFile(file, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, body)
	return errors.Join(err, f.Close())
}
