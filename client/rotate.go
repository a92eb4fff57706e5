package client

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"io/fs"
	"slices"
	"strconv"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/halfkey/halfkey/internal/evidence"
	gatewayv1 "github.com/halfkey/halfkey/proto/gen/halfkey/gateway/v1"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// RotateRequestKey puts the request key of an agent's offer in the guard rails, which are otherwise kept as they are: from then on
// the old one gets no call through. The agent's share stays as it is; one that may have leaked is answered by Refresh.
func (o *Owner) RotateRequestKey(ctx context.Context, offer Offer) (*InForce, error) {
	const op = "rotate request key"
	if !evidence.ValidKey(offer.RequestKey[:]) {
		return nil, local(op, typev1.Reason_REASON_INVALID_ARGUMENT, "the offer holds no key", "field", "offer")
	}
	head, err := o.nameRequestKey(ctx, offer.Wallet, offer.RequestKey[:])
	if err != nil {
		return nil, err
	}
	return inForce(head), nil
}

// RotateOptions says how an owner's keys change.
type RotateOptions struct {
	// Renew replaces the key of this home by a new one.
	Renew bool
	// Add are public halves of keys made elsewhere, Remove those of keys that sign no more.
	Add, Remove [][32]byte
}

// Rotation says how far a change of an owner's keys has come.
type Rotation struct {
	// Keys are the owner's keys after it, ascending.
	Keys [][]byte
	// Wallets are the owner's wallets.
	Wallets []RotatedWallet
	// Owner signs by the key that this home has after it; nil while wallets lack it.
	Owner *Owner
}

// RotatedWallet is one wallet of a rotation.
type RotatedWallet struct {
	// Wallet is `wallets/{wallet}`, Handle its agent's handle.
	Wallet, Handle string
	// Number is the version of the guard rails that names the new keys, in force with policy, ledger and co-signer; 0 if there
	// is none.
	Number uint64
	// Foreign says that the guard rails name no key of this home: another holder of the owner's keys changes them.
	Foreign bool
	// Err says why the wallet does not have them.
	Err error
}

const (
	rotateOp = "rotate owner keys"
	// earlierMax bounds the earlier keys that a home keeps, and the earlier statements: of these it keeps the newest.
	earlierMax = 256
)

// rotationFile is a rotation that has begun.
type rotationFile struct {
	// Seed is the new key's; empty while this home keeps its own.
	Seed []byte `json:"seed,omitempty"`
	// Add and Remove change the keys that guard rails name.
	Add    [][]byte `json:"add,omitempty"`
	Remove [][]byte `json:"remove,omitempty"`
	// Statement is the signed OwnerKeys, an encoded Envelope; empty if the owner's own keys do not change.
	Statement []byte `json:"statement,omitempty"`
}

// RotateKeys changes the owner keys of every wallet of this owner, and then those that authenticate the owner itself. What it
// is to do, a new key first of all, is durable before anything is sent; a new version of each wallet's guard rails follows, under
// a key that its present ones name. While a wallet lacks it the rotation is open: the error says so, the answer says which, and
// called again, after a crash as well, without options or with the same ones, RotateKeys goes on from where it stopped.
//
// This home keeps its earlier keys and statements: a wallet that was claimed under one of them meanwhile, or that the directory did
// not show, is led to the present keys by RotateKeys without options, and so is an identity that was put back to an older copy, which
// knows the owner by its keys of then. The Owner that it is called on keeps the key that it had.
func (o *Owner) RotateKeys(ctx context.Context, options RotateOptions) (*Rotation, error) {
	c := o.c
	unlock, err := c.lockSecret(ctx, rotateOp, ownerKeyName)
	if err != nil {
		return nil, err
	}
	defer unlock()
	f, err := c.loadOwner()
	if errors.Is(err, fs.ErrNotExist) {
		return nil, local(rotateOp, typev1.Reason_REASON_NOT_FOUND, "this home has no owner")
	}
	if err != nil {
		return nil, wrap(rotateOp, err, notMoved)
	}
	defer f.wipe()
	if err := c.checkRemoved(ctx, f, sortedKeys(options.Remove)); err != nil {
		return nil, err
	}
	if err := c.beginRotation(f, options); err != nil {
		return nil, err
	}
	r, err := c.newRotating(f)
	if err != nil {
		return nil, err
	}
	out := &Rotation{Keys: r.after.Keys()}
	if out.Wallets, err = r.wallets(ctx); err != nil {
		return out, err
	}
	lacking := 0
	for _, w := range out.Wallets {
		if w.Err != nil {
			lacking++
			err = w.Err
		}
	}
	if lacking > 0 {
		failed := failure(rotateOp, ReasonOf(err), notMoved, "not every wallet has the new owner keys yet",
			"wallets", strconv.Itoa(len(out.Wallets)), "lacking", strconv.Itoa(lacking))
		return out, advised(failed, "rotate again without options: it goes on with the wallets that lack the keys")
	}
	if err := r.finish(ctx); err != nil {
		return out, err
	}
	out.Owner = r.after
	return out, nil
}

