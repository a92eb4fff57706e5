package main

import (
	"encoding/json"
	"errors"
	"io/fs"
	"slices"

	"github.com/halfkey/halfkey/client"
	"github.com/halfkey/halfkey/internal/resource"
)

// shown are names that listings have printed from this home: what completion offers besides the home's own.
type shown struct {
	// Reviews are the payments that the last `review list` had, Payments those of `payments list`, the latest first.
	Reviews  []string `json:"reviews"`
	Payments []string `json:"payments"`
	// Wallets and Handles are those of the last `agents list`.
	Wallets []string `json:"wallets"`
	Handles []string `json:"handles"`
}

const (
	// shownPin is where they are kept, as any pin in a file of mode 0600.
	shownPin = "cli/shown"
	// shownNamesMax bounds each list: more than anybody looks through behind a TAB.
	shownNamesMax = 512
)

// remember keeps names that were shown. A listing is good without: nothing but completion lacks them then.
func (a *app) remember(change func(*shown)) {
	h, err := a.home()
	if err != nil {
		return
	}
	s, err := loadShown(h)
	if err != nil {
		s = new(shown)
	}
	change(s)
	s.bound()
	b, err := json.Marshal(s)
	if err != nil {
		return
	}
	if before, err := h.Pinned(shownPin); err == nil && string(before) == string(b) {
		return
	}
	_ = h.Pin(shownPin, b) // See above.
}

// loadShown reads the names, of which those are left out that are none: others may have written into the home.
func loadShown(h *client.Home) (*shown, error) {
	s := new(shown)
	b, err := h.Pinned(shownPin)
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(b, s); err != nil {
		return nil, err
	}
	s.bound()
	return s, nil
}

// bound leaves names out that are none, and those that are too many.
func (s *shown) bound() {
	noPayment := func(n string) bool { _, _, err := resource.ParsePayment(n); return err != nil }
	noWallet := func(n string) bool { _, err := resource.ParseWallet(n); return err != nil }
	noHandle := func(n string) bool { return n == "" || n[0] != '@' || resource.ValidHandle(n[1:]) != nil }
	for _, l := range []struct {
		names *[]string
		none  func(string) bool
	}{{&s.Reviews, noPayment}, {&s.Payments, noPayment}, {&s.Wallets, noWallet}, {&s.Handles, noHandle}} {
		names := slices.DeleteFunc(*l.names, l.none)
		*l.names = names[:min(len(names), shownNamesMax)]
	}
}

// paymentsFirst puts the names of payments before those that were shown earlier.
func (s *shown) paymentsFirst(names []string) {
	earlier := slices.DeleteFunc(s.Payments, func(n string) bool { return slices.Contains(names, n) })
	s.Payments = slices.Concat(names, earlier)
}

// withShown adds the names of another's wallets and handles to the home's own.
func withShown(own, others []string) []string {
	all := slices.Concat(own, others)
	slices.Sort(all)
	return slices.Compact(all)
}
