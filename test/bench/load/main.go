// Command load lets agents pay through a whole installation at a set rate, whether or not it keeps up, and prints what a payment
// took, beside what its irreducible parts take: docs/performance.md says how to read it.
//
//	go run ./test/bench/load -mode programs -rate 200 -duration 20s -agents 16
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/halfkey/halfkey/test/bench"
)

func main() {
	if ran, err := bench.Child(os.Args[1:]); ran {
		end(err)
	}
	mode := flag.String("mode", bench.AllInOne, bench.AllInOne+", or "+bench.Programs+": the five programs and etcd, each a process")
	rate := flag.Float64("rate", 100, "payments a second that become due")
	duration := flag.Duration("duration", 10*time.Second, "how long they do")
	agents := flag.Int("agents", 16, "how many agents pay in turn")
	profile := flag.String("profile", "", "where to put a CPU profile of the services; in mode "+bench.AllInOne+" alone")
	homes := flag.String("homes", "", "where the agents' homes are made, such as a file system in memory; empty is where temporary files go")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	plan := bench.Plan{Rate: *rate, Duration: *duration, Agents: *agents}
	report, err := bench.Load(ctx, *mode, plan, bench.Options{Homes: *homes, Profile: *profile})
	if err == nil {
		report.Print(os.Stdout)
		err = report.Check()
	}
	end(err)
}

func end(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "load: error:", err)
		os.Exit(1)
	}
	os.Exit(0)
}