// checkRemoved refuses to remove a key that is none of the owner's: after a slip of the hand the key that leaked would stay in force,
// and its owner would believe it gone. The owner's are those of its last statement, and those that the guard rails of its wallets name:
// another home may have changed them. What a rotation that is open removes was checked when it began.
func (c *Client) checkRemoved(ctx context.Context, f *ownerFile, remove [][]byte) error {
	if f.Rotation != nil {
		return nil
	}
	present, err := f.statement()
	if err != nil {
		return wrap(rotateOp, err, notMoved)
	}
	keys := present.GetOwnerKeys()
	lacks := func(k []byte) bool { return !contains(keys, k) }
	if !slices.ContainsFunc(remove, lacks) {
		return nil
	}
	r, err := c.newRotating(f)
	if err != nil {
		return err
	}
	named, err := r.named(ctx)
	if err != nil {
		return err
	}
	keys = slices.Concat(keys, named)
	i := slices.IndexFunc(remove, lacks)
	if i < 0 {
		return nil
	}
	slices.SortFunc(keys, bytes.Compare)
	var texts []string
	for _, k := range slices.CompactFunc(keys, bytes.Equal) {
		texts = append(texts, hex.EncodeToString(k))
	}
	return advised(local(rotateOp, typev1.Reason_REASON_INVALID_ARGUMENT, "a key to remove is none of the owner's",
		"field", "remove", "key", hex.EncodeToString(remove[i]), "present", strings.Join(texts, ", ")), "name one of the owner's present keys")
}

// beginRotation stores what a rotation is to do. One that is open goes on, and takes no other options.
func (c *Client) beginRotation(f *ownerFile, options RotateOptions) error {
	add, remove := sortedKeys(options.Add), sortedKeys(options.Remove)
	asked := options.Renew || len(add)+len(remove) > 0
	if f.Rotation != nil {
		if asked && (options.Renew != (len(f.Rotation.Seed) > 0) || !sameKeys(add, f.Rotation.Add) || !sameKeys(remove, f.Rotation.Remove)) {
			return local(rotateOp, typev1.Reason_REASON_ALREADY_EXISTS, "another rotation is open: end it first, by rotating without options", "field", "options")
		}
		return nil
	}
	if !asked {
		return nil
	}
	own := ed25519.NewKeyFromSeed(f.Seed)
	defer wipe(own)
	public := own[ed25519.SeedSize:]
	if contains(remove, public) {
		return local(rotateOp, typev1.Reason_REASON_INVALID_ARGUMENT, "this home's own key is renewed, not removed", "field", "remove")
	}
	for _, k := range add {
		if !evidence.ValidKey(k) || contains(remove, k) {
			return local(rotateOp, typev1.Reason_REASON_INVALID_ARGUMENT, "a key to add is none, or is to be removed as well", "field", "add")
		}
	}
	present, err := f.statement()
	if err != nil {
		return wrap(rotateOp, err, notMoved)
	}
	r := &rotationFile{Add: add, Remove: remove}
	next := slices.Concat(present.GetOwnerKeys(), add)
	if options.Renew {
		if len(f.Earlier) >= earlierMax {
			return local(rotateOp, typev1.Reason_REASON_LIMIT_EXCEEDED, "this home has had too many owner keys", "limit", strconv.Itoa(earlierMax))
		}
		r.Seed = make([]byte, ed25519.SeedSize)
		if _, err := rand.Read(r.Seed); err != nil {
			return wrap(rotateOp, err, notMoved)
		}
		key := ed25519.NewKeyFromSeed(r.Seed)
		next = append(next, bytes.Clone(key[ed25519.SeedSize:]))
		wipe(key)
		remove = append(slices.Clone(remove), bytes.Clone(public))
	}
	next = slices.DeleteFunc(next, func(k []byte) bool { return contains(remove, k) })
	slices.SortFunc(next, bytes.Compare)
	if next = slices.CompactFunc(next, bytes.Equal); !sameKeys(next, present.GetOwnerKeys()) {
		e, err := evidence.Sign(own, &typev1.OwnerKeys{
			Installation: f.Installation, Owner: f.Owner, Number: present.GetNumber() + 1, OwnerKeys: next,
		})
		if err != nil {
			return wrap(rotateOp, err, notMoved)
		}
		if r.Statement, err = evidence.Marshal(e); err != nil {
			return wrap(rotateOp, err, notMoved)
		}
	}
	f.Rotation = r
	return wrap(rotateOp, c.saveOwner(f), notMoved)
}

