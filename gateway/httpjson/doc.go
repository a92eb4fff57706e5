// Package httpjson serves the gateway's whole interface as HTTP and JSON: one route for every RPC, as routes.yaml has them.
//
// It is for callers who have no gRPC, and for a person with curl. Who writes an agent in Go takes the SDK; who has gRPC is
// better served by it: it streams without a bound on time, and every client in proto/gen is typed.
//
// # Promises
//
//   - There is no second way in. Each HTTPS connection gets a connection of its own to the gateway's public gRPC server, over
//     TLS inside the process: the same interceptors, the same authorization table, the same validation and the same bounds
//     decide about the call. The server sees the address that the HTTPS connection came from; no header can say another.
//   - Nothing is passed on but the path, the query, the body and the token in the header Halfkey-Token. An unknown field, a
//     field given twice, a second JSON value, an unknown query parameter and a path that is not in its one form are refused.
//   - Every refusal is one JSON object with the reason, whether money moved, and what to do next, as docs/errors.md has them.
//   - Size and time of everything are bounded. TLS 1.3 only; no cookies, no CORS, nothing to be cached.
package httpjson
