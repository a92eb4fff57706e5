package ledger

import (
	"bytes"
	"maps"
	"slices"

	"github.com/halfkey/halfkey/internal/evidence"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// FreezesMax bounds the freezes in force on one subject. It is stopped by the first; only their ends become more work.
const FreezesMax = 1000

// freezing is a freeze that is asked for.
type freezing struct {
	subject    subject
	id, caller string
}

// unfreezing is the end of a freeze, verified: for a wallet under an owner key of the head of that digest, for an owner under
// the key that it names, for the installation under an operator key.
type unfreezing struct {
	subject  subject
	id       string
	signer   []byte
	envelope *typev1.Envelope
	head     evidence.Digest
}

// stopped is what is true of a subject after a freeze or its end.
type stopped struct {
	frozen bool
	at     int64
}

// decideFreeze records a freeze. It needs no clock to be right and no rule to be read: it only stops.
func decideFreeze(s *state, f *freezing) (stopped, error) {
	if f.subject.scope == typev1.Scope_SCOPE_WALLET {
		if _, ok := s.wallets.get(f.subject.name); !ok {
			return stopped{}, errNotActive
		}
	}
	at, _ := s.time(f.subject.chain())
	all := s.freezes.value(f.subject)
	row := all[f.id]
	switch {
	case row.ended():
		return stopped{}, refuse(typev1.Reason_REASON_FREEZE_ID_USED, "the freeze's end is held already", "freeze_id", f.id)
	case row.revocation != nil:
		return stopped{}, refuse(typev1.Reason_REASON_FREEZE_ID_USED, "the id is a revocation's", "freeze_id", f.id)
	case row.held:
		return stopped{frozen: true, at: at}, nil
	case all.inForceCount() >= FreezesMax:
		return stopped{}, refuse(typev1.Reason_REASON_LIMIT_EXCEEDED, "the subject is frozen already, too many times")
	}
	row.held, row.caller, row.createdMillis = true, f.caller, at
	s.putFreeze(f.subject, f.id, row)
	n := len(s.newFreezes)
	s.newFreezes = append(s.newFreezes, newFreeze{f.subject, f.id, f.caller, at, nil})
	s.undo = append(s.undo, func() { s.newFreezes = s.newFreezes[:n] })
	s.append(&draft{chain: f.subject.chain(), entry: &typev1.Entry{
		Kind: typev1.EntryKind_ENTRY_KIND_FREEZE, FreezeId: f.id, Scope: f.subject.scope, Caller: f.caller,
	}}, at)
	return stopped{frozen: true, at: at}, nil
}

// decideUnfreeze records the end of a freeze, whether or not the freeze itself has arrived.
func decideUnfreeze(s *state, u *unfreezing) (stopped, error) {
	var caller string
	switch u.subject.scope {
	case typev1.Scope_SCOPE_WALLET:
		w, ok := s.wallets.get(u.subject.name)
		if !ok {
			return stopped{}, errNotActive
		}
		if w.head.Digest != u.head {
			return stopped{}, errHead
		}
		if r := s.freezes.value(u.subject)[u.id].revocation; r != nil {
			if err := evidence.CheckTakenOver(r.content, w.head); err != nil {
				return stopped{}, err
			}
		}
		caller = w.owner
	case typev1.Scope_SCOPE_OWNER:
		if !s.ownerKeys.value(ownerKey{u.subject.name, [32]byte(u.signer)}) {
			return stopped{}, refuse(typev1.Reason_REASON_BAD_STATEMENT, "no wallet of the owner names this owner key",
				"statement", "unfreeze", "field", "signatures")
		}
		caller = u.subject.name
	default:
		caller = "operator"
	}
	at, behind := s.time(u.subject.chain())
	if behind && u.subject.scope == typev1.Scope_SCOPE_WALLET {
		return stopped{}, refuseClock(at, s.nowMillis) // No statement sets the installation's own row back, so it does not wait.
	}
	row := s.freezes.value(u.subject)[u.id]
	if !slices.ContainsFunc(row.signers, func(k []byte) bool { return bytes.Equal(k, u.signer) }) {
		row.signers = append(slices.Clone(row.signers), u.signer)
		s.putFreeze(u.subject, u.id, row)
		n := len(s.newUnfreezes)
		s.newUnfreezes = append(s.newUnfreezes, newUnfreeze{u.subject, u.id, u.signer, u.envelope})
		s.undo = append(s.undo, func() { s.newUnfreezes = s.newUnfreezes[:n] })
		s.append(&draft{chain: u.subject.chain(), entry: &typev1.Entry{
			Kind: typev1.EntryKind_ENTRY_KIND_UNFREEZE, FreezeId: u.id, Scope: u.subject.scope, Caller: caller,
			Statements: []*typev1.Envelope{u.envelope},
		}}, at)
	}
	return stopped{frozen: s.subjectFrozen(u.subject, u.signer), at: at}, nil
}

// subjectFrozen reports whether a subject is stopped by any freeze. An owner's freeze has ended as far as the signer's key
// ends it: each wallet asks under its own head.
func (s *state) subjectFrozen(sub subject, signer []byte) bool {
	if sub.scope == typev1.Scope_SCOPE_WALLET {
		w, ok := s.wallets.get(sub.name)
		if !ok {
			return false
		}
		_, _, is := s.frozen(w)
		return is
	}
	if _, is := s.freezes.value(subject{typev1.Scope_SCOPE_INSTALLATION, ""}).inForce(freeze.ended); is {
		return true
	}
	_, is := s.freezes.value(sub).inForce(func(f freeze) bool { return f.endedUnder([][]byte{signer}) })
	return is && sub.scope == typev1.Scope_SCOPE_OWNER
}

func (s *state) putFreeze(sub subject, id string, row freeze) {
	all := maps.Clone(s.freezes.value(sub))
	if all == nil {
		all = make(freezes)
	}
	all[id] = row
	s.freezes.put(s, sub, all)
}

// inForceCount is how many freezes have no end at all.
func (f freezes) inForceCount() int {
	n := 0
	for _, row := range f {
		if row.held && !row.ended() {
			n++
		}
	}
	return n
}

// chain is the journal that a subject's freezes stand in.
func (s subject) chain() string {
	if s.scope == typev1.Scope_SCOPE_WALLET {
		return s.name
	}
	return installationChain
}
