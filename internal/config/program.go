package config

import (
	"cmp"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/halfkey/halfkey/internal/quota"
)

// Common is what every program's file has.
type Common struct {
	// Installation are the installation files that this program goes by, oldest first; the last one is in force. The first is
	// trusted for standing here, each further one for being signed under the one before.
	Installation []string `yaml:"installation"`
	// Listen is the address of the gRPC listener, host:port; an empty host is every interface.
	Listen string `yaml:"listen"`
	// Operations is the address of health and metrics, plain HTTP without secrets: reachable by probes and scrapers only.
	Operations string `yaml:"operations"`
	// TLS is who the program is between services.
	TLS TLS `yaml:"tls"`
	// Telemetry says where traces go.
	Telemetry Telemetry `yaml:"telemetry"`
	// InFlight bounds calls that run at once; 0 is 1,024. Freezes have places of their own beside them.
	InFlight int `yaml:"calls_in_flight"`
	// Drain bounds how long running calls may take to end after SIGTERM; 0 is 20 s.
	Drain time.Duration `yaml:"drain"`
	// DrainPause is how long after SIGTERM calls are still taken by a program that says already that it is not ready; left out it is
	// 2 s, and 0s is none.
	DrainPause *time.Duration `yaml:"drain_pause"`
}

const (
	// DrainDefault is shorter than the 30 s that Kubernetes waits before it kills, with the pause before and the last spans after it.
	DrainDefault = 20 * time.Second
	// DrainPauseDefault is what it takes until a balancer that asks every second, or a cluster that tells its nodes, sends nobody here
	// any more.
	DrainPauseDefault = 2 * time.Second
	// drainMax is what an operator would still wait for.
	drainMax = 10 * time.Minute
)

// Common is itself.
func (c *Common) Common() *Common { return c }

// DrainMax is Drain or its default.
func (c *Common) DrainMax() time.Duration {
	if c.Drain == 0 {
		return DrainDefault
	}
	return c.Drain
}

// PauseBeforeDrain is DrainPause or its default.
func (c *Common) PauseBeforeDrain() time.Duration {
	if c.DrainPause == nil {
		return DrainPauseDefault
	}
	return *c.DrainPause
}

func (c *Common) files() []*string {
	var files []*string
	for i := range c.Installation {
		files = append(files, &c.Installation[i])
	}
	return append(append(files, c.TLS.files()...), &c.Telemetry.OTLP.Authorities)
}

func (c *Common) problems() []string {
	var p problems
	p.want(len(c.Installation) > 0, "installation: the installation files, oldest first, at least one")
	for _, file := range c.Installation {
		p.want(file != "", "installation: a path")
	}
	p.address("listen", c.Listen)
	p.address("operations", c.Operations)
	p = append(p, c.TLS.problems("tls")...)
	p = append(p, c.Telemetry.problems()...)
	p.want(c.InFlight >= 0, "calls_in_flight: a number of calls")
	p.want(c.Drain >= 0 && c.Drain <= drainMax, "drain: a duration up to 10m, such as 20s")
	pause := c.PauseBeforeDrain()
	p.want(pause >= 0 && pause <= drainMax, "drain_pause: a duration up to 10m, such as 2s, or 0s for none")
	return p
}

// TLS is a certificate with its key and the authorities that a program trusts: three PEM files, read again when they change,
// or the socket of a SPIFFE Workload API that hands out all three.
type TLS struct {
	Certificate string `yaml:"certificate"`
	Key         string `yaml:"key"`
	Authorities string `yaml:"authorities"`
	// WorkloadAPI is a unix socket, such as unix:///run/spire/agent.sock.
	WorkloadAPI string `yaml:"workload_api"`
}

func (t *TLS) files() []*string { return []*string{&t.Certificate, &t.Key, &t.Authorities} }

func (t *TLS) problems(at string) []string {
	var p problems
	if t.WorkloadAPI != "" {
		p.want(strings.HasPrefix(t.WorkloadAPI, "unix://"), at+".workload_api: a socket, such as unix:///run/spire/agent.sock")
		p.want(t.Certificate == "" && t.Key == "" && t.Authorities == "", at+": either files or workload_api, not both")
		return p
	}
	p.want(t.Certificate != "" && t.Key != "" && t.Authorities != "", at+": certificate, key and authorities, or workload_api")
	return p
}

// Telemetry says where traces go. Metrics are scraped from the operations listener.
type Telemetry struct {
	// OTLP is a collector; without one nothing is pushed.
	OTLP OTLP `yaml:"otlp"`
	// Sample is the share of payments that are traced where the caller has not decided, from 0 to 1.
	Sample float64 `yaml:"sample"`
}

