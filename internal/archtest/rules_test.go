package archtest

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// scope says which imports of a package a rule looks at.
type scope int

const (
	// direct: what the shipped code itself imports.
	direct scope = iota
	// directOrTest: what the shipped code or its tests import.
	directOrTest
	// linked: everything that ends up in a binary with it.
	linked
)

// rule is one thing that may not be imported.
type rule struct {
	name   string
	reason string
	scope  scope
	// from are the packages it binds; except are some of these that it does not.
	from, except []string
	// deny refuses an import. When deny is nil, all is refused but the standard
	// library (unless denied by another rule) and what allow names.
	deny []string
	// ours limits a rule without deny to the product's own packages.
	ours bool
	// allow lifts deny.
	allow []string
	// atMostOne lets one of deny's patterns pass, whichever it is.
	atMostOne bool
	// breaks is an import that violates the rule: importer, then imported, any
	// number of steps. A test shows that it is found.
	breaks []string
}

var (
	services = []string{"./services/identity", "./services/policy", "./services/cosigner", "./services/ledger"}

	// pure packages decide about money from values alone.
	pure = []string{
		"./frost/...", "./internal/guardrails/...", "./internal/evidence/...", "./internal/chain/...", "./internal/resource/...",
		"./internal/x402/...", "./internal/escape/...",
	}
	// chainNodes stands beside the codecs of chains and asks nodes.
	chainNodes = []string{"./internal/chain/solanarpc/..."}

	cel = []string{
		"cel.dev/...", "github.com/google/cel-go/...", "github.com/antlr4-go/antlr/...", "buf.build/go/protovalidate/...",
		"github.com/grpc-ecosystem/go-grpc-middleware/v2/interceptors/protovalidate/...",
	}
	// database/sql/driver is left out: interfaces, which google/uuid names to scan an id.
	sql = []string{
		"database/sql", "modernc.org/...", "github.com/mattn/go-sqlite3/...", "github.com/jackc/...",
		"github.com/lib/pq/...", "github.com/pressly/goose/...",
	}
	etcd       = []string{"go.etcd.io/..."}
	etcdServer = []string{"go.etcd.io/etcd/server/...", "go.etcd.io/raft/...", "go.etcd.io/bbolt/...", "./internal/etcdstore/embedded/..."}
	grpc       = []string{"google.golang.org/grpc/..."}
	gatewayRT  = []string{"github.com/grpc-ecosystem/grpc-gateway/v2/runtime/...", "github.com/grpc-ecosystem/grpc-gateway/v2/utilities/..."}
	// above is whatever knows a service or a user: nothing below may know it.
	above = []string{
		"./services/...", "./gateway/...", "./client/...", "./cmd/...", "./portal/...", "./halfkeytest/...", "./internal/allinone/...",
	}
	// leaves are modules of their own: they see the product, it never sees them.
	leaves = []string{"./test/...", "./examples/...", "example.com/halfkey-examples/..."}
)

