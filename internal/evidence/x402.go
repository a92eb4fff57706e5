package evidence

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"net/url"
	"strings"

	"github.com/halfkey/halfkey/internal/resource"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// x402 checks the context of a payment for an HTTP resource.
func (f *fields) x402(m *typev1.X402Context) {
	if m == nil {
		return
	}
	because := func(field string, err error) {
		var r *resource.Error
		if errors.As(err, &r) {
			f.refuse("x402."+field, r.Why)
		}
	}
	because("method", resource.ValidHTTPMethod(m.GetMethod()))
	because("scheme", resource.ValidHTTPScheme(m.GetScheme()))
	because("host", resource.ValidHTTPHost(m.GetScheme(), m.GetHost()))
	because("path", resource.ValidHTTPPath(m.GetPath()))
	f.digest("x402.url_digest", m.GetUrlDigest())
	f.digest("x402.body_digest", m.GetBodyDigest())
}

// X402Of is the context of a payment for the answer to a request: what of its URL stands in an intent, in the one spelling that
// an intent takes. bodyDigest is the SHA-256 of the request's body. A fragment is never sent and so left out; a URL with a user or
// password is refused, for these would be asked for a resource that the digest does not name.
func X402Of(method string, u *url.URL, bodyDigest [sha256.Size]byte) (*typev1.X402Context, error) {
	const piece = "intent"
	switch {
	case u == nil:
		return nil, invalid(piece, "x402", "has no URL")
	case u.User != nil:
		return nil, invalid(piece, "x402", "has a URL with a user or password")
	case u.Opaque != "":
		return nil, invalid(piece, "x402", "has a URL without host and path")
	}
	m := &typev1.X402Context{
		Method: method, Scheme: strings.ToLower(u.Scheme), Path: u.EscapedPath(), BodyDigest: bytes.Clone(bodyDigest[:]),
	}
	if m.GetPath() == "" {
		m.Path = "/"
	}
	m.Host = strings.ToLower(u.Host)
	switch m.GetScheme() {
	case "https":
		m.Host = strings.TrimSuffix(m.GetHost(), ":443")
	case "http":
		m.Host = strings.TrimSuffix(m.GetHost(), ":80")
	}
	// A colon without a port is the default port (RFC 3986, 3.2.3).
	m.Host = strings.TrimSuffix(m.GetHost(), ":")
	whole := m.GetScheme() + "://" + m.GetHost() + m.GetPath()
	if u.RawQuery != "" || u.ForceQuery {
		whole += "?" + u.RawQuery
	}
	digest := sha256.Sum256([]byte(whole))
	m.UrlDigest = digest[:]
	f := fields{piece: piece}
	if f.x402(m); f.err != nil {
		return nil, f.err
	}
	return m, nil
}

// X402Differs names the first field, by its name in an intent, in which two payments are not for the same request; it is empty if
// they are, or both for none.
func X402Differs(a, b *typev1.X402Context) string {
	switch {
	case (a == nil) != (b == nil):
		return "x402"
	case a.GetMethod() != b.GetMethod():
		return "x402.method"
	case a.GetScheme() != b.GetScheme():
		return "x402.scheme"
	case a.GetHost() != b.GetHost():
		return "x402.host"
	case a.GetPath() != b.GetPath():
		return "x402.path"
	case !bytes.Equal(a.GetUrlDigest(), b.GetUrlDigest()):
		return "x402.url_digest"
	case !bytes.Equal(a.GetBodyDigest(), b.GetBodyDigest()):
		return "x402.body_digest"
	}
	return ""
}
