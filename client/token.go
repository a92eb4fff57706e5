package client

import (
	"time"

	"github.com/halfkey/halfkey/internal/evidence"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// TokenMetadata is the gRPC metadata key that carries a call's token. gRPC libraries encode the values of keys that end in
// -bin by themselves; whoever writes headers by hand writes base64.
const TokenMetadata = "halfkey-token-bin"

// Token authenticates calls of one method about one resource until it expires: for calls by hand, and by other people's
// clients. Every method of this package makes its own.
type Token struct {
	// Bytes are the metadata's value.
	Bytes []byte
	// Expires is when it ends by this machine's clock, at most 60 s ahead.
	Expires time.Time
}

// Token makes a token for a method, in full such as `/halfkey.gateway.v1.GatewayService/GetAccount`, about a resource. It asks
// nobody: where the clocks of this machine and the installation differ by half a minute, it is refused.
func (a *Agent) Token(method, about string) (Token, error) {
	return a.c.handToken(a.who, method, about)
}

// Token is an agent's Token for the owner.
func (o *Owner) Token(method, about string) (Token, error) {
	return o.c.handToken(o.who, method, about)
}

// Token is an agent's Token for the operator.
func (o *Operator) Token(method, about string) (Token, error) {
	return o.c.handToken(o.who, method, about)
}

func (c *Client) handToken(who *caller, method, about string) (Token, error) {
	t, err := c.makeToken(who, method, about)
	return t, wrap("make token", err, notMoved)
}

// makeToken signs a token. It is valid from a while ago, for clocks that are off.
func (c *Client) makeToken(who *caller, method, about string) (Token, error) {
	now, _ := c.now()
	from := now.Add(-tokenBefore)
	e, err := evidence.Sign(who.key(), &typev1.Token{
		Installation: c.Installation().ID(),
		Wallet:       who.wallet,
		Caller:       who.name,
		Method:       method,
		Resource:     about,
		TimeMillis:   from.UnixMilli(),
		ExpiryMillis: from.Add(evidence.TokenLife).UnixMilli(),
	})
	if err != nil {
		return Token{}, err
	}
	b, err := evidence.Marshal(e)
	return Token{Bytes: b, Expires: c.clock().Add(evidence.TokenLife - tokenBefore)}, err
}
