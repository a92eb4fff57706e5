package httpjson

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"regexp"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"github.com/grpc-ecosystem/grpc-gateway/v2/utilities"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

// queryValuesMax bounds the values of a repeated parameter; requests have at most three.
const queryValuesMax = 16

// strictQuery takes a request's fields from its query: each by its own name, once, and none that the path has.
type strictQuery struct{ lenient runtime.DefaultQueryParser }

// Parse fills in a request. filter holds the fields that the path has.
func (q strictQuery) Parse(msg proto.Message, values url.Values, filter *utilities.DoubleArray) error {
	fields := msg.ProtoReflect().Descriptor().Fields()
	for name, given := range values {
		field := fields.ByTextName(name)
		switch {
		case field == nil:
			return fmt.Errorf("unknown query parameter %q", name)
		case filter.HasCommonPrefix([]string{name}):
			return fmt.Errorf("%s stands in the path", name)
		case !field.IsList() && len(given) != 1:
			return fmt.Errorf("query parameter %s is given more than once", name)
		case len(given) > queryValuesMax:
			return fmt.Errorf("query parameter %s has more than %d values", name, queryValuesMax)
		}
	}
	return q.lenient.Parse(msg, values, filter)
}

type bodyKey struct{}

// pathField is a field that a route takes from its path, for example {name=wallets/*}.
var pathField = regexp.MustCompile(`\{([a-z_]+)[=}]`)

// saidOnce refuses a body that brings a field which stands in its path too: the path would win, whatever the body says.
func saidOnce(ctx context.Context) error {
	body, _ := ctx.Value(bodyKey{}).([]byte)
	route, _ := runtime.HTTPPathPattern(ctx)
	var fields map[string]json.RawMessage
	if len(body) == 0 || json.Unmarshal(body, &fields) != nil {
		return nil // No body, or none that has come this far.
	}
	for _, field := range pathField.FindAllStringSubmatch(route, -1) {
		// Our fields of one word are named alike in the contract and in JSON.
		if _, ok := fields[field[1]]; ok {
			return status.Errorf(codes.InvalidArgument, "%s stands in the path", field[1])
		}
	}
	return nil
}
