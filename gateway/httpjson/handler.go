package httpjson

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"time"

	"google.golang.org/grpc/metadata"

	"github.com/halfkey/halfkey/docs/openapi"
	"github.com/halfkey/halfkey/gateway"
	"github.com/halfkey/halfkey/internal/fault"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// TokenHeader carries a call's token, as gRPC's metadata key of nearly that name does: the encoded Envelope in base64url. The
// other alphabet of base64 is taken too, which gRPC writes its binary metadata in.
const TokenHeader = "Halfkey-Token"

// tokenTextMax bounds the header: the 2 KiB that the gateway takes, in base64.
const tokenTextMax = 2048 * 4 / 3

// healthMax bounds one health check of all services.
const healthMax = 5 * time.Second

// nothingMoved is what every refusal before a call says.
const nothingMoved = typev1.MoneyMoved_MONEY_MOVED_NO

// ServeHTTP answers one request: GET /healthz and GET /v1/openapi.json itself, everything else by a call.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	defer s.recovered(w)
	head := w.Header()
	head.Set("Cache-Control", "no-store")
	head.Set("X-Content-Type-Options", "nosniff")
	switch r.URL.Path {
	case "/healthz":
		s.healthz(w, r)
	case "/v1/openapi.json":
		if r.Method != http.MethodGet {
			notAllowed(r.Method, http.MethodGet).write(w)
			return
		}
		head.Set("Content-Type", jsonType)
		_, _ = w.Write(openapi.JSON)
	default:
		s.call(w, r)
	}
}

// recovered answers a request whose handling panicked. How far it came is not known, so money may have moved. The panic's
// value is not logged: it could hold a secret.
func (s *Server) recovered(w http.ResponseWriter) {
	value := recover()
	if value == nil {
		return
	}
	if err, ok := value.(error); ok && errors.Is(err, http.ErrAbortHandler) {
		panic(value)
	}
	s.logger.Error("a request panicked")
	problemOf(fault.New(typev1.Reason_REASON_INTERNAL, typev1.MoneyMoved_MONEY_MOVED_UNKNOWN, "a defect on our side"), "").write(w)
}

func (s *Server) healthz(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet {
		notAllowed(r.Method, http.MethodGet).write(w)
		return
	}
	if s.leaving.Load() {
		http.Error(w, "the gateway is about to end", http.StatusServiceUnavailable)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), healthMax)
	defer cancel()
	if s.healthy(ctx) != nil {
		http.Error(w, "a service does not answer", http.StatusServiceUnavailable)
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = io.WriteString(w, "ok\n")
}

// call checks a request's form and makes the call that its path names.
func (s *Server) call(w http.ResponseWriter, r *http.Request) {
	clean, refusal := admit(w, r)
	if refusal != nil {
		refusal.write(w)
		return
	}
	deadlines := http.NewResponseController(w)
	// The request is here; what bounds the call now is its own time.
	if deadlines.SetWriteDeadline(time.Now().Add(callMax+writeMax)) != nil {
		problemOf(fault.New(typev1.Reason_REASON_INTERNAL, nothingMoved, "a defect on our side"), "").write(w)
		return
	}
	s.mux.ServeHTTP(&answer{ResponseWriter: w, deadlines: deadlines}, clean)
}

// admit is the request that is handed on: method, path, query, body, token and trace of r, and nothing else that came with it.
func admit(w http.ResponseWriter, r *http.Request) (*http.Request, *problem) {
	if r.Method != http.MethodGet && r.Method != http.MethodPost {
		return nil, notAllowed(r.Method, http.MethodGet+", "+http.MethodPost)
	}
	if why := wrongPath(r); why != "" {
		return nil, refused(http.StatusBadRequest, "path", why)
	}
	if r.Method == http.MethodPost && r.URL.RawQuery != "" {
		return nil, refused(http.StatusBadRequest, "query", "what a POST brings stands in its body")
	}
	ctx, refusal := withToken(r)
	if refusal != nil {
		return nil, refusal
	}
	body, refusal := bodyOf(w, r)
	if refusal != nil {
		return nil, refusal
	}
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, refused(http.StatusBadRequest, "query", "it is malformed")
	}
	ctx = context.WithValue(withTrace(ctx, r), givenKey{}, given{query: query, body: body})
	clean := (&http.Request{
		Method: r.Method, URL: r.URL, Proto: r.Proto, ProtoMajor: r.ProtoMajor, ProtoMinor: r.ProtoMinor,
		Header: make(http.Header), Body: io.NopCloser(bytes.NewReader(body)), ContentLength: int64(len(body)),
	}).WithContext(ctx)
	return clean, nil
}

