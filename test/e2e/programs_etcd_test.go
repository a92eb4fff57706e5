package e2e_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"go.etcd.io/etcd/client/pkg/v3/transport"
	"go.etcd.io/etcd/server/v3/embed"
	"go.etcd.io/etcd/server/v3/storage/wal"
	"go.uber.org/zap"
)

// etcdConfig tells this test's binary, run again, to be an etcd.
const etcdConfig = "HALFKEY_E2E_ETCD"

// member is an etcd that listens with mutual TLS, as production's do.
type member struct {
	Dir, TLS, Address string
	// Quota is the size at which it takes no further writes; 0 is etcd's own.
	Quota int64
	// Segment is the size of its log's files, which it takes from the disk before it uses it; 0 is etcd's own.
	Segment int64
}

// serveEtcd runs a member until SIGTERM.
func serveEtcd(config string) error {
	var m member
	if err := json.Unmarshal([]byte(config), &m); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	c := embed.NewConfig()
	c.Dir = m.Dir
	c.TickMs, c.ElectionMs = 20, 200
	c.InitialElectionTickAdvance = false // As the embedded one, when it has data.
	c.ListenPeerUrls = nil
	c.ListenClientUrls = []url.URL{{Scheme: "https", Host: m.Address}}
	c.AdvertiseClientUrls = c.ListenClientUrls
	c.EnableGRPCGateway = false
	c.QuotaBackendBytes = m.Quota
	if m.Segment > 0 {
		wal.SegmentSizeBytes = m.Segment
	}
	c.ClientTLSInfo = transport.TLSInfo{
		CertFile: filepath.Join(m.TLS, "server.pem"), KeyFile: filepath.Join(m.TLS, "server.key"),
		TrustedCAFile: filepath.Join(m.TLS, "ca.pem"), ClientCertAuth: true,
	}
	logger, err := zap.Config{
		Level: zap.NewAtomicLevelAt(zap.WarnLevel), Encoding: "json",
		OutputPaths: []string{"stderr"}, EncoderConfig: zap.NewProductionEncoderConfig(),
	}.Build()
	if err != nil {
		return err
	}
	c.ZapLoggerBuilder = embed.NewZapLoggerBuilder(logger)
	etcd, err := embed.StartEtcd(c)
	if err != nil {
		return err
	}
	defer etcd.Close()
	select {
	case <-ctx.Done():
		return nil
	case err := <-etcd.Err():
		return fmt.Errorf("ended: %w", err)
	case <-etcd.Server.StopNotify():
		fmt.Fprintln(os.Stderr, "the member has stopped")
		return nil
	}
}
