package evidence_test

import (
	"crypto/sha256"
	"errors"
	"net/url"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/halfkey/halfkey/internal/evidence"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// TestX402Of: what the context of a request says, and over which text its digest is.
func TestX402Of(t *testing.T) {
	body := sha256.Sum256(nil)
	for _, row := range []struct {
		url, method, host, path, whole string
	}{
		{"https://api.example", "GET", "api.example", "/", "https://api.example/"},
		{"https://api.example?", "GET", "api.example", "/", "https://api.example/?"},
		{"HTTPS://API.example:443/A?b=C#d", "GET", "api.example", "/A", "https://api.example/A?b=C"},
		{"http://api.example:80/", "HEAD", "api.example", "/", "http://api.example/"},
		{"http://api.example:/", "GET", "api.example", "/", "http://api.example/"},
		{"http://api.example:443/", "POST", "api.example:443", "/", "http://api.example:443/"},
		{"https://[2001:DB8::1]:8443/c d", "GET", "[2001:db8::1]:8443", "/c%20d", "https://[2001:db8::1]:8443/c%20d"},
		{"https://api.example/a%2fb", "GET", "api.example", "/a%2fb", "https://api.example/a%2fb"},
	} {
		u, err := url.Parse(row.url)
		if err != nil {
			t.Fatal(err)
		}
		m, err := evidence.X402Of(row.method, u, body)
		if err != nil {
			t.Errorf("X402Of(%s): %v", row.url, err)
			continue
		}
		scheme, _, _ := strings.Cut(row.whole, ":")
		digest := sha256.Sum256([]byte(row.whole))
		want := &typev1.X402Context{Method: row.method, Scheme: scheme, Host: row.host, Path: row.path, UrlDigest: digest[:], BodyDigest: body[:]}
		if !proto.Equal(m, want) {
			t.Errorf("X402Of(%s) = %s, want %s", row.url, protojson.Format(m), protojson.Format(want))
		}
	}
}

// TestX402OfRefuses: a request that an intent cannot name in one spelling, by the field that the refusal names.
func TestX402OfRefuses(t *testing.T) {
	for _, row := range []struct {
		url, method, field string
	}{
		{"https://api.example/", "get", "x402.method"},
		{"ftp://api.example/", "GET", "x402.scheme"},
		{"//api.example/", "GET", "x402.scheme"},
		{"https:/path", "GET", "x402.host"},
		{"https://b\u00fccher.example/", "GET", "x402.host"},
		{"https://api.example./", "GET", "x402.host"},
		{"https://127.1/", "GET", "x402.host"},
		{"https://api.example:0443/", "GET", "x402.host"},
		{"https://api.example/v1/../admin", "GET", "x402.path"},
		{"https://api.example/v1/%2e%2e/admin", "GET", "x402.path"},
		{"https://api.example/" + strings.Repeat("a", 1024), "GET", "x402.path"},
		{"https://me:secret@api.example/", "GET", "x402"},
		{"https:api.example", "GET", "x402"},
	} {
		u, err := url.Parse(row.url)
		if err != nil {
			t.Fatal(err)
		}
		_, err = evidence.X402Of(row.method, u, [32]byte{})
		var e *evidence.Error
		if !errors.As(err, &e) || e.Field != row.field {
			t.Errorf("X402Of(%s %s): %v, want a refusal of %s", row.method, row.url, err, row.field)
		}
		if strings.Contains(row.url, "secret") && strings.Contains(err.Error(), "secret") {
			t.Errorf("the refusal shows the password: %v", err)
		}
	}
	if _, err := evidence.X402Of("GET", nil, [32]byte{}); err == nil {
		t.Error("no URL: taken")
	}
}

// TestX402Differs: each field by its name.
func TestX402Differs(t *testing.T) {
	a := boughtOf(t)
	if got := evidence.X402Differs(a, proto.CloneOf(a)) + evidence.X402Differs(nil, nil); got != "" {
		t.Errorf("the same differ in %s", got)
	}
	for field, edit := range map[string]func(m *typev1.X402Context){
		"x402.method":      func(m *typev1.X402Context) { m.Method = "GET" },
		"x402.scheme":      func(m *typev1.X402Context) { m.Scheme = "http" },
		"x402.host":        func(m *typev1.X402Context) { m.Host = "api.example" },
		"x402.path":        func(m *typev1.X402Context) { m.Path = "/" },
		"x402.url_digest":  func(m *typev1.X402Context) { m.UrlDigest = digestOf(1) },
		"x402.body_digest": func(m *typev1.X402Context) { m.BodyDigest = digestOf(1) },
	} {
		b := proto.CloneOf(a)
		edit(b)
		if got := evidence.X402Differs(a, b); got != field {
			t.Errorf("differs in %q, want %q", got, field)
		}
	}
	if got := evidence.X402Differs(a, nil); got != "x402" {
		t.Errorf("one without: differs in %q, want x402", got)
	}
}

// TestIntentMax: the longest intent that every field's own bound lets pass is not too large.
func TestIntentMax(t *testing.T) {
	label := strings.Repeat("a", 63)
	wallet := "wallets/" + label
	m := &typev1.Intent{
		Installation: strings.Repeat("a", 32), Wallet: wallet, Payment: wallet + "/payments/" + label, Rail: typev1.Rail_RAIL_BOOK,
		Asset: strings.Repeat("a", evidence.AssetMax), Units: "9223372036854775807", Recipient: digestOf(1),
		Purpose: strings.Repeat("a", evidence.PurposeMax), DeadlineMillis: 253402300799999,
		X402: &typev1.X402Context{
			Method: "ABCDEFGHIJKLMNOP", Scheme: "https", Host: strings.Join([]string{label, label, label, label[:61]}, ".") + ":65535",
			Path: "/" + strings.Repeat("a", 1023), UrlDigest: digestOf(2), BodyDigest: digestOf(3),
		},
	}
	b, err := evidence.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	if len(b) > evidence.IntentMax {
		t.Errorf("the longest intent has %d bytes, and IntentMax is %d", len(b), evidence.IntentMax)
	}
}
