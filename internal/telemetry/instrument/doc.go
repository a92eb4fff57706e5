// Package instrument names every metric and span of Halfkey's own and makes them from OpenTelemetry's interfaces, which do nothing where
// nobody listens. Services and the gateway import it; who records and who is told is package telemetry's.
//
// Attributes are the names of payments and wallets, lights, states, scopes and reasons. Nothing else goes into one: no share, nonce,
// token or key, no purpose, and no address that money goes to. Metrics take only those with few values, so that the number
// of series does not depend on who calls.
package instrument
