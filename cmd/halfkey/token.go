package main

import (
	"encoding/base64"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc"

	"github.com/halfkey/halfkey/client"
	gatewayv1 "github.com/halfkey/halfkey/proto/gen/halfkey/gateway/v1"
)

// tokenCommand is `halfkey token`.
type tokenCommand struct {
	Method string `arg:"" help:"A method of the gateway, for example GetAccount."`
	Name   string `arg:"" help:"The resource that the call is about, as the method's contract says, for example wallets/{wallet}."`
	As     string `enum:"agent,owner,operator" default:"agent" help:"Who calls: ${enum}."`
	Key    string `placeholder:"FILE" help:"The operator's key, with --as operator: a file of mode 0600, or - for standard input."`
}

// tokenResult is a token for calls by hand.
type tokenResult struct {
	// Metadata is the metadata key that carries it.
	Metadata string `json:"metadata"`
	// Token is the metadata's value in base64, as gRPC writes values of keys that end in -bin.
	Token string `json:"token"`
	// Expires is when it ends.
	Expires time.Time `json:"expires"`
}

// Run makes a token; it asks nobody.
func (c *tokenCommand) Run(a *app) error {
	method, err := fullMethod(c.Method)
	if err != nil {
		return err
	}
	if c.Name == "" {
		return usage("NAME", "a token names a resource")
	}
	if (c.Key != "") != (c.As == "operator") {
		return usage("--key", "a key's file goes with --as operator, and only with it")
	}
	t, err := c.token(a, method)
	if err != nil {
		return unmoved(err)
	}
	return a.show(&tokenResult{Metadata: client.TokenMetadata, Token: base64.RawStdEncoding.EncodeToString(t.Bytes), Expires: t.Expires.UTC()})
}

func (c *tokenCommand) token(a *app, method string) (client.Token, error) {
	switch c.As {
	case "owner":
		owner, err := a.owner()
		if err != nil {
			return client.Token{}, err
		}
		return owner.Token(method, c.Name)
	case "operator":
		operator, _, err := (&operatorCommands{Key: c.Key}).operator(a)
		if err != nil {
			return client.Token{}, err
		}
		return operator.Token(method, c.Name)
	default:
		agent, err := a.agent()
		if err != nil {
			return client.Token{}, err
		}
		return agent.Token(method, c.Name)
	}
}

// fullMethod is the whole name of a method of the gateway.
func fullMethod(name string) (string, error) {
	service := gatewayv1.GatewayService_ServiceDesc
	prefix := "/" + service.ServiceName + "/"
	short := strings.TrimPrefix(strings.TrimPrefix(name, prefix), service.ServiceName+"/")
	if slices.ContainsFunc(service.Methods, func(m grpc.MethodDesc) bool { return m.MethodName == short }) ||
		slices.ContainsFunc(service.Streams, func(s grpc.StreamDesc) bool { return s.StreamName == short }) {
		return prefix + short, nil
	}
	return "", usage("METHOD", "the gateway has no such method", "value", shorten(name))
}

func (r *tokenResult) people(p *printer) { p.line("%s", r.Token) }
