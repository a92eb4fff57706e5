package solanarpc

import (
	"context"
	"encoding/base64"
	"errors"

	"github.com/halfkey/halfkey/internal/chain/solana"
)

// sendRetries is how often a node itself sends a transaction on. Whoever wants it to land sends it again until it is seen or dead.
const sendRetries = 3

// Send hands a whole transaction to every endpoint of the network. It fails only where no endpoint took it.
//
// That one was taken says nothing about whether it lands, and neither does a refusal: Outcome alone does. A node is told not to try the
// transaction first, for it would refuse one that another block makes good, and what it answers is not read.
func (c *Client) Send(ctx context.Context, wire []byte) error {
	if _, _, err := solana.ParseWire(wire); err != nil {
		return err
	}
	text := base64.StdEncoding.EncodeToString(wire)
	_, failures := each(c, func(e *endpoint) (struct{}, error) { return struct{}{}, e.send(ctx, text) })
	for _, err := range failures {
		if err == nil {
			return nil
		}
	}
	return errors.Join(failures...)
}

// send hands a transaction to one endpoint.
func (e *endpoint) send(ctx context.Context, wire string) error {
	if err := e.known(ctx); err != nil {
		return err
	}
	_, err := e.call(ctx, "sendTransaction", smallMax, wire, options{
		"encoding": "base64", "skipPreflight": true, "maxRetries": sendRetries,
	})
	return err
}
