package x402

import (
	"bytes"
	"encoding/json"
	"strconv"
	"unicode/utf8"
)

// checkJSON reports why b is not one JSON value as this package takes them. Two members of one name are refused wherever they
// stand: readers differ in which of them counts, and the one who shows a price would not be the one who takes it.
func checkJSON(part string, b []byte) error {
	if !utf8.Valid(b) || !json.Valid(b) {
		return refuse(part, "is not JSON in UTF-8")
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	// One entry for each value that is open: the names seen in an object, nil for a list.
	var open []map[string]bool
	atName := false
	for {
		token, err := d.Token()
		if err != nil {
			return nil // the end: that it is JSON was checked
		}
		if name, ok := token.(string); ok && atName {
			seen := open[len(open)-1]
			if seen[name] {
				return refuse(part, "has one name twice in one object")
			}
			seen[name], atName = true, false
			continue
		}
		switch token {
		case json.Delim('{'):
			open = append(open, map[string]bool{})
		case json.Delim('['):
			open = append(open, nil)
		case json.Delim('}'), json.Delim(']'):
			open = open[:len(open)-1]
		}
		if len(open) > depthMax {
			return refuse(part, "is nested too deeply")
		}
		atName = len(open) > 0 && open[len(open)-1] != nil
	}
}

// object is a JSON object by exact names; encoding/json by itself would take "PayTo" for "payTo".
type object map[string]json.RawMessage

// asObject reads JSON that checkJSON has passed. It reports whether that is an object.
func asObject(raw json.RawMessage) (object, bool) {
	var o object
	if err := json.Unmarshal(raw, &o); err != nil || o == nil {
		return nil, false
	}
	return o, true
}

// has reports whether there is such a member; null counts as none.
func (o object) has(name string) bool {
	raw, ok := o[name]
	return ok && string(raw) != "null"
}

// text is a member that is a string. It reports false if there is one of another kind; a missing one is empty.
func (o object) text(name string) (string, bool) {
	if !o.has(name) {
		return "", true
	}
	return asText(o[name])
}

func asText(raw json.RawMessage) (string, bool) {
	var s *string
	if err := json.Unmarshal(raw, &s); err != nil || s == nil {
		return "", false
	}
	return *s, true
}

// words is a member that is a stranger's text, empty if it is missing or of another kind: it is shown and decides nothing.
func (o object) words(name string) Untrusted {
	s, _ := o.text(name)
	return Untrusted(s)
}

// asInteger reads a whole number from 0 on, without sign, fraction and exponent.
func asInteger(raw json.RawMessage) (int64, bool) {
	v, err := strconv.ParseInt(string(raw), 10, 64)
	return v, err == nil && v >= 0 && raw[0] != '-'
}

// list is a member that is a list. It reports false if there is one of another kind; a missing one is empty.
func (o object) list(name string) ([]json.RawMessage, bool) {
	if !o.has(name) {
		return nil, true
	}
	var list []json.RawMessage
	err := json.Unmarshal(o[name], &list)
	return list, err == nil
}

// version is x402Version, 0 if there is none or it is no whole number.
func (o object) version() int64 {
	if !o.has("x402Version") {
		return 0
	}
	v, ok := asInteger(o["x402Version"])
	if !ok {
		return 0
	}
	return v
}

// writer puts an object together from parts that must stay as they are, byte for byte; encoding/json would compact them.
type writer struct{ bytes.Buffer }

// member writes a member, and nothing if it has no value.
func (w *writer) member(name string, value json.RawMessage) {
	if len(value) > 0 {
		w.pair(text(name), value)
	}
}

func (w *writer) pair(name, value json.RawMessage) {
	if w.Len() == 0 {
		w.WriteByte('{')
	} else {
		w.WriteByte(',')
	}
	w.Write(name)
	w.WriteByte(':')
	w.Write(value)
}

// words writes a member that is a string, and nothing if it is empty.
func (w *writer) words(name, s string) {
	if s != "" {
		w.member(name, text(s))
	}
}

func (w *writer) object() json.RawMessage {
	if w.Len() == 0 {
		w.WriteByte('{')
	}
	w.WriteByte('}')
	return w.Bytes()
}

func (w *writer) element(raw json.RawMessage) {
	if w.Len() == 0 {
		w.WriteByte('[')
	} else {
		w.WriteByte(',')
	}
	w.Write(raw)
}

func (w *writer) list() json.RawMessage {
	if w.Len() == 0 {
		w.WriteByte('[')
	}
	w.WriteByte(']')
	return w.Bytes()
}

// text is a JSON string.
func text(s string) json.RawMessage {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	_ = e.Encode(s) // a string always has JSON
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

func integer(v int64) json.RawMessage { return strconv.AppendInt(nil, v, 10) }
