// Package evidence makes, verifies and documents what Halfkey's parties sign, and holds the gate that a release passes.
//
// A statement is one of the messages of halfkey/type/v1/evidence.proto in a DSSE envelope. [Sign] makes one, [Open] and the
// Check functions verify one, and [Verify] verifies the six pieces that let a payment's share move. docs/evidence.md gives
// every byte, for whoever writes an agent or an auditor in another language.
//
// The package is not for telling who calls: an authenticated caller is authz's. It is not for judging amounts either:
// guardrails does that, and Verify calls it.
//
// What it promises:
//
//   - One content has one encoding. A payload with an unknown field or enum value at any depth, in another field order, or
//     with a default spelled out is refused, so a digest names one content and nothing rides along unseen.
//   - Nothing that is exported makes a [Verified] but Verify, and it opens once, copies included.
//   - It is pure: values and now in, values out. No clock, store, context or network.
//   - Refusals are an [*Error] with a reason for machines and constant text, so neither payload bytes nor secrets get into logs.
//
// Keys that a statement introduces (an owner's, a request key, a service's) are checked to be points of prime order where
// they enter: under a key of small order anyone can sign anything.
package evidence