// rules is the whole table.
func rules() []rule {
	table := []rule{
		{
			name: "gateway knows no service", scope: linked, from: []string{"./gateway/..."},
			reason: "it reaches services over mutual TLS only, so one process and five behave alike; and it keeps no state",
			deny:   slices.Concat([]string{"./services/...", "./client/...", "./internal/allinone/...", "./internal/etcdstore/..."}, etcd, sql),
			breaks: []string{"./gateway", "./internal/x", "./services/ledger"},
		},
		{
			name: "cmd/gateway holds the gateway", scope: linked, from: []string{"./cmd/gateway/..."},
			reason: "each service is its own process, image and identity",
			deny:   []string{"./services/...", "./client/...", "./internal/etcdstore/..."},
			breaks: []string{"./cmd/gateway", "./services/identity"},
		},
		{
			name: "allinone only in development", scope: linked, from: []string{"./..."},
			// These hold all five by way of allinone.
			except: []string{"./internal/allinone/...", "./halfkeytest/...", "./cmd/halfkey-dev/...", "./test/..."},
			reason: "a break-in gives away one service because a production binary holds one",
			deny:   []string{"./internal/allinone/..."},
			breaks: []string{"./cmd/ledger", "./internal/allinone"},
		},
		{
			name: "one service in a binary", scope: linked, from: []string{"./..."}, atMostOne: true,
			except: []string{"./internal/allinone/...", "./halfkeytest/...", "./cmd/halfkey-dev/...", "./test/..."},
			reason: "whatever knows two can be broken into for both",
			deny: []string{
				"./gateway/...", "./services/identity/...", "./services/policy/...", "./services/cosigner/...", "./services/ledger/...",
			},
			breaks: []string{"./portal", "./services/policy", "./services/ledger"},
		},
		{
			name: "all five only by way of allinone", scope: directOrTest,
			from:   []string{"./halfkeytest/...", "./cmd/halfkey-dev/...", "./cmd/halfkey/...", "./test/...", "./client/...", "./portal/..."},
			reason: "one place wires the services with the same interceptors and authorization table as the five binaries",
			deny:   []string{"./services/...", "./gateway/..."},
			breaks: []string{"./halfkeytest", "./services/policy"},
		},
		{
			name: "pure packages reach no store and no network", scope: linked, from: pure, except: chainNodes,
			reason: "the same judgement in client, policy, ledger and co-signer, from values alone, testable without a server",
			deny: slices.Concat(etcd, sql, grpc, cel, above,
				[]string{
					"./internal/etcdstore/...", "./internal/rpc/...", "./internal/fault/...", "./internal/authz/...", "./internal/telemetry/...",
					"./internal/config/...", "net/...", "os/exec", "go.opentelemetry.io/...",
				}),
			// For parsing an address or a URL; golangci-lint refuses net's dialling and resolving there.
			allow:  []string{"net", "net/netip", "net/url"},
			breaks: []string{"./internal/guardrails", "./internal/x", "google.golang.org/grpc"},
		},
		{
			name: "pure packages take no context", scope: direct, from: pure, except: chainNodes,
			reason: "a decision that can be cancelled or traced has learned of something besides its values",
			deny:   []string{"context"},
			breaks: []string{"./internal/chain/book", "context"},
		},
		{
			name: "no weak randomness", scope: direct, from: []string{"./..."}, except: []string{"./test/..."},
			reason: "a nonce, key or id from math/rand can be guessed, and a guessed nonce gives the key share away",
			deny:   []string{"math/rand/..."},
			breaks: []string{"./frost", "math/rand/v2"},
		},
		{
			name: "frost stands alone", scope: direct, from: []string{"./frost/..."},
			reason: "it can be reviewed, tested and reused without the rest of Halfkey",
			allow:  []string{"filippo.io/edwards25519/...", "golang.org/x/crypto/chacha20poly1305"},
			breaks: []string{"./frost", "./internal/evidence"},
		},
		{
			name: "the Solana codec stands alone", scope: direct, from: []string{"./internal/chain/solana/..."},
			reason: "what bytes mean on a chain is decided from the bytes, and by the arithmetic of its curve",
			allow:  []string{"filippo.io/edwards25519"},
			breaks: []string{"./internal/chain/solana", "./internal/evidence"},
		},
		{
			name: "the co-signer links no rule engine and no SQL", scope: linked,
			from:   []string{"./services/cosigner/...", "./cmd/cosigner/..."},
			reason: "its whole dependency list is reviewed like code, and one key share of every wallet lives there",
			deny:   slices.Concat(cel, sql, []string{"./internal/rpc/validate/..."}),
			breaks: []string{"./services/cosigner", "./internal/rpc", "buf.build/go/protovalidate"},
		},
		{
			name: "HTTP and JSON end at the gateway", scope: linked, from: []string{"./..."},
			// Its own listener and what holds that; etcd's server has a gateway of its own.
			except: []string{
				"./gateway/httpjson/...", "./gateway/edge/...", "./cmd/gateway/...", "./internal/etcdstore/embedded/...", "./internal/allinone/...",
				"./halfkeytest/...", "./cmd/halfkey-dev/...", "./internal/servicetest", "./test/...", "./deploy/etcd",
			},
			reason: "nobody else serves it, and its runtime in generated code would reach every importer",
			deny:   slices.Concat(gatewayRT, []string{"./gateway/httpjson/...", "./docs/openapi/..."}),
			breaks: []string{"./proto/gen/halfkey/gateway/v1", "github.com/grpc-ecosystem/grpc-gateway/v2/runtime"},
		},
		{
			name: "etcd's server only where it is embedded", scope: linked, from: []string{"./..."},
			except: []string{
				"./internal/etcdstore/embedded/...", "./internal/allinone/...", "./halfkeytest/...", "./cmd/...", "./internal/servicetest",
				"./test/...", "./deploy/etcd",
			},
			reason: "it is a large share of a build and of what can be attacked; services take a client",
			deny:   etcdServer,
			breaks: []string{"./services/identity", "./internal/etcdstore/embedded"},
		},
		{
			name: "deploy/etcd is etcd and nothing of ours", scope: linked, from: []string{"./deploy/etcd"}, ours: true,
			reason: "it stands in for the image that an installation may take from etcd itself",
			breaks: []string{"./deploy/etcd", "./internal/config"},
		},
		{
			name: "SQL is the ledger's", scope: linked, from: []string{"./..."},
			except: []string{
				"./services/ledger/...", "./internal/allinone/...", "./halfkeytest/...", "./cmd/ledger/...", "./cmd/halfkey-dev/...", "./test/...",
			},
			reason: "accounts, windows and journal have one home, and their rows one writer",
			deny:   sql,
			breaks: []string{"./services/policy", "database/sql"},
		},
		{
			name: "chains are asked by the ledger", scope: linked, from: []string{"./..."},
			except: slices.Concat(chainNodes, []string{
				"./services/ledger/...", "./internal/allinone/...", "./halfkeytest/...", "./cmd/ledger/...", "./cmd/halfkey-dev/...", "./test/...",
			}),
			reason: "what a node says is believed in one place; policy, co-signer and client judge the bytes themselves",
			deny:   chainNodes,
			breaks: []string{"./services/policy", "./internal/chain/solanarpc"},
		},
		{
			name: "messages on Solana are read by evidence", scope: direct,
			from: []string{
				"./services/identity/...", "./services/policy/...", "./services/cosigner/...", "./gateway/...", "./internal/guardrails/...",
			},
			reason: "bytes that are decoded without intent and request beside them are judged by half of what they must say",
			deny:   []string{"./internal/chain/solana/..."},
			breaks: []string{"./services/cosigner", "./internal/chain/solana"},
		},
		{
			name: "internal packages know no service", scope: directOrTest, from: []string{"./internal/..."},
			except: []string{"./internal/allinone/..."},
			reason: "they are what services stand on",
			deny:   above,
			breaks: []string{"./internal/rpc", "./services/ledger"},
		},
		{
			name: "generated code imports runtimes only", scope: direct, from: []string{"./proto/gen/..."},
			reason: "contracts are linked by everyone, so whatever they link everyone links; validate's module is descriptors, not the engine",
			allow: []string{
				"./proto/gen/...", "google.golang.org/protobuf/...", "google.golang.org/grpc/...", "google.golang.org/genproto/...",
				"buf.build/gen/...",
			},
			breaks: []string{"./proto/gen/halfkey/policy/v1", "buf.build/go/protovalidate"},
		},
		{
			name: "generated code links no engine", scope: linked, from: []string{"./proto/gen/..."},
			reason: "as above, at any depth",
			deny:   slices.Concat(cel, sql, etcd),
			breaks: []string{"./proto/gen/halfkey/policy/v1", "buf.build/gen/x", "cel.dev/cel-go/cel"},
		},
		{
			name: "client links the agent's half only", scope: linked, from: []string{"./client/..."}, ours: true,
			reason: "it runs on other people's machines beside a key share; it may judge evidence, not serve or store it",
			allow: []string{
				"./client/...", "./frost/...", "./proto/gen/...", "./internal/chain/...", "./internal/evidence/...", "./internal/guardrails/...",
				"./internal/fault/...", "./internal/rpc/...", "./internal/resource/...", "./internal/authz/...", "./internal/recoverywork/...",
				"./internal/x402/...", "./internal/webclient/...", "./internal/escape/...",
			},
			breaks: []string{"./client", "./internal/rpc", "./internal/etcdstore"},
		},
		{
			name: "what is fetched is fetched on the agent's machine", scope: linked,
			from: []string{
				"./services/...", "./gateway/...", "./cmd/gateway", "./cmd/identity", "./cmd/policy", "./cmd/cosigner", "./cmd/ledger",
				"./internal/allinone/...",
			},
			reason: "a service that fetches what an agent names reaches its own network for whoever talked the agent into it",
			deny:   []string{"./internal/webclient/...", "./internal/x402/..."},
			breaks: []string{"./services/policy", "./internal/x", "./internal/webclient"},
		},
		{
			name: "webclient knows the web and not the money", scope: linked, from: []string{"./internal/webclient/..."}, ours: true,
			reason: "what talks with hostile servers holds no key, no share and no statement",
			allow:  []string{"./internal/webclient/...", "./internal/resource/...", "./internal/escape/..."},
			breaks: []string{"./internal/webclient", "./internal/x402"},
		},
		{
			name: "x402 is words only", scope: direct, from: []string{"./internal/x402/..."},
			reason: "the wire forms are the same whatever carries them; carriers, rails and evidence come to them, not they to these",
			allow:  []string{"./internal/x402/...", "./internal/resource/...", "./internal/escape/..."},
			breaks: []string{"./internal/x402", "./internal/evidence"},
		},
		{
			name: "client links no store", scope: linked, from: []string{"./client/..."},
			reason: "an SDK that brings etcd or SQLite into every agent is not adopted",
			deny:   slices.Concat(etcd, sql),
			breaks: []string{"./client", "go.etcd.io/etcd/client/v3"},
		},
		{
			name: "what is observed knows no observer", scope: linked,
			from:   []string{"./gateway", "./services/...", "./client/...", "./internal/rpc/...", "./internal/telemetry/instrument"},
			reason: "who records, samples and pushes is the program's choice; the SDK in an agent's binary would be a second one beside its own",
			deny:   []string{"./internal/telemetry", "go.opentelemetry.io/otel/sdk/...", "go.opentelemetry.io/otel/exporters/..."},
			breaks: []string{"./services/ledger", "./internal/telemetry/instrument", "go.opentelemetry.io/otel/sdk/trace"},
		},
		{
			name: "nothing imports a leaf module", scope: directOrTest, from: []string{"./..."}, except: []string{"./test/..."},
			reason: "tests, benchmarks and examples come on top; the product's build list must not depend on theirs",
			deny:   leaves,
			breaks: []string{"./client", "./test/e2e"},
		},
		{
			name: "halfkeytest only in tests", scope: linked, from: []string{"./..."}, except: []string{"./halfkeytest/...", "./test/..."},
			reason: "it starts a whole system with development keys",
			deny:   []string{"./halfkeytest/..."},
			breaks: []string{"./cmd/halfkey", "./halfkeytest"},
		},
		{
			name: "test helpers only in tests", scope: direct, from: []string{"./..."},
			except: []string{
				"./halfkeytest/...", "./test/...", "./internal/evidence/evidencetest/...", "./internal/rpc/rpctest/...",
				"./internal/chain/solanarpc/solanarpctest/...", "./internal/servicetest/...",
			},
			reason: "testing in a shipped binary means that a helper went along, with its keys",
			deny: []string{
				"testing/...", "pgregory.net/...", "go.uber.org/goleak/...", "./internal/evidence/evidencetest/...", "./internal/rpc/rpctest/...",
				"./internal/canary/...", "./internal/chain/solanarpc/solanarpctest/...", "./internal/sellertest/...", "./internal/servicetest/...",
			},
			breaks: []string{"./services/ledger", "./internal/evidence/evidencetest"},
		},
	}
	// Each service is a row of its own: it knows itself and no other.
	for i, service := range services {
		other := services[(i+1)%len(services)]
		below := []string{service + "/..."}
		table = append(table,
			rule{
				name: service + " calls no other service", scope: linked, from: below, allow: below,
				reason: "the call graph is a star with the gateway in its middle; a service that calls another hands on what it was broken into for",
				deny:   above,
				breaks: []string{service, "./internal/x", other},
			},
			rule{
				name: service + " is tested without the others", scope: directOrTest, from: below, allow: below,
				reason: "its refusals must hold whatever the others do; tests of the whole use halfkeytest from outside",
				deny:   above,
				breaks: []string{service, "./gateway"},
			},
			rule{
				name: "cmd" + strings.TrimPrefix(service, "./services") + " holds one service", scope: linked,
				from: []string{"./cmd" + strings.TrimPrefix(service, "./services") + "/..."}, allow: below,
				reason: "each service is its own process, image and identity",
				deny:   []string{"./services/...", "./gateway/...", "./client/..."},
				breaks: []string{"./cmd" + strings.TrimPrefix(service, "./services"), other},
			})
	}
	return table
}

