package httpjson

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/halfkey/halfkey/internal/fault"
	gatewayv1 "github.com/halfkey/halfkey/proto/gen/halfkey/gateway/v1"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// Every reason has a status, which fits its gRPC code, and docs/http.md says the same.
func TestStatuses(t *testing.T) {
	page, err := os.ReadFile("../../docs/http.md")
	if err != nil {
		t.Fatal(err)
	}
	for number, name := range typev1.Reason_name {
		reason := typev1.Reason(number)
		if reason == typev1.Reason_REASON_UNSPECIFIED {
			continue
		}
		got, ok := statuses[reason]
		if !ok {
			t.Errorf("%s has no HTTP status", name)
			continue
		}
		err := fault.New(reason, nothingMoved, "m", "field", "f")
		want := map[codes.Code]int{
			codes.InvalidArgument: 400, codes.Unauthenticated: 401, codes.PermissionDenied: 403, codes.NotFound: 404, codes.AlreadyExists: 409,
			codes.FailedPrecondition: 409, codes.Aborted: 409, codes.ResourceExhausted: 429, codes.Internal: 500, codes.Unavailable: 503,
		}[fault.Of(err).Code]
		if got != want {
			t.Errorf("%s is %d, and its gRPC code %s is %d", name, got, fault.Of(err).Code, want)
		}
		row := "| " + strconv.Itoa(got) + " |"
		short := fault.ReasonName(reason)
		found := false
		for line := range strings.Lines(string(page)) {
			found = found || strings.HasPrefix(line, row) && strings.Contains(line, "`"+short+"`")
		}
		if !found {
			t.Errorf("docs/http.md has no row %q with `%s`", row, short)
		}

		w := httptest.NewRecorder()
		problemOf(err, "").write(w)
		var written problem
		if err := json.Unmarshal(w.Body.Bytes(), &written); err != nil {
			t.Fatal(err)
		}
		if w.Code != got || written.Reason != short || written.MoneyMoved != "NO" || written.Next == "" || written.Metadata["field"] != "f" ||
			written.Code != codeName(fault.Of(err).Code) || written.Message != "m" {
			t.Errorf("%s is written as %d %s", name, w.Code, w.Body)
		}
		if _, twice := written.Metadata["money_moved"]; twice {
			t.Errorf("%s says it twice: %s", name, w.Body)
		}
	}
	for reason := range statuses {
		if _, ok := typev1.Reason_name[int32(reason)]; !ok {
			t.Errorf("%d is no reason", reason)
		}
	}
}

// What does not say whether money moved may have moved it, if the method can.
func TestProblems(t *testing.T) {
	for _, tt := range []struct {
		name, method string
		err          error
		status       int
		moved, code  string
	}{
		{
			"out of time, paying", gatewayv1.GatewayService_CreatePayment_FullMethodName, status.Error(codes.DeadlineExceeded, "x"),
			504, "UNKNOWN", "DEADLINE_EXCEEDED",
		},
		{
			"out of time, reading", gatewayv1.GatewayService_GetAccount_FullMethodName, status.Error(codes.DeadlineExceeded, "x"),
			504, "NO", "DEADLINE_EXCEEDED",
		},
		{
			"cut off, settling", gatewayv1.GatewayService_SettlePayment_FullMethodName, status.Error(codes.Unavailable, "x"),
			503, "UNKNOWN", "UNAVAILABLE",
		},
		{
			"its own word",
			gatewayv1.GatewayService_CreatePayment_FullMethodName, fault.New(typev1.Reason_REASON_FROZEN, nothingMoved, "m"), 409,
			"NO", "FAILED_PRECONDITION",
		},
		{
			"settled already", "", fault.New(typev1.Reason_REASON_WRONG_STATE, typev1.MoneyMoved_MONEY_MOVED_YES, "m"),
			409, "YES", "FAILED_PRECONDITION",
		},
		{
			"a body that does not decode, paying", gatewayv1.GatewayService_CreatePayment_FullMethodName, status.Error(codes.InvalidArgument, "x"),
			400, "NO", "INVALID_ARGUMENT",
		},
		{"what nobody knows", "", status.Error(codes.Unknown, "secret"), 500, "NO", "INTERNAL"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := problemOf(tt.err, tt.method)
			if p.status != tt.status || p.MoneyMoved != tt.moved || p.Code != tt.code {
				t.Errorf("got %d %+v", p.status, p)
			}
			if b, _ := json.Marshal(p); strings.Contains(string(b), "secret") {
				t.Errorf("it tells what went wrong inside: %s", b)
			}
		})
	}
}

// A handler that panics answers, and its panic's value goes nowhere.
func TestPanic(t *testing.T) {
	var log strings.Builder
	s := &Server{logger: testLogger(&log)}
	w := httptest.NewRecorder()
	func() {
		defer s.recovered(w)
		panic("a secret")
	}()
	if w.Code != http.StatusInternalServerError || !strings.Contains(w.Body.String(), `"money_moved":"UNKNOWN"`) {
		t.Errorf("got %d %s", w.Code, w.Body)
	}
	if strings.Contains(w.Body.String()+log.String(), "secret") || log.Len() == 0 {
		t.Errorf("logged %q, answered %s", log.String(), w.Body)
	}
}

// Each line of a stream has its own time, and between two of them any time may pass.
func TestAnswerOutlivesItsDeadline(t *testing.T) {
	const short = 100 * time.Millisecond
	slow := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		deadlines := http.NewResponseController(w)
		a := &answer{ResponseWriter: w, deadlines: deadlines}
		err := deadlines.SetWriteDeadline(time.Now().Add(short))
		for n := 0; n < 3 && err == nil; n++ {
			if _, err = a.Write([]byte("line\n")); err == nil {
				err = a.FlushError()
			}
			<-time.After(2 * short)
		}
		if err != nil {
			t.Error(err)
		}
	}))
	slow.EnableHTTP2 = true
	slow.StartTLS()
	defer slow.Close()
	config := slow.Client().Transport.(*http.Transport).TLSClientConfig.Clone()
	config.NextProtos = []string{"http/1.1"}
	old := &http.Transport{TLSClientConfig: config}
	defer old.CloseIdleConnections()
	for protocol, through := range map[string]http.RoundTripper{"HTTP/2.0": slow.Client().Transport, "HTTP/1.1": old} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, slow.URL, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := through.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if err != nil || string(b) != "line\nline\nline\n" || resp.Proto != protocol {
			t.Errorf("%s (%s): got %q %v", protocol, resp.Proto, b, err)
		}
	}
}
