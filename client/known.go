package client

import (
	"strings"

	"github.com/halfkey/halfkey/internal/resource"
)

// Known are the names that a home holds, each list ascending: what a program offers for completion.
type Known struct {
	// Wallets are those whose share the home holds, `wallets/{wallet}`.
	Wallets []string
	// Handles are those of verified wallet records, its own ones and recipients', with their `@`.
	Handles []string
	// Payments are the ids of the home's payments.
	Payments []string
	// Fetches are the ids of the home's fetches.
	Fetches []string
}

// Known lists the names that the home holds. It opens no file, so it reads no secret.
func (h *Home) Known() (Known, error) {
	var k Known
	keys, err := h.List()
	if err != nil {
		return k, err
	}
	for _, name := range keys {
		id, ok := strings.CutPrefix(name, agentKeyPrefix)
		if !ok || resource.ValidID(id) != nil {
			continue
		}
		k.Wallets = append(k.Wallets, resource.Wallet(id))
		for _, of := range []struct {
			dir string
			ids *[]string
		}{{homePayments, &k.Payments}, {homeFetches, &k.Fetches}} {
			records, err := listFiles(h.path(of.dir, id))
			if err != nil {
				return k, err
			}
			for _, record := range records {
				if id, ok := strings.CutSuffix(record, recordSuffix); ok && resource.ValidID(id) == nil {
					*of.ids = append(*of.ids, id)
				}
			}
		}
	}
	pins, err := listFiles(h.path(homePins))
	if err != nil {
		return k, err
	}
	handles := strings.ReplaceAll(recordPinPrefix, "/", "_") + "@"
	for _, pin := range pins {
		if handle, ok := strings.CutPrefix(pin, handles); ok && resource.ValidHandle(handle) == nil {
			k.Handles = append(k.Handles, "@"+handle)
		}
	}
	return k, nil
}