// check lists what breaks the rule, one line each, sorted.
func (r rule) check(g graph) []string {
	var found []string
	for _, from := range g.ours() {
		if !match(from, r.from) || match(from, r.except) {
			continue
		}
		chains := map[string][]string{}
		switch r.scope {
		case linked:
			chains = g.reach(from)
		case directOrTest:
			for _, to := range g[from].tests {
				chains[to] = []string{from + " (its tests)", to}
			}
			fallthrough
		case direct:
			for _, to := range g[from].imports {
				chains[to] = []string{from, to}
			}
		}
		if r.atMostOne && r.kinds(chains) <= 1 {
			continue
		}
		for _, to := range slices.Sorted(maps.Keys(chains)) {
			if r.refuses(g, to) {
				found = append(found, fmt.Sprintf("%s: because %s", strings.Join(chains[to], " -> "), r.reason))
			}
		}
	}
	return found
}

// kinds counts the patterns of deny that something in chains matches.
func (r rule) kinds(chains map[string][]string) int {
	n := 0
	for _, pattern := range r.deny {
		for to := range chains {
			if match(to, []string{pattern}) {
				n++
				break
			}
		}
	}
	return n
}

func (r rule) refuses(g graph, to string) bool {
	switch {
	case match(to, r.allow):
		return false
	case r.deny != nil:
		return match(to, r.deny)
	case r.ours:
		return to == "." || strings.HasPrefix(to, "./")
	default:
		return !g.isStandard(to)
	}
}
