package allinone

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"net"
	"strconv"
	"syscall"
)

// Free ports are taken from here, below those that systems give to connections: an installation keeps its address, and a stranger's
// connection that has it at the next start would keep the installation from coming up.
const (
	freeFrom, freeTo = 20_000, 32_000
	// freeTries is how many of them are tried.
	freeTries = 100
)

// listen takes an address; where its port is 0, a free one.
func listen(address string) (net.Listener, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil || port != "0" {
		return net.Listen("tcp", address)
	}
	for range freeTries {
		var random [2]byte
		_, _ = rand.Read(random[:]) // It never fails.
		free := freeFrom + int(binary.BigEndian.Uint16(random[:]))%(freeTo-freeFrom)
		var l net.Listener
		l, err = net.Listen("tcp", net.JoinHostPort(host, strconv.Itoa(free)))
		if err == nil || !errors.Is(err, syscall.EADDRINUSE) {
			return l, err
		}
	}
	return nil, err
}
