// Package fault makes and reads Halfkey's errors: the only place where a gRPC status is built. Services, the gateway, the
// client and the command line use it; the pure packages below do not know it, their errors are mapped here.
//
// Every fault carries a google.rpc.ErrorInfo of domain "halfkey" with a reason of the one enum, whether money moved, what
// to do next, and all dynamic text in metadata (AIP-193); the message is constant. Refused fields come as a
// google.rpc.BadRequest too, faults worth repeating with a google.rpc.RetryInfo.
//
// What it promises: no text of an error that this package does not know reaches the wire, a fault that says nothing about
// money says UNKNOWN, and the table in docs/errors.md is the table in reasons.go.
package fault
