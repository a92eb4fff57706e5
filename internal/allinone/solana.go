package allinone

import (
	"fmt"
	"time"

	"github.com/halfkey/halfkey/internal/chain/solanarpc"
	"github.com/halfkey/halfkey/internal/resource"
	"github.com/halfkey/halfkey/services/ledger"
)

// Solana is the rail on Solana, with every token that is known on its network.
type Solana struct {
	// Network is the chain by CAIP-2.
	Network string
	// Endpoints are the RPC URLs that are asked. One alone is believed; of several, one that is honest is enough.
	Endpoints []string
	// WatchInterval is how often messages and accounts are looked at; 0 is the ledger's default.
	WatchInterval time.Duration
}

// open makes the ledger's side of it, and the client that whoever opens it closes; nil has neither.
func (c *Solana) open() (*ledger.Solana, *solanarpc.Client, error) {
	if c == nil {
		return nil, nil, nil
	}
	client, err := solanarpc.New(solanarpc.Config{Network: c.Network, Endpoints: c.Endpoints})
	if err != nil {
		return nil, nil, fmt.Errorf("allinone: %w", err)
	}
	rail := &ledger.Solana{Network: c.Network, Client: client, WatchInterval: c.WatchInterval}
	for _, token := range resource.Tokens() {
		if token.Network == c.Network {
			rail.Assets = append(rail.Assets, token.Asset())
		}
	}
	return rail, client, nil
}
