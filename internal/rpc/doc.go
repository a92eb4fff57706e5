// Package rpc makes the gRPC servers and connections of Halfkey: TLS 1.3 only, mutual between services, with bounds on
// everything that a peer chooses. All programs use it, so that one process and five behave alike.
//
// A server has one slice of interceptors (server.go). Outermost first they log one line per call, turn every error into a
// fault, recover from panics, ask the authorization table, demand a deadline, bound the calls in flight and check the
// request. Serve refuses to start while a registered method is missing from the table of internal/authz.
//
// It holds no validation engine: Config.Validate takes one from rpc/validate, and the co-signer leaves it out.
package rpc
