package main

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"os"

	"github.com/halfkey/halfkey/internal/evidence"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// installationCommands are `halfkey installation`: work on installation files, without any service.
type installationCommands struct {
	Show    installationShowCommand    `cmd:"" help:"Show what an installation file says."`
	Key     installationKeyCommand     `cmd:"" help:"Print the public half of a private key's file; with --new, make the file first."`
	Succeed installationSucceedCommand `cmd:"" help:"Make the file that follows an installation file: new service keys, addresses, operator keys."`
}

// installationContent is what an installation file says.
type installationContent struct {
	Installation string `json:"installation"`
	// Number counts the installation's files.
	Number uint64 `json:"number"`
	// Digest is the file's, Predecessor that of the file before, in hexadecimal; the first file has none.
	Digest           string   `json:"digest"`
	Predecessor      string   `json:"predecessor,omitempty"`
	GatewayAddresses []string `json:"gateway_addresses"`
	HTTPSAddresses   []string `json:"https_addresses"`
	// RedemptionAccount is the key that is paid to have book money paid out.
	RedemptionAccount string   `json:"redemption_account"`
	OperatorKeys      []string `json:"operator_keys"`
	// ServiceKeys are those by which services sign, and signed.
	ServiceKeys []serviceKey `json:"service_keys"`
	// Output is the file that was written, if one was.
	Output string `json:"output,omitempty"`
}

// serviceKey is the public key by which one service signs, or signed.
type serviceKey struct {
	// Service is cosigner, policy or ledger.
	Service   string `json:"service"`
	PublicKey string `json:"public_key"`
	// Retired says that it signs nothing new: what it signed before still counts.
	Retired bool `json:"retired"`
}

func newInstallationContent(i *evidence.Installation) *installationContent {
	m := i.Content()
	c := &installationContent{
		Installation: i.ID(), Number: i.Number(), Digest: keyText(i.Digest().Bytes()), Predecessor: keyText(m.GetPredecessor()),
		GatewayAddresses: m.GetGatewayAddresses(), HTTPSAddresses: m.GetHttpsAddresses(), RedemptionAccount: keyText(m.GetRedemptionAccount()),
	}
	for _, k := range m.GetOperatorKeys() {
		c.OperatorKeys = append(c.OperatorKeys, keyText(k))
	}
	services := map[typev1.Purpose]string{
		typev1.Purpose_PURPOSE_COSIGNER: "cosigner", typev1.Purpose_PURPOSE_POLICY: "policy", typev1.Purpose_PURPOSE_LEDGER: "ledger",
	}
	for _, k := range m.GetServiceKeys() {
		c.ServiceKeys = append(c.ServiceKeys, serviceKey{Service: services[k.GetPurpose()], PublicKey: keyText(k.GetPublicKey()), Retired: k.GetRetired()})
	}
	return c
}

func (c *installationContent) people(p *printer) {
	p.line("Installation %s, file number %d, digest %s.", c.Installation, c.Number, c.Digest)
	if c.Predecessor != "" {
		p.line("It follows the file with digest %s.", c.Predecessor)
	}
	for _, a := range c.GatewayAddresses {
		p.line("gateway     %s", a)
	}
	for _, a := range c.HTTPSAddresses {
		p.line("https       %s", a)
	}
	for _, k := range c.OperatorKeys {
		p.line("operator    %s", k)
	}
	for _, k := range c.ServiceKeys {
		retired := ""
		if k.Retired {
			retired = "  (retired)"
		}
		p.line("%-11s %s%s", k.Service, k.PublicKey, retired)
	}
	p.line("redemption  %s", c.RedemptionAccount)
	if c.Output != "" {
		p.line("Written to %s. Give it to every service and to the gateway, after the files before it.", c.Output)
	}
}

type installationShowCommand struct {
	File string `arg:"" help:"The installation file, or - for standard input."`
}

// Run shows.
func (c *installationShowCommand) Run(a *app) error {
	i, err := a.installationFile("FILE", c.File)
	if err != nil {
		return err
	}
	return a.show(newInstallationContent(i))
}

// installationFile reads an installation file that an argument names.
func (a *app) installationFile(field, path string) (*evidence.Installation, error) {
	b, err := a.input(path)
	if err != nil {
		return nil, err
	}
	i, err := evidence.LoadInstallation(b)
	if err != nil {
		return nil, usage(field, "the file is no installation file", "file", path)
	}
	return i, nil
}

type installationKeyCommand struct {
	File string `arg:"" help:"The private key's file: mode 0600, 64 hexadecimal digits."`
	New  bool   `help:"Make a new key, and the file, which must not be there yet."`
}

// keyResult is the public half of a key.
type keyResult struct {
	File      string `json:"file"`
	PublicKey string `json:"public_key"`
}

func (r *keyResult) people(p *printer) { p.line("%s", r.PublicKey) }

