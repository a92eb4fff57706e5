package fault_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/halfkey/halfkey/frost"
	"github.com/halfkey/halfkey/internal/evidence"
	"github.com/halfkey/halfkey/internal/fault"
	"github.com/halfkey/halfkey/internal/guardrails"
	"github.com/halfkey/halfkey/internal/resource"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

const (
	unsaid  = typev1.MoneyMoved_MONEY_MOVED_UNSPECIFIED
	no      = typev1.MoneyMoved_MONEY_MOVED_NO
	unknown = typev1.MoneyMoved_MONEY_MOVED_UNKNOWN
	yes     = typev1.MoneyMoved_MONEY_MOVED_YES
)

// every reason of the enum, by name.
func everyReason() map[string]typev1.Reason {
	all := make(map[string]typev1.Reason)
	for number := range typev1.Reason_name {
		if r := typev1.Reason(number); r != typev1.Reason_REASON_UNSPECIFIED {
			all[fault.ReasonName(r)] = r
		}
	}
	return all
}

// codeNames are gRPC's codes as documents write them.
var codeNames = map[string]codes.Code{
	"CANCELED": codes.Canceled, "INVALID_ARGUMENT": codes.InvalidArgument, "DEADLINE_EXCEEDED": codes.DeadlineExceeded,
	"NOT_FOUND": codes.NotFound, "ALREADY_EXISTS": codes.AlreadyExists, "PERMISSION_DENIED": codes.PermissionDenied,
	"RESOURCE_EXHAUSTED": codes.ResourceExhausted, "FAILED_PRECONDITION": codes.FailedPrecondition, "ABORTED": codes.Aborted,
	"INTERNAL": codes.Internal, "UNAVAILABLE": codes.Unavailable, "UNAUTHENTICATED": codes.Unauthenticated,
}

// docs/errors.md, the table and the enum say the same.
func TestDocument(t *testing.T) {
	text, err := os.ReadFile("../../docs/errors.md")
	if err != nil {
		t.Fatal(err)
	}
	row := regexp.MustCompile("(?m)^\\| `([A-Z_]+)` \\| ([A-Z_]+) \\| [0-9]{3} \\| [0-9] \\| (.+?) \\| ([A-Z]+) \\| (.+?) \\|$")
	documented := make(map[string]bool)
	for _, m := range row.FindAllStringSubmatch(string(text), -1) {
		name, code, means, moved, next := m[1], m[2], m[3], m[4], m[5]
		if documented[name] {
			t.Errorf("%s stands there twice", name)
		}
		documented[name] = true
		r, ok := everyReason()[name]
		if !ok {
			t.Errorf("%s is not in the enum", name)
			continue
		}
		f := fault.Of(fault.New(r, no, "text"))
		if f.Reason != r {
			t.Errorf("%s is not in the table", name)
		}
		if codeNames[code] != f.Code {
			t.Errorf("%s: document says %s, table %s", name, code, f.Code)
		}
		if next != f.Next() {
			t.Errorf("%s: document says %q, table %q", name, next, f.Next())
		}
		if !slices.Contains([]string{"NO", "UNKNOWN"}, moved) {
			t.Errorf("%s: money moved %q", name, moved)
		}
		if !strings.HasSuffix(means, ".") {
			t.Errorf("%s: means %q, which is no sentence", name, means)
		}
	}
	for name := range everyReason() {
		if !documented[name] {
			t.Errorf("%s is not documented", name)
		}
	}
	if lines := strings.Count(string(text), "\n| `"); lines != len(documented) {
		t.Errorf("%d rows, of which %d were understood", lines, len(documented))
	}
}

