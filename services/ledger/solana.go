package ledger

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/halfkey/halfkey/internal/chain/solana"
	"github.com/halfkey/halfkey/internal/chain/solanarpc"
	"github.com/halfkey/halfkey/internal/resource"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// WatchDefault is how often the ledger asks what has become of messages: a block takes 0.4 s, and is final after some 13 s.
const WatchDefault = 2 * time.Second

// Solana is the rail on Solana: one network, whom to ask about it, and the tokens that are taken.
type Solana struct {
	// Network is the chain by CAIP-2.
	Network string
	// Client asks the network's endpoints. Whoever made it closes it, after the service.
	Client *solanarpc.Client
	// Assets are the tokens that wallets pay and are paid in, by CAIP-19: at least one, each of the network and in the table of known
	// tokens.
	Assets []string
	// WatchInterval is how often messages and accounts are looked at; 0 is WatchDefault.
	WatchInterval time.Duration
}

// rail is the ledger's side of Solana.
type rail struct {
	network  string
	client   *solanarpc.Client
	mints    map[string]solana.Key // By asset.
	assets   []string              // In order.
	interval time.Duration
	hashes   hashes
	lookout  lookout
}

// newRail checks the configuration of the rail; nil has none.
func newRail(c *Solana) (*rail, error) {
	if c == nil {
		return nil, nil //nolint:nilnil // No rail is a configuration like any other.
	}
	r := &rail{network: c.Network, client: c.Client, mints: make(map[string]solana.Key), interval: c.WatchInterval}
	switch {
	case c.Client == nil:
		return nil, errors.New("solana: the client that asks endpoints is not given")
	case len(c.Assets) == 0:
		return nil, errors.New("solana: no token is given that is taken")
	case c.WatchInterval < 0:
		return nil, errors.New("solana: the watch interval is negative")
	case c.WatchInterval == 0:
		r.interval = WatchDefault
	}
	for _, asset := range c.Assets {
		token, ok := resource.TokenOf(asset)
		if !ok || token.Network != c.Network {
			return nil, fmt.Errorf("solana: %q is no token that is known on %s; known are %s", asset, c.Network, knownTokens(c.Network))
		}
		mint, err := solana.ParseKey(token.Mint)
		if err != nil {
			return nil, fmt.Errorf("solana: mint of %q: %w", asset, err)
		}
		r.mints[asset] = mint
	}
	for asset := range r.mints {
		r.assets = append(r.assets, asset)
	}
	slices.Sort(r.assets)
	return r, nil
}

// knownTokens lists the tokens that are known on a network.
func knownTokens(network string) string {
	var assets []string
	for _, t := range resource.Tokens() {
		if t.Network == network {
			assets = append(assets, t.Asset())
		}
	}
	if len(assets) == 0 {
		return "none"
	}
	return strings.Join(assets, ", ")
}

// takes refuses a network that is not the rail's; nil takes none. Field is where the caller named it.
func (r *rail) takes(network, field string) *refusal {
	switch {
	case r == nil:
		return refuse(typev1.Reason_REASON_INVALID_ARGUMENT, "this installation's ledger settles on its book alone", "field", field,
			"why", "is one that this installation's ledger does not have; it has RAIL_BOOK")
	case r.network != network:
		return refuse(typev1.Reason_REASON_INVALID_ARGUMENT, "this installation's ledger settles on another network", "field", field,
			"why", "is not "+r.network+", which is the network of this installation's ledger")
	}
	return nil
}

// startChain starts what looks at the chain, if there is a rail. Without one it says what waits for it all the same.
func (s *Service) startChain(ctx context.Context) error {
	if s.chain == nil {
		return s.store.look(ctx, func(v *view) error {
			return v.liveMessages(ctx, messageKey{}, 1, func(k messageKey, m chainMessage) {
				s.logger.ErrorContext(ctx, "payments wait for a chain that is not configured, and keep their holds",
					"payment", paymentKey{k.wallet, m.id}.name())
			})
		})
	}
	// Neither waits for the other: holds end also where an account cannot be taken up.
	s.sweeps.Go(func() { s.adoptEvery(ctx) })
	s.sweeps.Go(func() { s.watchChain(ctx) })
	return nil
}
