package webclient

import (
	"net/netip"
	"strings"
	"testing"
)

func TestAddresses(t *testing.T) {
	const (
		open       = "" // whatever the policy
		never      = "never"
		ifLoopback = "loopback"
		ifPrivate  = "private"
	)
	for _, c := range []struct{ name, ip, want string }{
		{"public", "93.184.216.34", open},
		{"public, beside a private network", "172.32.0.1", open},
		{"public, beside another", "11.0.0.0", open},
		{"public, beside a provider's", "100.128.0.1", open},
		{"public, beside link-local", "169.253.255.255", open},
		{"public of version 6", "2606:2800:21f:cb07::1", open},
		{"public of version 6, at the end of what is global", "3ffe::1", open},
		{"public in the mapped form", "::ffff:93.184.216.34", open},

		{"loopback", "127.0.0.1", ifLoopback},
		{"loopback elsewhere", "127.255.255.254", ifLoopback},
		{"loopback of version 6", "::1", ifLoopback},
		{"loopback in the mapped form", "::ffff:127.0.0.1", ifLoopback},

		{"private, 10/8", "10.255.0.1", ifPrivate},
		{"private, 172.16/12", "172.31.255.255", ifPrivate},
		{"private, 192.168/16", "192.168.1.1", ifPrivate},
		{"private in the mapped form", "::ffff:10.0.0.1", ifPrivate},
		{"provider's, 100.64/10", "100.64.0.1", ifPrivate},
		{"unique local", "fd12:3456::1", ifPrivate},
		{"unique local, the other half", "fc00::1", ifPrivate},

		{"metadata", "169.254.169.254", never},
		{"metadata in the mapped form", "::ffff:169.254.169.254", never},
		{"metadata of containers", "169.254.170.2", never},
		{"metadata of version 6", "fd00:ec2::254", never},
		{"metadata of version 6, another", "fd20:ce::254", never},
		{"metadata in a provider's network", "100.100.100.200", never},
		{"metadata at a public address", "168.63.129.16", never},
		{"link-local", "169.254.0.1", never},
		{"link-local of version 6", "fe80::1", never},
		{"link-local of version 6 with a zone", "fe80::1%eth0", never},
		{"loopback with a zone", "::1%lo", ifLoopback},
		{"site-local", "fec0::1", never},
		{"unspecified", "0.0.0.0", never},
		{"this network", "0.1.2.3", never},
		{"unspecified of version 6", "::", never},
		{"protocols", "192.0.0.8", never},
		{"documentation", "192.0.2.1", never},
		{"documentation, second", "198.51.100.1", never},
		{"documentation, third", "203.0.113.1", never},
		{"documentation of version 6", "2001:db8::1", never},
		{"documentation of version 6, second", "3fff::1", never},
		{"benchmarks", "198.19.255.255", never},
		{"benchmarks of version 6", "2001:2::1", never},
		{"6to4 relay", "192.88.99.1", never},
		{"multicast", "224.0.0.251", never},
		{"multicast of version 6", "ff02::1", never},
		{"reserved", "240.0.0.1", never},
		{"broadcast", "255.255.255.255", never},
		{"compatible form", "::127.0.0.1", never},
		{"compatible form of a public one", "::93.184.216.34", never},
		{"SIIT", "::ffff:0:127.0.0.1", never},
		{"NAT64 of loopback", "64:ff9b::127.0.0.1", never},
		{"NAT64 of metadata", "64:ff9b::a9fe:a9fe", never},
		{"NAT64, local use", "64:ff9b:1::7f00:1", never},
		{"6to4 of loopback", "2002:7f00:1::", never},
		{"Teredo", "2001:0:4136:e378:8000:63bf:3fff:fdd2", never},
		{"ORCHID", "2001:20::1", never},
		{"discard", "100::1", never},
		{"segment routing", "5f00::1", never},
		{"not handed out", "4000::1", never},
	} {
		t.Run(c.name, func(t *testing.T) {
			ip := netip.MustParseAddr(c.ip)
			for _, p := range []struct {
				name   string
				policy Policy
				opens  string
			}{
				{"strict", Policy{}, "nothing"},
				{"loopback allowed", Policy{AllowLoopback: true}, ifLoopback},
				{"private networks allowed", Policy{AllowPrivate: true}, ifPrivate},
			} {
				err := p.policy.check(ip, false)
				if want := c.want == open || c.want == p.opens; (err == nil) != want {
					t.Errorf("%s: %v, want it to pass: %v", p.name, err, want)
				}
				if err != nil && strings.Contains(err.Error(), "unless") != (c.want != never) {
					t.Errorf("%s: %q names a setting, or names none", p.name, err)
				}
			}
			both := Policy{AllowLoopback: true, AllowPrivate: true}
			if err := both.check(ip, false); (err == nil) != (c.want != never) {
				t.Errorf("all allowed: %v", err)
			}
			// By plain HTTP to loopback, and nowhere else.
			if err := both.check(ip, true); (err == nil) != (c.want == ifLoopback) {
				t.Errorf("by plain HTTP: %v", err)
			}
			if err := (&Policy{}).check(ip, true); err == nil {
				t.Error("by plain HTTP under the strict policy: passes")
			}
		})
	}
}

// Every entry of the table is reached: none stands behind one that holds all of it and says something else of it.
func TestSpecialsAreReached(t *testing.T) {
	for i, s := range specials {
		for _, earlier := range specials[:i] {
			if earlier.network.Bits() <= s.network.Bits() && earlier.network.Contains(s.network.Addr()) {
				t.Errorf("%v (%s) stands behind %v (%s)", s.network, s.what, earlier.network, earlier.what)
			}
		}
		if s.network != s.network.Masked() {
			t.Errorf("%v is not a network", s.network)
		}
	}
}
