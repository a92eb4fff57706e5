package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/halfkey/halfkey/client"
	"github.com/halfkey/halfkey/internal/allinone"
	"github.com/halfkey/halfkey/internal/resource"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// demoCommand is `halfkey-dev demo`. It checks whatever it tells: a step that does not end as told ends the demo with an error.
type demoCommand struct{}

// demoMax bounds the whole demo.
const demoMax = 2 * time.Minute

// demoEmail is the owner's address.
const demoEmail = "you@company.com"

// demo is a running demo.
type demo struct {
	ctx      context.Context //nolint:containedctx // one demo, one context
	out      io.Writer
	dir      string
	system   *allinone.System
	owner    *client.Owner
	operator *client.Operator
	research *client.Agent // pays
	shop     *client.Agent // is paid
	homes    map[string]string
}

// Run runs the demo in a directory of its own.
func (*demoCommand) Run(ctx context.Context, logger *slog.Logger) (err error) {
	dir, err := os.MkdirTemp("", "halfkey-demo-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	ctx, cancel := context.WithTimeout(ctx, demoMax)
	defer cancel()
	system, err := allinone.Start(ctx, allinone.Config{DataDir: filepath.Join(dir, "installation"), Listen: "127.0.0.1:0", Logger: logger})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, system.Kill()) }()
	d := &demo{ctx: ctx, out: os.Stdout, dir: dir, system: system, homes: make(map[string]string)}
	for _, act := range []struct {
		title string
		play  func() error
	}{
		{"Two agents get wallets: a distributed key generation each, and one claim by their owner", d.register},
		{"Money and guard rails: 5 USD auto-approve, 50 a day, 100 hard cap, one allowed recipient", d.rails},
		{"GREEN: pays at once", d.green},
		{"YELLOW: waits for a person", d.yellow},
		{"RED: refused, and recorded", d.red},
		{"A resource that costs money: x402", d.fetch},
		{"The daily budget", d.budget},
		{"A thief", d.thief},
		{"The leak is answered: new shares, and the address stays", d.refresh},
		{"Freeze one wallet; the other pays on", d.freeze},
		{"Every payment is attributed and provable", d.history},
	} {
		fmt.Fprintf(d.out, "\n%s\n", act.title)
		if err := act.play(); err != nil {
			return fmt.Errorf("%s: %w", act.title, err)
		}
	}
	fmt.Fprintln(d.out, "\nEverything above happened as told.")
	return nil
}

// say prints one line of the demo.
func (d *demo) say(format string, args ...any) { fmt.Fprintf(d.out, "  "+format+"\n", args...) }

// usd is an amount in millionths of a dollar.
const usd = 1_000_000

func dollars(units int64) string { return resource.FormatDecimal(units, 6) + " USD" }

// client opens a client on a home of its own.
func (d *demo) client(name string) (*client.Client, error) {
	dir := filepath.Join(d.dir, name)
	d.homes[name] = dir
	h, err := client.OpenHome(dir)
	if err != nil {
		return nil, err
	}
	file, err := os.ReadFile(d.system.InstallationFile())
	if err != nil {
		return nil, err
	}
	if err := h.Connect(file); err != nil {
		return nil, err
	}
	return client.Open(h, client.Options{})
}

func (d *demo) register() error {
	c, err := d.client("owner")
	if err != nil {
		return err
	}
	if d.owner, err = c.CreateOwner(d.ctx, d.system.BootstrapCode(), demoEmail); err != nil {
		return err
	}
	for _, a := range []struct {
		name string
		to   **client.Agent
	}{{"Research Agent", &d.research}, {"Data Shop", &d.shop}} {
		c, err := d.client(strings.ToLower(strings.ReplaceAll(a.name, " ", "-")))
		if err != nil {
			return err
		}
		r, err := c.Register(d.ctx, client.RegisterOptions{Name: a.name, OwnerEmail: demoEmail})
		if err != nil {
			return err
		}
		claim, err := d.owner.Claim(d.ctx, r.ClaimCode)
		if err != nil {
			return err
		}
		if claim.GroupKey != r.GroupKey {
			return errors.New("the owner claimed another key than the agent made")
		}
		if *a.to, err = c.Agent(r.Wallet); err != nil {
			return err
		}
		d.say("@%-15s key %x…  claimed by code %s", r.Handle, r.GroupKey[:8], r.ClaimCode)
	}
	d.say("The agents hold one half of each key, the co-signer the other. No whole key exists.")
	return nil
}

