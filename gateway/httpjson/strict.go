package httpjson

import (
	"context"
	"encoding/json"
	"net/url"
	"regexp"
	"strings"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/reflect/protoreflect"

	gatewayv1 "github.com/halfkey/halfkey/proto/gen/halfkey/gateway/v1"
)

// queryValuesMax bounds the values of a repeated parameter; requests have at most three.
const queryValuesMax = 16

// given is what a request brings besides its path.
type given struct {
	query url.Values
	body  []byte
}

type givenKey struct{}

// pathField is a field that a route takes from its path, for example {name=wallets/*}.
var pathField = regexp.MustCompile(`\{([a-z_]+)[=}]`)

// saidOnce refuses what the generated code would pass over in silence: a query parameter that is no field of the request, or
// that is given twice, and a field that stands in the path too, where the path would win.
func saidOnce(ctx context.Context, fullMethod string) error {
	said, ok := ctx.Value(givenKey{}).(given)
	request := requestOf(fullMethod)
	if !ok || request == nil {
		return status.Error(codes.Internal, "a call of no request")
	}
	route, _ := runtime.HTTPPathPattern(ctx)
	inPath := make(map[string]bool)
	for _, field := range pathField.FindAllStringSubmatch(route, -1) {
		inPath[field[1]] = true
	}
	for name, values := range said.query {
		field := request.Fields().ByTextName(name)
		switch {
		case field == nil:
			return status.Errorf(codes.InvalidArgument, "unknown query parameter %q", name)
		case inPath[name]:
			return status.Errorf(codes.InvalidArgument, "%s stands in the path", name)
		case !field.IsList() && len(values) != 1:
			return status.Errorf(codes.InvalidArgument, "query parameter %s is given more than once", name)
		case len(values) > queryValuesMax:
			return status.Errorf(codes.InvalidArgument, "query parameter %s has more than %d values", name, queryValuesMax)
		}
	}
	var fields map[string]json.RawMessage
	if len(said.body) == 0 || json.Unmarshal(said.body, &fields) != nil {
		return nil // No body; one that does not decode has not come this far.
	}
	for name := range inPath {
		// A path takes fields of one word, which have one name in the contract and in JSON.
		if _, twice := fields[name]; twice {
			return status.Errorf(codes.InvalidArgument, "%s stands in the path", name)
		}
	}
	return nil
}

// requestOf describes the request of a method; nil for no method of the gateway.
func requestOf(fullMethod string) protoreflect.MessageDescriptor {
	service := gatewayv1.File_halfkey_gateway_v1_gateway_proto.Services().ByName("GatewayService")
	name, _ := strings.CutPrefix(fullMethod, "/"+string(service.FullName())+"/")
	method := service.Methods().ByName(protoreflect.Name(name))
	if method == nil {
		return nil
	}
	return method.Input()
}
