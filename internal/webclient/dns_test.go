package webclient

import (
	"context"
	"encoding/binary"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
)

// zone is a name server on loopback: what a name leads to is the test's to say, and may change between two questions.
type zone struct {
	mu      sync.Mutex
	answers map[string][]netip.Addr // by name without the final dot
	aliases map[string]string
	asked   int
}

func (z *zone) set(name string, ips ...string) {
	z.mu.Lock()
	defer z.mu.Unlock()
	var list []netip.Addr
	for _, ip := range ips {
		list = append(list, netip.MustParseAddr(ip))
	}
	z.answers[name] = list
}

func (z *zone) alias(name, of string) {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.aliases[name] = of
}

func (z *zone) questions() int {
	z.mu.Lock()
	defer z.mu.Unlock()
	return z.asked
}

// names starts a name server and gives a resolver that asks it and no other.
func names(t *testing.T) (*zone, *net.Resolver) {
	t.Helper()
	z := &zone{answers: map[string][]netip.Addr{}, aliases: map[string]string{}}
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		query := make([]byte, 1500)
		for {
			n, from, err := conn.ReadFromUDP(query)
			if err != nil {
				return
			}
			if answer := z.answer(query[:n]); answer != nil {
				_, _ = conn.WriteToUDP(answer, from)
			}
		}
	}()
	t.Cleanup(func() {
		conn.Close()
		<-done
	})
	return z, &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "udp4", conn.LocalAddr().String())
	}}
}

const (
	typeA     = 1
	typeCNAME = 5
	typeAAAA  = 28
)

// answer writes the answer to a query of one question (RFC 1035, 4.1).
func (z *zone) answer(query []byte) []byte {
	z.mu.Lock()
	defer z.mu.Unlock()
	var labels []string
	at := 12
	for at < len(query) && query[at] != 0 {
		end := at + 1 + int(query[at])
		if end > len(query) {
			return nil
		}
		labels = append(labels, string(query[at+1:end]))
		at = end
	}
	if at+5 > len(query) {
		return nil
	}
	z.asked++
	name := strings.ToLower(strings.Join(labels, "."))
	kind := binary.BigEndian.Uint16(query[at+1:])

	var records []byte
	count := uint16(0)
	add := func(owner []byte, kind uint16, data []byte) {
		records = append(records, owner...)
		records = binary.BigEndian.AppendUint16(records, kind)
		records = append(records, 0, 1, 0, 0, 0, 0) // class IN, to be kept for no time
		records = binary.BigEndian.AppendUint16(records, uint16(len(data)))
		records = append(records, data...)
		count++
	}
	owner := []byte{0xc0, 12} // the name in the question
	if alias, ok := z.aliases[name]; ok {
		var target []byte
		for label := range strings.SplitSeq(alias, ".") {
			target = append(append(target, byte(len(label))), label...)
		}
		target = append(target, 0)
		add(owner, typeCNAME, target)
		owner, name = target, alias
	}
	for _, ip := range z.answers[name] {
		if ip.Is4() && kind == typeA || ip.Is6() && kind == typeAAAA {
			add(owner, kind, ip.AsSlice())
		}
	}
	_, known := z.answers[name]
	out := []byte{query[0], query[1], 0x81, 0x80, 0, 1}
	if !known {
		out[3] = 0x83 // no such name
	}
	out = binary.BigEndian.AppendUint16(out, count)
	out = append(out, 0, 0, 0, 0)
	out = append(out, query[12:at+5]...)
	return append(out, records...)
}
