package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/rogpeppe/go-internal/diff"

	"github.com/halfkey/halfkey/client"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// guardRailsCommands are `halfkey guardrails`.
type guardRailsCommands struct {
	Show     rulesShowCommand     `cmd:"" help:"Show a wallet's guard rails."`
	Set      rulesSetCommand      `cmd:"" help:"Put guard rails in force, by flags or by a YAML file: the whole document, not a change to the present one."`
	Edit     rulesEditCommand     `cmd:"" help:"Edit a wallet's guard rails in EDITOR and put them in force."`
	Versions rulesVersionsCommand `cmd:"" help:"List every version of a wallet's guard rails from its claim on."`
	Diff     rulesDiffCommand     `cmd:"" help:"Show what changed between two versions."`
	Lint     rulesLintCommand     `cmd:"" help:"Check a YAML file without any service."`
}

// rulesResult is one version of a wallet's guard rails.
type rulesResult struct {
	Wallet string `json:"wallet"`
	Number uint64 `json:"number"`
	// Digest names the document.
	Digest string `json:"digest"`
	// GuardRails is the document, YAML the same as 'set --file' takes it.
	GuardRails message `json:"guard_rails"`
	YAML       string  `json:"yaml"`
	// Remarks say what the rules allow that their owner may not mean.
	Remarks []string `json:"remarks"`

	document *typev1.GuardRails
	asYAML   bool
}

func newRulesResult(v *client.InForce) *rulesResult {
	r := &rulesResult{
		Wallet: v.Wallet, Number: v.Number, Digest: keyText(v.Digest[:]), GuardRails: message{v.Document}, YAML: newRulesFile(v.Document).yaml(),
		Remarks: []string{}, document: v.Document,
	}
	if v.Number > 0 {
		r.Remarks = append(r.Remarks, remarks(v.Document)...)
	}
	return r
}

func (r *rulesResult) people(p *printer) {
	if r.asYAML {
		for l := range strings.Lines(r.YAML) {
			p.line("%s", strings.TrimSuffix(l, "\n"))
		}
		return
	}
	p.line("%s, guard rails number %d", r.Wallet, r.Number)
	printRules(p, r.document)
	for _, remark := range r.Remarks {
		p.line("Note: %s.", remark)
	}
}

type rulesShowCommand struct {
	Name string `arg:"" name:"wallet" complete:"wallet" help:"wallets/{wallet} or @handle of one of the owner's wallets."`
	YAML bool   `name:"yaml" help:"Print the file that 'set --file' takes."`
}

// Run shows them.
func (c *rulesShowCommand) Run(ctx context.Context, a *app) error {
	o, wallet, err := a.ownerWallet(ctx, c.Name)
	if err != nil {
		return err
	}
	v, err := o.GuardRails(ctx, wallet)
	if err != nil {
		return unmoved(err)
	}
	r := newRulesResult(v)
	r.asYAML = c.YAML
	return a.show(r)
}

// ownerWallet is the owner of this home and the name of one of its wallets.
func (a *app) ownerWallet(ctx context.Context, name string) (*client.Owner, string, error) {
	o, err := a.owner()
	if err != nil {
		return nil, "", err
	}
	wallet, err := a.ownedWallet(ctx, o, name)
	return o, wallet, err
}

type rulesSetCommand struct {
	Name        string   `arg:"" name:"wallet" complete:"wallet" help:"wallets/{wallet} or @handle of one of the owner's wallets."`
	File        string   `xor:"rules" placeholder:"FILE" help:"A YAML file with all of it, or - for standard input; 'show --yaml' prints one."`
	AutoApprove string   `placeholder:"AMOUNT" help:"A payment over this asks you."`
	Daily       string   `placeholder:"AMOUNT" help:"What takes a day's sum over this asks you."`
	DailyDeny   string   `placeholder:"AMOUNT" help:"What takes a day's sum over this is refused."`
	HardCap     string   `placeholder:"AMOUNT" help:"A payment over this is refused."`
	Asset       []string `placeholder:"ASSET" sep:"none" complete:"asset" help:"What may be paid in: USD, the default, a token on Solana such as USDC or USDC-devnet, or a CAIP-19 id. Repeat for more. Limits count dollar tokens at par with dollars."`
	Rail        []string `placeholder:"RAIL" sep:"none" enum:"book,solana" help:"How may be paid: book, inside the installation, or solana; those of the assets by default."`
	Allow       []string `placeholder:"RECIPIENT" sep:"none" complete:"recipient" help:"May be paid: wallets/{wallet}, @handle, a key or an address on Solana. Repeat for more."`
	Deny        []string `placeholder:"RECIPIENT" sep:"none" complete:"recipient" help:"Is never paid."`
	Unknown     string   `placeholder:"WHAT" enum:",review,deny" default:"" help:"What any other recipient means: review or deny, the default."`
	TimeZone    string   `placeholder:"ZONE" help:"The zone whose days count, such as Europe/Zurich; UTC by default."`

	AfterRestore bool `help:"All stores were put back to a copy, and this home has seen newer guard rails: show what differs, and replace both. Without rules, put those in force again that this home has seen."`
	Yes          bool `help:"With --after-restore: replace both without asking."`
}

