package evidence_test

import (
	"bytes"
	"crypto/sha256"
	"net/url"
	"slices"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/halfkey/halfkey/internal/evidence"
	"github.com/halfkey/halfkey/internal/evidence/evidencetest"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// sample is one well-formed content of a type, with every field set that may be.
type sample struct {
	name        string
	payloadType string
	m           proto.Message
	signer      string // name of the world's key that signs it, or empty for bytes that are not signed themselves
}

// fixedWorld is the world of the golden vectors.
func fixedWorld(t testing.TB) *evidencetest.World {
	t.Helper()
	return evidencetest.NewWith(t, evidencetest.Config{
		Seed:             "golden",
		ID:               "golden",
		GatewayAddresses: []string{"gateway.example:443"},
		HTTPSAddresses:   []string{"https://gateway.example"},
	})
}

// fixedPayment is the payment of the golden vectors: 20 USD from research to seller, reviewed.
func fixedPayment(t testing.TB, w *evidencetest.World) *evidencetest.Payment {
	t.Helper()
	seller := w.Wallet(evidencetest.WalletConfig{ID: "seller", Owner: "shop"})
	payer := w.Wallet(evidencetest.WalletConfig{ID: "research"})
	payer.SetGuardRails(evidencetest.Allow(seller.GroupKey))
	p := payer.Payment(evidencetest.PaymentConfig{
		ID: "invoice-7", To: seller.GroupKey, Units: 20 * usd, Now: start, Purpose: "Invoice 7", SeenEntry: 3, SeenHash: digestOf(3),
	})
	p.Answer(typev1.Answer_ANSWER_APPROVE, nil)
	p.Judge(start, nil)
	p.Record(start, func(r *typev1.Receipt) {
		r.Light, r.ReviewDigest = yellow, evidence.EnvelopeDigest(p.Review).Bytes()
		r.Results = []*typev1.RuleResult{
			{Rule: typev1.Rule_RULE_LIMIT, Index: 1, Light: yellow, Observed: "60000000", Limit: "50000000", Room: "10000000"},
		}
		r.Entry, r.EntryHash = 4, digestOf(4)
	})
	return p
}

// fixedSolana are the payments of the golden vectors on Solana, with the ledger's receipts: 2.50 USDC to an owner, sent by the wallet
// itself, and 0.10 USDC for an HTTP resource.
func fixedSolana(t testing.TB, w *evidencetest.World) (transfer, bought *evidencetest.Payment) {
	t.Helper()
	payee := evidencetest.Key32(w.Key("owner on Solana"))
	payer := w.Wallet(evidencetest.WalletConfig{ID: "shopper"})
	payer.SetGuardRails(evidencetest.AllowSolana(payee))
	transfer = payer.Payment(evidencetest.PaymentConfig{
		ID: "invoice-8", Rail: onSolana, To: payee, Units: 5 * usd / 2, Now: start, Purpose: "Invoice 8",
	})
	bought = payer.Payment(evidencetest.PaymentConfig{
		ID: "report-7", Rail: onSolana, To: payee, Units: usd / 10, Now: start, Purpose: "Report 7",
		EditIntent: func(m *typev1.Intent) { m.X402 = boughtOf(t) },
	})
	for _, p := range []*evidencetest.Payment{transfer, bought} {
		p.Judge(start, nil)
		p.Record(start, nil)
	}
	return transfer, bought
}

// samples returns one content of every type that evidence knows.
func samples(t testing.TB) []sample {
	t.Helper()
	w := fixedWorld(t)
	p := fixedPayment(t, w)
	l := p.Wallet
	id, wallet, now := w.Installation.ID(), l.Name, start.UnixMilli()
	usdAsset := w.Installation.BookUSD()
	intent := evidence.IntentDigest(p.IntentBytes).Bytes()
	message := evidence.MessageDigest(p.MessageBytes).Bytes()
	peek := func(e *typev1.Envelope, m proto.Message) proto.Message { w.Decode(e, m); return m }

	transfer, fetched := fixedSolana(t, w)
	bought := proto.CloneOf(p.Intent)
	bought.X402 = boughtOf(t)
	keyStart := &typev1.KeyGenerationStart{
		Installation: id, Wallet: wallet, Run: bytes.Repeat([]byte{9}, 16), StaticKey: evidencetest.Public(w.Key("agent static")),
		RequestKey: evidencetest.Public(l.RequestKey), Handle: l.Handle, OwnerEmail: "you@company.example",
	}
	startDigest := evidence.EnvelopeDigest(w.Sign(l.RequestKey, keyStart)).Bytes()
	order := &typev1.ResharingOrder{
		Installation: id, Wallet: wallet, Run: bytes.Repeat([]byte{7}, 16), FromEpoch: 1, ToEpoch: 2,
		RequestKey: evidencetest.Public(l.RequestKey), RecoveryKey: evidencetest.Public(w.Key("recovery static")), Replace: true,
	}
	orderDigest := evidence.EnvelopeDigest(w.Sign(l.OwnerKey, order)).Bytes()
	reshareStart := &typev1.ResharingStart{
		Installation: id, Wallet: wallet, Run: order.GetRun(), OrderDigest: orderDigest, StaticKey: evidencetest.Public(w.Key("agent static")),
	}
	revocation := &typev1.Revocation{
		Installation: id, Wallet: wallet, FreezeId: "stolen-laptop", RequestKey: evidencetest.Public(l.RequestKey), Abandon: true,
	}
	sharingRecord := &typev1.SharingRecord{
		Installation: id, Wallet: wallet, Run: order.GetRun(), OrderDigest: orderDigest, Epoch: 2,
		Sharing: []byte("the new sharing"), TimeMillis: now,
	}
	enrolled := w.ClaimedWallet(evidencetest.WalletConfig{
		ID: "enrolled", Token: w.Key("token/enrolled"), TokenExpiry: start.Add(24 * time.Hour),
	})
	return []sample{
		{"intent", evidence.TypeIntent, p.Intent, ""},
		{"intent for an HTTP resource", evidence.TypeIntent, bought, ""},
		{"request", evidence.TypeRequest, peek(p.Request, new(typev1.Request)), "request/research"},
		{"intent on Solana", evidence.TypeIntent, transfer.Intent, ""},
		{"request on Solana", evidence.TypeRequest, peek(transfer.Request, new(typev1.Request)), "request/shopper"},
		{"intent for an HTTP resource on Solana", evidence.TypeIntent, fetched.Intent, ""},
		{"request for an HTTP resource on Solana", evidence.TypeRequest, peek(fetched.Request, new(typev1.Request)), "request/shopper"},
		{"receipt on Solana", evidence.TypeReceipt, peek(fetched.Receipt, new(typev1.Receipt)), "ledger"},
		{"registration", evidence.TypeRegistration, peek(l.Registration, new(typev1.Registration)), "request/research"},
		{"keygen-start", evidence.TypeKeyGenerationStart, keyStart, "request/research"},
		{"keygen-answer", evidence.TypeKeyGenerationAnswer, &typev1.KeyGenerationAnswer{
			Installation: id, Wallet: wallet, Run: keyStart.GetRun(), StartDigest: startDigest,
			StaticKey: evidencetest.Public(w.Key("cosigner static")),
		}, "cosigner"},
		{"registration-end", evidence.TypeRegistrationEnd, &typev1.RegistrationEnd{
			Installation: id, Wallet: wallet, RegistrationDigest: evidence.EnvelopeDigest(l.Registration).Bytes(), TimeMillis: now,
		}, "cosigner"},
		{"resharing-order", evidence.TypeResharingOrder, order, "owner/owner"},
		{"resharing-start", evidence.TypeResharingStart, reshareStart, "request/research"},
		{"resharing-answer", evidence.TypeResharingAnswer, &typev1.ResharingAnswer{
			Installation: id, Wallet: wallet, Run: order.GetRun(), StaticKey: evidencetest.Public(w.Key("cosigner static")),
			StartDigest: evidence.EnvelopeDigest(w.Sign(l.RequestKey, reshareStart)).Bytes(), Sharing: []byte("the old sharing"),
		}, "cosigner"},
		{"sharing-record", evidence.TypeSharingRecord, sharingRecord, "cosigner"},
		{"recovery-confirmation", evidence.TypeRecoveryConfirm, &typev1.RecoveryConfirmation{
			Installation: id, Wallet: wallet, Epoch: 2, RecordDigest: evidence.EnvelopeDigest(w.Sign(w.Key("cosigner"), sharingRecord)).Bytes(),
		}, "owner/owner"},
		{"wallet-record", evidence.TypeWalletRecord, peek(l.Record, new(typev1.WalletRecord)), "cosigner"},
		{"guard-rails number 0", evidence.TypeGuardRails, peek(l.Claim, new(typev1.GuardRails)), "owner/owner"},
		{"guard-rails number 0 by a token", evidence.TypeGuardRails, peek(enrolled.Claim, new(typev1.GuardRails)), "token/enrolled"},
		{"enrolment", evidence.TypeEnrolment, peek(enrolled.Enrolment, new(typev1.Enrolment)), "owner/owner"},
		{"guard-rails", evidence.TypeGuardRails, l.NextGuardRails(func(doc *typev1.GuardRails) {
			doc.TimeZone = "Europe/Zurich"
			doc.Limits = append(doc.Limits, &typev1.Limit{
				Unit: "USD", Measure: typev1.Measure_MEASURE_COUNT, Window: typev1.Window_WINDOW_ROLLING, RollingSeconds: 3600,
				Amount: "10", Crossed: red,
			})
			doc.Recipients.Deny = [][]byte{evidencetest.Public(w.Key("denied"))}
		}), "owner/owner"},
		{"guard-rails for HTTP requests", evidence.TypeGuardRails, l.NextGuardRails(func(doc *typev1.GuardRails) {
			doc.X402 = &typev1.X402Rules{UnknownHost: red, Hosts: []*typev1.X402Host{
				{Host: "*.data.example", ChangedRecipient: yellow},
				{
					Host: "api.example:8443", Methods: []string{"GET", "POST"}, PathPrefixes: []string{"/v1/reports", "/v2"}, PlainHttp: true,
					MaxPrice:   &typev1.X402Price{Unit: "USD", Amount: "100000", Crossed: red},
					Recipients: [][]byte{p.Intent.GetRecipient()}, ChangedRecipient: red, DriftPercent: 20, Drifted: yellow,
				},
			}}
		}), "owner/owner"},
		{"verdict", evidence.TypeVerdict, peek(p.Verdict, new(typev1.Verdict)), "policy"},
		{"receipt", evidence.TypeReceipt, peek(p.Receipt, new(typev1.Receipt)), "ledger"},
		{"review", evidence.TypeReview, peek(p.Review, new(typev1.Review)), "owner/owner"},
		{"settlement", evidence.TypeSettlement, &typev1.Settlement{
			Installation: id, Wallet: wallet, Payment: p.Name, Payer: l.GroupKey[:], Recipient: p.Intent.GetRecipient(), Asset: usdAsset,
			Units: p.Intent.GetUnits(), IntentDigest: intent, MessageDigest: message, TimeMillis: now,
		}, "ledger"},
		{"dead-message", evidence.TypeDeadMessage, &typev1.DeadMessage{
			Installation: id, Wallet: wallet, Payment: p.Name, IntentDigest: intent, MessageDigest: message, TimeMillis: now,
		}, "ledger"},
		{"settlement on Solana", evidence.TypeSettlement, &typev1.Settlement{
			Installation: id, Wallet: transfer.Wallet.Name, Payment: transfer.Name,
			Payer: transfer.GroupKey[:], Recipient: transfer.Intent.GetRecipient(),
			Asset: evidencetest.USDC, Units: transfer.Intent.GetUnits(), IntentDigest: evidence.IntentDigest(transfer.IntentBytes).Bytes(),
			MessageDigest: evidence.MessageDigest(transfer.MessageBytes).Bytes(), TimeMillis: now, Transaction: transfer.Settle(), Slot: 290_000_200,
		}, "ledger"},
		{"dead-message of a transaction that failed", evidence.TypeDeadMessage, &typev1.DeadMessage{
			Installation: id, Wallet: transfer.Wallet.Name,
			Payment: transfer.Name, IntentDigest: evidence.IntentDigest(transfer.IntentBytes).Bytes(),
			MessageDigest: evidence.MessageDigest(transfer.MessageBytes).Bytes(), TimeMillis: now, Transaction: transfer.Settle(), Slot: 290_000_200,
		}, "ledger"},
		{"chain-transfer in", evidence.TypeChainTransfer, &typev1.ChainTransfer{
			Installation: id, Wallet: transfer.Wallet.Name, Asset: evidencetest.USDC, Units: "25000000",
			Transaction: bytes.Repeat([]byte{8}, 64), Slot: 290_000_000, TimeMillis: now,
		}, "ledger"},
		{"chain-transfer out", evidence.TypeChainTransfer, &typev1.ChainTransfer{
			Installation: id, Wallet: transfer.Wallet.Name, Asset: evidencetest.USDC, Units: transfer.Intent.GetUnits(), Outflow: true,
			Transaction: transfer.Settle(), Slot: 290_000_200, Payment: transfer.Name, TimeMillis: now,
		}, "ledger"},
		{"unfreeze", evidence.TypeUnfreeze, &typev1.Unfreeze{
			Installation: id, Scope: typev1.Scope_SCOPE_OWNER, Owner: l.Owner, FreezeId: "lost-laptop",
		}, "owner/owner"},
		{"revocation", evidence.TypeRevocation, revocation, "owner/owner"},
		{"acknowledgement of a revocation", evidence.TypeAcknowledgement, &typev1.Acknowledgement{
			Installation: id, Wallet: wallet, Kind: typev1.Acknowledged_ACKNOWLEDGED_REVOCATION, Scope: typev1.Scope_SCOPE_WALLET,
			FreezeId: revocation.GetFreezeId(), Frozen: true, TimeMillis: now,
			RevocationDigest: evidence.EnvelopeDigest(w.Sign(l.OwnerKey, revocation)).Bytes(),
		}, "ledger"},
		{"acknowledgement of a freeze", evidence.TypeAcknowledgement, &typev1.Acknowledgement{
			Installation: id, Wallet: wallet, Kind: typev1.Acknowledged_ACKNOWLEDGED_FREEZE, Scope: typev1.Scope_SCOPE_WALLET,
			FreezeId: "lost-laptop", Frozen: true, TimeMillis: now,
		}, "cosigner"},
		{"acknowledgement of guard rails", evidence.TypeAcknowledgement, &typev1.Acknowledgement{
			Installation: id, Wallet: wallet, Kind: typev1.Acknowledged_ACKNOWLEDGED_GUARD_RAILS, GuardRailsNumber: l.Head.Document.GetNumber(),
			GuardRailsDigest: l.Head.Digest.Bytes(), TimeMillis: now,
		}, "policy"},
		{"deposit", evidence.TypeDeposit, &typev1.Deposit{
			Installation: id, Wallet: wallet, DepositId: "wire-1", Asset: usdAsset, Units: "100000000",
		}, "operator"},
		{"redemption", evidence.TypeRedemption, &typev1.Redemption{Installation: id, Wallet: wallet, Payment: p.Name}, "operator"},
		{"accept-loss", evidence.TypeAcceptLoss, &typev1.AcceptLoss{
			Installation: id, Wallet: wallet, Entry: 2, EntryHash: digestOf(2), LostEntry: 3, LostHash: digestOf(3),
		}, "operator"},
		{
			"set-time", evidence.TypeSetTime, &typev1.SetTime{Installation: id, Wallet: wallet, StatementId: "clock-1", TimeMillis: now},
			"operator",
		},
		{"token", evidence.TypeToken, &typev1.Token{
			Installation: id, Wallet: wallet, Caller: "agents/research", Method: "/halfkey.gateway.v1.GatewayService/GetPayment",
			Resource: p.Name, TimeMillis: now, ExpiryMillis: now + 60_000,
		}, "request/research"},
		{"owner-registration", evidence.TypeOwnerRegistration, &typev1.OwnerRegistration{
			Installation: id, Owner: l.Owner, Email: "you@company.example",
			OwnerKeys: sortedKeys(evidencetest.Public(l.OwnerKey), evidencetest.Public(w.Key("owner second"))),
		}, "owner/owner"},
		{"owner-invitation", evidence.TypeOwnerInvitation, &typev1.OwnerInvitation{
			Installation: id, Owner: l.Owner, InvitationKey: evidencetest.Public(w.Key("invitation")), Email: "colleague@company.example",
			ExpiryMillis: now + 86_400_000,
		}, "owner/owner"},
		{"owner-keys", evidence.TypeOwnerKeys, &typev1.OwnerKeys{
			Installation: id, Owner: l.Owner, Number: 1,
			OwnerKeys: sortedKeys(evidencetest.Public(w.Key("owner new")), evidencetest.Public(w.Key("owner second"))),
		}, "owner/owner"},
		{"installation", evidence.TypeInstallation, w.Installation.Content(), "operator"},
		{"entry", evidence.TypeEntry, &typev1.Entry{
			Installation: id, Wallet: wallet, Number: 4, Previous: digestOf(3), TimeMillis: now, Kind: typev1.EntryKind_ENTRY_KIND_PAYMENT,
			Payment: p.Name, PaymentState: typev1.PaymentState_PAYMENT_STATE_AUTHORIZED, Asset: usdAsset, Units: p.Intent.GetUnits(),
			Available: "80000000", Held: "20000000", Light: yellow,
			Results: []*typev1.RuleResult{
				{Rule: typev1.Rule_RULE_LIMIT, Index: 1, Light: yellow, Observed: "60000000", Limit: "50000000", Room: "10000000"},
			},
			Statements: []*typev1.Envelope{p.Request, p.Verdict, p.Review}, Message: p.MessageBytes, Caller: "agents/research",
		}, ""},
		{"entry of a payment for an HTTP request", evidence.TypeEntry, &typev1.Entry{
			Installation: id, Wallet: wallet, Number: 5, Previous: digestOf(4), TimeMillis: now, Kind: typev1.EntryKind_ENTRY_KIND_PAYMENT,
			Payment: p.Name, PaymentState: typev1.PaymentState_PAYMENT_STATE_DENIED, Asset: usdAsset, Units: p.Intent.GetUnits(),
			Available: "80000000", Held: "0", Light: red,
			Results: []*typev1.RuleResult{
				{Rule: typev1.Rule_RULE_X402_CHANGED_RECIPIENT, Light: red, LastRecipient: digestOf(6)},
				{Rule: typev1.Rule_RULE_X402_DRIFT, Light: yellow, Observed: "20000000", Limit: "12000000", Room: "12000000"},
			},
			Statements: []*typev1.Envelope{p.Request, p.Verdict}, Message: p.MessageBytes, Caller: "agents/research",
		}, ""},
		{"journal-head", evidence.TypeJournalHead, &typev1.JournalHead{
			Installation: id, Wallet: wallet, Entry: 4, EntryHash: digestOf(4), TimeMillis: now,
		}, "ledger"},
	}
}

// boughtOf is the context of a request with a query and a body.
func boughtOf(t testing.TB) *typev1.X402Context {
	t.Helper()
	u, err := url.Parse("https://api.example:8443/v1/reports%2F7?year=2026")
	if err != nil {
		t.Fatal(err)
	}
	m, err := evidence.X402Of("POST", u, sha256.Sum256([]byte(`{"pages":3}`)))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// sampleOf returns a copy of the sample's message.
func sampleOf(t testing.TB, name string) proto.Message {
	t.Helper()
	for _, s := range samples(t) {
		if s.name == name {
			return proto.Clone(s.m)
		}
	}
	t.Fatalf("no sample %q", name)
	return nil
}

func sortedKeys(keys ...[]byte) [][]byte {
	slices.SortFunc(keys, bytes.Compare)
	return keys
}