// wrongPath says what is wrong with a path. Names have few characters and one spelling; a slash in disguise, an empty step or
// one that leads upwards has no place in them.
func wrongPath(r *http.Request) string {
	if strings.Contains(strings.ToUpper(r.URL.EscapedPath()), "%2F") {
		return "a name holds no encoded slash"
	}
	for _, c := range []byte(r.URL.Path) {
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		if !letter && !strings.ContainsRune("-_.:@/", rune(c)) {
			return "a path holds letters, digits and -_.:@/ only"
		}
	}
	path, ok := strings.CutPrefix(r.URL.Path, "/")
	if !ok {
		return "a path begins with a slash"
	}
	for step := range strings.SplitSeq(path, "/") {
		if step == "." || step == ".." || step == "" && path != "" {
			return "a path has no empty step and none of dots"
		}
	}
	return ""
}

type tokenKey struct{}

// withToken is the request's context with its token, if it has one. Whether it needs one, and whether this one will do, is
// the gateway's to say.
func withToken(r *http.Request) (context.Context, *problem) {
	given := r.Header.Values(TokenHeader)
	if len(given) == 0 {
		return r.Context(), nil
	}
	if len(given) > 1 {
		return nil, badToken("a call has one token")
	}
	text := strings.NewReplacer("+", "-", "/", "_").Replace(strings.TrimRight(given[0], "="))
	if len(text) > tokenTextMax {
		return nil, badToken("the token is too long")
	}
	token, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil {
		return nil, badToken("the token is not base64")
	}
	return context.WithValue(r.Context(), tokenKey{}, string(token)), nil
}

// tokenMetadata hands the token on.
func tokenMetadata(ctx context.Context, _ *http.Request) metadata.MD {
	token, ok := ctx.Value(tokenKey{}).(string)
	if !ok {
		return nil
	}
	return metadata.Pairs(gateway.TokenMetadata, token)
}

// bodyOf reads a request's body, all of it or none.
func bodyOf(w http.ResponseWriter, r *http.Request) ([]byte, *problem) {
	if r.Method == http.MethodGet {
		// HTTP/2 has a body also where there is none.
		if n, _ := io.ReadFull(r.Body, make([]byte, 1)); n > 0 {
			return nil, refused(http.StatusBadRequest, "body", "what a GET asks for stands in its path and query")
		}
		return nil, nil
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, bodyBytesMax))
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		p := problemOf(fault.New(typev1.Reason_REASON_LIMIT_EXCEEDED, nothingMoved, "the request is too large"), "")
		p.status, p.retryAfter = http.StatusRequestEntityTooLarge, ""
		return nil, p
	case err != nil:
		return nil, refused(http.StatusBadRequest, "body", "it did not arrive in whole or in time")
	case len(body) == 0:
		return nil, nil
	}
	kind, parameters, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	charset, hasCharset := parameters["charset"]
	if err != nil || kind != jsonType || hasCharset && !strings.EqualFold(charset, "utf-8") || r.Header.Get("Content-Encoding") != "" {
		return nil, refused(http.StatusUnsupportedMediaType, "body", "it is sent as "+jsonType+", in UTF-8 and not compressed")
	}
	return body, nil
}

func refused(code int, field, why string) *problem {
	p := problemOf(fault.Invalid(fault.Violation{Field: field, Why: why}), "")
	p.status = code
	return p
}

func badToken(why string) *problem {
	return problemOf(fault.New(typev1.Reason_REASON_UNAUTHENTICATED, nothingMoved, "the token does not decode", "why", why), "")
}

func notAllowed(method, allow string) *problem {
	p := refused(http.StatusMethodNotAllowed, "method", "this path is not for "+method)
	p.allow = allow
	return p
}

// answer writes an answer, each line of a stream within its own time. Between two lines of a stream any time may pass.
type answer struct {
	http.ResponseWriter
	deadlines *http.ResponseController
	streaming bool
}

// Write writes.
func (a *answer) Write(b []byte) (int, error) {
	if a.streaming {
		if err := a.deadlines.SetWriteDeadline(time.Now().Add(writeMax)); err != nil {
			return 0, err
		}
	}
	return a.ResponseWriter.Write(b)
}

// FlushError ends a line.
func (a *answer) FlushError() error {
	a.streaming = true
	if err := a.deadlines.Flush(); err != nil {
		return err
	}
	return a.deadlines.SetWriteDeadline(time.Time{})
}