// rotating is one call of RotateKeys.
type rotating struct {
	c *Client
	f *ownerFile
	// after is the owner as it is when the rotation has ended; hands are it and all that this home signed by before.
	after *Owner
	hands []*Owner
	// add and remove change the keys that guard rails name.
	add, remove [][]byte
	// behind says that the installation knows the owner by an earlier key of this home alone.
	behind bool
}

func (c *Client) newRotating(f *ownerFile) (*rotating, error) {
	ended := f.ended()
	after, err := c.openOwner(ended)
	if err != nil {
		return nil, err
	}
	r := &rotating{c: c, f: f, after: after, hands: []*Owner{after}, add: [][]byte{after.key.public}}
	for _, seed := range slices.Backward(ended.Earlier) {
		hand := *after
		hand.key = newPrivateKey(ed25519.NewKeyFromSeed(seed))
		hand.who = &caller{name: after.name, key: hand.key.signer}
		r.hands, r.remove = append(r.hands, &hand), append(r.remove, hand.key.public)
	}
	if f.Rotation != nil {
		r.add, r.remove = append(r.add, f.Rotation.Add...), append(r.remove, f.Rotation.Remove...)
	}
	return r, nil
}

// known makes a call as whichever of this home's keys the installation knows.
func (r *rotating) known(call func(*Owner) error) (as *Owner, err error) {
	for _, as = range r.hands {
		if err = call(as); ReasonOf(err) != typev1.Reason_REASON_UNAUTHENTICATED {
			return as, err
		}
	}
	return nil, err
}

func (r *rotating) wallets(ctx context.Context) ([]RotatedWallet, error) {
	var owned []*OwnedWallet
	as, err := r.known(func(as *Owner) (err error) {
		owned, err = as.Wallets(ctx)
		return err
	})
	if err != nil {
		return nil, err
	}
	r.behind = as != r.after
	out := make([]RotatedWallet, 0, len(owned))
	for _, w := range owned {
		one := RotatedWallet{Wallet: w.Wallet, Handle: w.Handle}
		one.Number, one.Foreign, one.Err = r.wallet(ctx, w.Wallet)
		out = append(out, one)
	}
	return out, nil
}

// named are the owner keys that the wallets' guard rails name, as far as this home may read them.
func (r *rotating) named(ctx context.Context) ([][]byte, error) {
	var keys [][]byte
	_, err := r.known(func(as *Owner) error {
		owned, err := as.Wallets(ctx)
		if err != nil {
			return err
		}
		for _, w := range owned {
			head, foreign, err := r.head(ctx, w.Wallet)
			if err != nil {
				return err
			}
			if !foreign {
				keys = append(keys, head.Document.GetOwnerKeys()...)
			}
		}
		return nil
	})
	return keys, err
}

// head reads a wallet's guard rails in force; nil if this home's keys may not.
func (r *rotating) head(ctx context.Context, wallet string) (head *evidence.Head, foreign bool, err error) {
	_, err = r.known(func(as *Owner) (err error) {
		head, err = r.c.head(ctx, as.who, wallet)
		return err
	})
	if ReasonOf(err) == typev1.Reason_REASON_UNAUTHENTICATED {
		return nil, true, nil
	}
	return head, false, err
}

// wallet puts the new keys in one wallet's guard rails.
func (r *rotating) wallet(ctx context.Context, wallet string) (number uint64, foreign bool, err error) {
	head, foreign, err := r.head(ctx, wallet)
	if err != nil || foreign {
		return 0, foreign, err
	}
	i := slices.IndexFunc(r.hands, func(as *Owner) bool { return as.signs(head) == nil })
	if i < 0 {
		return 0, true, nil
	}
	next := successor(head)
	next.OwnerKeys = slices.Concat(next.GetOwnerKeys(), cloneKeys(r.add))
	next.OwnerKeys = slices.DeleteFunc(next.GetOwnerKeys(), func(k []byte) bool { return contains(r.remove, k) })
	slices.SortFunc(next.GetOwnerKeys(), bytes.Compare)
	next.OwnerKeys = slices.CompactFunc(next.GetOwnerKeys(), bytes.Equal)
	var in *InForce
	if sameKeys(next.GetOwnerKeys(), head.Document.GetOwnerKeys()) {
		in, err = r.hands[i].deliver(ctx, head.Envelope, head) // A holder may have missed it.
	} else {
		in, err = r.hands[i].setDocument(ctx, head, next)
	}
	if err != nil {
		return 0, false, err
	}
	return in.Number, false, nil
}

// finish changes the keys that authenticate the owner, and stores that the rotation has ended.
func (r *rotating) finish(ctx context.Context) error {
	ended := r.f.ended()
	if len(ended.Statement) > 0 {
		// Another home may have said more since. That is no failure of this one, unless it has something new to say or is not known.
		news := r.behind || r.f.Rotation != nil && len(r.f.Rotation.Statement) > 0
		if err := r.tell(ctx, ended); err != nil && (news || !superseded(err)) {
			return err
		}
	}
	if r.f.Rotation == nil {
		return nil
	}
	return wrap(rotateOp, r.c.saveOwner(ended), notMoved)
}

