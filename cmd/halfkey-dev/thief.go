package main

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/halfkey/halfkey/client"
	"github.com/halfkey/halfkey/frost"
)

// thief shows what a stolen half of a key is worth, and what a stolen home directory.
func (d *demo) thief() error {
	if err := d.shareAlone(); err != nil {
		return err
	}
	agent, err := d.copied(stolenHome, d.homes["research-agent"])
	if err != nil {
		return err
	}
	for id, o := range map[string]client.Order{
		"thief-all":      {Recipient: "@data-shop", Units: 150 * usd},
		"thief-stranger": {Recipient: "@stranger", Units: 1 * usd},
	} {
		o.ID = id
		p, err := agent.Pay(d.ctx, o)
		if err != nil {
			return err
		}
		if err := want(p, denied, red); err != nil {
			return err
		}
	}
	p, err := agent.Pay(d.ctx, client.Order{ID: "thief-some", Recipient: "@data-shop", Units: 5 * usd})
	if err != nil {
		return err
	}
	if err := want(p, pending, yellow); err != nil {
		return err
	}
	if _, err := d.owner.Refuse(d.ctx, p.Name); err != nil {
		return err
	}
	d.say("With the agent's whole home directory: 150 USD RED, 1 USD to its own wallet RED, 5 USD waits for you.")
	return nil
}

// stolenHome is the name of the thief's copy.
const stolenHome = "stolen"

// copied copies a home under another name, and is the agent in the copy.
func (d *demo) copied(name, from string) (*client.Agent, error) {
	d.homes[name] = filepath.Join(d.dir, name)
	if err := os.CopyFS(d.homes[name], os.DirFS(from)); err != nil {
		return nil, err
	}
	if err := private(d.homes[name]); err != nil {
		return nil, err
	}
	return d.agent(name)
}

// agent is the only agent of a home.
func (d *demo) agent(name string) (*client.Agent, error) {
	h, err := client.OpenHome(d.homes[name])
	if err != nil {
		return nil, err
	}
	c, err := client.Open(h, client.Options{})
	if err != nil {
		return nil, err
	}
	return c.Agent("")
}

// shareAlone signs with the agent's share, as it stands in the stolen file, and a co-signer's half that is made up.
func (d *demo) shareAlone() error {
	share, err := stolenShare(d.keys("research-agent"))
	if err != nil {
		return err
	}
	defer share.Zero()
	nonces, commitment, err := share.Commit()
	if err != nil {
		return err
	}
	forged := frost.Release{Commitment: commitment}
	if _, err := rand.Read(forged.Share[:31]); err != nil {
		return err
	}
	if _, err := nonces.Finish([]byte("all of it to me"), forged); err == nil {
		return errors.New("half a key has signed")
	} else if !errors.Is(err, frost.ErrShare) {
		return fmt.Errorf("half a key failed for another reason: %w", err)
	}
	d.say("With the agent's share alone: no signature. Half a key signs nothing.")
	return nil
}

// keys is where a home has its keys.
func (d *demo) keys(name string) string { return filepath.Join(d.homes[name], "keys") }

// stolenShare reads the share out of an agent's key file.
func stolenShare(dir string) (*frost.KeyShare, error) {
	file, err := keyFile(dir)
	if err != nil {
		return nil, err
	}
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var content struct{ Share []byte }
	if err := json.Unmarshal(b, &content); err != nil {
		return nil, err
	}
	return frost.ParseKeyShare(content.Share)
}

// keyFile is the only agent's secret in a home's directory of keys.
func keyFile(dir string) (string, error) {
	files, err := filepath.Glob(filepath.Join(dir, "agent-*"))
	if err != nil || len(files) != 1 {
		return "", fmt.Errorf("%d key files in %s: %w", len(files), dir, err)
	}
	return files[0], nil
}

// private takes from a copied home the permissions that a copy has by default.
func private(dir string) (err error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	return fs.WalkDir(root.FS(), ".", func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if e.IsDir() {
			return root.Chmod(path, 0o700)
		}
		return root.Chmod(path, 0o600)
	})
}
