package client

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/halfkey/halfkey/frost"
	"github.com/halfkey/halfkey/internal/evidence"
	"github.com/halfkey/halfkey/internal/resource"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// agentKeyPrefix begins the name of an agent's secret; the wallet's id follows.
const agentKeyPrefix = "agent-"

// stage is how far a registration has come, as the key store has it.
type stage string

const (
	// stageStarted: request key and wallet id are chosen.
	stageStarted stage = "started"
	// stageMade: the share is made and the test signature verified; the other side may or may not have heard.
	stageMade stage = "made"
	// stageRegistered: the wallet is UNCLAIMED, or further.
	stageRegistered stage = "registered"
)

// agentFile is an agent's secret in the key store.
type agentFile struct {
	Version      int    `json:"version"`
	Installation string `json:"installation"`
	Stage        stage  `json:"stage"`
	Wallet       string `json:"wallet"`
	Handle       string `json:"handle"`
	DisplayName  string `json:"display_name"`
	OwnerEmail   string `json:"owner_email"`
	RequestSeed  []byte `json:"request_seed"`
	Run          []byte `json:"run"`
	Share        []byte `json:"share"`
	Registration []byte `json:"registration"`
	TestSigned   []byte `json:"test_signature"`
}

// agentKey is an agent's secret in memory.
type agentKey struct {
	redacted
	stage                                   stage
	wallet, handle, displayName, ownerEmail string
	run                                     []byte
	registration                            *typev1.Envelope
	testSigned                              []byte
	request                                 *privateKey
	seed                                    func() []byte
	share                                   *frost.KeyShare
}

// keyName is the name of the secret in the key store.
func (k *agentKey) keyName() string {
	return agentKeyPrefix + strings.TrimPrefix(k.wallet, resource.Wallet(""))
}

// caller is the agent as who signs tokens.
func (k *agentKey) caller() *caller {
	return &caller{name: resource.AgentOf(k.wallet), wallet: k.wallet, key: k.request}
}

func newAgentKey(seed []byte) *agentKey {
	own := bytes.Clone(seed)
	return &agentKey{request: newPrivateKey(ed25519.NewKeyFromSeed(own)), seed: func() []byte { return own }}
}

// saveAgentKey stores an agent's secret durably.
func (c *Client) saveAgentKey(k *agentKey) error {
	f := agentFile{
		Version: fileVersion, Installation: c.Installation().ID(), Stage: k.stage, Wallet: k.wallet, Handle: k.handle,
		DisplayName: k.displayName, OwnerEmail: k.ownerEmail, RequestSeed: k.seed(), Run: k.run, TestSigned: k.testSigned,
	}
	if k.share != nil {
		f.Share = k.share.Secret()
		defer wipe(f.Share)
	}
	if k.registration != nil {
		b, err := evidence.Marshal(k.registration)
		if err != nil {
			return err
		}
		f.Registration = b
	}
	b, err := encodeJSON(f)
	if err != nil {
		return err
	}
	defer wipe(b)
	return c.keys.Save(k.keyName(), b)
}

// loadAgentKey loads an agent's secret and checks that its parts belong together and to this installation.
func (c *Client) loadAgentKey(name string) (*agentKey, error) {
	b, err := c.keys.Load(name)
	if err != nil {
		return nil, err
	}
	defer wipe(b)
	var f agentFile
	if err := decodeJSON(b, &f); err != nil {
		return nil, err
	}
	defer wipe(f.RequestSeed)
	defer wipe(f.Share)
	if f.Version != fileVersion || len(f.RequestSeed) != ed25519.SeedSize {
		return nil, errors.New("halfkey: an agent's secret is of another version")
	}
	if f.Installation != c.Installation().ID() {
		return nil, fmt.Errorf("halfkey: the agent of %s belongs to installation %s", f.Wallet, shorten(f.Installation))
	}
	k := newAgentKey(f.RequestSeed)
	k.stage, k.wallet, k.handle, k.displayName, k.ownerEmail = f.Stage, f.Wallet, f.Handle, f.DisplayName, f.OwnerEmail
	k.run, k.testSigned = f.Run, f.TestSigned
	if _, err := resource.ParseWallet(k.wallet); err != nil || k.keyName() != name {
		return nil, errors.New("halfkey: an agent's secret is of another wallet than its name says")
	}
	switch k.stage {
	case stageStarted:
		return k, nil
	case stageMade, stageRegistered:
	default:
		return nil, errors.New("halfkey: an agent's secret is at no known stage")
	}
	if k.share, err = frost.ParseKeyShare(f.Share); err != nil {
		return nil, fmt.Errorf("halfkey: key share of %s: %w", k.wallet, err)
	}
	k.registration = new(typev1.Envelope)
	if err := evidence.Unmarshal(f.Registration, k.registration); err != nil {
		return nil, fmt.Errorf("halfkey: registration of %s: %w", k.wallet, err)
	}
	r, err := evidence.CheckRegistration(c.Installation(), k.registration)
	if err != nil {
		return nil, fmt.Errorf("halfkey: registration of %s: %w", k.wallet, err)
	}
	group := k.share.GroupKey()
	if r.GetWallet() != k.wallet || !bytes.Equal(r.GetRequestKey(), k.request.public) ||
		!bytes.Equal(r.GetGroupKey(), group[:]) || k.share.Identifier() != frost.Agent {
		return nil, fmt.Errorf("halfkey: the secret of %s holds parts of different wallets", k.wallet)
	}
	return k, nil
}

// agentKeys loads every agent's secret of the key store.
func (c *Client) agentKeys() ([]*agentKey, error) {
	names, err := c.keys.List()
	if err != nil {
		return nil, err
	}
	names = slices.DeleteFunc(slices.Clone(names), func(n string) bool { return !strings.HasPrefix(n, agentKeyPrefix) })
	var keys []*agentKey
	for _, name := range names {
		k, err := c.loadAgentKey(name)
		if err != nil {
			return nil, err
		}
		keys = append(keys, k)
	}
	return keys, nil
}