// Run prints the public half.
func (c *installationKeyCommand) Run(a *app) error {
	if c.New {
		if err := secretFile("FILE", c.File); err != nil {
			return err
		}
		if err := newKeyFile(c.File); err != nil {
			return err
		}
	}
	key, err := a.signingKey("FILE", c.File)
	if err != nil {
		return err
	}
	defer clear(key)
	return a.show(&keyResult{File: c.File, PublicKey: publicText(key)})
}

// newKeyFile draws a key and writes its seed to a new file of mode 0600.
func newKeyFile(path string) error {
	seed := make([]byte, ed25519.SeedSize)
	defer clear(seed)
	_, _ = rand.Read(seed) // It does not fail.
	text := append(hex.AppendEncode(nil, seed), '\n')
	defer clear(text)
	return newFile(path, text)
}

// newFile writes a file of mode 0600 that was not there before, durably.
func newFile(path string, content []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return unwritable(path, err)
	}
	_, err = f.Write(content)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		_ = os.Remove(path) // Half a file is none, and would be in the way of the next try.
		return unwritable(path, err)
	}
	return nil
}

func publicText(key ed25519.PrivateKey) string {
	return keyText(key.Public().(ed25519.PublicKey)) //nolint:forcetypeassert // crypto/ed25519 says so
}

type installationSucceedCommand struct {
	Current           string   `required:"" placeholder:"FILE" help:"The installation file in force."`
	Key               string   `required:"" placeholder:"FILE" help:"An operator's key that the file in force names: a file of mode 0600 with 64 hexadecimal digits, or - for standard input."`
	Out               string   `required:"" placeholder:"FILE" help:"The new file; it must not be there yet."`
	CosignerKey       string   `placeholder:"KEY" help:"The public half of the co-signer's new key: 64 hexadecimal digits, as 'halfkey installation key' prints them."`
	PolicyKey         string   `placeholder:"KEY" help:"The same of policy's."`
	LedgerKey         string   `placeholder:"KEY" help:"The same of the ledger's."`
	Gateway           []string `placeholder:"ADDRESS" help:"Where the gateway is from now on, host:port. Repeated: every address, in the place of all before."`
	HTTPS             []string `name:"https" placeholder:"URL" help:"The same of its HTTPS interface, an https base URL."`
	CA                string   `name:"ca" placeholder:"FILE" help:"The authority of the gateway's certificates, in PEM; while it changes, the one before as well."`
	AddOperatorKey    []string `placeholder:"KEY" help:"The public half of a further operator key."`
	RemoveOperatorKey []string `placeholder:"KEY" help:"An operator key that counts no longer."`
}

// Run makes the file.
func (c *installationSucceedCommand) Run(a *app) error {
	if c.Out == "-" {
		return usage("--out", "standard output gets what the new file says: name a file for it")
	}
	current, err := a.installationFile("--current", c.Current)
	if err != nil {
		return err
	}
	change, err := c.change(a)
	if err != nil {
		return err
	}
	key, err := a.signingKey("--key", c.Key)
	if err != nil {
		return err
	}
	defer clear(key)
	next, err := evidence.MakeSuccessor(current, change, key)
	if err != nil {
		return refusedSuccessor(err)
	}
	file, err := next.MarshalFile()
	if err != nil {
		return unmoved(err)
	}
	if err := newFile(c.Out, file); err != nil {
		return err
	}
	content := newInstallationContent(next)
	content.Output = c.Out
	return a.show(content)
}

// change reads what is to be changed.
func (c *installationSucceedCommand) change(a *app) (evidence.Change, error) {
	change := evidence.Change{GatewayAddresses: c.Gateway, HTTPSAddresses: c.HTTPS}
	for _, k := range []struct {
		field, text string
		to          *[]byte
	}{
		{"--cosigner-key", c.CosignerKey, &change.Cosigner}, {"--policy-key", c.PolicyKey, &change.Policy}, {"--ledger-key", c.LedgerKey, &change.Ledger},
	} {
		if k.text == "" {
			continue
		}
		keys, err := publicKeys(k.field, []string{k.text})
		if err != nil {
			return change, err
		}
		*k.to = keys[0][:]
	}
	if c.CA != "" {
		pem, err := a.input(c.CA)
		if err != nil {
			return change, err
		}
		change.CA = string(pem)
	}
	for _, k := range []struct {
		field string
		texts []string
		to    *[][]byte
	}{
		{"--add-operator-key", c.AddOperatorKey, &change.AddOperators}, {"--remove-operator-key", c.RemoveOperatorKey, &change.RemoveOperators},
	} {
		keys, err := publicKeys(k.field, k.texts)
		if err != nil {
			return change, err
		}
		for _, key := range keys {
			*k.to = append(*k.to, key[:])
		}
	}
	return change, nil
}

// refusedSuccessor says why a file cannot be made, in evidence's words.
func refusedSuccessor(err error) error {
	var e *evidence.Error
	if !errors.As(err, &e) {
		return unmoved(err)
	}
	return localError(typev1.Reason_REASON_INVALID_ARGUMENT, "the next installation file "+subject(e.Field)+e.Why, "correct it and run the command again", "field", e.Field)
}

func subject(field string) string {
	if field == "" {
		return ""
	}
	return "is refused: its " + field + " "
}
