package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/halfkey/halfkey/internal/guardrails"
	"github.com/halfkey/halfkey/internal/resource"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// rulesFile is guard rails as a YAML file has them: the whole document but for what names wallet, version and keys.
type rulesFile struct {
	// TimeZone is the IANA name of the zone whose days, weeks and months count; UTC by default.
	TimeZone string `yaml:"time_zone,omitempty"`
	// Assets may be paid: USD, tokens on Solana such as USDC or USDC-devnet, or CAIP-19 ids; USD by default.
	Assets []string `yaml:"assets,omitempty"`
	// Rails are how may be paid, book or solana; by default those that the assets are paid on.
	Rails []string `yaml:"rails,omitempty"`
	// Limits bound what is paid.
	Limits []limitLine `yaml:"limits"`
	// Recipients say who.
	Recipients recipientLines `yaml:"recipients"`
	// X402 says for which HTTP requests; without it, payments for any are judged like others.
	X402 *x402Lines `yaml:"x402,omitempty"`
}

// limitLine is one limit.
type limitLine struct {
	// Per is payment, day, week, month, lifetime, or a rolling duration such as 24h.
	Per string `yaml:"per"`
	// AtMost is an amount such as 5 USD, or a number of payments such as 20 payments.
	AtMost string `yaml:"at_most"`
	// Over says what happens above it: review or deny.
	Over string `yaml:"over"`
}

// recipientLines are recipients as wallets, @handles or keys.
type recipientLines struct {
	Allow []string `yaml:"allow,omitempty"`
	Deny  []string `yaml:"deny,omitempty"`
	// Unknown says what a recipient in neither list means: deny, the default, or review.
	Unknown string `yaml:"unknown,omitempty"`
}

// The words of a guard rails file.
const (
	wordReview   = "review"
	wordDeny     = "deny"
	wordPayments = " payments"
)

// windowWords are the windows by the word that a file uses; a rolling one is a duration.
var windowWords = map[string]typev1.Window{
	"payment": typev1.Window_WINDOW_PAYMENT, "day": typev1.Window_WINDOW_DAY, "week": typev1.Window_WINDOW_WEEK,
	"month": typev1.Window_WINDOW_MONTH, "lifetime": typev1.Window_WINDOW_LIFETIME,
}

// parseRules reads a guard rails file strictly: one document, no unknown or repeated field.
func parseRules(b []byte) (*rulesFile, error) {
	d := yaml.NewDecoder(bytes.NewReader(b))
	d.KnownFields(true)
	f := new(rulesFile)
	if err := d.Decode(f); err != nil {
		if errors.Is(err, io.EOF) {
			err = errors.New("it is empty")
		}
		return nil, badRules(yamlProblem.Replace(err.Error()))
	}
	if err := d.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		return nil, badRules("it holds more than one document")
	}
	var whole yaml.Node
	if err := yaml.Unmarshal(b, &whole); err != nil {
		return nil, badRules(yamlProblem.Replace(err.Error()))
	}
	return f, noNulls(&whole)
}

// noNulls refuses a name without a value: it would read as a rule that is not there, and somebody began to write one.
func noNulls(n *yaml.Node) error {
	for i, c := range n.Content {
		if n.Kind == yaml.MappingNode && i%2 == 1 && c.Tag == "!!null" {
			return badRules(fmt.Sprintf("line %d: %s is given without a value", n.Content[i-1].Line, n.Content[i-1].Value))
		}
		if err := noNulls(c); err != nil {
			return err
		}
	}
	return nil
}

// yamlProblem takes out of the decoder's words what means something to its users only.
var yamlProblem = strings.NewReplacer("yaml: ", "", "unmarshal errors:", "", " in type main.rulesFile", "", " in type main.limitLine", " of a limit",
	" in type main.recipientLines", " of recipients", " in type main.x402Lines", " of x402", " in type main.hostLine", " of a host",
	" in type main.boundLine", " of a price", "main.", "")

