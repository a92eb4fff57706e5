package webclient

import (
	"net/netip"
	"net/url"
	"strings"

	"github.com/halfkey/halfkey/internal/resource"
)

// URLMax bounds a URL as text: a longer one is refused by many servers too.
const URLMax = 4 << 10

// localhost is the one name that plain HTTP may go to, if it leads to a loopback address.
const localhost = "localhost"

// ParseURL reads the URL of a resource and gives it in its one spelling: scheme and host in lower case, no port that the scheme
// has anyway, a path at least, no fragment. Its String is what is requested, and what is digested. It refuses what it cannot
// give in one spelling, and says what would do. Whether an address may be dialled is told when it is.
func ParseURL(raw string) (*url.URL, error) {
	u, why := parseURL(raw)
	if why != "" {
		return nil, &Error{Reason: BadURL, Why: why}
	}
	return u, nil
}

func parseURL(raw string) (u *url.URL, why string) {
	bad := func(why string) (*url.URL, string) { return nil, why }
	switch {
	case raw == "":
		return bad("it is empty")
	case len(raw) > URLMax:
		return bad("it is longer than 4,096 bytes")
	}
	for i := range len(raw) {
		switch c := raw[i]; {
		case c >= 0x80:
			return bad("it holds a character that is not ASCII: write a host as punycode (xn--...), anything else with % and two digits")
		case c <= ' ' || c == 0x7f:
			return bad("it holds white space or a control character: write it with % and two digits")
		case strings.IndexByte("\"<>\\^`{|}", c) >= 0:
			return bad("it holds one of \" < > \\ ^ ` { | }: write it with % and two digits")
		}
	}
	u, err := url.Parse(raw)
	if err != nil {
		return bad("it is not a URL such as https://api.example/weather")
	}
	u.Scheme = strings.ToLower(u.Scheme)
	switch {
	case u.Scheme != "https" && u.Scheme != "http":
		return bad("it does not begin with https://")
	case u.Opaque != "" || u.Host == "":
		return bad("it names no host: it is not a URL such as https://api.example/weather")
	case u.User != nil:
		return bad("it holds a user or a password: what stands before an @ is not the host; send credentials in a header")
	case strings.HasSuffix(u.Host, ":"):
		return bad("it has a colon after the host and no port")
	}
	host, port := u.Hostname(), u.Port()
	if strings.HasSuffix(host, ".") {
		return bad("its host ends in a dot: write it without")
	}
	host = strings.ToLower(host)
	if strings.Contains(u.Host, "[") {
		ip, err := netip.ParseAddr(host)
		switch {
		case err != nil || !ip.Is6() || ip.Zone() != "":
			return bad("what stands in brackets is not an IP address of version 6, without a zone")
		case ip.Is4In6():
			return bad("its host is an address of version 4 in the form of version 6: write 192.0.2.1, not [::ffff:192.0.2.1]")
		}
		host = "[" + ip.String() + "]"
	}
	if (u.Scheme == "https" && port == "443") || (u.Scheme == "http" && port == "80") {
		port = ""
	}
	if port != "" {
		host += ":" + port
	}
	if err := resource.ValidHTTPHost(u.Scheme, host); err != nil {
		return bad("its host is not a DNS name such as api.example, nor an address such as 192.0.2.1 or [2001:db8::1]")
	}
	u.Host = host
	if u.Scheme == "http" && !namesLoopback(u.Hostname()) {
		return bad("it is plain HTTP, which only localhost may be asked by: write https://")
	}
	if u.Path == "" {
		u.Path = "/"
	}
	if err := resource.ValidHTTPPath(u.EscapedPath()); err != nil {
		return bad("its path is longer than 1,024 bytes, holds a character that has to be escaped, or a segment . or ..")
	}
	u.Fragment, u.RawFragment = "", ""
	if again := u.Scheme + "://" + u.Host + u.EscapedPath() + query(u); u.String() != again {
		return bad("it can be read in more than one way")
	}
	return u, ""
}

func query(u *url.URL) string {
	if u.RawQuery == "" && !u.ForceQuery {
		return ""
	}
	return "?" + u.RawQuery
}

// namesLoopback reports whether a host is on this machine by its name: that it is one by its address, the dialler makes sure.
func namesLoopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == localhost || err == nil && ip.IsLoopback()
}

// Origin is where a URL of ParseURL leads: scheme, host and port. Two origins are two parties.
func Origin(u *url.URL) string { return u.Scheme + "://" + u.Host }
