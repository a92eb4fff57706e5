package httpjson_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/halfkey/halfkey/client"
	"github.com/halfkey/halfkey/docs/openapi"
	"github.com/halfkey/halfkey/gateway/httpjson"
	"github.com/halfkey/halfkey/internal/authz"
	"github.com/halfkey/halfkey/internal/resource"
)

// Every method of the contract has a route, and every route a method.
func TestEveryMethodHasARoute(t *testing.T) {
	routed := make(map[string]bool)
	for _, r := range routes(t) {
		routed[r.method] = true
	}
	for _, m := range methods(t) {
		if !routed[string(m.Name())] {
			t.Errorf("%s has no route: gateway/httpjson/routes.yaml, then make generate", m.Name())
		}
		delete(routed, string(m.Name()))
	}
	for name := range routed {
		t.Errorf("a route for %s, which is no method", name)
	}
}

// fill puts names into a route's path, and says which resource the call is about.
func fill(path, wallet, owner string) (filled, about string) {
	filled = strings.NewReplacer(
		"wallets/{wallet}", wallet, "owners/{owner}", owner, "{payment}", "p-1", "{code}", "KW3M-4R7F-CGP9-2EY6-W00J", "{name}", "@shop",
	).Replace(path)
	switch {
	case strings.Contains(path, "owners/{owner}"):
		return filled, owner
	case strings.Contains(path, "wallets/{wallet}"):
		return filled, wallet
	default:
		return filled, ""
	}
}

// Every route leads to its method and no other, and the method's own checks decide there: without a token, with a token for
// something else, and with a token of somebody who may not.
func TestEveryRoute(t *testing.T) {
	w := newWorld(t)
	agent, other, owner := w.Agent("Research Agent"), w.Agent("Other Agent"), w.Owner()
	w.log.take(t)
	for _, r := range routes(t) {
		t.Run(r.verb+" "+strings.ReplaceAll(r.path, "/", " "), func(t *testing.T) {
			rule, ok := authz.Lookup(service + r.method)
			if !ok {
				t.Fatal("the method is not in the table")
			}
			path, about := fill(r.path, agent.Wallet(), owner.Name())
			call := request{method: r.verb, path: path}
			if r.method == "GetBlockHash" {
				call.path += "?network=" + resource.SolanaDevnet
			}
			if r.method == "Freeze" {
				about = agent.Wallet()
				call.body = fmt.Sprintf(`{"freeze":{"freeze_id":"f-1","scope":"SCOPE_WALLET","wallet":%q}}`, about)
			}
			reaches := func() {
				t.Helper()
				if calls := w.log.take(t); len(calls) != 1 || calls[0].Method != service+r.method {
					t.Errorf("calls %v, want one of %s", calls, r.method)
				}
			}
			got := w.do(t, call)
			reaches()
			if rule.Auth != authz.Token {
				// What proves itself by a statement or signature: there is none, and the contract's rules say so.
				if r.method == "GetInstallations" {
					if got.status != http.StatusOK {
						t.Errorf("got %d %s", got.status, got.body)
					}
					return
				}
				refused(t, got, http.StatusBadRequest, "INVALID_ARGUMENT")
				if len(got.problem.Violations) == 0 {
					t.Errorf("no field is named: %s", got.body)
				}
				return
			}
			refused(t, got, http.StatusUnauthorized, "UNAUTHENTICATED")
			if got.header.Get("WWW-Authenticate") != httpjson.TokenHeader {
				t.Errorf("headers %v", got.header)
			}

			if r.method == "GetWallet" {
				// The directory is open to every caller; the token names its caller.
				call.token = tokenOf(t, other, service+r.method, "agents/"+strings.TrimPrefix(agent.Wallet(), "wallets/"))
			} else {
				call.token = tokenOf(t, other, service+r.method, about)
			}
			got = w.do(t, call)
			reaches()
			if r.method == "GetWallet" {
				refused(t, got, http.StatusUnauthorized, "UNAUTHENTICATED")
			} else {
				refused(t, got, http.StatusForbidden, "PERMISSION_DENIED")
			}

			var may tokener = agent
			if !rule.Callers.Has(authz.Agent) || strings.HasPrefix(about, "owners/") {
				may = owner
			}
			if about == "" {
				about = agent.Wallet()
			}
			call.token = tokenOf(t, may, service+"GetNothing", about)
			got = w.do(t, call)
			reaches()
			refused(t, got, http.StatusUnauthorized, "UNAUTHENTICATED")
		})
	}
}

