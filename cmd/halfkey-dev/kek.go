package main

import (
	"fmt"

	"github.com/halfkey/halfkey/internal/allinone"
)

// kekCommands are `halfkey-dev kek`: work on the co-signer's keyset file, without any service. No key is ever printed.
type kekCommands struct {
	New     kekNewCommand     `cmd:"" help:"Make a keyset file with one key, if there is none."`
	Add     kekAddCommand     `cmd:"" help:"Add a key that opens, and does not seal yet."`
	Promote kekPromoteCommand `cmd:"" help:"Make a key the one that seals. Every replica must have it by then."`
	Show    kekShowCommand    `cmd:"" help:"List the keys by their numbers."`
}

type kekNewCommand struct {
	File string `arg:"" type:"path" help:"The keyset file."`
}

// Run makes the file.
func (c *kekNewCommand) Run() error {
	if err := allinone.MakeKEK(c.File); err != nil {
		return err
	}
	return showKEK(c.File)
}

type kekAddCommand struct {
	File string `arg:"" type:"path" help:"The keyset file."`
}

// Run adds a key.
func (c *kekAddCommand) Run() error {
	id, err := allinone.AddToKEK(c.File)
	if err != nil {
		return err
	}
	fmt.Printf("Added %d. Give the file to every replica of the co-signer and restart it; then: halfkey-dev kek promote %s %d\n",
		id, c.File, id)
	return nil
}

type kekPromoteCommand struct {
	File string `arg:"" type:"path" help:"The keyset file."`
	Key  uint32 `arg:"" help:"The key's number, as add and show print it."`
}

// Run promotes a key.
func (c *kekPromoteCommand) Run() error {
	if err := allinone.PromoteInKEK(c.File, c.Key); err != nil {
		return err
	}
	return showKEK(c.File)
}

type kekShowCommand struct {
	File string `arg:"" type:"path" help:"The keyset file."`
}

// Run lists the keys.
func (c *kekShowCommand) Run() error { return showKEK(c.File) }

func showKEK(file string) error {
	keys, err := allinone.KeysInKEK(file)
	if err != nil {
		return err
	}
	for _, k := range keys {
		seals := ""
		if k.Primary {
			seals = "  seals"
		}
		fmt.Printf("%d%s\n", k.ID, seals)
	}
	return nil
}
