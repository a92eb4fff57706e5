package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"path/filepath"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/halfkey/halfkey/client"
	gatewayv1 "github.com/halfkey/halfkey/proto/gen/halfkey/gateway/v1"
)

// A token lets a call by hand through, for its method and its resource alone.
func TestTokenForACallByHand(t *testing.T) {
	home := filepath.Join(t.TempDir(), "home")
	wallet, err := newAgent(home, "hand-agent", false)
	if err != nil {
		t.Fatal(err)
	}
	got := inProcess(t.Context(), map[string]string{client.HomeVariable: home}, "", "token", "GetAccount", wallet, "--json")
	if got.code != exitDone {
		t.Fatalf("%+v", got)
	}
	token := object(t, got.stdout)
	raw, err := base64.RawStdEncoding.DecodeString(token["token"].(string))
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM([]byte(world.system.Installation().Content().GetCaPem()))
	conn, err := grpc.NewClient(world.system.Address(), grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{
		MinVersion: tls.VersionTLS13, RootCAs: roots,
	})))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	gateway := gatewayv1.NewGatewayServiceClient(conn)
	ctx, cancel := context.WithTimeout(t.Context(), stepMax)
	defer cancel()
	signed := metadata.AppendToOutgoingContext(ctx, token["metadata"].(string), string(raw))

	account, err := gateway.GetAccount(signed, &gatewayv1.GetAccountRequest{Wallet: wallet})
	if err != nil || len(account.GetBalances()) != 1 {
		t.Errorf("got %v, %v", account, err)
	}
	if _, err := gateway.GetAccount(ctx, &gatewayv1.GetAccountRequest{Wallet: wallet}); status.Code(err) != codes.Unauthenticated {
		t.Errorf("without the token: got %v", err)
	}
	if _, err := gateway.ListPayments(signed, &gatewayv1.ListPaymentsRequest{Parent: wallet}); err == nil {
		t.Error("the token lets another method through")
	}
	if _, err := gateway.GetAccount(signed, &gatewayv1.GetAccountRequest{Wallet: "wallets/another"}); err == nil {
		t.Error("the token lets a call about another wallet through")
	}
}