// What is malformed is refused with a reason, and reaches nobody.
func TestMalformed(t *testing.T) {
	w := newWorld(t)
	agent := w.Agent("Research Agent")
	w.log.take(t)
	type row struct {
		name   string
		r      request
		status int
		reason string
	}
	const invalid = "INVALID_ARGUMENT"
	unauthenticated := func(name, token string) row {
		return row{name, request{method: "GET", path: "/v1/" + agent.Wallet() + "/account", token: token}, 401, "UNAUTHENTICATED"}
	}
	get := func(name, path string, status int, reason string) row {
		return row{name, request{method: "GET", path: path}, status, reason}
	}
	rows := []row{
		get("no such path", "/v1/nothing", 404, "NOT_FOUND"),
		get("the root", "/", 404, "NOT_FOUND"),
		get("grpc's own path", "/halfkey.gateway.v1.GatewayService/GetAccount", 404, "NOT_FOUND"),
		get("a path of dots", "/v1/wallets/../account", 400, invalid),
		get("one dot", "/v1/wallets/./account", 400, invalid),
		get("dots in disguise", "/v1/wallets/%2e%2e/account", 400, invalid),
		get("a slash in disguise", "/v1/wallets/a%2Fb/account", 400, invalid),
		get("a slash in disguise, small", "/v1/wallets%2fa/account", 400, invalid),
		get("encoded twice", "/v1/wallets/%252e%252e/account", 400, invalid),
		get("an empty step", "/v1/wallets//account", 400, invalid),
		get("a slash at the end", "/v1/wallets/a/account/", 400, invalid),
		get("a zero byte", "/v1/wallets/a%00b/account", 400, invalid),
		get("a line's end", "/v1/wallets/a%0d%0ab/account", 400, invalid),
		get("a backslash", "/v1/wallets/a%5Cb/account", 400, invalid),
		get("no UTF-8", "/v1/wallets/%ff%fe/account", 400, invalid),
		get("another letter a", "/v1/wallets/%D0%B0/account", 400, invalid),
		get("text that turns round", "/v1/handles/@shop%E2%80%AEkcatta", 400, invalid),
		get("a wide at sign", "/v1/handles/%EF%BC%A0shop", 400, invalid),
		get("an unknown parameter", "/v1/installations?number=1", 400, invalid),
		get("a parameter twice", "/v1/installations?from_number=1&from_number=2", 400, invalid),
		get("a parameter by its other name", "/v1/installations?fromNumber=1", 400, invalid),
		get("a parameter with a path", "/v1/installations?from_number.x=1", 400, invalid),
		get("a parameter with brackets", "/v1/installations?from_number[1]=1", 400, invalid),
		get("no number", "/v1/installations?from_number=one", 400, invalid),
		get("a negative number", "/v1/installations?from_number=-1", 400, invalid),
		get("too large a number", "/v1/installations?from_number=18446744073709551616", 400, invalid),
		get("a semicolon", "/v1/installations?from_number=1;x=2", 400, invalid),
		get("a name twice", "/v1/"+agent.Wallet()+"/account?wallet=wallets/other", 400, invalid),
		{"a GET with a body", request{method: "GET", path: "/v1/installations", body: "{}"}, 400, invalid},
		{"a POST with a query", request{method: "POST", path: "/v1/freezes?scope=SCOPE_WALLET", body: "{}"}, 400, invalid},
		{"a POST by the other method", request{method: "POST", path: "/v1/installations", body: "{}"}, 405, invalid},
		{"a GET by the other method", request{method: "GET", path: "/v1/freezes"}, 405, invalid},
		{"OPTIONS", request{method: "OPTIONS", path: "/v1/freezes", header: http.Header{"Origin": {"https://a.example"}}}, 405, invalid},
		{"PUT", request{method: "PUT", path: "/v1/freezes", body: "{}"}, 405, invalid},
		{"DELETE", request{method: "DELETE", path: "/v1/" + agent.Wallet()}, 405, invalid},
		{"another method in a header", request{
			method: "POST", path: "/v1/installations",
			header: http.Header{"X-Http-Method-Override": {"GET"}, "Content-Type": {"application/x-www-form-urlencoded"}},
		}, 405, invalid},
		unauthenticated("a token that is not base64", "!!"),
		unauthenticated("a token that is no envelope", "AAAA"),
		unauthenticated("a token of another length", "A"),
		unauthenticated("a token with bits left over", "AB"),
		unauthenticated("a token that is too long", strings.Repeat("A", 4000)),
		{"two tokens", request{
			method: "GET", path: "/v1/" + agent.Wallet() + "/account", header: http.Header{httpjson.TokenHeader: {"AAAA", "AAAA"}},
		}, 401, "UNAUTHENTICATED"},
		{"gRPC's metadata in a header", request{
			method: "GET", path: "/v1/" + agent.Wallet() + "/account",
			header: http.Header{"Grpc-Metadata-Halfkey-Token-Bin": {"AAAA"}, "Halfkey-Token-Bin": {"AAAA"}, "Grpc-Timeout": {"1n"}},
		}, 401, "UNAUTHENTICATED"},
	}
	for _, one := range []struct {
		name, body, kind string
		status           int
		reason           string
	}{
		{"cut off", `{"freeze":`, "", 400, invalid},
		{"no object", `[]`, "", 400, invalid},
		{"null", `null`, "", 400, invalid},
		{"two values", `{}{}`, "", 400, invalid},
		{"text behind", `{} x`, "", 400, invalid},
		{"an unknown field", `{"freeze":{"freeze_id":"f-1","colour":"red"}}`, "", 400, invalid},
		{"an unknown field outside", `{"money":1}`, "", 400, invalid},
		{"a field twice", `{"freeze":{"freeze_id":"f-1","freeze_id":"f-2"}}`, "", 400, invalid},
		{"a field by both names", `{"freeze":{"freeze_id":"f-1","freezeId":"f-2"}}`, "", 400, invalid},
		{"another type", `{"freeze":{"freeze_id":1}}`, "", 400, invalid},
		{"an unknown value", `{"freeze":{"scope":"SCOPE_MOON"}}`, "", 400, invalid},
		{"no UTF-8", "{\"freeze\":{\"freeze_id\":\"\xff\"}}", "", 400, invalid},
		{"half a surrogate", `{"freeze":{"freeze_id":"\ud800"}}`, "", 400, invalid},
		{"deep", strings.Repeat(`{"freeze":`, 20_000) + strings.Repeat(`}`, 20_000), "", 400, invalid},
		{"too large", `{"freeze":{"freeze_id":"` + strings.Repeat("f", 600<<10) + `"}}`, "", 413, "LIMIT_EXCEEDED"},
		{"too large and empty", strings.Repeat(" ", 600<<10), "", 413, "LIMIT_EXCEEDED"},
		{"a form", `freeze=1`, "application/x-www-form-urlencoded", 415, invalid},
		{"text", `{}`, "text/plain", 415, invalid},
		{"no type", `{}`, " ", 415, invalid},
		{"another charset", `{}`, "application/json; charset=utf-16", 415, invalid},
		{"protobuf", `{}`, "application/grpc", 415, invalid},
	} {
		r := request{method: "POST", path: "/v1/freezes", body: one.body}
		if one.kind != "" {
			r.header = http.Header{"Content-Type": {strings.TrimSpace(one.kind)}}
		}
		rows = append(rows, row{"body: " + one.name, r, one.status, one.reason})
	}
	rows = append(rows,
		row{
			"body: compressed", request{
				method: "POST", path: "/v1/freezes",
				body: "{}", header: http.Header{"Content-Encoding": {"gzip"}, "Content-Type": {"application/json"}},
			}, 415, invalid,
		},
		row{
			"body: what the path has",
			request{method: "POST", path: "/v1/" + agent.Wallet() + "/payments", body: `{"parent":"wallets/other"}`},
			400, invalid,
		},
	)
	reach := []string{"a token that is no envelope", "gRPC's metadata in a header"} // Decoded by the gateway, not here.
	for _, tt := range rows {
		t.Run(tt.name, func(t *testing.T) {
			got := w.do(t, tt.r)
			refused(t, got, tt.status, tt.reason)
			if calls := w.log.take(t); len(calls) != 0 && !slices.Contains(reach, tt.name) {
				t.Errorf("it reached %v", calls)
			}
			if tt.status == http.StatusMethodNotAllowed && got.header.Get("Allow") == "" {
				t.Error("no Allow header")
			}
			for key := range got.header {
				if strings.HasPrefix(key, "Access-Control-") {
					t.Errorf("a page of another origin may read this: %s", key)
				}
			}
		})
	}
}