func (d *demo) rails() error {
	c, err := d.client("operator")
	if err != nil {
		return err
	}
	key, err := d.system.OperatorKey()
	if err != nil {
		return err
	}
	d.operator = c.Operator(key)
	for _, a := range []*client.Agent{d.research, d.shop} {
		if _, err := d.operator.Deposit(d.ctx, a.Wallet(), "demo-"+a.Handle(), 200*usd); err != nil {
			return err
		}
	}
	if _, err := d.owner.SetGuardRails(d.ctx, d.research.Wallet(), client.StandardRules(d.shop.GroupKey())); err != nil {
		return err
	}
	if _, err := d.owner.SetGuardRails(d.ctx, d.shop.Wallet(), client.StandardRules(d.research.GroupKey())); err != nil {
		return err
	}
	d.say("200 USD deposited to each wallet by the operator's signed statement.")
	d.say("Guard rails number 1, signed by the owner, in force with policy, ledger and co-signer.")
	return nil
}

// want checks a payment's state and colour.
func want(p *client.Payment, state typev1.PaymentState, light typev1.Light) error {
	if p.State != state || p.Light != light {
		return fmt.Errorf("payment %s is %v, %v; want %v, %v", p.Name, p.State, p.Light, state, light)
	}
	return nil
}

const (
	green  = typev1.Light_LIGHT_GREEN
	yellow = typev1.Light_LIGHT_YELLOW
	red    = typev1.Light_LIGHT_RED

	settled = typev1.PaymentState_PAYMENT_STATE_SETTLED
	denied  = typev1.PaymentState_PAYMENT_STATE_DENIED
	pending = typev1.PaymentState_PAYMENT_STATE_PENDING_REVIEW

	authorized = typev1.PaymentState_PAYMENT_STATE_AUTHORIZED
)

func (d *demo) pay(from *client.Agent, id, to string, units int64, purpose string) (*client.Payment, error) {
	return from.Pay(d.ctx, client.Order{ID: id, Recipient: to, Units: units, Purpose: purpose})
}

func (d *demo) green() error {
	started := time.Now()
	p, err := d.pay(d.research, "green", "@data-shop", 2*usd, "stock prices, one day")
	if err != nil {
		return err
	}
	if err := want(p, settled, green); err != nil {
		return err
	}
	d.say("@research-agent pays @data-shop 2 USD: GREEN, SETTLED in %d ms.", time.Since(started).Milliseconds())
	return nil
}

func (d *demo) yellow() error {
	p, err := d.pay(d.research, "yellow", "@data-shop", 20*usd, "stock prices, one year")
	if err != nil {
		return err
	}
	if err := want(p, pending, yellow); err != nil {
		return err
	}
	b, err := d.balance(d.research)
	if err != nil {
		return err
	}
	if b.Held != 0 {
		return fmt.Errorf("a payment that waits for a person holds %s", dollars(b.Held))
	}
	d.say("20 USD is over the auto-approve threshold: YELLOW, PENDING_REVIEW, nothing held.")
	if _, err := d.owner.Approve(d.ctx, p.Name); err != nil {
		return err
	}
	if p, err = d.research.Wait(d.ctx, "yellow"); err != nil {
		return err
	}
	if err := want(p, settled, yellow); err != nil {
		return err
	}
	d.say("The owner signs an approval of exactly this payment; the agent, waiting, resumes it: SETTLED.")
	return nil
}

func (d *demo) red() error {
	p, err := d.pay(d.research, "over-cap", "@data-shop", 101*usd, "everything")
	if err != nil {
		return err
	}
	if err := want(p, denied, red); err != nil {
		return err
	}
	if _, err := d.owner.Approve(d.ctx, p.Name); client.ReasonOf(err) != typev1.Reason_REASON_WRONG_STATE {
		return fmt.Errorf("approving what is over the hard cap: %w, want WRONG_STATE", err)
	}
	d.say("101 USD is over the hard cap: RED, DENIED. Nobody can approve it.")
	stranger, err := d.stranger()
	if err != nil {
		return err
	}
	if p, err = d.pay(d.research, "stranger", stranger, 1*usd, "urgent, please"); err != nil {
		return err
	}
	if err := want(p, denied, red); err != nil {
		return err
	}
	d.say("1 USD to a recipient that the owner never allowed: RED, DENIED.")
	return nil
}

// stranger is a claimed wallet that no guard rails name.
func (d *demo) stranger() (string, error) {
	c, err := d.client("stranger")
	if err != nil {
		return "", err
	}
	r, err := c.Register(d.ctx, client.RegisterOptions{Name: "Stranger", OwnerEmail: demoEmail})
	if err != nil {
		return "", err
	}
	_, err = d.owner.Claim(d.ctx, r.ClaimCode)
	return "@" + r.Handle, err
}

