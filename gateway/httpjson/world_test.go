package httpjson_test

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/halfkey/halfkey/client"
	"github.com/halfkey/halfkey/docs/openapi"
	"github.com/halfkey/halfkey/gateway/httpjson"
	"github.com/halfkey/halfkey/halfkeytest"
)

// log keeps what the services log: a call that came past HTTP shows there, under the method's name.
type log struct {
	mu    sync.Mutex
	bytes bytes.Buffer
}

// Write adds to it.
func (l *log) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.bytes.Write(b)
}

// line is one line of the log.
type line struct {
	Message string `json:"msg"`
	Method  string `json:"method"`
	Peer    string `json:"peer"`
	Code    string `json:"code"`
}

// take returns the gateway's calls since it was last asked. A call is logged before its caller has the answer.
func (l *log) take(t *testing.T) []line {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	var calls []line
	for scanner := bufio.NewScanner(&l.bytes); scanner.Scan(); {
		var one line
		if err := json.Unmarshal(scanner.Bytes(), &one); err != nil {
			t.Fatal(err)
		}
		if one.Message == "call" && strings.HasPrefix(one.Method, "/halfkey.gateway.v1.") {
			calls = append(calls, one)
		}
	}
	l.bytes.Reset()
	return calls
}

// world is an installation and a caller of its HTTP interface.
type world struct {
	*halfkeytest.System
	log *log
	web *http.Client
}

func newWorld(t *testing.T, options ...halfkeytest.Option) *world {
	t.Helper()
	w := &world{log: &log{}}
	w.System = halfkeytest.Start(t, append(options, halfkeytest.WithLog(w.log))...)
	w.web = &http.Client{Timeout: 40 * time.Second, Transport: &http.Transport{TLSClientConfig: w.tls(), ForceAttemptHTTP2: true}}
	t.Cleanup(w.web.CloseIdleConnections)
	return w
}

func (w *world) tls() *tls.Config {
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM([]byte(w.Installation().Content().GetCaPem()))
	return &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS13}
}

// request is one HTTP request.
type request struct {
	method, path string
	token        string
	body         string
	header       http.Header
}

// response is what came back: its body as text, and as an error if it is one.
type response struct {
	status  int
	header  http.Header
	body    string
	problem problem
}

type problem struct {
	Code       string            `json:"code"`
	Reason     string            `json:"reason"`
	Message    string            `json:"message"`
	Metadata   map[string]string `json:"metadata"`
	MoneyMoved string            `json:"money_moved"`
	Next       string            `json:"next"`
	Violations []struct {
		Field string `json:"field"`
		Why   string `json:"why"`
	} `json:"violations"`
}

func (w *world) do(t *testing.T, r request) response {
	t.Helper()
	var body io.Reader
	if r.body != "" {
		body = strings.NewReader(r.body)
	}
	req, err := http.NewRequestWithContext(t.Context(), r.method, w.HTTPS()+r.path, body)
	if err != nil {
		t.Fatal(err)
	}
	if r.body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	if r.token != "" {
		req.Header.Set(httpjson.TokenHeader, r.token)
	}
	for key, values := range r.header {
		req.Header[key] = values
	}
	resp, err := w.web.Do(req)
	if err != nil {
		t.Fatalf("%s %.200s: %v", r.method, r.path, err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatalf("%s %.200s: %v", r.method, r.path, err)
	}
	got := response{status: resp.StatusCode, header: resp.Header, body: string(b)}
	if got.status >= http.StatusBadRequest {
		if err := json.Unmarshal(b, &got.problem); err != nil {
			t.Fatalf("%s %.200s: the error is not ours: %s", r.method, r.path, b)
		}
	}
	return got
}

// refused demands that a request was refused with a status and a reason, that nothing moved, and that the error says what to
// do next.
func refused(t *testing.T, got response, status int, reason string) {
	t.Helper()
	p := got.problem
	if got.status != status || p.Reason != reason {
		t.Errorf("got %d %s, want %d %s: %s", got.status, p.Reason, status, reason, got.body)
	}
	if p.MoneyMoved != "NO" || p.Next == "" || p.Code == "" || p.Message == "" {
		t.Errorf("the error does not say enough: %s", got.body)
	}
	if got.header.Get("Content-Type") != "application/json" || got.header.Get("Cache-Control") != "no-store" ||
		got.header.Get("X-Content-Type-Options") != "nosniff" {
		t.Errorf("headers %v", got.header)
	}
}

// tokener makes tokens: an agent, an owner or the operator.
type tokener interface {
	Token(method, about string) (client.Token, error)
}

func tokenOf(t *testing.T, by tokener, method, about string) string {
	t.Helper()
	token, err := by.Token(method, about)
	if err != nil {
		t.Fatal(err)
	}
	return base64.RawURLEncoding.EncodeToString(token.Bytes)
}

const service = "/halfkey.gateway.v1.GatewayService/"

// route is one way to a method.
type route struct {
	method string // The RPC's short name.
	verb   string
	path   string // With {wallet} and the like.
	query  []string
}

// routes reads the description that is served: it is what a caller goes by.
func routes(t *testing.T) []route {
	t.Helper()
	var description struct {
		Paths map[string]map[string]struct {
			OperationID string `json:"operationId"`
			Parameters  []struct {
				Name string `json:"name"`
				In   string `json:"in"`
			} `json:"parameters"`
		} `json:"paths"`
	}
	if err := json.Unmarshal(openapi.JSON, &description); err != nil {
		t.Fatal(err)
	}
	var all []route
	for path, verbs := range description.Paths {
		for verb, operation := range verbs {
			r := route{
				method: strings.TrimRight(strings.TrimPrefix(operation.OperationID, "GatewayService_"), "23456789"),
				verb:   strings.ToUpper(verb), path: path,
			}
			for _, p := range operation.Parameters {
				if p.In == "query" {
					r.query = append(r.query, p.Name)
				}
			}
			all = append(all, r)
		}
	}
	return all
}

// methods are the RPCs of the contract.
func methods(t *testing.T) []protoreflect.MethodDescriptor {
	t.Helper()
	found, err := protoregistry.GlobalFiles.FindDescriptorByName("halfkey.gateway.v1.GatewayService")
	if err != nil {
		t.Fatal(err)
	}
	var all []protoreflect.MethodDescriptor
	of := found.(protoreflect.ServiceDescriptor).Methods()
	for i := range of.Len() {
		all = append(all, of.Get(i))
	}
	return all
}