// flags are the rules that flags give; nil if there are none.
func (c *rulesSetCommand) flags() *rulesFile {
	f := &rulesFile{TimeZone: c.TimeZone, Assets: c.Asset, Rails: c.Rail, Recipients: recipientLines{Allow: c.Allow, Deny: c.Deny, Unknown: c.Unknown}}
	for _, l := range []struct{ amount, per, over string }{
		{c.AutoApprove, "payment", wordReview}, {c.Daily, "day", wordReview}, {c.DailyDeny, "day", wordDeny}, {c.HardCap, "payment", wordDeny},
	} {
		if l.amount != "" {
			f.Limits = append(f.Limits, limitLine{Per: l.per, AtMost: l.amount, Over: l.over})
		}
	}
	if len(f.Limits)+len(c.Allow)+len(c.Deny)+len(c.Asset)+len(c.Rail) == 0 && c.Unknown == "" && c.TimeZone == "" {
		return nil
	}
	return f
}

// Run puts them in force.
func (c *rulesSetCommand) Run(ctx context.Context, a *app) error {
	f := c.flags()
	switch {
	case c.Yes && !c.AfterRestore:
		return usage("--yes", "nothing is asked without --after-restore: leave --yes out")
	case c.AfterRestore && c.File == "" && f == nil:
	case c.File != "" && f != nil:
		return usage("--file", "a file holds all of it: give the file or the flags")
	case c.File == "" && f == nil:
		return usage("--file", "nothing says what the guard rails are: give a file, or flags such as --auto-approve 5 --daily 50 --hard-cap 100 --allow RECIPIENT")
	case f != nil && c.HardCap == "":
		return usage("--hard-cap", "guard rails need a limit per payment that denies: give --hard-cap AMOUNT")
	case f != nil && c.Daily == "" && c.DailyDeny == "":
		return usage("--daily", "guard rails need a limit on what is spent over time: give --daily AMOUNT or --daily-deny AMOUNT")
	case c.File != "":
		b, err := a.input(c.File)
		if err != nil {
			return err
		}
		if f, err = parseRules(b); err != nil {
			return err
		}
	}
	o, wallet, err := a.ownerWallet(ctx, c.Name)
	switch {
	case err != nil:
		return err
	case c.AfterRestore:
		return a.setRulesAfterRestore(ctx, o, wallet, f, c.Yes)
	}
	return a.setRules(ctx, o, wallet, f)
}

// setRules puts rules in force.
func (a *app) setRules(ctx context.Context, o *client.Owner, wallet string, f *rulesFile) error {
	doc, err := a.rulesDocument(ctx, o, wallet, f)
	if err != nil {
		return err
	}
	v, err := o.SetDocument(ctx, doc)
	if err != nil {
		return unmoved(err)
	}
	return a.show(newRulesResult(v))
}

// rulesDocument checks rules here, so that what is wrong is said in the file's own words, and writes them as a wallet's document.
func (a *app) rulesDocument(ctx context.Context, o *client.Owner, wallet string, f *rulesFile) (*typev1.GuardRails, error) {
	doc, err := f.document(a.installation(), func(recipient string) ([32]byte, error) { return o.Resolve(ctx, recipient) })
	if err != nil {
		return nil, err
	}
	if err := lintDocument(doc, a.installation()); err != nil {
		return nil, err
	}
	return &typev1.GuardRails{
		Installation: a.installation(), Wallet: wallet, TimeZone: doc.GetTimeZone(), Assets: doc.GetAssets(), Rails: doc.GetRails(), Limits: doc.GetLimits(), Recipients: doc.GetRecipients(),
		X402: doc.GetX402(),
	}, nil
}