// Whom to wait for follows from what is frozen; any other scope, and none, is the wallet's own.
func TestFrozenNamesWhoUnfreezes(t *testing.T) {
	for scope, want := range map[string]string{
		"WALLET": "until the owner unfreezes", "OWNER": "until the owner ends the freeze of all", "INSTALLATION": "until the operator unfreezes",
		"": "until the owner unfreezes", "OTHER": "until the owner unfreezes",
	} {
		f := fault.Of(fault.New(typev1.Reason_REASON_FROZEN, no, "m", "freeze_id", "stop-1", "scope", scope))
		if !strings.Contains(f.Next(), want) {
			t.Errorf("scope %q: got %q, want %q", scope, f.Next(), want)
		}
	}
	// The scope is FROZEN's.
	plain := fault.Of(fault.New(typev1.Reason_REASON_NOT_FOUND, no, "m"))
	if got := fault.Of(fault.New(typev1.Reason_REASON_NOT_FOUND, no, "m", "scope", "INSTALLATION")); got.Next() != plain.Next() {
		t.Errorf("got %q", got.Next())
	}
}

// Only UNAVAILABLE may have the code that connections repeat by themselves.
func TestOnlyUnavailableIsRepeated(t *testing.T) {
	for name, r := range everyReason() {
		got := fault.Of(fault.New(r, no, "text")).Code
		if (got == codes.Unavailable) != (r == typev1.Reason_REASON_UNAVAILABLE) {
			t.Errorf("%s has code %s", name, got)
		}
		if got == codes.OK || got == codes.Unknown {
			t.Errorf("%s has code %s", name, got)
		}
	}
}

// What one side makes, the other reads.
func TestOverTheWire(t *testing.T) {
	for _, moved := range []typev1.MoneyMoved{no, unknown, yes} {
		for name, r := range everyReason() {
			made := fault.Of(fault.New(r, moved, "a text", "field", "freeze.scope", "why", "is empty"))
			read := fault.Of(status.FromProto(status.Convert(made).Proto()).Err())
			if diff := cmp.Diff(plain(made), plain(read)); diff != "" {
				t.Errorf("%s %s (-made +read):\n%s", name, moved, diff)
			}
			if read.RetryAfter() != made.RetryAfter() {
				t.Errorf("%s: retry after %s, then %s", name, made.RetryAfter(), read.RetryAfter())
			}
		}
	}
}

type plainFault struct {
	Code       codes.Code
	Reason     typev1.Reason
	MoneyMoved typev1.MoneyMoved
	Message    string
	Metadata   map[string]string
	Violations []fault.Violation
}

func plain(f *fault.Fault) plainFault {
	return plainFault{f.Code, f.Reason, f.MoneyMoved, f.Message, f.Metadata, f.Violations}
}

func TestDetails(t *testing.T) {
	err := fault.Invalid(fault.Violation{Field: "a.b", Why: "is empty"}, fault.Violation{Field: "c", Why: "is too long"})
	s := status.Convert(err)
	if s.Code() != codes.InvalidArgument {
		t.Errorf("code %s", s.Code())
	}
	var info *errdetails.ErrorInfo
	var request *errdetails.BadRequest
	for _, d := range s.Details() {
		switch d := d.(type) {
		case *errdetails.ErrorInfo:
			info = d
		case *errdetails.BadRequest:
			request = d
		default:
			t.Errorf("unexpected detail %T", d)
		}
	}
	if info.GetDomain() != "halfkey" || info.GetReason() != "INVALID_ARGUMENT" {
		t.Errorf("info %v", info)
	}
	want := map[string]string{"field": "a.b", "why": "is empty", "money_moved": "NO", "next": "correct the field and call again"}
	if diff := cmp.Diff(want, info.GetMetadata()); diff != "" {
		t.Errorf("metadata (-want +got):\n%s", diff)
	}
	if got := len(request.GetFieldViolations()); got != 2 {
		t.Errorf("%d violations", got)
	}
	if got := request.GetFieldViolations()[1].GetField(); got != "c" {
		t.Errorf("second violation is of %q", got)
	}
	retry := status.Convert(fault.New(typev1.Reason_REASON_UNAVAILABLE, no, "text")).Details()
	if len(retry) != 2 || retry[1].(*errdetails.RetryInfo).GetRetryDelay().AsDuration() != time.Second {
		t.Errorf("UNAVAILABLE has details %v", retry)
	}
}