func badRules(why string) error {
	return usage("guard rails", "the guard rails are not well: "+strings.Join(strings.Fields(why), " "))
}

// resolver turns a recipient's name into its key.
type resolver func(recipient string) ([32]byte, error)

// document writes the file as a document, without what names wallet, version and keys.
func (f *rulesFile) document(installation string, resolve resolver) (*typev1.GuardRails, error) {
	doc := &typev1.GuardRails{TimeZone: f.TimeZone, Recipients: new(typev1.Recipients)}
	for n, word := range f.Assets {
		asset, ok := assetOf(word, installation)
		if !ok {
			return nil, badRules(fmt.Sprintf("assets[%d]: it is %s, %s, or the CAIP-19 id of one of these", n, usd, strings.Join(tokenWords(), ", ")))
		}
		doc.Assets = append(doc.Assets, asset)
	}
	if len(doc.Assets) == 0 {
		doc.Assets = []string{resource.BookUSD(installation)}
	}
	slices.Sort(doc.Assets)
	if doc.Rails = railsOf(doc.Assets); len(f.Rails) > 0 {
		doc.Rails = nil
	}
	for n, word := range f.Rails {
		rail, ok := railWords[word]
		if !ok {
			return nil, badRules(fmt.Sprintf("rails[%d]: it is book or solana", n))
		}
		doc.Rails = append(doc.Rails, rail)
	}
	slices.Sort(doc.Rails)
	for n, l := range f.Limits {
		limit, err := l.limit()
		if err != nil {
			return nil, badRules(fmt.Sprintf("limits[%d]: %s", n, err))
		}
		doc.Limits = append(doc.Limits, limit)
	}
	var err error
	if doc.Recipients.Allow, err = keysOf("recipients.allow", f.Recipients.Allow, resolve); err != nil {
		return nil, err
	}
	if doc.Recipients.Deny, err = keysOf("recipients.deny", f.Recipients.Deny, resolve); err != nil {
		return nil, err
	}
	if doc.Recipients.Unknown, err = lightOf(f.Recipients.Unknown, wordDeny); err != nil {
		return nil, badRules("recipients.unknown: " + err.Error())
	}
	if doc.X402, err = f.X402.rules(resolve); err != nil {
		return nil, err
	}
	return doc, nil
}

// railWords are the rails by the word that a file uses.
var railWords = map[string]typev1.Rail{"book": typev1.Rail_RAIL_BOOK, "solana": typev1.Rail_RAIL_SOLANA}

// railWord is a rail's word.
func railWord(r typev1.Rail) string { return strings.ToLower(enumText(r, "RAIL_")) }

// railsOf are the rails that assets are paid on, in a document's order.
func railsOf(assets []string) []typev1.Rail {
	var rails []typev1.Rail
	for _, asset := range assets {
		rails = append(rails, guardrails.RailOf(asset))
	}
	slices.Sort(rails)
	return slices.Compact(rails)
}

func keysOf(list string, names []string, resolve resolver) ([][]byte, error) {
	var keys [][]byte
	for n, name := range names {
		key, err := resolve(name)
		if err != nil {
			return nil, fmt.Errorf("%s[%d]: %w", list, n, err)
		}
		keys = append(keys, key[:])
	}
	slices.SortFunc(keys, bytes.Compare)
	return slices.CompactFunc(keys, bytes.Equal), nil
}

// lightOf reads what happens where a rule is crossed.
func lightOf(word, byDefault string) (typev1.Light, error) {
	if word == "" {
		word = byDefault
	}
	switch word {
	case wordReview:
		return typev1.Light_LIGHT_YELLOW, nil
	case wordDeny:
		return typev1.Light_LIGHT_RED, nil
	default:
		return 0, errors.New("it is review or deny")
	}
}