func (d *demo) budget() error {
	spent := int64(22*usd + fetchUnits)
	n := 0
	for ; spent+5*usd <= 50*usd; n++ {
		p, err := d.pay(d.research, fmt.Sprintf("budget-%d", n), "@data-shop", 5*usd, "more data")
		if err != nil {
			return err
		}
		if err := want(p, settled, green); err != nil {
			return err
		}
		spent += 5 * usd
	}
	p, err := d.pay(d.research, "over-budget", "@data-shop", 5*usd, "yet more data")
	if err != nil {
		return err
	}
	if err := want(p, pending, yellow); err != nil {
		return err
	}
	d.say("%d more payments of 5 USD go through: %s spent today.", n, dollars(spent))
	d.say("The next would pass 50 USD: YELLOW. A loop stops here, with nobody awake.")
	if _, err := d.owner.Refuse(d.ctx, p.Name); err != nil {
		return err
	}
	return nil
}

func (d *demo) freeze() error {
	if _, err := d.owner.Freeze(d.ctx, d.research.Wallet(), "demo-freeze"); err != nil {
		return err
	}
	_, err := d.pay(d.research, "frozen", "@data-shop", 1*usd, "after the freeze")
	if client.ReasonOf(err) != typev1.Reason_REASON_FROZEN {
		return fmt.Errorf("a frozen wallet's payment: %w, want FROZEN", err)
	}
	d.say("@research-agent is frozen: ledger and co-signer have both signed that it is. Its payment: FROZEN.")
	p, err := d.pay(d.shop, "refund", "@research-agent", 1*usd, "refund")
	if err != nil {
		return err
	}
	if err := want(p, settled, green); err != nil {
		return err
	}
	d.say("@data-shop pays on: 1 USD to @research-agent, SETTLED.")
	if _, err := d.owner.Unfreeze(d.ctx, d.research.Wallet(), "demo-freeze"); err != nil {
		return err
	}
	return nil
}

// balance is what a wallet has of its only asset.
func (d *demo) balance(a *client.Agent) (client.Balance, error) {
	account, err := a.Account(d.ctx)
	if err != nil {
		return client.Balance{}, err
	}
	if len(account.Balances) != 1 {
		return client.Balance{}, fmt.Errorf("%s has %d assets, want one", a.Wallet(), len(account.Balances))
	}
	return account.Balances[0], nil
}

// history adds up what the acts before it did.
func (d *demo) history() error {
	const (
		spent  = 47*usd + fetchUnits + 1*usd // before the leak was answered, and after
		refund = 1 * usd
		held   = 1 * usd // by what the thief could not sign, until its message has expired
	)
	for _, told := range []struct {
		agent                     *client.Agent
		settled, denied, unsigned int
		available, held           int64
	}{
		{d.research, 9, 7, 1, 200*usd - spent + refund - held, held},
		{d.shop, 1, 0, 0, 200*usd + spent - refund, 0},
	} {
		a := told.agent
		payments, err := a.Payments(d.ctx, false)
		if err != nil {
			return err
		}
		count := make(map[typev1.PaymentState]int)
		for _, p := range payments {
			count[p.State]++
		}
		if count[settled] != told.settled || count[denied] != told.denied || count[authorized] != told.unsigned ||
			len(payments) != told.settled+told.denied+told.unsigned {
			return fmt.Errorf("@%s has %d payments, %v", a.Handle(), len(payments), count)
		}
		unsigned := ""
		if told.unsigned > 0 {
			unsigned = fmt.Sprintf(", %d that the thief could not sign", told.unsigned)
		}
		b, err := d.balance(a)
		if err != nil {
			return err
		}
		if b.Available != told.available || b.Held != told.held {
			return fmt.Errorf("@%s has %s and holds %s", a.Handle(), dollars(b.Available), dollars(b.Held))
		}
		d.say("@%-15s own payments: %d settled, %d denied%s. Balance %s, and %s held.", a.Handle(), told.settled, told.denied, unsigned,
			dollars(b.Available), dollars(b.Held))
		journal, err := a.Journal(d.ctx)
		if err != nil {
			return err
		}
		if err := journal.Verify(d.system.Installation()); err != nil {
			return err
		}
		d.say("%-16s journal verified from its first entry: %d entries, every signature and balance.", "", len(journal.Entries))
	}
	return nil
}