// Silence about money is never NO.
func TestMoneyMoved(t *testing.T) {
	secret := errors.New("dial 10.1.2.3: password")
	wire := func(metadata map[string]string) error {
		s, err := status.New(codes.FailedPrecondition, "m").
			WithDetails(&errdetails.ErrorInfo{Reason: "FROZEN", Domain: "halfkey", Metadata: metadata})
		if err != nil {
			t.Fatal(err)
		}
		return s.Err()
	}
	for _, tt := range []struct {
		name string
		err  error
		want typev1.MoneyMoved
	}{
		{"said", fault.New(typev1.Reason_REASON_FROZEN, no, "m"), no},
		{"unsaid", fault.New(typev1.Reason_REASON_FROZEN, unsaid, "m"), unknown},
		{"no such answer", fault.New(typev1.Reason_REASON_FROZEN, 99, "m"), unknown},
		{"on the wire", wire(map[string]string{"money_moved": "NO"}), no},
		{"yes on the wire", wire(map[string]string{"money_moved": "YES"}), yes},
		{"missing on the wire", wire(nil), unknown},
		{"unknown word on the wire", wire(map[string]string{"money_moved": "PERHAPS"}), unknown},
		{"prefixed word on the wire", wire(map[string]string{"money_moved": "MONEY_MOVED_NO"}), unknown},
		{"a status of gRPC's own", status.Error(codes.Unavailable, "x"), unknown},
		{"anything else", secret, unknown},
		{"a context", context.Canceled, unknown},
		{"evidence", &evidence.Error{Reason: typev1.Reason_REASON_EVIDENCE_STALE}, unknown},
		{"wrapped, knowing", fault.Wrap(secret, no), no},
		{"wrapped, not knowing", fault.Wrap(secret, unsaid), unknown},
		{"wrapped twice, the inner knows", fault.Wrap(fault.Wrap(secret, unknown), no), unknown},
		{"unsaid, then wrapped", fault.Wrap(fault.New(typev1.Reason_REASON_UNAVAILABLE, unsaid, "m"), no), no},
		{"unsaid in a chain, then wrapped", fault.Wrap(fmt.Errorf("x: %w", fault.New(typev1.Reason_REASON_UNAVAILABLE, unsaid, "m")), yes), yes},
		{"unsaid, wrapped, wrapped", fault.Wrap(fault.Wrap(fault.New(typev1.Reason_REASON_UNAVAILABLE, unsaid, "m"), no), yes), no},
		{"wire, then wrapped", fault.Wrap(wire(map[string]string{"money_moved": "UNKNOWN"}), no), unknown},
		{"doubted", fault.Doubt(fault.New(typev1.Reason_REASON_FROZEN, no, "m")), unknown},
		{"doubted, but it moved", fault.Doubt(fault.New(typev1.Reason_REASON_FROZEN, yes, "m")), yes},
		{"doubted and wrapped", fault.Wrap(fault.Doubt(fault.New(typev1.Reason_REASON_FROZEN, no, "m")), no), unknown},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := fault.Of(tt.err)
			if f.MoneyMoved != tt.want {
				t.Errorf("got %s, want %s", f.MoneyMoved, tt.want)
			}
			if got := "MONEY_MOVED_" + f.Metadata["money_moved"]; got != tt.want.String() {
				t.Errorf("metadata say %s, want %s", got, tt.want)
			}
		})
	}
}

