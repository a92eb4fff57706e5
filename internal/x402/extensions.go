package x402

import (
	"bytes"
	"encoding/json"
)

// ExtensionIdentifier is the extension by which a client gives its payment a name, so that a repeat gets the same answer.
const ExtensionIdentifier = "payment-identifier"

const (
	identifierMin = 16
	identifierMax = 128
)

// ValidIdentifier reports why s is not a payment identifier: 16 to 128 of [A-Za-z0-9_-].
func ValidIdentifier(s string) error {
	if len(s) < identifierMin || len(s) > identifierMax || !only(s, lower+upper+"_-") {
		return refuse("payment identifier", "is not 16 to 128 of [A-Za-z0-9_-]")
	}
	return nil
}

// checkExtensions reports why raw is not an object of extensions in which a client could answer.
func checkExtensions(part string, raw json.RawMessage) error {
	o, ok := asObject(raw)
	if !ok {
		return refuse(part, "has extensions that are not a JSON object")
	}
	if _, ok := o[ExtensionIdentifier]; !ok {
		return nil
	}
	if _, ok := info(o); !ok {
		return refuse(part, "has a payment-identifier without an info that is a JSON object")
	}
	return nil
}

// info is what stands in the extension payment-identifier.
func info(extensions object) (object, bool) {
	extension, ok := asObject(extensions[ExtensionIdentifier])
	if !ok {
		return nil, false
	}
	return asObject(extension["info"])
}

// AsksIdentifier reports whether the server offers to know a payment again by an identifier.
func (r *Required) AsksIdentifier() bool {
	o, _ := asObject(r.Extensions)
	_, ok := o[ExtensionIdentifier]
	return ok
}

// answerExtensions is extensions as the client sends them back: as they came, with the identifier where one is asked for.
func answerExtensions(raw json.RawMessage, identifier string) json.RawMessage {
	o, ok := asObject(raw)
	if !ok {
		return raw
	}
	if _, ok := o[ExtensionIdentifier]; !ok {
		return raw
	}
	return replace(raw, ExtensionIdentifier, func(extension json.RawMessage) json.RawMessage {
		return replace(extension, "info", func(info json.RawMessage) json.RawMessage {
			return replace(info, "id", func(json.RawMessage) json.RawMessage { return text(identifier) })
		})
	})
}

// replace writes an object again with one member changed, which is added if it is missing. The others stay as they are, byte for
// byte, and in their order.
func replace(raw json.RawMessage, name string, change func(json.RawMessage) json.RawMessage) json.RawMessage {
	var w writer
	found := false
	d := json.NewDecoder(bytes.NewReader(raw))
	_, _ = d.Token() // the brace: that this is an object was checked
	for d.More() {
		from := d.InputOffset()
		key, _ := d.Token()
		// The name as it is written: between it and what was before stand a comma, at most, and white space.
		written := bytes.TrimLeft(raw[from:d.InputOffset()], ", \t\r\n")
		var value json.RawMessage
		if d.Decode(&value) != nil {
			return raw
		}
		if key == name {
			found = true
			value = change(value)
		}
		w.pair(written, value)
	}
	if !found {
		w.member(name, change(nil))
	}
	return w.object()
}
