package rpc

import (
	"cmp"
	"sync"
	"time"

	"google.golang.org/grpc/resolver"
)

// lookUpEvery is how long a replica that was added behind a name may go without calls. gRPC looks a name up again only when a
// connection has ended; a look costs a query for each of a gateway's four names, which a cluster's DNS answers from memory.
const lookUpEvery = 30 * time.Second

// lookingUp is gRPC's DNS, asked again and again as long as the connection is there. Addresses that stay keep their connections, and
// calls on one that has gone end by themselves.
type lookingUp struct {
	resolver.Builder

	every time.Duration
}

// names resolves by DNS; every is lookUpEvery if it is 0.
func names(every time.Duration) resolver.Builder {
	return lookingUp{Builder: resolver.Get("dns"), every: cmp.Or(every, lookUpEvery)}
}

// Build implements resolver.Builder.
func (l lookingUp) Build(target resolver.Target, conn resolver.ClientConn, options resolver.BuildOptions) (resolver.Resolver, error) {
	made, err := l.Builder.Build(target, conn, options)
	if err != nil {
		return nil, err
	}
	r := &lookedUp{Resolver: made, closed: make(chan struct{})}
	r.looking.Go(func() { r.look(l.every) })
	return r, nil
}

type lookedUp struct {
	resolver.Resolver

	closed  chan struct{}
	looking sync.WaitGroup
}

func (r *lookedUp) look(every time.Duration) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-r.closed:
			return
		case <-tick.C:
			r.ResolveNow(resolver.ResolveNowOptions{})
		}
	}
}

// Close implements resolver.Resolver.
func (r *lookedUp) Close() {
	close(r.closed)
	r.looking.Wait()
	r.Resolver.Close()
}