type rulesEditCommand struct {
	Name string `arg:"" name:"wallet" complete:"wallet" help:"wallets/{wallet} or @handle of one of the owner's wallets."`
	Yes  bool   `help:"Put the result in force without asking."`
}

// Run edits.
func (c *rulesEditCommand) Run(ctx context.Context, a *app) error {
	editor := a.env("VISUAL")
	if editor == "" {
		editor = a.env("EDITOR")
	}
	if editor == "" {
		return usage("EDITOR", "no editor is named: set EDITOR, or use 'guardrails show --yaml' and 'guardrails set --file'")
	}
	o, wallet, err := a.ownerWallet(ctx, c.Name)
	if err != nil {
		return err
	}
	v, err := o.GuardRails(ctx, wallet)
	if err != nil {
		return unmoved(err)
	}
	before := newRulesFile(v.Document).yaml()
	after, err := a.edit(ctx, editor, before)
	if err != nil {
		return err
	}
	f, err := parseRules(after)
	if err != nil {
		return err
	}
	changes := diff.Diff(fmt.Sprintf("number %d", v.Number), []byte(before), "edited", []byte(f.yaml()))
	if len(changes) > 0 {
		p := printer{w: a.stderr}
		for l := range strings.Lines(string(changes)) {
			p.line("%s", strings.TrimSuffix(l, "\n"))
		}
		if err := a.confirm(c.Yes, "Put this in force as number %d of %s?", v.Number+1, wallet); err != nil {
			return err
		}
	}
	return a.setRules(ctx, o, wallet, f)
}

