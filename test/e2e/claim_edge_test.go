package e2e_test

import (
	"context"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"

	"github.com/halfkey/halfkey/client"
	"github.com/halfkey/halfkey/halfkeytest"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// between lets something happen at one of the calls that the gateway makes of services, before it or after it was answered.
type between struct {
	mu sync.Mutex
	at point
	do func()
}

func (b *between) arm(at point, do func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.at, b.do = at, do
}

// take is what is to happen at a call, once.
func (b *between) take(method string, after bool) func() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.do == nil || method != b.at.method || after != b.at.after {
		return func() {}
	}
	do := b.do
	b.do = nil
	return do
}

// wrap is a halfkeytest.Wrap.
func (b *between) wrap(_ string, conn grpc.ClientConnInterface) grpc.ClientConnInterface {
	return betweenConn{conn, b}
}

type betweenConn struct {
	grpc.ClientConnInterface
	between *between
}

// Invoke passes calls on.
func (c betweenConn) Invoke(ctx context.Context, method string, args, reply any, opts ...grpc.CallOption) error {
	c.between.take(method, false)()
	err := c.ClientConnInterface.Invoke(ctx, method, args, reply, opts...)
	c.between.take(method, true)()
	return err
}

// TestClaimMeetsItsEnd has the 24 hours of a registration end at each step of its claim, and somebody else's call end it there. Either
// it is a wallet with everybody and pays, or it is one with nobody and its handle is free: as the co-signer's row says, and the claim's
// repeat makes it.
func TestClaimMeetsItsEnd(t *testing.T) {
	t.Parallel()
	clock := halfkeytest.NewClock(time.Now())
	b := new(between)
	c := new(crasher)
	w := &world{clock: clock, crasher: c}
	w.System = halfkeytest.Start(t, halfkeytest.WithClock(clock), halfkeytest.WithDir(filepath.Join(t.TempDir(), "installation")),
		halfkeytest.WithWrap(func(service string, conn grpc.ClientConnInterface) grpc.ClientConnInterface {
			return b.wrap(service, c.wrap(service, conn))
		}))
	w.shop = w.Agent("Shop")
	sealed := false
	for _, at := range points(claimOperations[0].steps) {
		sealed = sealed || at.name == "cosigner" && at.after
		t.Run(at.String(), func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), callMax)
			defer cancel()
			options := client.RegisterOptions{Name: "Agent " + at.String(), OwnerEmail: halfkeytest.Email}
			home := w.Client(w.Home())
			r, err := home.Register(ctx, options)
			if err != nil {
				t.Fatal(err)
			}
			met := false
			b.arm(at, func() {
				met = true
				clock.Advance(24*time.Hour + time.Minute)
				_, _ = w.Owner().LookUp(ctx, r.ClaimCode) // Whatever it is told: the co-signer is asked to end it.
			})
			_, claimErr := w.Owner().Claim(ctx, r.ClaimCode)
			if !met {
				t.Fatal("the claim did not come to this step")
			}
			a, err := home.Agent(r.Wallet)
			if err != nil {
				t.Fatal(err)
			}
			if sealed {
				if _, err := w.Owner().Claim(ctx, r.ClaimCode); err != nil {
					t.Fatalf("the claim, told %v, is not carried through: %v", claimErr, err)
				}
				w.wantWallet(ctx, t, a)
				return
			}
			w.wantNowhere(ctx, t, a, r.ClaimCode, claimErr)
			again, err := w.Client(w.Home()).Register(ctx, options)
			if err != nil || again.Handle != r.Handle {
				t.Errorf("the handle's next registration is %+v, %v, want @%s", again, err, r.Handle)
			}
		})
	}
}

// wantNowhere demands that a registration which has ended is a wallet with nobody, and never becomes one.
func (w *world) wantNowhere(ctx context.Context, t *testing.T, a *client.Agent, code string, claimErr error) {
	t.Helper()
	if claimErr == nil {
		t.Error("a registration was claimed after its 24 hours")
	} else if moved := wantNext(t, claimErr); moved != movedNo {
		t.Errorf("a claim is said to have moved money: %v", claimErr)
	}
	if _, err := w.Owner().Claim(ctx, code); err == nil {
		t.Error("the repeat claimed a registration that had ended")
	}
	for _, holder := range holders {
		if head := w.head(ctx, t, holder, a.Wallet()); head != nil {
			t.Errorf("%s holds guard rails %x of a wallet that has ended", holder, head)
		}
	}
	if state, err := a.State(ctx); err != nil || state != typev1.WalletState_WALLET_STATE_ENDED {
		t.Errorf("the registration is %v, %v, want ENDED", state, err)
	}
}
