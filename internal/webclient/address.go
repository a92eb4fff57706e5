package webclient

import (
	"context"
	"net/netip"
	"syscall"
)

// special is an address or a network that a resource is not fetched from.
type special struct {
	network netip.Prefix
	what    string
	// opens says which setting opens it: none for most.
	opens opens
}

type opens int

const (
	never opens = iota
	loopback
	private
)

// specials are the addresses that lead to this machine, to a network that this machine is in, to another address, or nowhere.
// The first that fits counts. By IANA's registries of special-purpose addresses (RFC 6890 and its updates); metadata services by
// the clouds' own pages.
var specials = []special{
	{netip.MustParsePrefix("169.254.169.254/32"), "a cloud's metadata service", never},
	{netip.MustParsePrefix("169.254.170.0/24"), "a cloud's metadata service", never},
	{netip.MustParsePrefix("100.100.100.200/32"), "a cloud's metadata service", never},
	{netip.MustParsePrefix("168.63.129.16/32"), "a cloud's metadata service", never},
	{netip.MustParsePrefix("192.0.0.192/32"), "a cloud's metadata service", never},
	{netip.MustParsePrefix("fd00:ec2::/32"), "a cloud's metadata service", never},
	{netip.MustParsePrefix("fd20:ce::254/128"), "a cloud's metadata service", never},
	{netip.MustParsePrefix("fd00:c1::a9fe:a9fe/128"), "a cloud's metadata service", never},

	{netip.MustParsePrefix("127.0.0.0/8"), "this machine (loopback)", loopback},
	{netip.MustParsePrefix("::1/128"), "this machine (loopback)", loopback},
	{netip.MustParsePrefix("10.0.0.0/8"), "a private network", private},
	{netip.MustParsePrefix("172.16.0.0/12"), "a private network", private},
	{netip.MustParsePrefix("192.168.0.0/16"), "a private network", private},
	{netip.MustParsePrefix("100.64.0.0/10"), "a provider's inner network (RFC 6598)", private},
	{netip.MustParsePrefix("fc00::/7"), "a private network", private},

	{netip.MustParsePrefix("0.0.0.0/8"), "no address, which is this machine to many systems", never},
	{netip.MustParsePrefix("169.254.0.0/16"), "a link-local address", never},
	{netip.MustParsePrefix("192.0.0.0/24"), "reserved for protocols", never},
	{netip.MustParsePrefix("192.0.2.0/24"), "for documentation", never},
	{netip.MustParsePrefix("192.88.99.0/24"), "a 6to4 relay", never},
	{netip.MustParsePrefix("198.18.0.0/15"), "for benchmarks", never},
	{netip.MustParsePrefix("198.51.100.0/24"), "for documentation", never},
	{netip.MustParsePrefix("203.0.113.0/24"), "for documentation", never},
	{netip.MustParsePrefix("224.0.0.0/4"), "a multicast address", never},
	{netip.MustParsePrefix("240.0.0.0/4"), "reserved, or broadcast", never},

	{netip.MustParsePrefix("::/128"), "no address, which is this machine to many systems", never},
	{netip.MustParsePrefix("::/96"), "an address of version 4 in another form", never},
	{netip.MustParsePrefix("::ffff:0:0:0/96"), "an address of version 4 in another form (SIIT)", never},
	{netip.MustParsePrefix("64:ff9b::/96"), "an address of version 4 in another form (NAT64)", never},
	{netip.MustParsePrefix("64:ff9b:1::/48"), "an address of version 4 in another form (NAT64)", never},
	{netip.MustParsePrefix("2001::/32"), "an address of version 4 in another form (Teredo)", never},
	{netip.MustParsePrefix("2001::/23"), "reserved for protocols", never},
	{netip.MustParsePrefix("2001:db8::/32"), "for documentation", never},
	{netip.MustParsePrefix("2002::/16"), "an address of version 4 in another form (6to4)", never},
	{netip.MustParsePrefix("3fff::/20"), "for documentation", never},
	{netip.MustParsePrefix("fe80::/10"), "a link-local address", never},
	{netip.MustParsePrefix("fec0::/10"), "a site-local address", never},
	{netip.MustParsePrefix("ff00::/8"), "a multicast address", never},
}

// global is what of version 6 is handed out for public use (RFC 4291, 2.4 and IANA's registry). All else is special, named above
// or not.
var global = netip.MustParsePrefix("2000::/3")

// addressError says why an address is not dialled.
type addressError struct {
	ip    netip.Addr
	what  string
	opens opens
	plain bool
}

func (e *addressError) Error() string {
	if e.plain {
		return "plain HTTP goes to this machine only, and the host's name leads to " + e.ip.String()
	}
	why := "the host's name leads to " + e.ip.String() + ", which is " + e.what
	switch e.opens {
	case loopback:
		return why + ": it is refused unless loopback is allowed"
	case private:
		return why + ": it is refused unless private networks are allowed"
	}
	return why
}

// check reports why this address may not be dialled under the policy. A version 4 address in the mapped form of version 6 is what
// it maps to.
func (p *Policy) check(ip netip.Addr, plain bool) error {
	ip = ip.Unmap()
	if plain && !ip.IsLoopback() {
		return &addressError{ip: ip, plain: true}
	}
	// A prefix holds no address with a zone.
	for _, s := range specials {
		if !s.network.Contains(ip.WithZone("")) {
			continue
		}
		if s.opens == loopback && p.AllowLoopback || s.opens == private && p.AllowPrivate {
			return nil
		}
		return &addressError{ip: ip, what: s.what, opens: s.opens}
	}
	if ip.Is6() && !global.Contains(ip) {
		return &addressError{ip: ip, what: "not for public use"}
	}
	return nil
}

// plainKey marks the context of a request by plain HTTP.
type plainKey struct{}

// control is called with the address itself, after the name was resolved and before the connection is made: what a name leads
// to may change between two questions, and what was checked is what is dialled.
func (p *Policy) control(ctx context.Context, _, address string, _ syscall.RawConn) error {
	at, err := netip.ParseAddrPort(address)
	if err != nil {
		return &addressError{what: "in a form that is not known"}
	}
	plain, _ := ctx.Value(plainKey{}).(bool)
	return p.check(at.Addr(), plain)
}
