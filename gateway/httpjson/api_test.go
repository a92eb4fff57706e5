package httpjson_test

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/halfkey/halfkey/internal/authz"
)

const (
	apiPage  = "../../docs/api.md"
	contract = "../../proto/halfkey/gateway/v1/gateway.proto"
)

// TestAPIPage compares docs/api.md with the contract, the table of who may call, and the routes: go test ./gateway/httpjson
// -run TestAPIPage -update writes it.
func TestAPIPage(t *testing.T) {
	want := apiText(t)
	if *update {
		if err := os.WriteFile(apiPage, []byte(want), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	got, err := os.ReadFile(apiPage)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Error("docs/api.md is not what contract, authorization table and routes say: go test ./gateway/httpjson -run TestAPIPage -update")
	}
}

const apiHead = `# Every method of the gateway

A test writes this page from the contract, the authorization table and the routes. Requests and answers, field by field with their bounds,
are in [gateway.proto](../proto/halfkey/gateway/v1/gateway.proto) and the messages that it names. [http.md](http.md) says how to call by
HTTP, [evidence.md](evidence.md) how statements and tokens are made, [errors.md](errors.md) what a refusal means. Every method may be called
again with the same request.

The column *By* says how a caller proves itself. A *token* is signed by the caller for this method and one resource, and lives 60 seconds at
most. A *statement* is inside the request and is signed itself. With *nothing*, the answer is public, or the request proves itself.
`

func apiText(t *testing.T) string {
	t.Helper()
	proto, err := os.ReadFile(contract)
	if err != nil {
		t.Fatal(err)
	}
	paths := make(map[string][]string)
	for _, r := range routes(t) {
		paths[r.method] = append(paths[r.method], fmt.Sprintf("`%s %s`", strings.ToUpper(r.verb), r.path))
	}
	var b strings.Builder
	b.WriteString(apiHead)
	b.WriteString("\n| Method | | Caller | By | HTTP |\n|---|---|---|---|---|\n")
	for _, m := range methods(t) {
		name := string(m.Name())
		rule, ok := authz.Lookup(service + name)
		if !ok {
			t.Fatalf("%s is not in the authorization table", name)
		}
		slices.Sort(paths[name])
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s | %s |\n", name, methodComment(t, string(proto), name), callers(rule), by(rule),
			strings.Join(paths[name], ", "))
	}
	return b.String()
}

// methodComment is what the contract says of a method, without what the table's columns say.
func methodComment(t *testing.T, proto, name string) string {
	t.Helper()
	found := regexp.MustCompile(`(?m)((?:^  //.*\n)+)  rpc ` + name + `\(`).FindStringSubmatch(proto)
	if found == nil {
		t.Fatalf("%s has no comment in the contract", name)
	}
	text := strings.Join(strings.Fields(strings.ReplaceAll(found[1], "//", " ")), " ")
	text = strings.TrimPrefix(text, name+" ")
	return strings.ReplaceAll(strings.ToUpper(text[:1])+text[1:], "|", "\\|")
}

func callers(r authz.Rule) string {
	var who []string
	for _, c := range []struct {
		kind authz.Callers
		name string
	}{{authz.Agent, "agent"}, {authz.Owner, "owner"}, {authz.Operator, "operator"}} {
		if r.Callers.Has(c.kind) {
			who = append(who, c.name)
		}
	}
	if len(who) == 0 {
		return "anybody"
	}
	return strings.Join(who, ", ")
}

func by(r authz.Rule) string {
	switch r.Auth {
	case authz.Token:
		return "token"
	case authz.Statement:
		return "statement"
	default:
		return "nothing"
	}
}