// Errors are read whatever made them, and what this package does not know tells nothing.
func TestOf(t *testing.T) {
	culprit := &frost.CulpritError{Culprit: frost.Agent, Reason: "proof does not verify"}
	for _, tt := range []struct {
		name     string
		err      error
		code     codes.Code
		reason   typev1.Reason
		metadata map[string]string
	}{
		{"io", io.ErrUnexpectedEOF, codes.Internal, typev1.Reason_REASON_INTERNAL, nil},
		{"context ended", fmt.Errorf("x: %w", context.DeadlineExceeded), codes.DeadlineExceeded, typev1.Reason_REASON_UNAVAILABLE, nil},
		{"context canceled", fmt.Errorf("x: %w", context.Canceled), codes.Canceled, typev1.Reason_REASON_UNAVAILABLE, nil},
		{"status unavailable", status.Error(codes.Unavailable, "dial tcp 10.0.0.1"), codes.Unavailable, typev1.Reason_REASON_UNAVAILABLE, nil},
		{"status deadline", status.Error(codes.DeadlineExceeded, "x"), codes.DeadlineExceeded, typev1.Reason_REASON_UNAVAILABLE, nil},
		{"status exhausted", status.Error(codes.ResourceExhausted, "x"), codes.ResourceExhausted, typev1.Reason_REASON_LIMIT_EXCEEDED, nil},
		{"status unimplemented", status.Error(codes.Unimplemented, "x"), codes.Internal, typev1.Reason_REASON_INTERNAL, nil},
		{"status unauthenticated", status.Error(codes.Unauthenticated, "x"), codes.Unauthenticated, typev1.Reason_REASON_UNAUTHENTICATED, nil},
		{
			"bad statement", &evidence.Error{Reason: typev1.Reason_REASON_BAD_STATEMENT, Piece: "request", Field: "units", Why: "is zero"},
			codes.InvalidArgument, typev1.Reason_REASON_BAD_STATEMENT,
			map[string]string{"statement": "request", "field": "units", "why": "is zero"},
		},
		{
			"stale evidence", fmt.Errorf("x: %w", &evidence.Error{Reason: typev1.Reason_REASON_EVIDENCE_STALE, Piece: "verdict"}),
			codes.FailedPrecondition, typev1.Reason_REASON_EVIDENCE_STALE,
			map[string]string{"evidence": "verdict"},
		},
		{
			"refused guard rails", &guardrails.Refusal{Field: "limits[2].amount", Why: "is missing"},
			codes.InvalidArgument, typev1.Reason_REASON_GUARD_RAILS_REFUSED,
			map[string]string{"field": "limits[2].amount", "why": "is missing"},
		},
		{
			"a name", &resource.Error{Field: "payment", Value: `"x y"`, Why: "has a space"},
			codes.InvalidArgument, typev1.Reason_REASON_INVALID_ARGUMENT,
			map[string]string{"field": "payment", "value": `"x y"`, "why": "has a space"},
		},
		{
			"a culprit", culprit, codes.Aborted, typev1.Reason_REASON_KEY_GENERATION_FAILED,
			map[string]string{"culprit": frost.Agent.String(), "why": "proof does not verify"},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := fault.Of(tt.err)
			if f.Code != tt.code || f.Reason != tt.reason {
				t.Errorf("got %s %s, want %s %s", f.Code, f.Reason, tt.code, tt.reason)
			}
			if fault.ReasonOf(tt.err) != tt.reason {
				t.Errorf("ReasonOf is %s", fault.ReasonOf(tt.err))
			}
			got := make(map[string]string)
			for key, value := range f.Metadata {
				if key != "money_moved" && key != "next" {
					got[key] = value
				}
			}
			if tt.metadata == nil {
				tt.metadata = map[string]string{}
			}
			if diff := cmp.Diff(tt.metadata, got); diff != "" {
				t.Errorf("metadata (-want +got):\n%s", diff)
			}
			if !errors.Is(f, tt.err) && errors.Unwrap(f) == nil {
				t.Error("the cause is lost inside the process")
			}
			for _, word := range []string{tt.err.Error(), "10.0.0.1", "unexpected EOF"} {
				if strings.Contains(status.Convert(f).Proto().String(), word) {
					t.Errorf("%q is on the wire: %v", word, status.Convert(f).Proto())
				}
			}
		})
	}
}

func TestNil(t *testing.T) {
	if fault.Of(nil) != nil || fault.Wrap(nil, no) != nil || fault.Doubt(nil) != nil {
		t.Error("an error was made of nil")
	}
	if got := fault.ReasonOf(nil); got != typev1.Reason_REASON_UNSPECIFIED {
		t.Errorf("reason of nil is %s", got)
	}
}

