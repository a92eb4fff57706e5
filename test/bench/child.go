package bench

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"net/url"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"go.etcd.io/etcd/server/v3/embed"

	"github.com/halfkey/halfkey/internal/allinone"
	"github.com/halfkey/halfkey/internal/authz"
	"github.com/halfkey/halfkey/internal/program"
	"github.com/halfkey/halfkey/internal/telemetry"
)

// First arguments that make this program one of the processes under load instead.
const (
	childAllInOne = "child-all-in-one"
	childEtcd     = "child-etcd"
	childHop      = "child-hop"
)

// drainMax bounds how long a process under load takes to end.
const drainMax = 20 * time.Second

// Child runs a process under load, if the arguments ask for one.
func Child(args []string) (ran bool, err error) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	switch {
	case len(args) == 3 && args[0] == childAllInOne:
		return true, runAllInOne(ctx, args[1], args[2])
	case len(args) == 5 && args[0] == childEtcd:
		return true, runEtcd(ctx, args[1], args[2], args[3], args[4])
	case len(args) == 3 && args[0] == childHop:
		return true, serveHops(ctx, args[1], args[2])
	}
	return false, nil
}

// runAllInOne serves an installation in one process as halfkey-dev does, with telemetry as the five programs have it, and beside it
// metrics and profiles.
func runAllInOne(ctx context.Context, dir, address string) (err error) {
	program.CollectLess()
	logger := slog.New(slog.NewJSONHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	observed := make(map[authz.Service]*telemetry.Telemetry)
	mux := http.NewServeMux()
	for _, name := range authz.Services() {
		t, err := telemetry.New(ctx, telemetry.Config{
			Service: string(name), Installation: "bench", Version: "bench", SampleRatio: sampleRatio, LogOutput: os.Stderr, LogLevel: slog.LevelWarn,
		})
		if err != nil {
			return err
		}
		observed[name] = t
		mux.Handle("GET /metrics/"+string(name), t.Metrics())
	}
	system, err := allinone.Start(ctx, allinone.Config{DataDir: dir, Listen: "127.0.0.1:0", Logger: logger, Telemetry: observed})
	if err != nil {
		return err
	}
	defer func() {
		drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainMax)
		defer cancel()
		err = errors.Join(err, system.Stop(drain))
	}()
	code := filepath.Join(dir, "bootstrap.code")
	if err := os.WriteFile(code, []byte(system.BootstrapCode()), 0o600); err != nil { //nolint:gosec // where the parent said
		return err
	}
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ready") })
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	l, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	server := &http.Server{Handler: mux, ReadHeaderTimeout: drainMax}
	go func() { _ = server.Serve(l) }()
	<-ctx.Done()
	return server.Close()
}

// sampleRatio is the share of payments that are traced, as the example configurations have it.
const sampleRatio = 0.1

// runEtcd is one etcd member over mutual TLS.
func runEtcd(ctx context.Context, dir, certificates, address, metrics string) error {
	client, err := url.Parse("https://" + address)
	if err != nil {
		return err
	}
	scraped, err := url.Parse("http://" + metrics)
	if err != nil {
		return err
	}
	c := embed.NewConfig()
	c.Dir, c.LogLevel = dir, "fatal" // It calls the closing of its listeners an error.
	c.ListenPeerUrls = nil
	c.ListenClientUrls, c.AdvertiseClientUrls = []url.URL{*client}, []url.URL{*client}
	c.ListenMetricsUrls = []url.URL{*scraped}
	c.ClientTLSInfo.CertFile, c.ClientTLSInfo.KeyFile = filepath.Join(certificates, "server.pem"), filepath.Join(certificates, "server.key")
	c.ClientTLSInfo.TrustedCAFile, c.ClientTLSInfo.ClientCertAuth = filepath.Join(certificates, "ca.pem"), true
	etcd, err := embed.StartEtcd(c)
	if err != nil {
		return err
	}
	defer etcd.Close()
	select {
	case <-ctx.Done():
		return nil
	case err := <-etcd.Err():
		return err
	}
}
