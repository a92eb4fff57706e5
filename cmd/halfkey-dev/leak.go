package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"github.com/halfkey/halfkey/client"
	"github.com/halfkey/halfkey/frost"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// refresh makes what the thief has worthless.
func (d *demo) refresh() error {
	address := d.research.GroupKey()
	if err := d.order(); err != nil {
		return err
	}
	thief, err := d.agent(stolenHome)
	if err != nil {
		return err
	}
	_, err = d.pay(thief, "thief-again", "@data-shop", 1*usd, "")
	if client.ReasonOf(err) != typev1.Reason_REASON_UNAUTHENTICATED {
		return fmt.Errorf("a payment by the stolen request key: %w, want UNAUTHENTICATED", err)
	}
	d.say("The order alone locks the thief out: a payment from its copy of the home is UNAUTHENTICATED.")

	r, err := d.research.Reshare(d.ctx)
	if err != nil {
		return err
	}
	if r.State != typev1.ResharingState_RESHARING_STATE_DONE {
		return fmt.Errorf("the refresh is %v, want DONE", r.State)
	}
	d.say("Agent and co-signer deal the key anew, make a test signature, and erase what they had.")
	if err := d.leakedShare(); err != nil {
		return err
	}
	p, err := d.pay(d.research, "after-the-leak", "@data-shop", 1*usd, "stock prices, one hour")
	if err != nil {
		return err
	}
	if err := want(p, settled, green); err != nil {
		return err
	}
	if d.research.GroupKey() != address {
		return errors.New("the wallet has another key after the refresh")
	}
	d.say("Its key is %x… as before, and @research-agent pays on: 1 USD to @data-shop, SETTLED.", address[:8])
	return nil
}

// order is the owner's, to the request key that the agent shows.
func (d *demo) order() error {
	offer, err := d.research.Offer(d.ctx)
	if err != nil {
		return err
	}
	shown, err := client.ParseOffer(offer.String()) // What the owner copies from the agent's screen.
	if err != nil {
		return err
	}
	if _, err := d.owner.Refresh(d.ctx, shown); err != nil {
		return err
	}
	code := offer.String()
	d.say("@research-agent shows the code of a new request key, …%s; the owner signs for it, and orders new shares.", code[len(code)-17:])
	return nil
}

// leakedShare lets a thief have the new request key as well, so that it is let in and the co-signer answers, and sign with the
// share that leaked: no other share of this wallet exists but the agent's own.
func (d *demo) leakedShare() error {
	leaked, err := stolenShare(d.keys(stolenHome))
	if err != nil {
		return err
	}
	defer leaked.Zero()
	const name = "stolen-again"
	if _, err := d.copied(name, d.homes["research-agent"]); err != nil {
		return err
	}
	if err := putShare(d.keys(name), leaked); err != nil {
		return err
	}
	thief, err := d.agent(name)
	if err != nil {
		return err
	}
	if _, err := d.pay(thief, "leaked-share", "@data-shop", 1*usd, ""); err == nil {
		return errors.New("a leaked share has signed with the co-signer's new one")
	} else if !errors.Is(err, frost.ErrShare) {
		return fmt.Errorf("a leaked share failed for another reason: %w", err)
	}
	d.say("With the leaked share and a copy of the new request key: let in, and the co-signer's new half does not fit. No signature.")
	return nil
}

// putShare puts a share in the place of the one in an agent's key file.
func putShare(dir string, share *frost.KeyShare) error {
	file, err := keyFile(dir)
	if err != nil {
		return err
	}
	b, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var content map[string]any
	if err := json.Unmarshal(b, &content); err != nil {
		return err
	}
	content["share"] = share.Secret()
	if b, err = json.Marshal(content); err != nil {
		return err
	}
	return os.WriteFile(file, b, 0o600)
}