func (l limitLine) limit() (*typev1.Limit, error) {
	out := &typev1.Limit{Unit: resource.UnitUSD, Measure: typev1.Measure_MEASURE_UNITS}
	window, known := windowWords[l.Per]
	if !known {
		d, err := time.ParseDuration(l.Per)
		if err != nil || d <= 0 || d%time.Second != 0 {
			return nil, errors.New("per: it is payment, day, week, month, lifetime, or a duration such as 24h")
		}
		window, out.RollingSeconds = typev1.Window_WINDOW_ROLLING, int64(d/time.Second)
	}
	out.Window = window
	if count, counts := strings.CutSuffix(l.AtMost, wordPayments); counts {
		n, err := resource.ParseAmount(count)
		if err != nil {
			return nil, errors.New("at_most: a number of payments is like \"20 payments\"")
		}
		out.Measure, out.Amount = typev1.Measure_MEASURE_COUNT, resource.FormatUnits(n)
	} else {
		n, err := resource.ParseDecimal(strings.TrimSuffix(l.AtMost, " "+usd), usdDecimals)
		if err != nil {
			return nil, errors.New("at_most: an amount is like \"5 USD\" or \"0.25 USD\", a number of payments like \"20 payments\"")
		}
		out.Amount = resource.FormatUnits(n)
	}
	var err error
	if out.Crossed, err = lightOf(l.Over, ""); err != nil {
		return nil, errors.New("over: " + err.Error())
	}
	return out, nil
}

// newRulesFile writes a document as a file, by keys.
func newRulesFile(doc *typev1.GuardRails) *rulesFile {
	f := &rulesFile{TimeZone: doc.GetTimeZone(), Limits: []limitLine{}}
	for _, asset := range doc.GetAssets() {
		f.Assets = append(f.Assets, assetWord(asset, doc.GetInstallation()))
	}
	if !slices.Equal(doc.GetRails(), railsOf(doc.GetAssets())) {
		for _, r := range doc.GetRails() {
			f.Rails = append(f.Rails, railWord(r))
		}
	}
	for _, l := range doc.GetLimits() {
		f.Limits = append(f.Limits, newLimitLine(l))
	}
	for _, key := range doc.GetRecipients().GetAllow() {
		f.Recipients.Allow = append(f.Recipients.Allow, hex.EncodeToString(key))
	}
	for _, key := range doc.GetRecipients().GetDeny() {
		f.Recipients.Deny = append(f.Recipients.Deny, hex.EncodeToString(key))
	}
	f.Recipients.Unknown = lightWord(doc.GetRecipients().GetUnknown())
	f.X402 = newX402Lines(doc.GetX402())
	return f
}

func newLimitLine(l *typev1.Limit) limitLine {
	line := limitLine{AtMost: measureText(l.GetMeasure(), l.GetUnit(), l.GetAmount()), Over: lightWord(l.GetCrossed())}
	for word, window := range windowWords {
		if window == l.GetWindow() {
			line.Per = word
		}
	}
	if l.GetWindow() == typev1.Window_WINDOW_ROLLING {
		line.Per = rollingText(l)
	}
	return line
}

func lightWord(l typev1.Light) string {
	if l == typev1.Light_LIGHT_YELLOW {
		return wordReview
	}
	return wordDeny
}

// yaml is the file's text.
func (f *rulesFile) yaml() string {
	var b bytes.Buffer
	e := yaml.NewEncoder(&b)
	e.SetIndent(2)
	if e.Encode(f) != nil || e.Close() != nil { // A rulesFile of strings encodes.
		return ""
	}
	return b.String()
}

// lintDocument fills in what names wallet, version and keys, so that the rules can be checked without any.
func lintDocument(doc *typev1.GuardRails, installation string) error {
	key := bytes.Repeat([]byte{1}, 32)
	doc.Installation, doc.Wallet, doc.Owner, doc.Number = installation, "wallets/lint", "owners/lint", 1
	doc.OwnerKeys, doc.RequestKey, doc.Replaces = [][]byte{key}, key, [][]byte{key}
	if err := guardrails.Validate(doc); err != nil {
		return badRules(strings.TrimPrefix(err.Error(), "guard rails: "))
	}
	return nil
}

