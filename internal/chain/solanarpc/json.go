package solanarpc

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"math"
	"strconv"
	"unicode/utf8"

	"github.com/halfkey/halfkey/internal/chain/solana"
)

const (
	// depthMax is more than the deepest answer has, inner instructions.
	depthMax = 32
	// valuesMax bounds what is made of an answer's bytes, each value being many times larger in memory than `[]` is. A full page of
	// signatures has 13,000.
	valuesMax = 50_000
	// numberMax bounds slots, heights and the like, so that sums of them do not overflow.
	numberMax = 1 << 60
)

// parseJSON reads exactly one value, of map[string]any, []any, string, json.Number, bool and nil. Unlike encoding/json into structs
// it takes a member's name as it is written and none twice, so that an answer means the same to everyone who reads it.
func parseJSON(b []byte) (v any, why string) {
	// Valid looks at the whole text, so what follows meets no error and nothing after the value.
	if !utf8.Valid(b) || !json.Valid(b) {
		return nil, "is not JSON"
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	p := parser{tokens: d}
	v = p.value(0)
	return v, p.why
}

// parser builds values of tokens. After the first that is refused it says why and yields nil.
type parser struct {
	tokens *json.Decoder
	values int
	why    string
}

func (p *parser) value(depth int) any {
	token, err := p.tokens.Token()
	p.values++
	switch {
	case err != nil:
		p.why = "is not JSON"
	case depth > depthMax:
		p.why = "is nested too deeply"
	case p.values > valuesMax:
		p.why = "holds too many values"
	}
	if p.why != "" {
		return nil
	}
	switch token {
	case json.Delim('['):
		list := []any{}
		for p.why == "" && p.tokens.More() {
			list = append(list, p.value(depth+1))
		}
		p.end()
		return list
	case json.Delim('{'):
		object := map[string]any{}
		for p.why == "" && p.tokens.More() {
			name, _ := p.value(depth + 1).(string)
			if _, twice := object[name]; twice && p.why == "" {
				p.why = "has a member twice"
			}
			object[name] = p.value(depth + 1)
		}
		p.end()
		return object
	}
	return token
}

// end takes the closing delimiter.
func (p *parser) end() {
	if p.why == "" {
		_, _ = p.tokens.Token() // Valid has seen that it is there.
	}
}

// fields reads values as what they have to be. After the first that is not, it says why and yields zeros.
type fields struct{ why string }

func (f *fields) refuse(why string) {
	if f.why == "" {
		f.why = why
	}
}

func (f *fields) object(v any) map[string]any {
	object, ok := v.(map[string]any)
	if !ok {
		f.refuse("has something else where an object belongs")
	}
	return object
}

// member is an object's member, which has to be there and may be null.
func (f *fields) member(object map[string]any, name string) any {
	v, ok := object[name]
	if !ok {
		f.refuse("lacks " + name)
	}
	return v
}

func (f *fields) list(v any, lengthMax int) []any {
	list, ok := v.([]any)
	switch {
	case !ok:
		f.refuse("has something else where a list belongs")
	case len(list) > lengthMax:
		f.refuse("has a list longer than was asked for")
		return nil
	}
	return list
}

func (f *fields) text(v any) string {
	s, ok := v.(string)
	if !ok {
		f.refuse("has something else where a text belongs")
	}
	return s
}

// number reads a whole number up to numberMax.
func (f *fields) number(v any) uint64 {
	text, ok := v.(json.Number)
	n, err := strconv.ParseUint(string(text), 10, 64)
	if !ok || err != nil || n > numberMax {
		f.refuse("has something else where a whole number up to 2^60 belongs")
		return 0
	}
	return n
}

// seconds reads a time in seconds since 1970, or null as 0.
func (f *fields) seconds(v any) int64 {
	if v == nil {
		return 0
	}
	return int64(f.number(v))
}

// units reads an amount: a text with the one writing of a number from 0 to 2^63-1.
func (f *fields) units(v any) int64 {
	text := f.text(v)
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil || n > math.MaxInt64 || strconv.FormatUint(n, 10) != text {
		f.refuse("has something else where an amount from 0 to 2^63-1 belongs")
		return 0
	}
	return int64(n)
}

func (f *fields) key(v any) solana.Key {
	key, err := solana.ParseKey(f.text(v))
	if err != nil {
		f.refuse("has something else where 32 bytes in base58 belong")
	}
	return key
}

func (f *fields) signature(v any) solana.Signature {
	signature, err := solana.ParseSignature(f.text(v))
	if err != nil {
		f.refuse("has something else where a signature in base58 belongs")
	}
	return signature
}

// bytes reads what a node writes as [text, "base64"].
func (f *fields) bytes(v any, sizeMax int) []byte {
	pair := f.list(v, 2)
	if len(pair) != 2 || f.text(pair[1]) != "base64" {
		f.refuse("has something else where bytes in base64 belong")
		return nil
	}
	text := f.text(pair[0])
	b, err := base64.StdEncoding.Strict().DecodeString(text)
	// The decoder skips line breaks, so one content would have many texts.
	if err != nil || len(b) > sizeMax || base64.StdEncoding.EncodedLen(len(b)) != len(text) {
		f.refuse("has something else where bytes in base64 belong, or too many of them")
		return nil
	}
	return b
}
