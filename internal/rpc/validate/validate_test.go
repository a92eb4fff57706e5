package validate_test

import (
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/halfkey/halfkey/internal/fault"
	"github.com/halfkey/halfkey/internal/rpc/validate"
	cosignerv1 "github.com/halfkey/halfkey/proto/gen/halfkey/cosigner/v1"
	gatewayv1 "github.com/halfkey/halfkey/proto/gen/halfkey/gateway/v1"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

func TestValidate(t *testing.T) {
	check, err := validate.New()
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name   string
		m      proto.Message
		fields []string // none: it passes
	}{
		{"good", &gatewayv1.ListWalletsRequest{Owner: "owners/a", PageSize: 100}, nil},
		{"no rules", &cosignerv1.ReleaseRequest{}, nil},
		{"too many", &gatewayv1.ListWalletsRequest{PageSize: 101}, []string{"page_size"}},
		{"two at once", &gatewayv1.ListWalletsRequest{PageSize: -1, PageToken: strings.Repeat("x", 257)}, []string{"page_size", "page_token"}},
		{"missing statement", &gatewayv1.CreateOwnerRequest{}, []string{"registration"}},
		{"no such state", &gatewayv1.ListPaymentsRequest{State: 99}, []string{"state"}},
		{"wrong length", &gatewayv1.SettlePaymentRequest{Signature: make([]byte, 63)}, []string{"signature"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := check(tt.m)
			if tt.fields == nil {
				if err != nil {
					t.Errorf("refused: %v", err)
				}
				return
			}
			f := fault.Of(err)
			if f == nil || f.Reason != typev1.Reason_REASON_INVALID_ARGUMENT || f.MoneyMoved != typev1.MoneyMoved_MONEY_MOVED_NO {
				t.Fatalf("got %v", err)
			}
			if f.Metadata["field"] != tt.fields[0] || len(f.Violations) != len(tt.fields) {
				t.Fatalf("got %v, want %q", f.Violations, tt.fields)
			}
			for i, v := range f.Violations {
				if v.Field != tt.fields[i] || v.Why == "" {
					t.Errorf("got %+v, want %s", v, tt.fields[i])
				}
			}
		})
	}
}
