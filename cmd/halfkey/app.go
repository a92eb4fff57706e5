package main

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/alecthomas/kong"

	"github.com/halfkey/halfkey/client"
	"github.com/halfkey/halfkey/internal/evidence"
	"github.com/halfkey/halfkey/internal/resource"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// The environment that this program reads.
const (
	envInstallation = "HALFKEY_INSTALLATION"
	envWallet       = "HALFKEY_WALLET"
)

// app is what a command works with.
type app struct {
	globals        *globals
	stdin          io.Reader
	stdout, stderr io.Writer
	env            func(string) string
	model          *kong.Application
	// code is the exit code of a command that did not fail.
	code int

	stdinTaken bool
	clients    []*client.Client
}

// close ends the connections.
func (a *app) close() {
	for _, c := range a.clients {
		_ = c.Close() // Its calls have ended.
	}
}

// home opens the home, which is made if it is not there.
func (a *app) home() (*client.Home, error) {
	dir, err := a.homeDir()
	if err != nil {
		return nil, err
	}
	h, err := client.OpenHome(dir)
	return h, unmoved(err)
}

// homeDir is the home's directory by flag or environment, or empty for the SDK's default.
func (a *app) homeDir() (string, error) {
	if a.globals.Home != "" {
		return a.globals.Home, nil
	}
	dir := a.env(client.HomeVariable)
	if dir != "" && !filepath.IsAbs(dir) {
		return "", usage(client.HomeVariable, "the home is not an absolute path")
	}
	return dir, nil
}

// client opens a client on the home, connected by HALFKEY_INSTALLATION if it was not before.
func (a *app) client() (*client.Client, error) {
	h, err := a.home()
	if err != nil {
		return nil, err
	}
	if err := a.connectByEnvironment(h); err != nil {
		return nil, err
	}
	c, err := client.Open(h, client.Options{})
	if errors.Is(err, fs.ErrNotExist) {
		return nil, localError(typev1.Reason_REASON_NOT_ACTIVE, "this home is not connected with an installation",
			"run `halfkey connect FILE` with the installation file that its operator gives out", "home", h.Dir())
	}
	if err != nil {
		return nil, unmoved(err)
	}
	a.clients = append(a.clients, c)
	return c, nil
}

// connectByEnvironment pins the installation file that the environment names. A home that has taken a later file of the
// same installation keeps it.
func (a *app) connectByEnvironment(h *client.Home) error {
	path := a.env(envInstallation)
	if path == "" {
		return nil
	}
	if !filepath.IsAbs(path) {
		return usage(envInstallation, "the installation file is not an absolute path")
	}
	file, err := readInput(path)
	if err != nil {
		return err
	}
	given, err := evidence.LoadInstallation(file)
	if err != nil {
		return usage(envInstallation, "the file is no installation file", "file", path)
	}
	pinned, err := h.Installation()
	if err == nil && pinned.ID() == given.ID() && pinned.Number() > given.Number() {
		return nil
	}
	return anotherHome(h.Connect(file))
}

// agent loads the agent of the chosen wallet.
func (a *app) agent() (*client.Agent, error) {
	c, err := a.client()
	if err != nil {
		return nil, err
	}
	wallet, err := a.wallet(c)
	if err != nil {
		return nil, err
	}
	agent, err := c.Agent(wallet)
	switch {
	case err == nil || wallet != "":
		return agent, unmoved(err)
	case client.ReasonOf(err) == typev1.Reason_REASON_NOT_FOUND:
		return nil, a.noAgent(c)
	default:
		return nil, hinted(err, typev1.Reason_REASON_INVALID_ARGUMENT, "name one by --wallet, or choose one by `halfkey wallet use`; `halfkey wallet list` lists them")
	}
}

// noAgent is a home without a wallet, where a command needs one.
func (a *app) noAgent(c *client.Client) error {
	h, err := a.home()
	if err != nil {
		return err
	}
	if _, err := c.Owner(); err == nil {
		return localError(typev1.Reason_REASON_NOT_FOUND, "this home is an owner's, and this command is an agent's: it holds no wallet",
			"give the agent's home by --home, or ask as the owner: `halfkey agents show`, `halfkey guardrails show`, or --as owner where a command has it",
			"home", h.Dir())
	}
	return localError(typev1.Reason_REASON_NOT_FOUND, "this home holds no wallet", "run `halfkey register`, or give another home by --home", "home", h.Dir())
}