// Fields of every request that do not exist are refused on every route.
func TestUnknownFields(t *testing.T) {
	w := newWorld(t)
	owner := w.Owner()
	w.log.take(t)
	for _, r := range routes(t) {
		path, _ := fill(r.path, "wallets/w-1", owner.Name())
		call := request{method: r.verb, path: path + "?no_such_field=1"}
		if r.verb == http.MethodPost {
			call = request{method: r.verb, path: path, body: `{"no_such_field":1}`}
		}
		got := w.do(t, call)
		refused(t, got, http.StatusBadRequest, "INVALID_ARGUMENT")
		if !strings.Contains(got.body, "no_such_field") && r.verb == http.MethodGet && len(r.query) > 0 {
			t.Errorf("%s %s: the field is not named: %s", r.verb, r.path, got.body)
		}
		if calls := w.log.take(t); len(calls) != 0 {
			t.Errorf("%s %s reached %v", r.verb, r.path, calls)
		}
	}
}

// The description that is served is the one in the tree, and speaks of what is served.
func TestDescription(t *testing.T) {
	w := newWorld(t)
	got := w.do(t, request{method: "GET", path: "/v1/openapi.json"})
	if got.status != http.StatusOK || got.body != string(openapi.JSON) || got.header.Get("Content-Type") != "application/json" {
		t.Errorf("got %d, %d bytes, %v", got.status, len(got.body), got.header)
	}
	var described struct {
		Swagger             string                    `json:"swagger"`
		SecurityDefinitions map[string]map[string]any `json:"securityDefinitions"`
	}
	if err := json.Unmarshal(openapi.JSON, &described); err != nil {
		t.Fatal(err)
	}
	if described.Swagger != "2.0" || described.SecurityDefinitions["HalfkeyToken"]["name"] != httpjson.TokenHeader {
		t.Errorf("got %+v", described)
	}
	refused(t, w.do(t, request{method: "POST", path: "/v1/openapi.json", body: "{}"}), http.StatusMethodNotAllowed, "INVALID_ARGUMENT")
}

var _ tokener = (*client.Operator)(nil)
