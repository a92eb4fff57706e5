// Package interop signs with frost and with github.com/bytemare/frost, an independent implementation of RFC 9591: each as the
// other's co-signer, with shares taken over in both directions, and crypto/ed25519 as the judge. It is a test and nothing else;
// concurrency, beside it, shows why every call of the other implementation stands behind one lock here, and
// docs/adr/0005-an-oracle-not-an-engine.md says why it is the oracle and not the engine.
package interop