// tell gives identity the owner's newest statement. One that was put back to an older copy does not know the key that signed it, and
// is given the statements of before, oldest first: each is signed under a key of the one before it.
func (r *rotating) tell(ctx context.Context, f *ownerFile) error {
	err := r.tellKeys(ctx, f.Statement)
	if ReasonOf(err) != typev1.Reason_REASON_BAD_STATEMENT || len(f.EarlierStatements) == 0 {
		return err
	}
	for _, statement := range f.EarlierStatements {
		if err := r.tellKeys(ctx, statement); err != nil && !superseded(err) {
			return err
		}
	}
	return r.tellKeys(ctx, f.Statement)
}

// superseded reports whether identity may have a statement behind it that it refuses: itself, or one that another home made instead.
func superseded(err error) bool {
	switch ReasonOf(err) {
	case typev1.Reason_REASON_BAD_STATEMENT, typev1.Reason_REASON_EVIDENCE_STALE, typev1.Reason_REASON_ALREADY_EXISTS:
		return true
	default:
		return false
	}
}

// tellKeys gives identity one statement.
func (r *rotating) tellKeys(ctx context.Context, statement []byte) error {
	e := new(typev1.Envelope)
	if err := evidence.Unmarshal(statement, e); err != nil {
		return wrap(rotateOp, err, notMoved)
	}
	told, err := invoke(ctx, r.c, rpc{op: rotateOp}, &gatewayv1.SetOwnerKeysRequest{OwnerKeys: e}, gatewayv1.GatewayServiceClient.SetOwnerKeys)
	if err != nil {
		return err
	}
	if told.GetName() != r.f.Owner || !sameEnvelope(told.GetKeys(), e) {
		return distrust(rotateOp, notMoved, "the owner's keys were not taken as they were given", nil)
	}
	return nil
}

// statement is what the owner said last of its keys; number 0 is the registration.
func (f *ownerFile) statement() (*typev1.OwnerKeys, error) {
	e, m := new(typev1.Envelope), new(typev1.OwnerKeys)
	if len(f.Statement) > 0 {
		if err := evidence.Unmarshal(f.Statement, e); err != nil {
			return nil, err
		}
		return m, evidence.Peek(e, m)
	}
	registration := new(typev1.OwnerRegistration)
	if err := evidence.Unmarshal(f.Registration, e); err != nil {
		return nil, err
	}
	if err := evidence.Peek(e, registration); err != nil {
		return nil, err
	}
	return &typev1.OwnerKeys{Installation: f.Installation, Owner: f.Owner, OwnerKeys: registration.GetOwnerKeys()}, nil
}

// ended is the file as it is when its rotation has ended.
func (f *ownerFile) ended() *ownerFile {
	next := *f
	next.Rotation = nil
	if f.Rotation == nil {
		return &next
	}
	if len(f.Rotation.Seed) > 0 {
		next.Seed, next.Earlier = f.Rotation.Seed, append(slices.Clone(f.Earlier), f.Seed)
	}
	if len(f.Rotation.Statement) > 0 {
		if present, err := f.statement(); err == nil {
			next.EarlierKeys = append(slices.Clone(f.EarlierKeys), present.GetOwnerKeys()...)
		}
		if len(f.Statement) > 0 {
			kept := f.EarlierStatements[max(0, len(f.EarlierStatements)-earlierMax+1):]
			next.EarlierStatements = append(slices.Clone(kept), f.Statement)
		}
		next.Statement = f.Rotation.Statement
	}
	return &next
}

func (f *ownerFile) wipe() {
	wipe(f.Seed)
	for _, seed := range f.Earlier {
		wipe(seed)
	}
	if f.Rotation != nil {
		wipe(f.Rotation.Seed)
	}
}

// successor is a document that follows head and says the same.
func successor(head *evidence.Head) *typev1.GuardRails {
	next := proto.CloneOf(head.Document)
	next.Number, next.Replaces = head.Document.GetNumber()+1, [][]byte{head.Digest.Bytes()}
	next.RegistrationDigest, next.Enrolment = nil, nil
	if next.GetRecipients() == nil { // Number 0 has none, and pays nothing; no more does this.
		next.Recipients = &typev1.Recipients{Unknown: typev1.Light_LIGHT_RED}
	}
	return next
}

func contains(keys [][]byte, key []byte) bool {
	return slices.ContainsFunc(keys, func(k []byte) bool { return bytes.Equal(k, key) })
}

func sameKeys(a, b [][]byte) bool { return slices.EqualFunc(a, b, bytes.Equal) }
