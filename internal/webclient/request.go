package webclient

import (
	"net/http"
	"net/textproto"
	"net/url"
	"strings"

	"github.com/halfkey/halfkey/internal/resource"
)

const (
	// requestHeadersMax and requestHeaderBytesMax bound what a caller adds: more is refused by common servers.
	requestHeadersMax     = 64
	requestHeaderBytesMax = 16 << 10
	// paymentMax bounds the value of a payment header.
	paymentMax = 64 << 10
	// RequestBodyMax bounds the body of a request: it is sent twice, and held in memory between.
	RequestBodyMax = 4 << 20
)

// Request is a request for a resource.
type Request struct {
	// Method is 1 to 16 upper-case letters; CONNECT and TRACE are refused. Empty means GET.
	Method string
	// URL is of ParseURL.
	URL *url.URL
	// Header is what the caller adds. What belongs to the connection, and every header of a payment, is refused in it.
	Header http.Header
	// Body is sent whole; empty for none.
	Body []byte
}

// paymentHeaders are the headers in which a payment is carried, to the server.
var paymentHeaders = []string{"Payment-Signature", "X-Payment"}

// reserved are headers that say how the message travels, which is not the caller's to say.
var reserved = []string{
	"Host", "Content-Length", "Transfer-Encoding", "Connection", "Upgrade", "Te", "Trailer", "Expect", "Keep-Alive", "Http2-Settings",
}

// check gives the request in the form in which it is sent, or says why it is not sent.
func (r Request) check() (Request, error) {
	bad := func(why string) (Request, error) { return Request{}, &Error{Reason: BadRequest, Why: why} }
	if r.Method == "" {
		r.Method = http.MethodGet
	}
	switch {
	case resource.ValidHTTPMethod(r.Method) != nil:
		return bad("its method is not 1 to 16 upper-case letters")
	case r.Method == http.MethodConnect || r.Method == http.MethodTrace:
		return bad("its method is CONNECT or TRACE")
	case len(r.Body) > RequestBodyMax:
		return bad("its body is longer than 4 MiB")
	case r.URL == nil:
		return bad("it has no URL")
	}
	u, err := ParseURL(r.URL.String())
	if err != nil {
		return Request{}, err
	}
	r.URL = u
	header := http.Header{}
	count, size := 0, 0
	for name, values := range r.Header {
		canonical := textproto.CanonicalMIMEHeaderKey(name)
		if why := headerRefused(canonical); why != "" {
			return bad(why)
		}
		for _, value := range values {
			if !fieldValue(value) {
				return bad("a value of the header " + canonical + " holds a control character")
			}
			count++
			size += len(name) + len(value)
			header.Add(canonical, value)
		}
	}
	if count > requestHeadersMax || size > requestHeaderBytesMax {
		return bad("it has more than 64 headers, or more than 16 KiB of them")
	}
	// Go would name its own library and version.
	if _, given := header["User-Agent"]; !given {
		header.Set("User-Agent", "halfkey")
	}
	r.Header = header
	return r, nil
}

func headerRefused(name string) string {
	if name == "" || strings.Trim(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_") != "" {
		return "the name of a header is not made of letters, digits, - and _"
	}
	for _, r := range reserved {
		if name == r {
			return "the header " + name + " is the connection's, not the caller's"
		}
	}
	switch {
	case strings.HasPrefix(name, "Proxy-"):
		return "the header " + name + " is for a proxy, and none is used"
	case strings.HasPrefix(name, "Payment-"), strings.HasPrefix(name, "X-Payment"):
		return "the header " + name + " carries a payment, which only the paid request does"
	}
	return ""
}

func fieldValue(s string) bool {
	for i := range len(s) {
		if c := s[i]; (c < ' ' && c != '\t') || c == 0x7f {
			return false
		}
	}
	return true
}
