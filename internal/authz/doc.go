// Package authz is the one table of who may call what. The internal services are called by the gateway alone, known by
// the SPIFFE id in its verified certificate; the gateway's methods are called by anyone, and the table says what
// authenticates each: a token, a signed statement, or the proof that the call itself is.
//
// Programs do not use it directly but through internal/rpc, whose servers take its interceptors and refuse to start when a
// registered method is missing from the table. What is not in the table is refused. The table says who may knock; whether
// the caller may act on the named resource is identity's to say, and what a statement is worth is decided by every service
// that acts on it.
package authz
