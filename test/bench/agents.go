package bench

import (
	"context"
	"crypto/ed25519"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/halfkey/halfkey/client"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

const (
	// ownerEmail is the owner's address, who claims all agents.
	ownerEmail = "you@company.com"
	// funds is each agent's balance, and what the guard rails let it pay.
	funds = 1 << 50
	// stepMax bounds each step of preparing, and payMax each payment: the same as a patient caller's.
	stepMax = time.Minute
	payMax  = time.Minute
)

// access is what a running installation tells who may set it up.
type access struct {
	// InstallationFile, OperatorKeyFile and BootstrapCode are paths, and the code itself.
	InstallationFile, OperatorKeyFile, BootstrapCode string
}

// world is agents that may pay, and a shop that they pay to.
type world struct {
	clients []*client.Client
	agents  []*client.Agent
	shop    string
	// before is how many payments the agents had made when the run began.
	before int
}

// newWorld makes an owner, a shop and paying agents, each on a home of its own below dir, and lets every agent pay once: the first
// payment looks the recipient up and connects.
func newWorld(ctx context.Context, dir string, a access, agents int) (_ *world, err error) {
	w := &world{agents: make([]*client.Agent, agents), before: agents}
	defer func() {
		if err != nil {
			w.close()
		}
	}()
	file, err := os.ReadFile(a.InstallationFile)
	if err != nil {
		return nil, err
	}
	open := func(name string) (*client.Client, error) {
		h, err := client.OpenHome(filepath.Join(dir, name))
		if err != nil {
			return nil, err
		}
		if err := h.Connect(file); err != nil {
			return nil, err
		}
		c, err := client.Open(h, client.Options{})
		if err == nil {
			w.clients = append(w.clients, c)
		}
		return c, err
	}
	c, err := open("owner")
	if err != nil {
		return nil, err
	}
	owner, err := step(ctx, func(ctx context.Context) (*client.Owner, error) {
		return c.CreateOwner(ctx, a.BootstrapCode, ownerEmail)
	})
	if err != nil {
		return nil, err
	}
	key, err := readSeed(a.OperatorKeyFile)
	if err != nil {
		return nil, err
	}
	operator := c.Operator(key)
	if c, err = open("shop"); err != nil {
		return nil, err
	}
	shop, err := register(ctx, c, owner, "Shop")
	if err != nil {
		return nil, err
	}
	w.shop = shop.Wallet()
	rules := client.StandardRules(shop.GroupKey())
	rules.AutoApprove, rules.Daily, rules.HardCap = funds, funds, funds

	group, grouped := errgroup.WithContext(ctx)
	group.SetLimit(4)
	for i := range agents {
		c, err := open(fmt.Sprint("agent-", i))
		if err != nil {
			return nil, errors.Join(err, group.Wait())
		}
		group.Go(func() error {
			made, err := register(grouped, c, owner, fmt.Sprint("Payer ", i))
			if err != nil {
				return err
			}
			w.agents[i] = made
			_, err = step(grouped, func(ctx context.Context) (any, error) { return owner.SetGuardRails(ctx, made.Wallet(), rules) })
			if err == nil {
				_, err = step(grouped, func(ctx context.Context) (any, error) { return operator.Deposit(ctx, made.Wallet(), "", funds) })
			}
			if err == nil {
				err = w.pay(grouped, i)
			}
			return err
		})
	}
	return w, group.Wait()
}

func step[T any](ctx context.Context, do func(context.Context) (T, error)) (T, error) {
	ctx, cancel := context.WithTimeout(ctx, stepMax)
	defer cancel()
	return do(ctx)
}

// register makes an agent by a real key generation and lets the owner claim it.
func register(ctx context.Context, c *client.Client, owner *client.Owner, name string) (*client.Agent, error) {
	return step(ctx, func(ctx context.Context) (*client.Agent, error) {
		r, err := c.Register(ctx, client.RegisterOptions{Name: name, OwnerEmail: ownerEmail})
		if err != nil {
			return nil, err
		}
		if _, err := owner.Claim(ctx, r.ClaimCode); err != nil {
			return nil, err
		}
		return c.Agent(r.Wallet)
	})
}

// pay makes one payment of an agent and demands that it settled.
func (w *world) pay(ctx context.Context, agent int) error {
	ctx, cancel := context.WithTimeout(ctx, payMax)
	defer cancel()
	p, err := w.agents[agent].Pay(ctx, client.Order{Recipient: w.shop, Units: 1})
	if err == nil && p.State != typev1.PaymentState_PAYMENT_STATE_SETTLED {
		err = fmt.Errorf("a payment ended as %v", p.State)
	}
	return err
}

// settled verifies the agents' journals and says how many payments of the run they hold as SETTLED.
func (w *world) settled(ctx context.Context) (int, error) {
	n := -w.before
	for i, a := range w.agents {
		j, err := step(ctx, a.Journal)
		if err != nil {
			return 0, err
		}
		report, err := client.VerifyJournal(w.clients[0].Installation(), j.Wallet, j.Entries, j.Head)
		if err != nil {
			return 0, fmt.Errorf("agent %d: %w", i, err)
		}
		n += report.Payments[typev1.PaymentState_PAYMENT_STATE_SETTLED]
	}
	return n, nil
}

func (w *world) close() {
	for _, c := range w.clients {
		_ = c.Close() // nothing is pending
	}
}

// readSeed reads the operator's key.
func readSeed(file string) (ed25519.PrivateKey, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	seed, err := hex.DecodeString(strings.TrimSpace(string(b)))
	if err != nil || len(seed) != ed25519.SeedSize {
		return nil, fmt.Errorf("%s: is not an Ed25519 seed in hexadecimal", file)
	}
	return ed25519.NewKeyFromSeed(seed), nil
}
