// Package telemetry makes a program's logs, traces and metrics: JSON lines with trace ids, spans that are pushed by OTLP, and metrics
// that are scraped in Prometheus' format. Programs and internal/allinone make one Telemetry each and hand its parts to what they
// build; services take the interfaces of OpenTelemetry and package instrument, and never import this one.
//
// Nothing is global: no provider, propagator or logger is set for the process, so that five services can run in one.
//
// What strangers bring is not believed. A call on the public listener may name a trace, so that an agent sees its payment in one
// piece; whether it is recorded, baggage and trace state are this side's business. Methods that do not exist share one name, so that
// nobody can fill the memory with names of his own. Secrets have no place in any of it: attributes are names, lights, states
// and reasons.
package telemetry
