package client

import (
	"bytes"
	"context"
	"strings"
	"time"

	"github.com/halfkey/halfkey/internal/evidence"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// Invitation is a one-time private key with an owner's statement: whoever has it becomes an owner of this installation, once,
// with agents and guard rails of its own and none of the inviting owner's. It does not print.
type Invitation struct {
	redacted
	// Key is its public half.
	Key [32]byte
	// Email is the address that it is good for; empty is any.
	Email string
	// Expiry is its last moment.
	Expiry time.Time

	text func() []byte
}

// Text is what CreateOwner takes as its code. It is a secret.
func (i *Invitation) Text() Secret { return bytes.Clone(i.text()) }

// WriteFile writes the text to a file of mode 0600, which must not exist.
func (i *Invitation) WriteFile(path string) error {
	return wrap("write invitation", writeNew(path, i.text()), notMoved)
}

// Invite makes an invitation of a further owner, here and with nobody's help. An empty email is any address; ttl is how long it
// is good for, at most 30 days, and zero is 24 hours. Nothing ends it sooner but replacing the owner key that signed it.
func (o *Owner) Invite(ctx context.Context, email string, ttl time.Duration) (*Invitation, error) {
	const op = "invite owner"
	if err := ctx.Err(); err != nil {
		return nil, wrap(op, err, notMoved)
	}
	end, err := o.c.deadline(op, ttl)
	if err != nil {
		return nil, err
	}
	seed, key, err := newSeed()
	if err != nil {
		return nil, wrap(op, err, notMoved)
	}
	defer wipe(seed)
	defer wipe(key)
	public := [32]byte(key[len(key)-32:])
	email = lowerEmail(email)
	statement, err := evidence.Sign(o.key, &typev1.OwnerInvitation{
		Installation: o.c.Installation().ID(), Owner: o.name, InvitationKey: public[:], Email: email, ExpiryMillis: end.UnixMilli(),
	})
	if err != nil {
		return nil, given(op, err)
	}
	text, err := oneTimeText(kindInvitation, "", seed, statement)
	if err != nil {
		return nil, wrap(op, err, notMoved)
	}
	return &Invitation{Key: public, Email: email, Expiry: time.UnixMilli(end.UnixMilli()), text: func() []byte { return text }}, nil
}

// ownerCode is what a new owner is made by: the bootstrap code, or an invitation.
type ownerCode struct {
	*privateKey
	// email is the address that it is good for, and invitation what makes it good; neither is the bootstrap code's.
	email      string
	invitation *typev1.Envelope
	wipe       func()
}

// readOwnerCode reads either. An invitation is a text in braces, a bootstrap code the digits of a key.
func (c *Client) readOwnerCode(code string) (*ownerCode, error) {
	const op = "read code"
	if !strings.HasPrefix(strings.TrimSpace(code), "{") {
		return readBootstrapCode(code)
	}
	k, err := readOneTime(op, kindInvitation, []byte(code))
	if err != nil {
		return nil, err
	}
	m := new(typev1.OwnerInvitation)
	err = evidence.Peek(k.statement, m)
	switch {
	case err != nil:
	case m.GetInstallation() != c.Installation().ID():
		err = local(op, typev1.Reason_REASON_EVIDENCE_MISMATCH, "the invitation is of another installation", "field", "installation")
	case !bytes.Equal(m.GetInvitationKey(), k.public):
		err = local(op, typev1.Reason_REASON_BAD_STATEMENT, "the invitation's key is not the one that its owner's statement names",
			"field", kindInvitation)
	}
	if err != nil {
		k.wipe()
		return nil, wrap(op, err, notMoved)
	}
	return &ownerCode{privateKey: k.privateKey, email: m.GetEmail(), invitation: k.statement, wipe: k.wipe}, nil
}
