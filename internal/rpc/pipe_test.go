package rpc_test

import (
	"context"
	"errors"
	"io"
	"net"
	"testing"

	"github.com/halfkey/halfkey/internal/rpc"
)

// What comes through a pipe bears the address that it was dialed for, and ends like any connection.
func TestPipe(t *testing.T) {
	p := rpc.NewPipe()
	from := &net.TCPAddr{IP: net.IPv4(192, 0, 2, 7), Port: 4711}
	dialed := make(chan net.Conn, 1)
	go func() {
		c, err := p.Dial(t.Context(), from)
		if err != nil {
			t.Error(err)
		}
		dialed <- c
	}()
	accepted, err := p.Accept()
	if err != nil {
		t.Fatal(err)
	}
	ours := <-dialed
	if got := accepted.RemoteAddr(); got.String() != from.String() {
		t.Errorf("it comes from %v, want %v", got, from)
	}
	go func() {
		_, _ = io.WriteString(ours, "hello")
		_ = ours.Close()
	}()
	if b, err := io.ReadAll(accepted); err != nil || string(b) != "hello" {
		t.Errorf("got %q %v", b, err)
	}
	if got := p.Addr().Network(); got != "pipe" || p.Addr().String() == "" {
		t.Errorf("the listener is %s", got)
	}

	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := p.Dial(ended, from); !errors.Is(err, context.Canceled) {
		t.Errorf("dialing with nobody there: %v", err)
	}
	if err := errors.Join(p.Close(), p.Close()); err != nil {
		t.Error(err)
	}
	if _, err := p.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("accepting after the end: %v", err)
	}
	if _, err := p.Dial(t.Context(), from); !errors.Is(err, net.ErrClosed) {
		t.Errorf("dialing after the end: %v", err)
	}
}
