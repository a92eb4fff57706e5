// Package gateway is the only orchestrator: it carries each call of an agent, an owner or the operator to the services
// that decide about it, in the order that makes the call safe, and keeps no state of its own.
//
// Read payment.go first. Nothing here is trusted by the services behind it: every document, approval, receipt and
// answer is signed by who is responsible for it, and each service verifies what it acts on. A gateway that is broken
// into can refuse, delay and watch; it cannot invent a request, an approval, a document, a settlement or an
// acknowledgement, nor change one byte of them.
//
// A crash at any point is repaired by the same call once more: every write behind the gateway is idempotent, and
// holders of the guard rails that a crash left apart are brought together again by converge.go.
package gateway
