package solanarpc

import (
	"context"
	"errors"
	"strings"
	"sync"
)

// otherNetwork is why an endpoint is never asked again.
const otherNetwork = "it is of another network than the configured one, by its genesis hash"

// Check asks every endpoint for its network and returns what is wrong with any, joined. One of another network is refused for good.
// One that could not be reached is asked again before it is asked anything else, so a program may start without it.
func (c *Client) Check(ctx context.Context) error {
	_, failures := each(c, func(e *endpoint) (struct{}, error) { return struct{}{}, e.genesis(ctx) })
	return errors.Join(failures...)
}

// known asks for the network unless it is known already.
func (e *endpoint) known(ctx context.Context) error {
	if e.checked.Load() && !e.refused.Load() {
		return nil
	}
	return e.genesis(ctx)
}

// genesis asks for the network.
func (e *endpoint) genesis(ctx context.Context) error {
	const method = "getGenesisHash"
	v, err := e.call(ctx, method, smallMax)
	if err != nil {
		return err
	}
	var f fields
	hash := f.key(v)
	switch {
	case f.why != "":
		return e.fail(method, "has an answer that "+f.why)
	case !strings.HasPrefix(hash.String(), e.reference):
		e.refused.Store(true)
		return e.fail(method, "shows that "+otherNetwork)
	}
	e.checked.Store(true)
	return nil
}

// each asks all endpoints at once. Answers and errors stand in the order of the endpoints.
func each[T any](c *Client, ask func(*endpoint) (T, error)) (answers []T, failures []error) {
	answers, failures = make([]T, len(c.endpoints)), make([]error, len(c.endpoints))
	var wait sync.WaitGroup
	for i, e := range c.endpoints {
		wait.Go(func() { answers[i], failures[i] = ask(e) })
	}
	wait.Wait()
	return answers, failures
}
