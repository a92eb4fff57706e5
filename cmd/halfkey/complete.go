package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/alecthomas/kong"

	"github.com/halfkey/halfkey/client"
)

// completeCommand is what completion scripts call: it prints what the last of its words may become, one a line. It reads the
// home's names, no secret, and asks nobody.
type completeCommand struct {
	Words []string `arg:"" optional:"" passthrough:""`
}

// Run completes.
func (c *completeCommand) Run(a *app) error {
	words := c.Words
	if len(words) > 0 && words[0] == "--" {
		words = words[1:]
	}
	if len(words) == 0 {
		words = []string{""}
	}
	s := scan(a.model, words[:len(words)-1])
	p := printer{w: a.stdout}
	for _, reply := range s.replies(a, words[len(words)-1]) {
		p.line("%s", reply)
	}
	return p.err
}

// scanned is how far a command line is, by the words before the one that is completed.
type scanned struct {
	node *kong.Node
	// flag waits for its value, or is nil.
	flag *kong.Flag
	// positional counts the command's own words.
	positional int
	// only says that nothing but words may follow: `--` was there.
	only bool
	home string
}

func scan(model *kong.Application, words []string) *scanned {
	s := &scanned{node: model.Node}
	for _, w := range words {
		switch {
		case s.flag != nil:
			if s.flag.Name == "home" {
				s.home = w
			}
			s.flag = nil
		case !s.only && w == "--":
			s.only = true
		case !s.only && strings.HasPrefix(w, "--"):
			s.scanFlag(w)
		default:
			s.scanWord(w)
		}
	}
	return s
}

func (s *scanned) scanFlag(w string) {
	name, value, whole := strings.Cut(w[2:], "=")
	for _, f := range s.flags() {
		if f.Name != name {
			continue
		}
		if whole && name == "home" {
			s.home = value
		}
		if !whole && !f.IsBool() {
			s.flag = f
		}
	}
}

func (s *scanned) scanWord(w string) {
	for _, child := range s.node.Children {
		if child.Name == w && s.positional == 0 {
			s.node = child
			return
		}
	}
	if s.node.DefaultCmd != nil && s.positional == 0 {
		s.node = s.node.DefaultCmd
	}
	s.positional++
}

func (s *scanned) flags() []*kong.Flag {
	node := s.node
	if node.DefaultCmd != nil {
		node = node.DefaultCmd
	}
	return slices.Concat(node.AllFlags(true)...)
}

// replies is what a word may become.
func (s *scanned) replies(a *app, word string) []string {
	if s.flag != nil {
		return begin(word, s.values(a, s.flag.Value))
	}
	if name, value, ok := strings.Cut(strings.TrimPrefix(word, "--"), "="); ok && strings.HasPrefix(word, "--") && !s.only {
		for _, f := range s.flags() {
			if f.Name == name {
				return prefixed("--"+name+"=", begin(value, s.values(a, f.Value)))
			}
		}
		return nil
	}
	var all []string
	for _, child := range s.node.Children {
		if !child.Hidden && s.positional == 0 {
			all = append(all, child.Name)
		}
	}
	if i := s.positional; i < len(s.node.Positional) {
		all = append(all, s.values(a, s.node.Positional[i])...)
	}
	if strings.HasPrefix(word, "-") && !s.only {
		for _, f := range s.flags() {
			if !f.Hidden {
				all = append(all, "--"+f.Name)
			}
		}
	}
	return begin(word, all)
}

// values is what a flag's or an argument's value may be; its tag says of which kind it is.
func (s *scanned) values(a *app, v *kong.Value) []string {
	if v.Enum != "" {
		return slices.DeleteFunc(slices.Sorted(slices.Values(v.EnumSlice())), func(e string) bool { return e == "" })
	}
	kind := ""
	if v.Tag != nil {
		kind = v.Tag.Get("complete")
	}
	switch kind {
	case "":
		return nil
	case "asset":
		return append([]string{usd}, tokenWords()...)
	}
	known, listed, err := s.known(a)
	if err != nil {
		return nil // A completion has nobody to tell.
	}
	wallets, handles := withShown(known.Wallets, listed.Wallets), withShown(known.Handles, listed.Handles)
	switch kind {
	case "wallet":
		return slices.Concat(wallets, handles)
	case "recipient":
		return slices.Concat(handles, wallets)
	case "payment":
		return known.Payments
	case "anyPayment":
		return slices.Concat(known.Payments, listed.Payments)
	case "fetch":
		return known.Fetches
	case "review":
		return listed.Reviews
	case "paid":
		return listed.Payments
	default:
		return nil
	}
}

// known reads the home's names and those that its listings have shown, if there is a home: completing makes none.
func (s *scanned) known(a *app) (client.Known, *shown, error) {
	if s.home != "" {
		a.globals.Home = s.home
	}
	dir, err := a.homeDir()
	if err != nil {
		return client.Known{}, nil, err
	}
	if dir == "" {
		config, err := os.UserConfigDir()
		if err != nil {
			return client.Known{}, nil, err
		}
		dir = filepath.Join(config, "halfkey")
	}
	if _, err := os.Stat(dir); err != nil {
		return client.Known{}, nil, err
	}
	h, err := client.OpenHome(dir)
	if err != nil {
		return client.Known{}, nil, err
	}
	listed, err := loadShown(h)
	if err != nil {
		listed = new(shown)
	}
	known, err := h.Known()
	return known, listed, err
}

func begin(word string, all []string) []string {
	return slices.DeleteFunc(all, func(s string) bool { return !strings.HasPrefix(s, word) })
}

func prefixed(prefix string, all []string) []string {
	for i := range all {
		all[i] = prefix + all[i]
	}
	return all
}
