package ledger

import (
	"crypto"
	"fmt"

	"google.golang.org/protobuf/proto"

	"github.com/halfkey/halfkey/internal/evidence"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// seal finishes the entries of a decided batch: signs the ledger's own statements in them and links each to the one before.
// Until it is stored nobody has seen any of it.
func (s *state) seal(key crypto.Signer) error {
	for _, d := range s.entries {
		if d.own != nil {
			e, err := evidence.Sign(key, d.own)
			if err != nil {
				return fmt.Errorf("sign %T: %w", d.own, err)
			}
			d.entry.Statements = []*typev1.Envelope{e}
		}
		if d.same != nil {
			d.entry.Statements = []*typev1.Envelope{proto.CloneOf(d.same.statement())}
		}
		c := s.chains.rows[d.chain]
		d.entry.Previous = c.hash
		b, err := evidence.Marshal(d.entry)
		if err != nil {
			return fmt.Errorf("encode entry: %w", err)
		}
		d.bytes, d.hash = b, evidence.EntryHash(b)
		c.hash = d.hash.Bytes()
		s.chains.rows[d.chain] = c
	}
	return nil
}
