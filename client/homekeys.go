package client

import (
	"fmt"
)

// keyNameMax bounds a secret's name: a prefix and a wallet's id of 63 characters.
const keyNameMax = 80

// Load returns a secret of the home.
func (h *Home) Load(name string) ([]byte, error) {
	if err := checkKeyName(name); err != nil {
		return nil, err
	}
	return readFile(h.path(homeKeys, name))
}

// Save puts a secret of the home.
func (h *Home) Save(name string, secret []byte) error {
	if err := checkKeyName(name); err != nil {
		return err
	}
	return h.locked(func() error {
		if err := writeFile(h.path(homeKeys, name), secret); err != nil {
			return err
		}
		// What a program that died here had begun to write is a secret too, and may be one that was replaced since.
		return removeTemporary(h.path(homeKeys))
	})
}

// Delete removes a secret of the home.
func (h *Home) Delete(name string) error {
	if err := checkKeyName(name); err != nil {
		return err
	}
	return h.locked(func() error { return removeFile(h.path(homeKeys, name)) })
}

// List returns the names of the home's secrets.
func (h *Home) List() ([]string, error) { return listFiles(h.path(homeKeys)) }

func checkKeyName(name string) error {
	ok := name != "" && len(name) <= keyNameMax
	for _, c := range []byte(name) {
		ok = ok && (c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-')
	}
	if !ok {
		return fmt.Errorf("halfkey: %q is not a secret's name of 1 to %d of [a-z0-9-]", shorten(name), keyNameMax)
	}
	return nil
}

// shorten makes a text fit for an error.
func shorten(s string) string {
	if len(s) > keyNameMax {
		return s[:keyNameMax] + "…"
	}
	return s
}
