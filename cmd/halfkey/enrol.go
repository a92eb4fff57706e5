package main

import (
	"context"
	"fmt"
	"time"

	"github.com/halfkey/halfkey/client"
)

// enrolCommand is `halfkey enrol`.
type enrolCommand struct {
	Output string        `required:"" placeholder:"FILE" help:"The file to write the token to, mode 0600, which must not exist; with --count FILE-1, FILE-2 and so on."`
	Handle string        `placeholder:"HANDLE" help:"The handle that the agent must have; any by default."`
	TTL    time.Duration `name:"ttl" default:"24h" placeholder:"DURATION" help:"How long the token is good for, at most 720h: ${default}."`
	Count  int           `default:"1" help:"How many tokens to make, each for one agent: ${default}."`
}

// tokenEntry is one enrolment token; the secret itself is in its file only.
type tokenEntry struct {
	File string `json:"file"`
	// Key is its public half, which the claim of the agent's wallet names.
	Key    string    `json:"key"`
	Handle string    `json:"handle"`
	Expiry time.Time `json:"expiry"`
}

type enrolResult struct {
	Tokens []tokenEntry `json:"tokens"`
}

// enrolMax bounds how many tokens one command makes.
const enrolMax = 1000

// Run makes the tokens.
func (c *enrolCommand) Run(ctx context.Context, a *app) error {
	switch {
	case c.Count < 1 || c.Count > enrolMax:
		return usage("--count", fmt.Sprintf("a command makes 1 to %d tokens", enrolMax))
	case c.TTL <= 0:
		return usage("--ttl", "a token is good for some time, at most 720h")
	}
	if err := secretFile("--output", c.Output); err != nil {
		return err
	}
	o, err := a.owner()
	if err != nil {
		return err
	}
	tokens, err := o.MintEnrolment(ctx, client.EnrolmentOptions{Handle: trimAt(c.Handle), TTL: c.TTL, Count: c.Count})
	if err != nil {
		return unmoved(err)
	}
	r := &enrolResult{Tokens: []tokenEntry{}}
	for n, t := range tokens {
		file := c.Output
		if c.Count > 1 {
			file = fmt.Sprintf("%s-%d", c.Output, n+1)
		}
		if err := t.WriteFile(file); err != nil {
			return unwritable(file, err)
		}
		r.Tokens = append(r.Tokens, tokenEntry{File: file, Key: keyText(t.Key[:]), Handle: handleText(t.Handle), Expiry: t.Expiry.UTC()})
	}
	return a.show(r)
}

func (r *enrolResult) people(p *printer) {
	for _, t := range r.Tokens {
		p.line("%s is good for one agent until %s.", t.File, timeText(t.Expiry))
	}
	p.line("Bring it to the agent as you would a password: halfkey register --name NAME --enrolment-token-file FILE")
	p.line("Its wallet pays nothing until you set guard rails.")
}
