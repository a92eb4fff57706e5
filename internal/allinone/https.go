package allinone

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"time"

	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/halfkey/halfkey/internal/rpc/devcert"
	gatewayv1 "github.com/halfkey/halfkey/proto/gen/halfkey/gateway/v1"
)

const (
	// httpTimeout bounds each step of a request: whoever is slower holds a connection for nothing.
	httpTimeout = 10 * time.Second
	// httpHeaderMax bounds a request's head; these two resources need hardly any.
	httpHeaderMax = 16 << 10
	// healthMax bounds one health check of all services.
	healthMax = 5 * time.Second
)

// startHTTPS serves, to anyone: GET /healthz, which is 200 while every service answers that it serves, and
// GET /v1/installations, the chain of installation files from the number in `from_number` on, as the gateway's method of
// that name has it.
func (s *System) startHTTPS(l net.Listener) error {
	pair, err := s.material.authority.Issue(devcert.Leaf{Hosts: s.hosts(), Usages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}, time.Now())
	if err != nil {
		return err
	}
	certificate, err := tls.X509KeyPair(pair.Certificate, pair.Key)
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", s.healthz)
	mux.HandleFunc("GET /v1/installations", s.installations)
	s.https = &http.Server{
		Handler: mux, ReadHeaderTimeout: httpTimeout, ReadTimeout: httpTimeout, WriteTimeout: httpTimeout, IdleTimeout: time.Minute,
		MaxHeaderBytes: httpHeaderMax,
		// What a stranger's handshake did wrong is not the operator's to act on.
		ErrorLog:  slog.NewLogLogger(slog.DiscardHandler, slog.LevelError),
		TLSConfig: &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS13},
	}
	s.background.Go(func() { _ = s.https.ServeTLS(l, "", "") }) // It ends with ErrServerClosed, or with the listener.
	return nil
}

func (s *System) healthz(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), healthMax)
	defer cancel()
	for _, conn := range s.connections {
		answer, err := grpc_health_v1.NewHealthClient(conn).Check(ctx, &grpc_health_v1.HealthCheckRequest{})
		if err != nil || answer.GetStatus() != grpc_health_v1.HealthCheckResponse_SERVING {
			http.Error(w, "a service does not answer", http.StatusServiceUnavailable)
			return
		}
	}
	_, _ = w.Write([]byte("ok\n"))
}

func (s *System) installations(w http.ResponseWriter, r *http.Request) {
	req := &gatewayv1.GetInstallationsRequest{}
	if text := r.URL.Query().Get("from_number"); text != "" {
		from, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			http.Error(w, "from_number is not a number", http.StatusBadRequest)
			return
		}
		req.FromNumber = from
	}
	answer, err := s.gateway.GetInstallations(r.Context(), req)
	if err != nil {
		http.Error(w, "no installation files", http.StatusInternalServerError)
		return
	}
	b, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(answer)
	if err != nil {
		http.Error(w, "no installation files", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(b)
}