func (t *Telemetry) problems() []string {
	var p problems
	p.want(t.Sample >= 0 && t.Sample <= 1, "telemetry.sample: a share of payments from 0 to 1")
	if o := t.OTLP; o != (OTLP{}) {
		p.address("telemetry.otlp.endpoint", o.Endpoint)
		p.want(!o.Insecure || o.Authorities == "", "telemetry.otlp: authorities, or insecure, not both")
	}
	return p
}

// OTLP is a collector that takes OTLP over gRPC.
type OTLP struct {
	// Endpoint is host:port.
	Endpoint string `yaml:"endpoint"`
	// Authorities is a PEM file; empty trusts the system's.
	Authorities string `yaml:"authorities"`
	// Insecure sends without TLS: to a collector on the same host.
	Insecure bool `yaml:"insecure"`
}

// AllInOne is what can be said of a process that is all five programs, in their words; it needs nothing of it.
type AllInOne struct {
	// Operations is the address of health and metrics; empty has none.
	Operations string `yaml:"operations"`
	// Telemetry says where traces go.
	Telemetry Telemetry `yaml:"telemetry"`
}

func (a *AllInOne) files() []*string { return []*string{&a.Telemetry.OTLP.Authorities} }

func (a *AllInOne) problems() []string {
	p := problems(a.Telemetry.problems())
	if a.Operations != "" {
		p.address("operations", a.Operations)
	}
	return p
}

// Etcd is a cluster, and the part of it that is the service's own.
type Etcd struct {
	// Endpoints are the members, host:port.
	Endpoints []string `yaml:"endpoints"`
	// Namespace is where the service's keys are, such as "halfkey/policy". Another service's is another.
	Namespace string `yaml:"namespace"`
	// TLS is the connection's: authorities that sign the members, and the certificate that they ask for.
	TLS TLS `yaml:"tls"`
	// Username and PasswordFile are the service's own user, where the cluster asks for one.
	Username     string `yaml:"username"`
	PasswordFile string `yaml:"password_file"`
}

func (e *Etcd) files() []*string { return append(e.TLS.files(), &e.PasswordFile) }

func (e *Etcd) problems() []string {
	var p problems
	p.want(len(e.Endpoints) > 0, "etcd.endpoints: the members, host:port, at least one")
	for _, endpoint := range e.Endpoints {
		p.address("etcd.endpoints", endpoint)
	}
	p.want(e.Namespace != "", "etcd.namespace: where this service's keys are, such as halfkey/policy")
	p.want((e.Username == "") == (e.PasswordFile == ""), "etcd: username and password_file go together")
	p.want(e.TLS.WorkloadAPI == "", "etcd.tls: files; etcd's certificates are no SPIFFE ones")
	return append(p, e.TLS.problems("etcd.tls")...)
}

// Identity is the identity service's file.
type Identity struct {
	Base `yaml:",inline"`
	Etcd Etcd `yaml:"etcd"`
	// BootstrapKey is a file with the public half of the one-time bootstrap code; without one nobody becomes the first owner.
	BootstrapKey string `yaml:"bootstrap_key"`
	// DemandEnrolment refuses agents that register without an owner's enrolment token.
	DemandEnrolment bool `yaml:"demand_enrolment_token"`
}

// Base makes Common's methods those of what embeds it.
type Base = Common

func (c *Identity) files() []*string {
	return append(append(c.Base.files(), c.Etcd.files()...), &c.BootstrapKey)
}

func (c *Identity) problems() []string { return append(c.Base.problems(), c.Etcd.problems()...) }

// Policy is the policy service's file.
type Policy struct {
	Base `yaml:",inline"`
	Etcd Etcd `yaml:"etcd"`
	// StatementKey is a secret file: the key that signs verdicts.
	StatementKey string `yaml:"statement_key"`
}

func (c *Policy) files() []*string {
	return append(append(c.Base.files(), c.Etcd.files()...), &c.StatementKey)
}

func (c *Policy) problems() []string {
	return append(append(c.Base.problems(), c.Etcd.problems()...), statementKey(c.StatementKey)...)
}

// Cosigner is the co-signer's file.
type Cosigner struct {
	Base `yaml:",inline"`
	Etcd Etcd `yaml:"etcd"`
	// StatementKey is a secret file: the key that signs wallet records.
	StatementKey string `yaml:"statement_key"`
	// KeyEncryptionKey is a secret file: the Tink keyset under which shares are sealed. A missing one is an error, not made:
	// a store sealed under another key cannot be read.
	KeyEncryptionKey string `yaml:"key_encryption_key"`
}

func (c *Cosigner) files() []*string {
	return append(append(c.Base.files(), c.Etcd.files()...), &c.StatementKey, &c.KeyEncryptionKey)
}

