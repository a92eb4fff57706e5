package resource

import (
	"strings"
	"testing"
)

func TestHTTPWords(t *testing.T) {
	long := strings.Repeat("a", 63)
	name253 := strings.Join([]string{long, long, long, strings.Repeat("b", 61)}, ".")
	for _, row := range []struct {
		scheme, host string
		ok           bool
	}{
		{"https", "api.example", true},
		{"https", "localhost", true},
		{"https", "localhost:8443", true},
		{"https", "xn--bcher-kva.example", true},
		{"https", "a.b-c.4you.example", true},
		{"https", name253, true},
		{"https", name253 + ":65535", true},
		{"http", "api.example:443", true},
		{"https", "api.example:80", true},
		{"https", "192.0.2.7", true},
		{"https", "192.0.2.7:8443", true},
		{"http", "[::1]", true},
		{"http", "[2001:db8::1]:8080", true},
		{"https", "", false},
		{"https", ":8443", false},
		{"https", "api.example:443", false},
		{"http", "api.example:80", false},
		{"https", "api.example:", false},
		{"https", "api.example:0", false},
		{"https", "api.example:08443", false},
		{"https", "api.example:65536", false},
		{"https", "api.example:+80", false},
		{"https", "Api.example", false},
		{"https", "api.example.", false},
		{"https", ".example", false},
		{"https", "api..example", false},
		{"https", "-api.example", false},
		{"https", "api-.example", false},
		{"https", "a_b.example", false},
		{"https", "bücher.example", false},
		{"https", "api.example/path", false},
		{"https", "user@api.example", false},
		{"https", "*.example.com", false},
		{"https", long + "a.example", false},
		{"https", name253 + "b", false},
		{"https", "127.1", false},
		{"https", "127.0.0.01", false},
		{"https", "2130706433", false},
		{"https", "0x7f000001", false},
		{"https", "127.0.0.0x1", false},
		{"https", "api.0x", false},
		{"https", "::1", false},
		{"https", "[::1", false},
		{"https", "[0:0::1]", false},
		{"https", "[2001:DB8::1]", false},
		{"https", "[fe80::1%eth0]", false},
		{"https", "[192.0.2.7]", false},
	} {
		if err := ValidHTTPHost(row.scheme, row.host); (err == nil) != row.ok {
			t.Errorf("ValidHTTPHost(%q, %q) = %v, want ok %v", row.scheme, row.host, err, row.ok)
		}
	}
	for _, row := range []struct {
		path string
		ok   bool
	}{
		{"/", true},
		{"//", true},
		{"/v1/reports/7", true},
		{"/a%20b/(c)[d]@e:f;g=h,i!$&'*+~_-.x", true},
		{"/...", true},
		{"/a/..b/c..", true},
		{"/" + strings.Repeat("a", HTTPPathMax-1), true},
		{"", false},
		{"v1", false},
		{"/" + strings.Repeat("a", HTTPPathMax), false},
		{"/a b", false},
		{"/a?b", false},
		{"/a#b", false},
		{"/a\\b", false},
		{"/a\"b", false},
		{"/\u00fc", false},
		{"/a\x00", false},
		{"/%", false},
		{"/%2", false},
		{"/%zz", false},
		{"/.", false},
		{"/..", false},
		{"/v1/../admin", false},
		{"/v1/./x", false},
		{"/v1/%2e%2E/admin", false},
		{"/v1/.%2e/admin", false},
		{"/v1/..%2fadmin", false},
		{"/v1/x%5c..%5cadmin", false},
		{"/v1/..;/admin", false},
		{"/v1/..;a=b/admin", false},
		{"/v1/%2e%2e%3b/admin", false},
		{"/v1/.;/x", false},
		{"/v1/%252e%252e/admin", false},
		{"/v1/..%252fadmin", false},
		{"/v1/%25252e./admin", false},
		{"/v1/a;..;b/c%25/%2525", true},
	} {
		if err := ValidHTTPPath(row.path); (err == nil) != row.ok {
			t.Errorf("ValidHTTPPath(%q) = %v, want ok %v", row.path, err, row.ok)
		}
	}
	methods := map[string]bool{
		"GET": true, "PROPPATCH": true, "ABCDEFGHIJKLMNOP": true, "": false, "get": false, "GET ": false,
		"M-SEARCH": false, "ABCDEFGHIJKLMNOPQ": false,
	}
	for s, ok := range methods {
		if err := ValidHTTPMethod(s); (err == nil) != ok {
			t.Errorf("ValidHTTPMethod(%q) = %v, want ok %v", s, err, ok)
		}
	}
	for s, ok := range map[string]bool{"https": true, "http": true, "": false, "HTTPS": false, "ftp": false} {
		if err := ValidHTTPScheme(s); (err == nil) != ok {
			t.Errorf("ValidHTTPScheme(%q) = %v, want ok %v", s, err, ok)
		}
	}
}
