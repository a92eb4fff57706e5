package webclient

import (
	"context"
	"errors"
	"io"
	"time"
)

// body is an answer's body, as it comes, up to a size and within a time.
type body struct {
	from       io.ReadCloser
	left       int64 // bytes that may still come
	host       string
	ctx, whole context.Context
	cancel     context.CancelCauseFunc
	stall      time.Duration
	stalled    *time.Timer // ends the request when nothing comes
	total      *time.Timer // ends it in any case
	err        error
}

// Read passes on what came. A body that is longer than is taken gives all that is, and then an error.
func (b *body) Read(p []byte) (int, error) {
	if b.err != nil {
		return 0, b.err
	}
	if len(p) == 0 {
		return 0, nil
	}
	// One byte more than is left tells a body that ends there from one that goes on.
	if int64(len(p)) > b.left+1 {
		p = p[:b.left+1]
	}
	b.stalled.Reset(b.stall)
	n, err := b.from.Read(p)
	b.stalled.Stop()
	switch {
	case int64(n) > b.left:
		n = int(b.left)
		b.err = &Error{Reason: BodyTooLarge, Host: b.host, Why: "the answer's body is larger than is taken", Sent: true}
	case errors.Is(err, io.EOF):
		b.err = io.EOF
	case err != nil:
		b.err = explain(b.ctx, b.whole, err, b.host, true)
	}
	b.left -= int64(n)
	return n, b.err
}

// Close ends the request. What has not come is not waited for.
func (b *body) Close() error {
	b.stalled.Stop()
	b.total.Stop()
	b.cancel(nil)
	return b.from.Close()
}