// A reason that this build does not know is read by its code, and keeps its name.
func TestNewerReason(t *testing.T) {
	s, err := status.New(codes.FailedPrecondition, "m").WithDetails(&errdetails.ErrorInfo{
		Reason: "MOON_FULL", Domain: "halfkey", Metadata: map[string]string{"money_moved": "NO", "next": "wait a fortnight"},
	})
	if err != nil {
		t.Fatal(err)
	}
	f := fault.Of(s.Err())
	if f.Reason != typev1.Reason_REASON_INTERNAL || f.Code != codes.FailedPrecondition || f.MoneyMoved != no {
		t.Errorf("got %s %s %s", f.Reason, f.Code, f.MoneyMoved)
	}
	if f.Metadata["reason"] != "MOON_FULL" || f.Next() != "wait a fortnight" {
		t.Errorf("metadata %v", f.Metadata)
	}
}

// A status of another domain is not believed.
func TestOtherDomain(t *testing.T) {
	s, err := status.New(codes.NotFound, "secret text").WithDetails(&errdetails.ErrorInfo{
		Reason: "FROZEN", Domain: "example.com", Metadata: map[string]string{"money_moved": "NO"},
	})
	if err != nil {
		t.Fatal(err)
	}
	f := fault.Of(s.Err())
	if f.Reason != typev1.Reason_REASON_NOT_FOUND || f.MoneyMoved != unknown || strings.Contains(f.Message, "secret") {
		t.Errorf("got %s %s %q", f.Reason, f.MoneyMoved, f.Message)
	}
}

// Whatever is put into metadata, the status can be encoded, is bounded, and harms no terminal.
func TestMetadataIsClean(t *testing.T) {
	var many []string
	for i := range 100 {
		many = append(many, fmt.Sprintf("key_%c%c", 'a'+i%26, 'a'+i/26), strings.Repeat("v", 1000))
	}
	for _, tt := range []struct {
		name string
		kv   []string
		want map[string]string
	}{
		{"control characters", []string{"field", "a\x1b[31mb\nc"}, map[string]string{"field": "a\ufffd[31mb\ufffdc"}},
		{"direction", []string{"field", "a\u202eb"}, map[string]string{"field": "a\ufffdb"}},
		{"not UTF-8", []string{"field", "a\xffb"}, map[string]string{"field": "a\ufffdb"}},
		{"long", []string{"field", strings.Repeat("ä", 200)}, map[string]string{"field": strings.Repeat("ä", 128)}},
		{"reserved keys", []string{"money_moved", "YES", "next", "send it again"}, map[string]string{}},
		{"bad keys", []string{"", "a", "Field", "b", "a b", "c", "1a", "d", strings.Repeat("k", 65), "e"}, map[string]string{}},
		{"odd", []string{"field"}, map[string]string{}},
		{"many", many, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := fault.Of(fault.New(typev1.Reason_REASON_FROZEN, no, "m", tt.kv...))
			if f.MoneyMoved != no || f.Metadata["money_moved"] != "NO" || f.Next() == "send it again" {
				t.Errorf("reserved keys were set: %v", f.Metadata)
			}
			s := status.Convert(f)
			if len(s.Details()) != 1 {
				t.Fatalf("details %v", s.Details())
			}
			encoded := s.Proto().String()
			if len(encoded) > 8<<10 || !utf8.ValidString(encoded) {
				t.Errorf("%d bytes", len(encoded))
			}
			if tt.want == nil {
				return
			}
			tt.want["money_moved"], tt.want["next"] = "NO", f.Next()
			if diff := cmp.Diff(tt.want, f.Metadata); diff != "" {
				t.Errorf("metadata (-want +got):\n%s", diff)
			}
		})
	}
}

// A reason that is none is a defect, not an empty error.
func TestNoReason(t *testing.T) {
	for _, r := range []typev1.Reason{typev1.Reason_REASON_UNSPECIFIED, 9999, -1} {
		f := fault.Of(fault.New(r, no, "m"))
		if f.Reason != typev1.Reason_REASON_INTERNAL || f.Code != codes.Internal {
			t.Errorf("%d: got %s %s", r, f.Reason, f.Code)
		}
	}
}