// edit lets a person change a text in an editor.
func (a *app) edit(ctx context.Context, editor, text string) ([]byte, error) {
	dir, err := os.MkdirTemp("", "halfkey-")
	if err != nil {
		return nil, unmoved(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	path := filepath.Join(dir, "guardrails.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		return nil, unmoved(err)
	}
	cmd := exec.CommandContext(ctx, "/bin/sh", "-c", editor+` "$1"`, "sh", path) //nolint:gosec // The person's own editor, as every program runs it.
	cmd.Stdin, cmd.Stdout, cmd.Stderr = a.stdin, a.stderr, a.stderr
	if err := cmd.Run(); err != nil {
		return nil, usage("EDITOR", "the editor failed, and nothing was changed: "+err.Error())
	}
	return readInput(path)
}

type rulesVersionsCommand struct {
	Name string `arg:"" name:"wallet" complete:"wallet" help:"wallets/{wallet} or @handle of one of the owner's wallets."`
}

// versionEntry is one version.
type versionEntry struct {
	Number uint64 `json:"number"`
	Digest string `json:"digest"`
	// RequestKey is the agent's, OwnerKeys who can sign the next version.
	RequestKey string   `json:"request_key"`
	OwnerKeys  []string `json:"owner_keys"`
	// Limits is how many limits it has.
	Limits int `json:"limits"`
}

type versionsResult struct {
	Wallet string `json:"wallet"`
	// Versions are the newest first.
	Versions []versionEntry `json:"versions"`
}

// Run lists them.
func (c *rulesVersionsCommand) Run(ctx context.Context, a *app) error {
	o, wallet, err := a.ownerWallet(ctx, c.Name)
	if err != nil {
		return err
	}
	versions, err := o.Versions(ctx, wallet)
	if err != nil {
		return unmoved(err)
	}
	r := &versionsResult{Wallet: wallet, Versions: []versionEntry{}}
	for _, v := range versions {
		e := versionEntry{
			Number: v.Number, Digest: keyText(v.Digest[:]), RequestKey: keyText(v.Document.GetRequestKey()), OwnerKeys: []string{},
			Limits: len(v.Document.GetLimits()),
		}
		for _, k := range v.Document.GetOwnerKeys() {
			e.OwnerKeys = append(e.OwnerKeys, keyText(k))
		}
		r.Versions = append(r.Versions, e)
	}
	return a.show(r)
}

func (r *versionsResult) people(p *printer) {
	rows := [][]string{{"NUMBER", "LIMITS", "OWNER KEYS", "REQUEST KEY", "DIGEST"}}
	for _, v := range r.Versions {
		rows = append(rows, []string{fmt.Sprint(v.Number), fmt.Sprint(v.Limits), fmt.Sprint(len(v.OwnerKeys)), v.RequestKey, v.Digest})
	}
	p.table(rows)
}

type rulesDiffCommand struct {
	Name string  `arg:"" name:"wallet" complete:"wallet" help:"wallets/{wallet} or @handle of one of the owner's wallets."`
	From *uint64 `arg:"" optional:"" help:"The older number; the one before TO by default."`
	To   *uint64 `arg:"" optional:"" help:"The newer number; the one in force by default."`
}

type diffResult struct {
	Wallet string `json:"wallet"`
	// From and To are the numbers of the versions that are compared.
	From uint64 `json:"from"`
	To   uint64 `json:"to"`
	// Diff is a unified diff of both as YAML; empty if they say the same.
	Diff string `json:"diff"`
}

// Run compares.
func (c *rulesDiffCommand) Run(ctx context.Context, a *app) error {
	o, wallet, err := a.ownerWallet(ctx, c.Name)
	if err != nil {
		return err
	}
	versions, err := o.Versions(ctx, wallet)
	if err != nil {
		return unmoved(err)
	}
	byNumber := make(map[uint64]*client.InForce)
	for _, v := range versions {
		byNumber[v.Number] = v
	}
	to := versions[len(versions)-1]
	if c.To != nil {
		to = byNumber[*c.To]
	}
	var from *client.InForce
	switch {
	case c.From != nil:
		from = byNumber[*c.From]
	case to != nil && to.Number > 0:
		from = byNumber[to.Number-1]
	}
	if from == nil || to == nil {
		return localError(typev1.Reason_REASON_NOT_FOUND, "the wallet has no two versions of these numbers", "see `halfkey guardrails versions`")
	}
	name := func(v *client.InForce) string { return fmt.Sprintf("number %d", v.Number) }
	return a.show(&diffResult{
		Wallet: wallet, From: from.Number, To: to.Number,
		Diff: string(diff.Diff(name(from), []byte(fullYAML(from.Document)), name(to), []byte(fullYAML(to.Document)))),
	})
}

// fullYAML is a version as YAML with its keys, which 'set' does not change.
func fullYAML(doc *typev1.GuardRails) string {
	var b strings.Builder
	b.WriteString(newRulesFile(doc).yaml())
	fmt.Fprintf(&b, "request_key: %s\nowner_keys:\n", keyText(doc.GetRequestKey()))
	for _, k := range doc.GetOwnerKeys() {
		fmt.Fprintf(&b, "  - %s\n", keyText(k))
	}
	return b.String()
}

func (r *diffResult) people(p *printer) {
	if r.Diff == "" {
		p.line("Numbers %d and %d say the same.", r.From, r.To)
	}
	for l := range strings.Lines(r.Diff) {
		p.line("%s", strings.TrimSuffix(l, "\n"))
	}
}

type rulesLintCommand struct {
	File string `arg:"" help:"The YAML file, or - for standard input."`
}

// lintResult is a file that is well.
type lintResult struct {
	File string `json:"file"`
	// Remarks say what the rules allow that their owner may not mean.
	Remarks []string `json:"remarks"`
}

// lintInstallation stands where a file is checked without an installation.
const lintInstallation = "lint"

// Run checks the file. Recipients are not looked up.
func (c *rulesLintCommand) Run(a *app) error {
	b, err := a.input(c.File)
	if err != nil {
		return err
	}
	f, err := parseRules(b)
	if err != nil {
		return err
	}
	doc, err := f.document(lintInstallation, lintRecipient)
	if err != nil {
		return err
	}
	if err := lintDocument(doc, lintInstallation); err != nil {
		return err
	}
	return a.show(&lintResult{File: c.File, Remarks: append([]string{}, remarks(doc)...)})
}

func (r *lintResult) people(p *printer) {
	p.line("%s is well.", r.File)
	for _, remark := range r.Remarks {
		p.line("Note: %s.", remark)
	}
}