// owner loads the home's owner.
func (a *app) owner() (*client.Owner, error) {
	c, err := a.client()
	if err != nil {
		return nil, err
	}
	owner, err := c.Owner()
	return owner, hinted(err, typev1.Reason_REASON_NOT_FOUND, "give the owner's home by --home, or make this one an owner's by `halfkey owner init`")
}

// hinted is an error whose reason says more here than elsewhere: next is what to do.
func hinted(err error, reason typev1.Reason, next string) error {
	var e *client.Error
	if !errors.As(err, &e) || e.Reason != reason {
		return unmoved(err)
	}
	told := *e
	told.Next = next
	return &told
}

// walletChoice is the pin that `wallet use` writes.
const walletChoice = "cli/wallet"

// wallet is the chosen wallet's name: by flag, environment or `wallet use`; empty leaves it to the SDK, which takes the only
// one.
func (a *app) wallet(c *client.Client) (string, error) {
	name := a.globals.Wallet
	if name == "" {
		name = a.env(envWallet)
	}
	if name != "" {
		return ownWallet(c, name)
	}
	h, err := a.home()
	if err != nil {
		return "", err
	}
	chosen, err := h.Pinned(walletChoice)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	return string(chosen), unmoved(err)
}

// ownWallet turns the handle of an agent of this home into its wallet's name; a wallet's name stays.
func ownWallet(c *client.Client, name string) (string, error) {
	if !strings.HasPrefix(name, "@") {
		if _, err := resource.ParseWallet(name); err != nil {
			return "", usage("wallet", "a wallet is wallets/{wallet}, or the @handle of an agent of this home", "value", shorten(name))
		}
		return name, nil
	}
	wallets, err := c.Wallets()
	if err != nil {
		return "", unmoved(err)
	}
	found := ""
	for _, w := range wallets {
		agent, err := c.Agent(w)
		if client.ReasonOf(err) == typev1.Reason_REASON_NOT_ACTIVE {
			continue
		}
		if err != nil {
			return "", unmoved(err)
		}
		if "@"+agent.Handle() == name {
			found = w // The newest: wallet ids are drawn in ascending order.
		}
	}
	if found == "" {
		return "", localError(typev1.Reason_REASON_NOT_FOUND, "this home holds no wallet of this handle", "look at `halfkey wallet list`", "wallet", shorten(name))
	}
	return found, nil
}

// inputMax bounds a file or standard input: installation files, documents and keys are far below.
const inputMax = 1 << 20

// input reads a file that an argument names, or standard input for `-`, at most once.
func (a *app) input(path string) ([]byte, error) {
	if path != "-" {
		return readInput(path)
	}
	if err := a.takeStdin(); err != nil {
		return nil, err
	}
	return readAll(a.stdin, "standard input")
}

// takeStdin says that standard input is read now: only one argument can have it.
func (a *app) takeStdin() error {
	if a.stdinTaken {
		return usage("-", "standard input is named twice")
	}
	a.stdinTaken = true
	return nil
}

// stream opens a file of any size that an argument names, or standard input for `-`, at most once. Who reads it bounds what it keeps.
func (a *app) stream(path string) (io.ReadCloser, error) {
	if path == "-" {
		return io.NopCloser(a.stdin), a.takeStdin()
	}
	return openInput(path)
}

func readInput(path string) ([]byte, error) {
	f, err := openInput(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	return readAll(f, path)
}

// openInput opens a file, which is no directory.
func openInput(path string) (*os.File, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, unreadable(path, err)
	}
	info, err := f.Stat()
	if err == nil && info.IsDir() {
		err = errors.New("it is a directory")
	}
	if err != nil {
		_ = f.Close()
		return nil, unreadable(path, err)
	}
	return f, nil
}

func readAll(r io.Reader, name string) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(r, inputMax+1))
	if err == nil && len(b) > inputMax {
		err = errors.New("it is larger than 1 MiB")
	}
	if err != nil {
		return nil, unreadable(name, err)
	}
	return b, nil
}

func unreadable(name string, err error) error {
	return usage("file", "a file cannot be read: "+fileCause(err), "file", name)
}

// unwritable is a file that a command was to make.
func unwritable(name string, err error) error {
	if errors.Is(err, fs.ErrExist) {
		return usage("file", "this file exists, and is not overwritten: name another one", "file", name)
	}
	return usage("file", "a file cannot be written: "+fileCause(err), "file", name)
}

// fileCause is why a file could not be used, without its name.
func fileCause(err error) string {
	var path *fs.PathError
	var link *os.LinkError
	switch {
	case errors.As(err, &path):
		err = path.Err
	case errors.As(err, &link):
		err = link.Err
	}
	return err.Error()
}
