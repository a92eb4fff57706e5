package identity

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net/netip"
	"strconv"
)

// open is how many registrations are open, by what they are bounded by.
type open struct {
	total, owner, source int
}

// full names the bound that leaves no place for one more; empty if there is one.
func (b Bounds) full(o open) string {
	switch {
	case o.owner >= b.PerOwner:
		return "owner"
	case o.source >= b.PerSource:
		return "source"
	case o.total >= b.Total:
		return "installation"
	}
	return ""
}

// placeOf is where a registration is counted: by its owner's address and by the network that it came from. An IPv6
// host has a whole /64 to itself, so that is what counts.
func placeOf(email, source string) place {
	if a, err := netip.ParseAddr(source); err == nil {
		a = a.Unmap().WithZone("")
		if a.Is6() {
			if p, err := a.Prefix(64); err == nil {
				a = p.Addr()
			}
		}
		source = a.String()
	}
	return place{Owner: nameHash("owner-email", email), Source: nameHash("source", source)}
}

// nameHash is how an address stands in a key: lists of keys in logs and backups then show none. Whoever guesses an
// address can still test the guess.
func nameHash(kind, name string) string {
	sum := sha256.Sum256([]byte("halfkey/identity/" + kind + "/" + name))
	return hex.EncodeToString(sum[:])
}

// take counts one more open registration, or names the bound that leaves no place for it.
func (t *tx) take(b Bounds, p place) (full string, err error) {
	o, err := t.counted(p)
	if err != nil {
		return "", err
	}
	if full := b.full(o); full != "" {
		return full, nil
	}
	t.setCounted(p, open{total: o.total + 1, owner: o.owner + 1, source: o.source + 1})
	return "", nil
}

// free counts one open registration less.
func (t *tx) free(p place) error {
	o, err := t.counted(p)
	if err != nil {
		return err
	}
	t.setCounted(p, open{total: o.total - 1, owner: o.owner - 1, source: o.source - 1})
	return nil
}

// counted reads the counters of a place.
func (t *tx) counted(p place) (o open, err error) {
	if o.total, err = t.counter(openTotalKey); err != nil {
		return open{}, err
	}
	if o.owner, err = t.counter(openOwnerKeys + p.Owner); err != nil {
		return open{}, err
	}
	o.source, err = t.counter(openSourceKeys + p.Source)
	return o, err
}

func (t *tx) counter(key string) (int, error) {
	b, err := t.get(key)
	if err != nil || b == nil {
		return 0, err
	}
	n, err := strconv.Atoi(string(b))
	if err != nil || n <= 0 {
		return 0, errors.New("a counter of open registrations does not decode")
	}
	return n, nil
}

func (t *tx) setCounted(p place, o open) {
	t.setCounter(openTotalKey, o.total)
	t.setCounter(openOwnerKeys+p.Owner, o.owner)
	t.setCounter(openSourceKeys+p.Source, o.source)
}

// setCounter leaves no row for zero, so that what strangers made up does not stay.
func (t *tx) setCounter(key string, n int) {
	if n <= 0 {
		t.delete(key)
		return
	}
	t.put(key, []byte(strconv.Itoa(n)))
}
