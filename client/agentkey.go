package client

import (
	"bytes"
	"crypto/ed25519"
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
	// stageReplacing: this home takes the wallet over. Its request key is chosen; its share comes with the recovery share's help.
	stageReplacing stage = "replacing"
)

// replacedMax bounds the request keys that a secret remembers: more leaks than a wallet should live through.
const replacedMax = 64

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
	// Claim is guard rails number 0 under an enrolment token, stored before it is sent; Claimed says that it was sealed.
	Claim   []byte `json:"claim,omitempty"`
	Claimed bool   `json:"claimed,omitempty"`
	// ReplacedKeys are the public halves of the wallet's request keys before the present one, oldest first.
	ReplacedKeys [][]byte `json:"replaced_request_keys,omitempty"`
	// OfferedSeed is the request key's that was shown to the owner and that the guard rails do not name yet.
	OfferedSeed []byte `json:"offered_request_seed,omitempty"`
	// Attempt is a run that has not made its share yet, Pending a share whose record was not seen yet.
	Attempt *attemptFile `json:"resharing_attempt,omitempty"`
	Pending *pendingFile `json:"pending_share,omitempty"`
}

// agentKey is an agent's secret in memory. One that others can see is not changed: a changed copy takes its place.
type agentKey struct {
	redacted
	stage                                   stage
	wallet, handle, displayName, ownerEmail string
	run                                     []byte
	registration                            *typev1.Envelope
	testSigned                              []byte
	claim                                   *typev1.Envelope // by an enrolment token, nil for none or once claimed
	claimed                                 bool
	request                                 *privateKey
	seed                                    func() []byte
	share                                   *frost.KeyShare
	replaced                                [][]byte
	// offered is the request key that was offered to the owner, nil for none.
	offered     *privateKey
	offeredSeed func() []byte
	// attempt is a run that has not made its share yet, pending a share whose record was not seen yet; nil for none.
	attempt *attempt
	pending *pendingShare
}

// keyName is the name of the secret in the key store.
func (k *agentKey) keyName() string {
	return agentKeyPrefix + strings.TrimPrefix(k.wallet, resource.Wallet(""))
}

// callerBy is the wallet's agent as who signs tokens with one request key.
func (k *agentKey) callerBy(key *privateKey) *caller {
	return &caller{name: resource.AgentOf(k.wallet), wallet: k.wallet, key: key.signer}
}

func newAgentKey(seed []byte) *agentKey {
	k := new(agentKey)
	k.request, k.seed = keyOfSeed(seed)
	return k
}

// keyOfSeed makes a key, and a function that holds the seed so that it does not print.
func keyOfSeed(seed []byte) (*privateKey, func() []byte) {
	own := bytes.Clone(seed)
	return newPrivateKey(ed25519.NewKeyFromSeed(own)), func() []byte { return own }
}

// copy is a copy to change.
func (k *agentKey) copy() *agentKey {
	c := *k
	c.replaced = slices.Clone(k.replaced)
	return &c
}

// requestKeys are the wallet's request keys as this secret knows them, the present one first.
func (k *agentKey) requestKeys() [][]byte {
	return append([][]byte{k.request.public}, k.replaced...)
}

// saveAgentKey stores an agent's secret durably.
func (c *Client) saveAgentKey(k *agentKey) error {
	f := agentFile{
		Version: fileVersion, Installation: c.Installation().ID(), Stage: k.stage, Wallet: k.wallet, Handle: k.handle,
		DisplayName: k.displayName, OwnerEmail: k.ownerEmail, RequestSeed: k.seed(), Run: k.run, TestSigned: k.testSigned,
		Claimed: k.claimed,
	}
	if k.share != nil {
		f.Share = k.share.Secret()
	}
	if k.registration != nil {
		b, err := evidence.Marshal(k.registration)
		if err != nil {
			return err
		}
		f.Registration = b
	}
	if k.claim != nil {
		b, err := evidence.Marshal(k.claim)
		if err != nil {
			return err
		}
		f.Claim = b
	}
	if err := k.keepResharing(&f); err != nil {
		return err
	}
	defer f.wipe()
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
	defer f.wipe()
	if f.Version != fileVersion || len(f.RequestSeed) != ed25519.SeedSize {
		return nil, fileErrorf("halfkey: an agent's secret is of another version")
	}
	if f.Installation != c.Installation().ID() {
		return nil, fileErrorf("halfkey: the agent of %s belongs to installation %s", f.Wallet, shorten(f.Installation))
	}
	k := newAgentKey(f.RequestSeed)
	k.stage, k.wallet, k.handle, k.displayName, k.ownerEmail = f.Stage, f.Wallet, f.Handle, f.DisplayName, f.OwnerEmail
	k.run, k.testSigned, k.claimed = f.Run, f.TestSigned, f.Claimed
	if _, err := resource.ParseWallet(k.wallet); err != nil || k.keyName() != name {
		return nil, fileErrorf("halfkey: an agent's secret is of another wallet than its name says")
	}
	switch k.stage {
	case stageStarted:
		return k, nil
	case stageMade, stageRegistered:
		if k.share, err = frost.ParseKeyShare(f.Share); err != nil {
			return nil, fmt.Errorf("halfkey: key share of %s: %w", k.wallet, err)
		}
	case stageReplacing:
		if len(f.Share) > 0 {
			return nil, fmt.Errorf("halfkey: the secret of %s has a share that it cannot have yet", k.wallet)
		}
	default:
		return nil, fileErrorf("halfkey: an agent's secret is at no known stage")
	}
	k.registration = new(typev1.Envelope)
	if err := evidence.Unmarshal(f.Registration, k.registration); err != nil {
		return nil, fmt.Errorf("halfkey: registration of %s: %w", k.wallet, err)
	}
	r, err := evidence.CheckRegistration(c.Installation(), k.registration)
	if err != nil {
		return nil, fmt.Errorf("halfkey: registration of %s: %w", k.wallet, err)
	}
	if len(f.Claim) > 0 {
		k.claim = new(typev1.Envelope)
		if err := evidence.Unmarshal(f.Claim, k.claim); err != nil {
			return nil, fmt.Errorf("halfkey: claim of %s: %w", k.wallet, err)
		}
		if _, _, err := evidence.CheckClaim(c.Installation(), k.registration, k.claim); err != nil {
			return nil, fmt.Errorf("halfkey: claim of %s: %w", k.wallet, err)
		}
	}
	if err := k.restoreResharing(&f); err != nil {
		return nil, fmt.Errorf("halfkey: resharing of %s: %w", k.wallet, err)
	}
	if r.GetWallet() != k.wallet || !k.known(r.GetRequestKey()) || !k.fits(k.share, r.GetGroupKey()) ||
		k.pending != nil && !k.fits(k.pending.share, r.GetGroupKey()) {
		return nil, fmt.Errorf("halfkey: the secret of %s holds parts of different wallets", k.wallet)
	}
	return k, nil
}

// known reports whether a request key is, or was, this wallet's.
func (k *agentKey) known(key []byte) bool {
	return slices.ContainsFunc(k.requestKeys(), func(known []byte) bool { return bytes.Equal(known, key) })
}

// fits reports whether a share is share 1 of a group key. Only a home that takes a wallet over has none yet.
func (k *agentKey) fits(share *frost.KeyShare, groupKey []byte) bool {
	if share == nil {
		return k.stage == stageReplacing
	}
	group := share.GroupKey()
	return bytes.Equal(groupKey, group[:]) && share.Identifier() == frost.Agent
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
