package resource

import (
	"net/netip"
	"net/url"
	"strconv"
	"strings"
)

const (
	// HTTPMethodMax bounds an HTTP method; the longest that anybody uses has 10 letters.
	HTTPMethodMax = 16
	// DNSNameMax is the longest DNS name in text without its final dot (RFC 1035, 2.3.4).
	DNSNameMax = 253
	// HTTPHostMax bounds a host with its port: a name, a colon and five digits, and room for a reader's mistake of one dot or two.
	HTTPHostMax = 255 + 6
	// HTTPPathMax bounds a path: longer ones exist, and nobody who approves a payment reads them.
	HTTPPathMax = 1 << 10

	dnsLabelMax = 63
	portMax     = 65535
)

// ValidHTTPMethod reports why s is not an HTTP method as this project takes them: 1 to 16 upper-case letters.
func ValidHTTPMethod(s string) error {
	const why = "is not 1 to 16 upper-case letters"
	if s == "" || len(s) > HTTPMethodMax {
		return refuse("method", s, why)
	}
	for i := range len(s) {
		if s[i] < 'A' || s[i] > 'Z' {
			return refuse("method", s, why)
		}
	}
	return nil
}

// ValidHTTPScheme reports why s is neither https nor http.
func ValidHTTPScheme(s string) error {
	if defaultPort(s) == "" {
		return refuse("scheme", s, "is neither https nor http")
	}
	return nil
}

func defaultPort(scheme string) string {
	switch scheme {
	case "https":
		return "443"
	case "http":
		return "80"
	}
	return ""
}

// ValidHTTPHost reports why s is not a host in its one spelling, as it stands in a URL of this scheme: a lower-case DNS name in
// ASCII without a final dot, or an IP address in its canonical text, version 6 in brackets; and the port, unless it is the
// scheme's own. What is not ASCII is written in the form that DNS has for it (xn--...).
func ValidHTTPHost(scheme, s string) error {
	const field = "host"
	if s == "" || len(s) > HTTPHostMax {
		return refuse(field, s, "is not 1 to 261 bytes")
	}
	name, port, given := cutPort(s)
	switch {
	case given && !validPort(port):
		return refuse(field, s, "has a port that is not 1 to 65535 without leading zeros")
	case given && port == defaultPort(scheme):
		return refuse(field, s, "has a port that the scheme has anyway")
	case !validHostName(name):
		return refuse(field, s, "is not a lower-case DNS name in ASCII without a final dot, nor an IP address in its canonical text")
	}
	return nil
}

// cutPort parts a host from its port. The colons of an address of version 6 stand inside its brackets.
func cutPort(s string) (name, port string, given bool) {
	at := strings.LastIndexByte(s, ':')
	if at < 0 || at < strings.LastIndexByte(s, ']') {
		return s, "", false
	}
	return s[:at], s[at+1:], true
}

func validPort(s string) bool {
	n, err := strconv.ParseUint(s, 10, 16)
	return err == nil && n > 0 && n <= portMax && strconv.FormatUint(n, 10) == s
}

func validHostName(s string) bool {
	if inner, ok := strings.CutPrefix(s, "["); ok {
		inner, ok = strings.CutSuffix(inner, "]")
		ip, err := netip.ParseAddr(inner)
		return ok && err == nil && ip.Is6() && ip.Zone() == "" && ip.String() == inner
	}
	if ip, err := netip.ParseAddr(s); err == nil {
		return ip.Is4() && ip.String() == s
	}
	return ValidDNSName(s)
}

// ValidDNSName reports whether s is a DNS name in its one spelling: labels of lower-case letters, digits and hyphens within them,
// parted by dots. A name that ends in a number is none: some programs read 127.1 or 0x7f.1 as an address.
func ValidDNSName(s string) bool {
	if s == "" || len(s) > DNSNameMax {
		return false
	}
	last := ""
	for label := range strings.SplitSeq(s, ".") {
		if !validLabel(label) {
			return false
		}
		last = label
	}
	hex, isHex := strings.CutPrefix(last, "0x")
	return strings.Trim(last, "0123456789") != "" && (!isHex || strings.Trim(hex, "0123456789abcdef") != "")
}

func validLabel(s string) bool {
	if s == "" || len(s) > dnsLabelMax || s[0] == '-' || s[len(s)-1] == '-' {
		return false
	}
	for i := range len(s) {
		if c := s[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return false
		}
	}
	return true
}

// ValidHTTPPath reports why s is not a path as it is sent: it begins with / and holds what RFC 3986 allows in a path, and the
// brackets that programs send in one as they are. A segment . or .. is refused however it is escaped, and whichever way its
// slashes lean: rules are about the path that a server serves, and it would serve another. There are servers that unescape a path
// twice, and servers that take what follows a semicolon off a segment before they look at its dots.
func ValidHTTPPath(s string) error {
	const field = "path"
	if s == "" || len(s) > HTTPPathMax || s[0] != '/' {
		return refuse(field, s, "is not 1 to 1,024 bytes that begin with /")
	}
	if i := strings.IndexFunc(s, func(r rune) bool { return !pathCharacter(r) }); i >= 0 {
		return refuse(field, s, "holds a character that a path has to escape")
	}
	plain, err := url.PathUnescape(s)
	if err != nil {
		return refuse(field, s, "holds % without two hexadecimal digits")
	}
	for err == nil {
		if holdsDots(plain) {
			return refuse(field, s, "holds a segment . or ..")
		}
		before := plain
		if plain, err = url.PathUnescape(before); plain == before {
			break
		}
	}
	return nil
}

// holdsDots reports whether a segment of an unescaped path is . or .., what follows a semicolon aside.
func holdsDots(path string) bool {
	for segment := range strings.FieldsFuncSeq(path, func(r rune) bool { return r == '/' || r == '\\' }) {
		if name, _, _ := strings.Cut(segment, ";"); name == "." || name == ".." {
			return true
		}
	}
	return false
}

func pathCharacter(r rune) bool {
	return (r >= 'a' && r <= 'z') || (r >= 'A' && r <= 'Z') || (r >= '0' && r <= '9') || strings.ContainsRune("/%-._~!$&'()*+,;=:@[]", r)
}
