package identity

import (
	"bytes"
	"context"
	"errors"
	"strconv"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/halfkey/halfkey/internal/etcdstore"
	"github.com/halfkey/halfkey/internal/evidence"
	"github.com/halfkey/halfkey/internal/fault"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// Keys, inside the service's namespace. Ids and digests have no slash, so no key is another's prefix by accident.
const (
	installationKey = "installation" // number and digest of the highest installation file accepted

	walletKeys     = "wallets/"       // {wallet id}: a wallet's row
	ownerKeys      = "owners/"        // {owner id}: an owner's row
	emailKeys      = "owner-emails/"  // {sha256 of the address}: the owner's name
	bootstrapKeys  = "bootstraps/"    // {public half of the code}: what it was used for
	invitationKeys = "invitations/"   // {public half of an invitation}: the same
	claimKeys      = "claims/"        // {claim code}: the wallet's name
	handleKeys     = "handles/"       // {handle}: the ACTIVE wallet's name
	groupKeys      = "groupkeys/"     // {group key}: the ACTIVE wallet's name
	ownedKeys      = "owner-wallets/" // {owner id}/{wallet id}: empty, for lists

	creatingKeys   = "creating/"   // {since}/{wallet id}: CREATING and holding a place
	unfinishedKeys = "unfinished/" // {since}/{wallet id}: CREATING whose place was freed
	unclaimedKeys  = "unclaimed/"  // {since}/{wallet id}: UNCLAIMED

	openTotalKey   = "open/all"      // number of open registrations
	openOwnerKeys  = "open/owners/"  // {sha256 of the owner's address}: the same per owner
	openSourceKeys = "open/sources/" // {sha256 of the source}: the same per source
)

const (
	// attemptsMax bounds how often a decision that lost a race is made again; replicas of this service are few, and each
	// loses only to one that has won.
	attemptsMax = 16
	// pageMax and pageDefault bound a page of a list; etcd takes at most 128 operations in a transaction.
	pageMax     = 100
	pageDefault = 50
	// pageBytesMax ends a page early, so that an answer stays under rpc's 256 KiB.
	pageBytesMax = 192 << 10
)

// store is the service's namespace in etcd.
type store struct {
	kv      clientv3.KV
	decoded *etcdstore.Decoded[*directoryEntry]
}

func newStore(kv clientv3.KV) *store {
	return &store{kv: kv, decoded: etcdstore.NewDecoded(func(id string) []string { return []string{walletKeys + id} }, decodeWallet)}
}

// read is one row as it was read: an absent one has no value and revision 0.
type read struct {
	value    []byte
	revision int64
}

// tx is one decision: what it has read of the store and what it wants written. It sees its own writes.
type tx struct {
	ctx    context.Context //nolint:containedctx // A tx lives inside one call of decide.
	kv     clientv3.KV
	reads  map[string]read
	writes map[string][]byte // nil deletes
}

func (s *store) begin(ctx context.Context) *tx {
	return &tx{ctx: ctx, kv: s.kv, reads: make(map[string]read), writes: make(map[string][]byte)}
}

// decide makes one decision in one transaction: fn reads and asks for writes, which take effect only if no row that it
// read has changed meanwhile. Otherwise fn decides again, from the start, on fresh reads. fn may be called several times
// and must leave nothing behind.
func (s *store) decide(ctx context.Context, fn func(*tx) error) error {
	for range attemptsMax {
		t := s.begin(ctx)
		if err := fn(t); err != nil {
			return err
		}
		if len(t.writes) == 0 {
			return nil
		}
		done, err := t.commit()
		if err != nil || done {
			return err
		}
	}
	return fault.New(typev1.Reason_REASON_ABORTED, typev1.MoneyMoved_MONEY_MOVED_NO, "others changed the same record again and again")
}

// get reads a row, linearizably and once: asked again, it answers the same. nil is an absent row.
func (t *tx) get(key string) ([]byte, error) {
	if b, ok := t.writes[key]; ok {
		return b, nil
	}
	if r, ok := t.reads[key]; ok {
		return r.value, nil
	}
	resp, err := t.kv.Get(t.ctx, key)
	if err != nil {
		return nil, unavailable(err)
	}
	r := read{}
	if len(resp.Kvs) > 0 {
		r = read{value: resp.Kvs[0].Value, revision: resp.Kvs[0].ModRevision}
	}
	t.reads[key] = r
	return r.value, nil
}

// put wants a row written; an empty one is written too.
func (t *tx) put(key string, value []byte) {
	if value == nil {
		value = []byte{}
	}
	t.writes[key] = value
}

func (t *tx) delete(key string) { t.writes[key] = nil }

func (t *tx) commit() (done bool, err error) {
	compares := make([]clientv3.Cmp, 0, len(t.reads))
	for key, r := range t.reads {
		compares = append(compares, clientv3.Compare(clientv3.ModRevision(key), "=", r.revision))
	}
	ops := make([]clientv3.Op, 0, len(t.writes))
	for key, value := range t.writes {
		if value == nil {
			ops = append(ops, clientv3.OpDelete(key))
		} else {
			ops = append(ops, clientv3.OpPut(key, string(value)))
		}
	}
	resp, err := t.kv.Txn(t.ctx).If(compares...).Then(ops...).Commit()
	if err != nil {
		return false, unavailable(err)
	}
	return resp.Succeeded, nil
}

// wallet reads a wallet's row; nil if there is none.
func (t *tx) wallet(id string) (*wallet, error) {
	b, err := t.get(walletKeys + id)
	if err != nil || b == nil {
		return nil, err
	}
	w := new(wallet)
	return w, decode(b, w)
}

// replace writes what a decision made of a wallet's row: the row itself, its entry in the time indexes, and the counters of
// open registrations. full names the bound that leaves no place for it.
func (t *tx) replace(b Bounds, id string, old, next *wallet) (full string, err error) {
	if old == next {
		return "", nil
	}
	if old == nil {
		old = &wallet{}
	}
	if moved := old.Place != next.Place; old.Placed != next.Placed || next.Placed && moved {
		if old.Placed {
			if err := t.free(old.Place); err != nil {
				return "", err
			}
		}
		if next.Placed {
			if full, err := t.take(b, next.Place); err != nil || full != "" {
				return full, err
			}
		}
	}
	if from, to := old.timeIndex(id), next.timeIndex(id); from != to {
		if from != "" {
			t.delete(from)
		}
		if to != "" {
			t.put(to, nil)
		}
	}
	value, err := encode(next)
	if err != nil {
		return "", err
	}
	before, err := t.get(walletKeys + id)
	if err != nil {
		return "", err
	}
	if !bytes.Equal(before, value) {
		t.put(walletKeys+id, value)
	}
	return "", nil
}

// timeIndex is the row's key in the index of its state; empty if its state has none.
func (w *wallet) timeIndex(id string) string {
	switch {
	case w.State == creating && w.Placed:
		return timeKey(creatingKeys, w.Since, id)
	case w.State == creating:
		return timeKey(unfinishedKeys, w.Since, id)
	case w.State == unclaimed:
		return timeKey(unclaimedKeys, w.Since, id)
	}
	return ""
}

// claimName takes a name in an index for a wallet: false if another has it.
func (t *tx) claimName(key, wallet string) (bool, error) {
	b, err := t.get(key)
	if err != nil {
		return false, err
	}
	if b == nil {
		t.put(key, []byte(wallet))
		return true, nil
	}
	return string(b) == wallet, nil
}

// directoryEntry is a wallet's row as calls are authenticated by it. It is shared by all who read it, and none of them changes it.
type directoryEntry struct {
	*wallet
	// inForce are the guard rails of a wallet that is ACTIVE.
	inForce *evidence.Head
}

// wallet reads a wallet's row outside a decision, linearizably; nil if there is none.
func (s *store) wallet(ctx context.Context, id string) (*directoryEntry, error) {
	read, err := s.decoded.Read(ctx, s.kv, id)
	if err != nil {
		return nil, fault.Wrap(err, typev1.MoneyMoved_MONEY_MOVED_NO)
	}
	return read.Content, nil
}

func decodeWallet(_ string, rows []etcdstore.Value) (*directoryEntry, error) {
	if !rows[0].Exists() {
		return nil, nil
	}
	w := new(wallet)
	if err := decode(rows[0].Bytes, w); err != nil {
		return nil, err
	}
	if w.State != active {
		return &directoryEntry{wallet: w}, nil
	}
	head, err := w.head()
	return &directoryEntry{wallet: w, inForce: head}, err
}

// agentKey is the key that authenticates the wallet's agent: the head's once ACTIVE, the registration's while UNCLAIMED,
// else none.
func (e *directoryEntry) agentKey() []byte {
	switch e.State {
	case active:
		return e.inForce.Document.GetRequestKey()
	case unclaimed:
		return e.RequestKey
	}
	return nil
}

// owner reads an owner's row; nil if there is none.
func (s *store) owner(ctx context.Context, id string) (*owner, error) {
	resp, err := s.kv.Get(ctx, ownerKeys+id)
	if err != nil {
		return nil, unavailable(err)
	}
	if len(resp.Kvs) == 0 {
		return nil, nil
	}
	o := new(owner)
	return o, decode(resp.Kvs[0].Value, o)
}

// indexed reads the name that an index holds; empty if there is none.
func (s *store) indexed(ctx context.Context, key string) (string, error) {
	resp, err := s.kv.Get(ctx, key)
	if err != nil {
		return "", unavailable(err)
	}
	if len(resp.Kvs) == 0 {
		return "", nil
	}
	return string(resp.Kvs[0].Value), nil
}

// wallets reads the rows of wallets in one transaction, leaving out those that are gone.
func (s *store) wallets(ctx context.Context, ids []string) ([]*wallet, error) {
	ops := make([]clientv3.Op, 0, len(ids))
	for _, id := range ids {
		ops = append(ops, clientv3.OpGet(walletKeys+id))
	}
	resp, err := s.kv.Txn(ctx).Then(ops...).Commit()
	if err != nil {
		return nil, unavailable(err)
	}
	var out []*wallet
	for _, r := range resp.Responses {
		for _, kv := range r.GetResponseRange().GetKvs() {
			w := new(wallet)
			if err := decode(kv.Value, w); err != nil {
				return nil, err
			}
			out = append(out, w)
		}
	}
	return out, nil
}

// owned lists the ids of an owner's wallets that come after an id, and whether there are more.
func (s *store) owned(ctx context.Context, owner, after string, n int) (ids []string, more bool, err error) {
	prefix := ownedKeys + owner + "/"
	from := prefix
	if after != "" {
		from += after + "\x00"
	}
	resp, err := s.kv.Get(ctx, from,
		clientv3.WithRange(clientv3.GetPrefixRangeEnd(prefix)), clientv3.WithLimit(int64(n)), clientv3.WithKeysOnly())
	if err != nil {
		return nil, false, unavailable(err)
	}
	for _, kv := range resp.Kvs {
		ids = append(ids, string(kv.Key[len(prefix):]))
	}
	return ids, resp.More, nil
}

// since lists the ids of wallets in a time index that took their state at or before a time, oldest first.
func (s *store) since(ctx context.Context, index string, until int64, n int) ([]string, error) {
	resp, err := s.kv.Get(ctx, index, clientv3.WithRange(index+millisKey(until+1)), clientv3.WithLimit(int64(n)), clientv3.WithKeysOnly())
	if err != nil {
		return nil, unavailable(err)
	}
	var ids []string
	for _, kv := range resp.Kvs {
		ids = append(ids, string(kv.Key[len(index)+millisDigits+1:]))
	}
	return ids, nil
}

// millisDigits is the width of a time in a key: an int64's, so that order of keys is order of time.
const millisDigits = 19

func millisKey(millis int64) string {
	s := strconv.FormatInt(max(millis, 0), 10)
	const zeros = "0000000000000000000"
	return zeros[:millisDigits-len(s)] + s
}

// timeKey is a wallet's key in a time index.
func timeKey(index string, millis int64, id string) string {
	return index + millisKey(millis) + "/" + id
}

// unavailable says that the store did not answer. A call that ran out of time says that itself.
func unavailable(err error) error {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return fault.Caused(err, typev1.Reason_REASON_UNAVAILABLE, typev1.MoneyMoved_MONEY_MOVED_NO, "the store did not answer")
}