// remarks says what guard rails allow that their owner may not mean.
func remarks(doc *typev1.GuardRails) []string {
	var out []string
	lowest := func(window typev1.Window, crossed typev1.Light) (int64, bool) {
		least, found := int64(0), false
		for _, l := range doc.GetLimits() {
			n, err := strconv.ParseInt(l.GetAmount(), 10, 64)
			if err == nil && l.GetMeasure() == typev1.Measure_MEASURE_UNITS && l.GetWindow() == window && l.GetCrossed() == crossed && (!found || n < least) {
				least, found = n, true
			}
		}
		return least, found
	}
	review, asks := lowest(typev1.Window_WINDOW_PAYMENT, typev1.Light_LIGHT_YELLOW)
	deny, _ := lowest(typev1.Window_WINDOW_PAYMENT, typev1.Light_LIGHT_RED)
	if asks && review >= deny {
		out = append(out, "no payment ever waits for its size: the amount that asks a person is not below the hard cap")
	}
	day, asksDaily := lowest(typev1.Window_WINDOW_DAY, typev1.Light_LIGHT_YELLOW)
	if wall, walled := lowest(typev1.Window_WINDOW_DAY, typev1.Light_LIGHT_RED); walled && asksDaily && day >= wall {
		out = append(out, "no day's sum ever asks a person: that limit is not below the day's wall")
	}
	pins := slices.ContainsFunc(doc.GetX402().GetHosts(), func(h *typev1.X402Host) bool { return len(h.GetRecipients()) > 0 })
	if doc.GetRecipients().GetUnknown() == typev1.Light_LIGHT_RED && len(doc.GetRecipients().GetAllow()) == 0 && !pins {
		out = append(out, "it pays nobody: no recipient is allowed, and every other is refused")
	}
	if asks && review == 0 {
		out = append(out, "every payment asks a person: the amount above which it does is 0")
	}
	return slices.Concat(out, railRemarks(doc), x402Remarks(doc))
}

// railRemarks says what is allowed and cannot be paid, and what payments on Solana mean that limits do not show.
func railRemarks(doc *typev1.GuardRails) []string {
	var out []string
	networks := make(map[string]bool)
	for _, asset := range doc.GetAssets() {
		if !slices.Contains(doc.GetRails(), guardrails.RailOf(asset)) {
			out = append(out, assetWord(asset, doc.GetInstallation())+" is never paid: it is allowed, and the rail "+railWord(guardrails.RailOf(asset))+" is not")
		}
		if t, known := resource.TokenOf(asset); known {
			networks[t.Network] = true
		}
	}
	for _, rail := range doc.GetRails() {
		if !slices.Contains(railsOf(doc.GetAssets()), rail) {
			out = append(out, "nothing is paid on the rail "+railWord(rail)+": it is allowed, and no asset of it is")
		}
	}
	if len(networks) > 1 {
		out = append(out, "it allows tokens on several of Solana's networks, and an installation pays on one")
	}
	if len(networks) > 0 && slices.Contains(doc.GetRails(), typev1.Rail_RAIL_SOLANA) {
		out = append(out, "a transfer on Solana also costs SOL, which no limit counts: keep little of it at the wallet's address")
	}
	return out
}

// lintRecipient checks a recipient's form; a name that is not a key stands for some key.
func lintRecipient(name string) ([32]byte, error) {
	if key, ok := keyOf(name); ok {
		return key, nil
	}
	var err error
	if handle, ok := strings.CutPrefix(name, "@"); ok {
		err = resource.ValidHandle(handle)
	} else {
		_, err = resource.ParseWallet(name)
	}
	if err != nil {
		return [32]byte{}, usage("recipient", "a recipient is wallets/{wallet}, @handle, a key of 64 hexadecimal digits, or an address on Solana", "value", shorten(name))
	}
	return sha256.Sum256([]byte(name)), nil
}
