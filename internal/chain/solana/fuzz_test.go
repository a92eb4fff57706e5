package solana_test

import (
	"bytes"
	"errors"
	"testing"

	"github.com/halfkey/halfkey/internal/chain/solana"
)

// FuzzDecode: no bytes make it panic, and what it reads encodes again to themselves.
func FuzzDecode(f *testing.F) {
	for _, layout := range layouts {
		good := encode(f, sample(f, layout))
		f.Add(good)
		f.Add(good[:len(good)-1])
		f.Add(append(bytes.Clone(good), 0))
	}
	f.Add([]byte{0x80})
	f.Add([]byte{0x81})
	f.Add([]byte{})
	recipient, known := sample(f, solana.X402).Recipient, mints(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := solana.Decode(b, recipient, known)
		if err != nil {
			var refused *solana.Error
			if !errors.As(err, &refused) || m != (solana.Message{}) {
				t.Errorf("Decode(%x) = %+v, %v", b, m, err)
			}
			return
		}
		if again, err := m.Encode(); err != nil || !bytes.Equal(again, b) {
			t.Errorf("Decode(%x) = %+v, which encodes to %x, %v", b, m, again, err)
		}
		if hash, err := solana.BlockHash(b); err != nil || hash != m.BlockHash {
			t.Errorf("BlockHash(%x) = %x, %v, want %x", b, hash, err, m.BlockHash)
		}
		if len(b) > solana.Size || b[0] != 0x80 || m.Recipient != recipient {
			t.Errorf("Decode takes %x as %+v", b, m)
		}
	})
}
