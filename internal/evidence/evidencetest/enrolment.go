package evidencetest

import (
	"google.golang.org/protobuf/proto"

	"github.com/halfkey/halfkey/internal/evidence"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// ForgedClaims are documents of a wallet that a token claimed, by what is wrong with them. It is the claim alone: the record
// names it, as a co-signer's does that was broken into.
func (l *Wallet) ForgedClaims() map[string]*typev1.WalletDocuments {
	l.t.Helper()
	stranger := l.Key("stranger")
	terms := new(typev1.Enrolment)
	l.Decode(l.Enrolment, terms)
	forge := func(signer string, edit func(doc *typev1.GuardRails)) *typev1.WalletDocuments {
		doc, record := new(typev1.GuardRails), new(typev1.WalletRecord)
		l.Decode(l.Claim, doc)
		l.Decode(l.Record, record)
		edit(doc)
		claim := l.SignLoose(l.Key(signer), doc)
		record.GuardRailsDigest = evidence.EnvelopeDigest(claim).Bytes()
		return &typev1.WalletDocuments{
			Registration: l.Registration, Record: l.Sign(l.Cosigner, record), GuardRails: []*typev1.Envelope{claim},
		}
	}
	token := proto.CloneOf(terms)
	token.TokenKey = Public(stranger)
	return map[string]*typev1.WalletDocuments{
		"a stranger's signature in the token's place": forge("stranger", func(*typev1.GuardRails) {}),
		"a stranger's terms": forge("stranger", func(doc *typev1.GuardRails) {
			doc.Enrolment = l.SignLoose(stranger, token)
		}),
		"the token's terms, for a stranger": forge("stranger", func(doc *typev1.GuardRails) {
			doc.Owner, doc.OwnerKeys = "owners/stranger", sorted(stranger)
		}),
		"terms that nobody signed": forge("stranger", func(doc *typev1.GuardRails) {
			doc.Enrolment = l.SignLoose(stranger, token)
			doc.Enrolment.Signatures[0].PublicKey = Public(l.OwnerKey)
		}),
	}
}
