package httpjson

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strings"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"google.golang.org/genproto/googleapis/rpc/status"
	grpcstatus "google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

const (
	jsonType = "application/json"
	// linesType is a stream: one JSON object a line.
	linesType = "application/x-ndjson"
)

// codec is the one form of JSON: the contract's own names; fields that hold nothing are written too, so that a reader need not
// know that absent means false; what is read is one object without unknown fields.
type codec struct{ runtime.JSONPb }

func newCodec() *codec {
	return &codec{runtime.JSONPb{MarshalOptions: protojson.MarshalOptions{UseProtoNames: true, EmitDefaultValues: true}}}
}

// ContentType is JSON's.
func (*codec) ContentType(any) string { return jsonType }

// StreamContentType is that of lines of JSON.
func (*codec) StreamContentType(any) string { return linesType }

// NewDecoder reads one JSON value and nothing after it; no bytes at all are a request with no fields set.
func (*codec) NewDecoder(r io.Reader) runtime.Decoder {
	return runtime.DecoderFunc(func(v any) error {
		body, err := io.ReadAll(r) // Its length was bounded when it was read from the network.
		if err != nil {
			return err
		}
		if len(body) == 0 {
			return io.EOF
		}
		m, ok := v.(proto.Message)
		if !ok {
			return errors.New("a body is a whole request")
		}
		if err := protojson.Unmarshal(body, m); err != nil {
			return errors.New(plain(err.Error()))
		}
		return nil
	})
}

// Marshal writes an answer. The last line of a stream that failed is our error's form instead of gRPC's.
func (c *codec) Marshal(v any) ([]byte, error) {
	b, err := c.marshal(v)
	if err != nil {
		return nil, err
	}
	// protojson varies its white space from build to build.
	var out bytes.Buffer
	if err := json.Compact(&out, b); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

func (c *codec) marshal(v any) ([]byte, error) {
	if chunk, ok := v.(map[string]proto.Message); ok {
		if s, ok := chunk["error"].(*status.Status); ok {
			return json.Marshal(map[string]*problem{"error": problemOf(grpcstatus.ErrorProto(s), "")})
		}
	}
	return c.JSONPb.Marshal(v)
}

// plain makes protojson's text fit to show: it varies its white space, so that nobody compares it.
func plain(text string) string {
	text = strings.ReplaceAll(text, "\u00a0", " ")
	return strings.TrimSpace(strings.TrimPrefix(text, "proto:"))
}