func (c *Cosigner) problems() []string {
	p := problems(append(append(c.Base.problems(), c.Etcd.problems()...), statementKey(c.StatementKey)...))
	p.want(c.KeyEncryptionKey != "", "key_encryption_key: the file of the key-encryption key")
	return p
}

// Ledger is the ledger's file.
type Ledger struct {
	Base `yaml:",inline"`
	// StatementKey is a secret file: the key that signs receipts, settlements and journal heads.
	StatementKey string `yaml:"statement_key"`
	// Database is the SQLite file, made if it is not there, on a disk of this host: one writer, which a lock beside it keeps.
	Database string `yaml:"database"`
	// Solana is the rail on Solana; left out there is none.
	Solana Solana `yaml:"solana"`
}

func (c *Ledger) files() []*string {
	return append(c.Base.files(), &c.StatementKey, &c.Database, &c.Solana.EndpointsFile)
}

func (c *Ledger) problems() []string {
	p := problems(append(c.Base.problems(), statementKey(c.StatementKey)...))
	p.want(c.Database != "", "database: the path of the SQLite file")
	return append(p, c.Solana.problems()...)
}

// Gateway is the gateway's file. Its listeners are public.
type Gateway struct {
	Base `yaml:",inline"`
	// HTTPS is the address of HTTP and JSON, host:port.
	HTTPS string `yaml:"https"`
	// Public is the certificate that clients see on both listeners, signed by the installation file's CA for the host of its
	// addresses; its authorities are that CA.
	Public TLS `yaml:"public_tls"`
	// Services are where the four services are.
	Services Services `yaml:"services"`
	// Quotas bound what one caller may ask, so that nobody's loop keeps the others from paying.
	Quotas Quotas `yaml:"quotas"`
}

// Quotas are for each replica. What is left out is its default.
type Quotas struct {
	// Source is for one network address, an IPv6 one with all of its /64.
	Source quota.Limits `yaml:"source"`
	// Caller is for one agent or owner, once it is known. An agent has one wallet, so this is the wallet's too.
	Caller quota.Limits `yaml:"caller"`
}

// Defaults of the quotas. One replica on two cores makes some hundred payments a second: an agent gets a good part of it for
// long and bursts beyond, an address, which may be a whole cluster's, all of it.
var (
	sourceDefault = quota.Limits{PerSecond: 2000, Burst: 4000, AtOnce: 512}
	callerDefault = quota.Limits{PerSecond: 200, Burst: 400, AtOnce: 64}
)

// SourceLimits are Source or its default.
func (q Quotas) SourceLimits() quota.Limits { return cmp.Or(q.Source, sourceDefault) }

// CallerLimits are Caller or its default.
func (q Quotas) CallerLimits() quota.Limits { return cmp.Or(q.Caller, callerDefault) }

// Services are gRPC targets: host:port, or dns:///name:port for all replicas behind a name, or the replicas themselves, each
// host:port, with commas between them.
type Services struct {
	Identity string `yaml:"identity"`
	Policy   string `yaml:"policy"`
	Ledger   string `yaml:"ledger"`
	Cosigner string `yaml:"cosigner"`
}

func (c *Gateway) files() []*string { return append(c.Base.files(), c.Public.files()...) }

func (c *Gateway) problems() []string {
	p := problems(c.Base.problems())
	p.address("https", c.HTTPS)
	for _, q := range []struct {
		name   string
		limits quota.Limits
	}{{"source", c.Quotas.Source}, {"caller", c.Quotas.Caller}} {
		if err := q.limits.Check(); err != nil {
			p = append(p, "quotas."+q.name+": "+err.Error())
		}
	}
	p.want(c.Public.WorkloadAPI == "", "public_tls: files; clients verify a host name, not a SPIFFE id")
	p = append(p, c.Public.problems("public_tls")...)
	for _, s := range []struct{ name, target string }{
		{"identity", c.Services.Identity}, {"policy", c.Services.Policy}, {"ledger", c.Services.Ledger}, {"cosigner", c.Services.Cosigner},
	} {
		if name, is := strings.CutPrefix(s.target, "dns:///"); is {
			p.address("services."+s.name, name)
			continue
		}
		for address := range strings.SplitSeq(s.target, ",") {
			p.address("services."+s.name, address)
		}
	}
	return p
}

func statementKey(file string) []string {
	var p problems
	p.want(file != "", "statement_key: the file of the service's key")
	return p
}

// problems collects what is wrong, so that a file is put right in one go.
type problems []string

func (p *problems) want(ok bool, problem string) {
	if !ok {
		*p = append(*p, problem)
	}
}

func (p *problems) address(key, value string) {
	_, port, err := net.SplitHostPort(value)
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	p.want(err == nil, fmt.Sprintf("%s: want host:port, not %q", key, value))
}
