// Package plain is an agent without the SDK: the generated gRPC client of proto/gen, the FROST half of a key from frost, and a
// small encoding of the statements, written from docs/evidence.md. It makes a wallet, pays from it, and verifies what the ledger
// signs.
//
// It shows what an agent in another language does, step by step. Who writes one in Go takes the SDK (../agent): it stores what
// it sends before it sends it, resumes after a crash, and verifies more than this does.
package plain
