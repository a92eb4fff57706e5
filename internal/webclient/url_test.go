package webclient

import (
	"crypto/sha256"
	"errors"
	"net/url"
	"strings"
	"testing"

	"github.com/halfkey/halfkey/internal/evidence"
)

func TestParseURL(t *testing.T) {
	for _, c := range []struct{ name, raw, want string }{
		{"plain", "https://api.example/weather", "https://api.example/weather"},
		{"no path", "https://api.example", "https://api.example/"},
		{"capitals", "HTTPS://API.Example/Weather", "https://api.example/Weather"},
		{"port", "https://api.example:8443/", "https://api.example:8443/"},
		{"port that https has", "https://api.example:443/", "https://api.example/"},
		{"port that http has", "http://localhost:80/", "http://localhost/"},
		{"port of the other scheme", "https://api.example:80/", "https://api.example:80/"},
		{"fragment", "https://api.example/a#b", "https://api.example/a"},
		{"empty fragment", "https://api.example/a#", "https://api.example/a"},
		{"query", "https://api.example/a?b=c&d=%20+/?", "https://api.example/a?b=c&d=%20+/?"},
		{"empty query", "https://api.example/a?", "https://api.example/a?"},
		{"query, no path", "https://api.example?a", "https://api.example/?a"},
		{"escapes stay", "https://api.example/a%2Fb%2f%c3%a9", "https://api.example/a%2Fb%2f%c3%a9"},
		{"slashes stay", "https://api.example//a//b/", "https://api.example//a//b/"},
		{"colon and at in a path", "https://api.example/a:b@c", "https://api.example/a:b@c"},
		{"punycode", "https://xn--bcher-kva.example/", "https://xn--bcher-kva.example/"},
		{"one label", "https://shop/", "https://shop/"},
		{"address", "https://93.184.216.34/", "https://93.184.216.34/"},
		{
			"address of version 6", "https://[2606:2800:21F:CB07:6820:80DA:AF6B:8B2C]:8443/",
			"https://[2606:2800:21f:cb07:6820:80da:af6b:8b2c]:8443/",
		},
		{"address of version 6, long", "https://[2606:0:0:0:0:0:0:1]/", "https://[2606::1]/"},
		{"loopback", "http://127.0.0.1:8080/a", "http://127.0.0.1:8080/a"},
		{"loopback elsewhere", "http://127.8.8.8/a", "http://127.8.8.8/a"},
		{"loopback of version 6", "http://[::1]:8080/a", "http://[::1]:8080/a"},
		{"three dots are a name", "https://api.example/.../a", "https://api.example/.../a"},
		{"hidden file", "https://api.example/.well-known/x402", "https://api.example/.well-known/x402"},
	} {
		t.Run(c.name, func(t *testing.T) {
			u, err := ParseURL(c.raw)
			if err != nil {
				t.Fatal(err)
			}
			if got := u.String(); got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
}

// What is refused here would be read as one address by one program and as another by the next, or is no address at all.
func TestParseURLRefuses(t *testing.T) {
	for _, c := range []struct{ name, raw, want string }{
		{"empty", "", "empty"},
		{"too long", "https://api.example/?" + strings.Repeat("a", URLMax), "longer than 4,096"},
		{"path too long", "https://api.example/" + strings.Repeat("a", 1024), "path"},
		{"no scheme", "api.example/weather", "does not begin with https://"},
		{"no scheme, port", "api.example:443/weather", "does not begin with https://"},
		{"relative", "//api.example/weather", "does not begin with https://"},
		{"file", "file:///etc/passwd", "does not begin with https://"},
		{"ftp", "ftp://api.example/", "does not begin with https://"},
		{"gopher", "gopher://127.0.0.1:6379/_x", "does not begin with https://"},
		{"data", "data:text/plain,x", "does not begin with https://"},
		{"plain HTTP", "http://api.example/", "plain HTTP"},
		{"plain HTTP to a name like loopback's", "http://localhost.example/", "plain HTTP"},
		{"plain HTTP to an address", "http://10.0.0.1/", "plain HTTP"},
		{"plain HTTP to no address", "http://0.0.0.0/", "plain HTTP"},
		{"opaque", "https:api.example", "no host"},
		{"no host", "https:///a", "no host"},
		{"user", "https://user@api.example/", "user or a password"},
		{"user and password", "https://user:pass@api.example/", "user or a password"},
		{"user that looks like a host", "https://api.example@evil.example/", "user or a password"},
		{"empty user", "https://@api.example/", "user or a password"},
		{"backslash", `https://api.example\@evil.example/`, "white space or a control character|one of"},
		{"backslash for slash", `https:\\api.example\`, "one of"},
		{"space before", " https://api.example/", "white space"},
		{"tab inside", "https://api.exa\tmple/", "white space"},
		{"line end", "https://api.example/\n", "white space"},
		{"carriage return and header", "https://api.example/\r\nHost: evil", "white space"},
		{"nul", "https://api.example/\x00", "control character"},
		{"brackets", "https://api.example/<script>", "one of"},
		{"not ASCII in the host", "https://bücher.example/", "punycode"},
		{"letter of another script", "https://аpi.example/", "punycode"},
		{"full-width digits", "https://１２７.0.0.1/", "punycode"},
		{"full-width dot", "https://127。0。0。1/", "punycode"},
		{"not ASCII in the path", "https://api.example/é", "not ASCII"},
		{"escape in the host", "https://%31%32%37.0.0.1/", "not a URL"},
		{"escape of not ASCII in the host", "https://b%C3%BCcher.example/", "host is not"},
		{"trailing dot", "https://api.example./", "ends in a dot"},
		{"trailing dot of an address", "https://127.0.0.1./", "ends in a dot"},
		{"leading dot", "https://.example/", "host is not"},
		{"two dots", "https://api..example/", "host is not"},
		{"underscore", "https://api_1.example/", "host is not"},
		{"hyphen first", "https://-a.example/", "host is not"},
		{"label too long", "https://" + strings.Repeat("a", 64) + ".example/", "host is not"},
		{"name too long", "https://" + strings.Repeat("a.", 127) + "example/", "host is not"},
		{"address as one number", "https://2130706433/", "host is not"},
		{"address as one octal number", "https://017700000001/", "host is not"},
		{"address as one hexadecimal number", "https://0x7f000001/", "host is not"},
		{"address in octal", "https://0177.0.0.1/", "host is not"},
		{"address in hexadecimal", "https://0x7f.0x0.0x0.0x1/", "host is not"},
		{"address with a leading zero", "https://127.0.0.01/", "host is not"},
		{"address of two parts", "https://127.1/", "host is not"},
		{"address of three parts", "https://127.0.1/", "host is not"},
		{"address of five parts", "https://127.0.0.0.1/", "host is not"},
		{"address out of range", "https://127.0.0.256/", "host is not"},
		{"name that ends in a number", "https://api.1/", "host is not"},
		{"name that ends in a hexadecimal number", "https://api.0x1/", "host is not"},
		{"mapped address", "https://[::ffff:127.0.0.1]/", "version 4 in the form of version 6"},
		{"mapped address in hexadecimal", "https://[::ffff:7f00:1]/", "version 4 in the form of version 6"},
		{"zone", "https://[fe80::1%25eth0]/", "brackets"},
		{"version 4 in brackets", "https://[127.0.0.1]/", "not a URL"},
		{"name in brackets", "https://[localhost]/", "not a URL"},
		{"brackets not closed", "https://[::1/", "not a URL"},
		{"version 6 without brackets", "https://::1/", "host is not|not a URL"},
		{"port empty", "https://api.example:/", "no port"},
		{"port zero", "https://api.example:0/", "host is not"},
		{"port with a leading zero", "https://api.example:0443/", "host is not"},
		{"port too large", "https://api.example:65536/", "host is not"},
		{"port with a sign", "https://api.example:+443/", "not a URL"},
		{"dot segment", "https://api.example/a/../admin", "path"},
		{"dot segment at the end", "https://api.example/a/..", "path"},
		{"single dot segment", "https://api.example/./a", "path"},
		{"escaped dot segment", "https://api.example/a/%2e%2E/admin", "path"},
		{"half-escaped dot segment", "https://api.example/a/.%2e/admin", "path"},
		{"dot segment behind an escaped slash", "https://api.example/a/..%2fadmin", "path"},
		{"dot segment behind an escaped backslash", "https://api.example/a/..%5cadmin", "path"},
		{"escape cut short", "https://api.example/%2", "not a URL"},
		{"escape of no digits", "https://api.example/%zz", "not a URL"},
	} {
		t.Run(c.name, func(t *testing.T) {
			u, err := ParseURL(c.raw)
			var refused *Error
			if !errors.As(err, &refused) || refused.Reason != BadURL {
				t.Fatalf("got %v, %v", u, err)
			}
			fits := false
			for want := range strings.SplitSeq(c.want, "|") {
				fits = fits || strings.Contains(err.Error(), want)
			}
			if !fits {
				t.Errorf("got %q, want one with %q", err, c.want)
			}
			// The error is ours from end to end: the text that was refused is not in it.
			for _, part := range []string{"evil", "\n", "\x00", "é", "passwd"} {
				if strings.Contains(err.Error(), part) {
					t.Errorf("%q repeats %q", err, part)
				}
			}
		})
	}
}

// A URL has one spelling, which is what an intent's digest is over, and that spelling reads as itself.
func FuzzParseURL(f *testing.F) {
	for _, s := range []string{
		"https://api.example/weather?a=b#c", "HTTP://[::1]:80", "https://a:443/%2F?", "https://2606::1/",
		"https://[2606::1]:1/a", "https://a/..", "https://a?",
		"https://a.b/;=:@[]", "https://a/%41", "http://localhost/!$&'()*+,", "https:////", "https://a@b/", "https://0x1/",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		u, err := ParseURL(raw)
		if err != nil {
			if u != nil {
				t.Fatalf("got %v beside %v", u, err)
			}
			return
		}
		text := u.String()
		again, err := ParseURL(text)
		if err != nil || again.String() != text {
			t.Fatalf("%q reads as %v, %v", text, again, err)
		}
		plain, err := url.Parse(text)
		if err != nil || plain.Host != u.Host || plain.EscapedPath() != u.EscapedPath() || plain.RawQuery != u.RawQuery || plain.User != nil {
			t.Fatalf("%q is %#v to others", text, plain)
		}
		context, err := evidence.X402Of("GET", u, sha256.Sum256(nil))
		if err != nil {
			t.Fatalf("%q stands in no intent: %v", text, err)
		}
		digest := sha256.Sum256([]byte(text))
		if string(context.GetUrlDigest()) != string(digest[:]) || context.GetHost() != u.Host || context.GetPath() != u.EscapedPath() {
			t.Fatalf("%q stands as %v in an intent", text, context)
		}
	})
}
