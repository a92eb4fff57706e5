package main

import (
	"context"
	"crypto/ed25519"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/halfkey/halfkey/client"
	"github.com/halfkey/halfkey/internal/allinone"
)

// TestMain runs the tests beside one real installation. Started under the name halfkey, the test's binary is the command
// line itself: scripts and tests run it as a process.
func TestMain(m *testing.M) {
	testscript.Main(beside{m}, map[string]func(){"halfkey": main})
}

// beside runs tests beside an installation.
type beside struct{ m *testing.M }

// world is the installation that all tests share. Its wallets are each test's own.
var world struct {
	system *allinone.System
	// ownerHome is the home of its first owner.
	ownerHome string
	owner     *client.Owner
	operator  *client.Operator
	client    *client.Client
	// keys are the wallets' keys by handle; redemption is the redemption account's.
	mu   sync.Mutex
	keys map[string][32]byte
}

// stepMax bounds each step that a test takes itself.
const stepMax = time.Minute

// ownerEmail is the first owner's address.
const ownerEmail = "you@company.com"

// Run starts the installation, runs the tests, and removes it.
func (b beside) Run() int {
	dir, err := os.MkdirTemp("", "halfkey-cli")
	if err == nil {
		err = startWorld(dir)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "starting the installation:", err)
		return 1
	}
	code := b.m.Run()
	_ = world.client.Close()
	if err := world.system.Kill(); err != nil {
		fmt.Fprintln(os.Stderr, "ending the installation:", err)
		code = 1
	}
	_ = os.RemoveAll(dir)
	return code
}

// startSystem starts the installation that a directory holds.
func startSystem(ctx context.Context, dir string) (*allinone.System, error) {
	return allinone.Start(ctx, allinone.Config{DataDir: dir, Listen: "127.0.0.1:0", Logger: slog.New(slog.NewJSONHandler(io.Discard, nil))})
}

func startWorld(dir string) error {
	ctx, cancel := context.WithTimeout(context.Background(), stepMax)
	defer cancel()
	system, err := startSystem(ctx, filepath.Join(dir, "installation"))
	if err != nil {
		return err
	}
	world.system, world.ownerHome = system, filepath.Join(dir, "owner")
	world.keys = map[string][32]byte{"redemption": [32]byte(system.Installation().Content().GetRedemptionAccount())}
	if world.client, err = connected(world.ownerHome); err != nil {
		return err
	}
	key, err := system.OperatorKey()
	if err != nil {
		return err
	}
	world.operator = world.client.Operator(append(ed25519.PrivateKey(nil), key...))
	world.owner, err = world.client.CreateOwner(ctx, system.BootstrapCode(), ownerEmail)
	return err
}

// connected opens a client on a home that is connected with the installation.
func connected(dir string) (*client.Client, error) {
	h, err := client.OpenHome(dir)
	if err != nil {
		return nil, err
	}
	file, err := os.ReadFile(world.system.InstallationFile())
	if err != nil {
		return nil, err
	}
	if err := h.Connect(file); err != nil {
		return nil, err
	}
	return client.Open(h, client.Options{})
}

// fundedUnits are what a test's agent begins with: 100 USD.
const fundedUnits = 100_000_000

// newAgent registers an agent in a home, claims it, lets it pay some others by the standard guard rails, anybody else by a
// person's leave if it may ask, and funds it. It returns its wallet.
func newAgent(home, handle string, ask bool, payees ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), stepMax)
	defer cancel()
	c, err := connected(home)
	if err != nil {
		return "", err
	}
	defer func() { _ = c.Close() }()
	r, err := c.Register(ctx, client.RegisterOptions{Name: handle, Handle: handle, OwnerEmail: ownerEmail})
	if err != nil {
		return "", err
	}
	if _, err := world.owner.Claim(ctx, r.ClaimCode); err != nil {
		return "", err
	}
	rules := client.StandardRules()
	world.mu.Lock()
	world.keys[handle] = r.GroupKey
	for _, p := range payees {
		rules.Allow = append(rules.Allow, world.keys[p])
	}
	world.mu.Unlock()
	if ask {
		rules.Unknown = yellow
	}
	if _, err := world.owner.SetGuardRails(ctx, r.Wallet, rules); err != nil {
		return "", err
	}
	_, err = world.operator.Deposit(ctx, r.Wallet, handle, fundedUnits)
	return r.Wallet, err
}
