package ledger

import (
	"google.golang.org/protobuf/proto"

	"github.com/halfkey/halfkey/internal/evidence"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// RevocationsMax is how many freezes beyond FreezesMax an owner's revocations find room for: an agent that has frozen its wallet
// as often as it may keeps nobody from revoking it.
const RevocationsMax = 100

// revoking is a revocation, verified under the head of that digest; a repeat of one that is held is under none.
type revoking struct {
	subject  subject
	envelope *typev1.Envelope
	revocation
	head evidence.Digest
}

// decideRevoke records a revocation. Like a freeze it needs no clock to be right, because it only stops.
func decideRevoke(s *state, r *revoking) (stopped, error) {
	w, ok := s.wallets.get(r.subject.name)
	if !ok {
		return stopped{}, errNotActive
	}
	id := r.content.GetFreezeId()
	at, _ := s.time(w.name)
	all := s.freezes.value(r.subject)
	row := all[id]
	switch {
	case row.ended():
		return stopped{}, refuse(typev1.Reason_REASON_FREEZE_ID_USED, "the freeze's end is held already", "freeze_id", id)
	case row.held && (row.revocation == nil || row.revocation.digest != r.digest):
		return stopped{}, refuse(typev1.Reason_REASON_FREEZE_ID_USED, "the id is another freeze's", "freeze_id", id)
	case row.held:
		return stopped{frozen: true, at: at}, nil
	case w.head.Digest != r.head:
		return stopped{}, errHead
	case all.inForceCount() >= FreezesMax+RevocationsMax:
		return stopped{}, refuse(typev1.Reason_REASON_LIMIT_EXCEEDED, "the subject is frozen already, too many times")
	}
	at++ // Of its own, so that what was authorized before it is known by its time, with any clock.
	row.held, row.caller, row.createdMillis, row.revocation = true, w.owner, at, &r.revocation
	s.putFreeze(r.subject, id, row)
	n := len(s.newFreezes)
	s.newFreezes = append(s.newFreezes, newFreeze{r.subject, id, w.owner, at, r.envelope})
	s.undo = append(s.undo, func() { s.newFreezes = s.newFreezes[:n] })
	s.append(&draft{chain: w.name, entry: &typev1.Entry{
		Kind: typev1.EntryKind_ENTRY_KIND_REVOCATION, FreezeId: id, Scope: r.subject.scope, Caller: w.owner,
		Statements: []*typev1.Envelope{r.envelope},
	}}, at)
	return stopped{frozen: true, at: at}, nil
}

// newRevocation is a revocation as rows hold it.
func newRevocation(e *typev1.Envelope) (revocation, error) {
	m := new(typev1.Revocation)
	if err := evidence.Peek(e, m); err != nil {
		return revocation{}, err
	}
	return revocation{content: m, digest: evidence.EnvelopeDigest(e)}, nil
}

// decodeRevocation reads one of our own store.
func decodeRevocation(b []byte) (*revocation, *typev1.Envelope, error) {
	e := new(typev1.Envelope)
	if err := proto.Unmarshal(b, e); err != nil {
		return nil, nil, err
	}
	r, err := newRevocation(e)
	return &r, e, err
}
