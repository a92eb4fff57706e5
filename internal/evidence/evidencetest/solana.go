package evidencetest

import (
	"crypto/sha256"
	"encoding/hex"

	"github.com/halfkey/halfkey/internal/chain/solana"
	"github.com/halfkey/halfkey/internal/resource"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

const (
	// USDC is the asset of payments on Solana.
	USDC     = resource.SolanaMainnet + "/token:" + usdcMint
	usdcMint = "EPjFWdd5AufqSSqeM2qN1xzybapC8G4wEGGkZwyTDt1v"

	// LastValidHeight is what receipts of payments on Solana say.
	LastValidHeight = 300_000_150
)

// AllowSolana returns an edit that lets USDC be paid on Solana besides what could be paid before, and recipients be paid.
func AllowSolana(recipients ...[32]byte) func(*typev1.GuardRails) {
	return func(doc *typev1.GuardRails) {
		doc.Assets = append(doc.GetAssets(), USDC)
		doc.Rails = append(doc.GetRails(), typev1.Rail_RAIL_SOLANA)
		Allow(recipients...)(doc)
	}
}

// FeePayer is the key of who pays the fee of a payment for an HTTP resource.
func (w *World) FeePayer() [32]byte { return Key32(w.Key("fee payer")) }

// solanaMessage is the honest message for the payment's intent: x402's layout for an HTTP resource, else a transfer. Memo and block
// hash are the payment's own, so that no two payments have the same bytes.
func (p *Payment) solanaMessage(to [32]byte, units int64) solana.Message {
	p.t.Helper()
	mint, err := solana.ParseKey(usdcMint)
	if err != nil {
		p.t.Fatal(err)
	}
	own := sha256.Sum256([]byte(p.Name))
	m := solana.Message{
		Layout: solana.Transfer, FeePayer: p.GroupKey, Payer: p.GroupKey, Recipient: to, Mint: mint, Units: units, Decimals: 6,
		Memo: hex.EncodeToString(own[:16]), BlockHash: sha256.Sum256(own[:]),
	}
	if p.Intent.GetX402() != nil {
		m.Layout, m.FeePayer = solana.X402, p.FeePayer()
	}
	return m
}

// adds puts into a request what it says of the message on Solana.
func (p *Payment) adds(r *typev1.Request) {
	r.Memo = p.Solana.Memo
	if p.Solana.Layout == solana.X402 {
		offer := sha256.Sum256([]byte("the offer"))
		r.FeePayer, r.OfferDigest = p.Solana.FeePayer[:], offer[:]
	}
}
