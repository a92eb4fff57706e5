package client_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/halfkey/halfkey/client"
	"github.com/halfkey/halfkey/halfkeytest"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// TestInvite makes further owners by invitation, once each, whatever is lost on the way; they own what they claim and nothing
// else.
func TestInvite(t *testing.T) {
	clock := halfkeytest.NewClock(time.Now().Truncate(time.Second))
	h := halfkeytest.Start(t, halfkeytest.WithClock(clock))
	p := newProxy(t, h)
	ctx := testContext(t)
	first := h.Owner()
	theirs := h.Agent("Theirs")
	invite := func(email string, ttl time.Duration) *client.Invitation {
		t.Helper()
		i, err := first.Invite(ctx, email, ttl)
		if err != nil {
			t.Fatal(err)
		}
		return i
	}
	code := func(i *client.Invitation) string { return string([]byte(i.Text())) }

	invitation := invite("Colleague@Company.com", time.Hour)
	path := filepath.Join(t.TempDir(), "invitation")
	if err := invitation.WriteFile(path); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file has mode %v, %v", info.Mode(), err)
	}
	if shown := fmt.Sprintf("%v %+v %#v %s", invitation, invitation, invitation, invitation.Text()); strings.Contains(shown, "seed") {
		t.Errorf("an invitation prints: %s", shown)
	}
	home := p.home(h)
	c := h.Client(home)
	_, err := c.CreateOwner(ctx, code(invitation), "other@company.com")
	wantReason(t, err, invalid, notMoved)
	for _, answer := range []bool{false, true} {
		p.lose("CreateOwner", answer)
		if _, err := c.CreateOwner(ctx, code(invitation), ""); err == nil {
			t.Fatal("nothing was lost")
		}
		c = h.Client(home)
	}
	p.honest()
	clock.Advance(2 * time.Hour) // It was made in time; only the answer was lost.
	second, err := c.CreateOwner(ctx, code(invitation), "")
	if err != nil {
		t.Fatal(err)
	}
	if again, err := c.Owner(); err != nil || again.Name() != second.Name() || second.Name() == first.Name() {
		t.Errorf("got %v, %v", again, err)
	}

	// An owner like every other.
	agent := h.Client(h.Home())
	r, err := agent.Register(ctx, client.RegisterOptions{Name: "Ours", EnrolmentToken: mint(t, second, client.EnrolmentOptions{}).Text()})
	if err != nil {
		t.Fatal(err)
	}
	if w := owned(t, second); len(w) != 1 || w[r.Wallet] == nil {
		t.Errorf("the second owner sees %v", w)
	}
	if w := owned(t, first); len(w) != 1 || w[theirs.Wallet()] == nil {
		t.Errorf("the first owner sees %v", w)
	}
	if _, err := second.SetGuardRails(ctx, theirs.Wallet(), client.StandardRules()); err == nil {
		t.Error("the second owner set guard rails of the first one's wallet")
	}
	if _, err := second.SetGuardRails(ctx, r.Wallet, client.StandardRules()); err != nil {
		t.Error(err)
	}

	// Refused: and the home takes the next code.
	late := invite("", time.Minute)
	taken := h.Client(h.Home())
	_, err = taken.CreateOwner(ctx, code(invitation), "colleague@company.com")
	wantReason(t, err, codeUsed, notMoved)
	clock.Advance(time.Minute + time.Millisecond)
	_, err = taken.CreateOwner(ctx, code(late), "late@company.com")
	wantReason(t, err, codeExpired, notMoved)
	_, err = taken.CreateOwner(ctx, code(invite("", 0)), halfkeytest.Email)
	wantReason(t, err, typev1.Reason_REASON_ALREADY_EXISTS, notMoved)
	elsewhere := halfkeytest.Start(t)
	foreign, err := elsewhere.Owner().Invite(ctx, "", 0)
	if err != nil {
		t.Fatal(err)
	}
	_, err = taken.CreateOwner(ctx, code(foreign), "late@company.com")
	wantReason(t, err, typev1.Reason_REASON_EVIDENCE_MISMATCH, notMoved)
	_, err = taken.CreateOwner(ctx, string([]byte(h.Token())), "late@company.com")
	wantReason(t, err, invalid, notMoved)
	if _, err := taken.CreateOwner(ctx, code(invite("", 0)), "late@company.com"); err != nil {
		t.Error(err)
	}
	for name, ttl := range map[string]time.Duration{"too long": 31 * 24 * time.Hour, "negative": -1} {
		if _, err := first.Invite(ctx, "", ttl); client.ReasonOf(err) != invalid {
			t.Errorf("%s: got %v", name, err)
		}
	}
	if _, err := first.Invite(ctx, "nobody", 0); err == nil {
		t.Error("an address that is none was invited")
	}
}
