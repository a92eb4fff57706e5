package main

import (
	"github.com/halfkey/halfkey/internal/evidence"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// connectCommand is `halfkey connect`.
type connectCommand struct {
	File string `arg:"" help:"The installation file, or - for standard input."`
}

// installationResult is the installation that a home is connected with.
type installationResult struct {
	Home         string `json:"home"`
	Installation string `json:"installation"`
	// Number counts the installation's files: the next one replaces keys or addresses.
	Number uint64 `json:"number"`
	// Digest is the file's, in hexadecimal: what an operator reads out.
	Digest           string   `json:"digest"`
	GatewayAddresses []string `json:"gateway_addresses"`
}

// Run pins the file.
func (c *connectCommand) Run(a *app) error {
	file, err := a.input(c.File)
	if err != nil {
		return err
	}
	if _, err := evidence.LoadInstallation(file); err != nil {
		return usage("FILE", "the file is no installation file", "file", c.File)
	}
	h, err := a.home()
	if err != nil {
		return err
	}
	if err := h.Connect(file); err != nil {
		return anotherHome(err)
	}
	i, err := h.Installation()
	if err != nil {
		return unmoved(err)
	}
	return a.show(newInstallationResult(h.Dir(), i))
}

// anotherHome says what to do with a file of another installation than the home's.
func anotherHome(err error) error {
	return hinted(err, typev1.Reason_REASON_ALREADY_EXISTS,
		"a home belongs to one installation for ever, and its keys to it: give the other one a home of its own, by --home DIR or HALFKEY_HOME")
}

func newInstallationResult(home string, i *evidence.Installation) *installationResult {
	return &installationResult{
		Home: home, Installation: i.ID(), Number: i.Number(), Digest: keyText(i.Digest().Bytes()),
		GatewayAddresses: i.Content().GetGatewayAddresses(),
	}
}

func (r *installationResult) people(p *printer) {
	p.line("%s is connected with installation %s, file number %d.", r.Home, r.Installation, r.Number)
	p.line("Its digest is %s: compare it with what the operator says.", r.Digest)
}
