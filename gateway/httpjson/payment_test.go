package httpjson_test

import (
	"bufio"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/halfkey/halfkey/client"
	"github.com/halfkey/halfkey/frost"
	"github.com/halfkey/halfkey/gateway/httpjson"
	"github.com/halfkey/halfkey/halfkeytest"
	"github.com/halfkey/halfkey/internal/chain/book"
	"github.com/halfkey/halfkey/internal/evidence"
	gatewayv1 "github.com/halfkey/halfkey/proto/gen/halfkey/gateway/v1"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// hand is an agent that has nothing but HTTP: a request key, a share and what it reads.
type hand struct {
	w          *world
	t          *testing.T
	wallet     string
	requestKey ed25519.PrivateKey
	share      *frost.KeyShare
}

// post calls a method that takes a body, and demands its answer.
func (h *hand) post(path string, body, answer proto.Message) {
	h.t.Helper()
	b, err := protojson.Marshal(body)
	if err != nil {
		h.t.Fatal(err)
	}
	h.read(h.w.do(h.t, request{method: "POST", path: path, body: string(b)}), answer)
}

// get reads a resource of the wallet with a token.
func (h *hand) get(method, path string, answer proto.Message) {
	h.t.Helper()
	h.read(h.w.do(h.t, request{method: "GET", path: path, token: h.token(method)}), answer)
}

func (h *hand) read(got response, answer proto.Message) {
	h.t.Helper()
	if got.status != http.StatusOK || got.header.Get("Content-Type") != "application/json" {
		h.t.Fatalf("got %d %v: %s", got.status, got.header, got.body)
	}
	if err := protojson.Unmarshal([]byte(got.body), answer); err != nil {
		h.t.Fatal(err)
	}
}

func (h *hand) sign(statement proto.Message) *typev1.Envelope {
	h.t.Helper()
	e, err := evidence.Sign(h.requestKey, statement)
	if err != nil {
		h.t.Fatal(err)
	}
	return e
}

func (h *hand) token(method string) string {
	h.t.Helper()
	now := time.Now()
	b, err := evidence.Marshal(h.sign(&typev1.Token{
		Installation: h.w.Installation().ID(), Wallet: h.wallet, Caller: "agents/" + strings.TrimPrefix(h.wallet, "wallets/"),
		Method: service + method, Resource: h.wallet,
		TimeMillis: now.UnixMilli(), ExpiryMillis: now.Add(evidence.TokenLife / 2).UnixMilli(),
	}))
	if err != nil {
		h.t.Fatal(err)
	}
	return base64.RawURLEncoding.EncodeToString(b)
}

// start begins a registration that nobody ends, for an owner of its own.
func (h *hand) start(n int) response {
	h.t.Helper()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		h.t.Fatal(err)
	}
	static, err := frost.NewStaticKey()
	if err != nil {
		h.t.Fatal(err)
	}
	own, run := static.Public(), uuid.New()
	h.requestKey = private
	body, err := protojson.Marshal(&gatewayv1.StartRegistrationRequest{Start: h.sign(&typev1.KeyGenerationStart{
		Installation: h.w.Installation().ID(), Wallet: "wallets/" + uuid.NewString(), Run: run[:], StaticKey: own[:], RequestKey: public,
		Handle: fmt.Sprintf("agent-%d", n), OwnerEmail: fmt.Sprintf("you-%d@company.com", n),
	})})
	if err != nil {
		h.t.Fatal(err)
	}
	return h.w.do(h.t, request{method: "POST", path: "/v1/registrations", body: string(body)})
}

// register makes a wallet by a key generation over HTTP, and returns the code by which its owner claims it.
func (h *hand) register(handle string) string {
	h.t.Helper()
	i := h.w.Installation()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		h.t.Fatal(err)
	}
	run := uuid.New()
	h.wallet, h.requestKey = "wallets/"+uuid.NewString(), private
	static, err := frost.NewStaticKey()
	if err != nil {
		h.t.Fatal(err)
	}
	own := static.Public()
	start := h.sign(&typev1.KeyGenerationStart{
		Installation: i.ID(), Wallet: h.wallet, Run: run[:], StaticKey: own[:], RequestKey: public, Handle: handle, OwnerEmail: halfkeytest.Email,
	})
	started := &gatewayv1.StartRegistrationResponse{}
	h.post("/v1/registrations", &gatewayv1.StartRegistrationRequest{Start: start, DisplayName: "By hand"}, started)
	answer, err := evidence.CheckKeyGenerationAnswer(i, start, started.GetAnswer())
	if err != nil {
		h.t.Fatal(err)
	}
	g, err := frost.NewKeyGeneration(frost.Agent, static, frost.Run{
		Session: evidence.KeyGenerationSession(i.ID(), h.wallet, run[:]), Threshold: 2,
		StaticKeys: [][32]byte{own, [32]byte(answer.GetStaticKey())},
	})
	if err != nil {
		h.t.Fatal(err)
	}
	certificate, err := g.Round2([][]byte{g.Round1(), started.GetRound1()})
	if err != nil {
		h.t.Fatal(err)
	}
	// What stands in the path stands in no body.
	exchanged := &gatewayv1.ExchangeRegistrationResponse{}
	h.post("/v1/"+h.wallet+"/registration:exchange", &gatewayv1.ExchangeRegistrationRequest{Run: run[:], Round1: g.Round1()}, exchanged)
	transcript, err := g.TranscriptDigest()
	if err != nil {
		h.t.Fatal(err)
	}
	if h.share, err = g.Finish([][64]byte{certificate, [64]byte(exchanged.GetCertificate())}); err != nil {
		h.t.Fatal(err)
	}
	nonces, commitment, err := h.share.Commit()
	if err != nil {
		h.t.Fatal(err)
	}
	confirmed := &gatewayv1.ConfirmRegistrationResponse{}
	h.post("/v1/"+h.wallet+"/registration:confirm",
		&gatewayv1.ConfirmRegistrationRequest{Run: run[:], Certificate: certificate[:], Commitment: commitment[:]}, confirmed)
	group := h.share.GroupKey()
	tested := h.finish(nonces, evidence.KeyTestMessage(i.ID(), h.wallet, group, transcript), confirmed.GetRelease())
	statement := &typev1.Registration{Installation: i.ID(), Wallet: h.wallet, Handle: handle, GroupKey: group[:], RequestKey: public}
	wallet := &typev1.Wallet{}
	h.post("/v1/"+h.wallet+"/registration:complete",
		&gatewayv1.CompleteRegistrationRequest{Run: run[:], Registration: h.sign(statement), Signature: tested[:]}, wallet)
	if wallet.GetState() != typev1.WalletState_WALLET_STATE_UNCLAIMED {
		h.t.Fatalf("the wallet is %v", wallet.GetState())
	}
	return evidence.ClaimCode(i.ID(), statement)
}

func (h *hand) finish(nonces *frost.Nonces, message, release []byte) frost.Signature {
	h.t.Helper()
	parsed, err := frost.ParseRelease(release)
	if err != nil {
		h.t.Fatal(err)
	}
	signature, err := nonces.Finish(message, parsed)
	if err != nil {
		h.t.Fatal(err)
	}
	return signature
}

// create asks for a payment, or for a dry run of it, and returns what is needed to finish it.
func (h *hand) create(id, units string, to [32]byte, dry bool) (*typev1.Payment, *frost.Nonces) {
	h.t.Helper()
	i := h.w.Installation()
	account := &gatewayv1.GetAccountResponse{}
	h.get("GetAccount", "/v1/"+h.wallet+"/account", account)
	now := account.GetLedgerTime().AsTime()
	name := h.wallet + "/payments/" + id
	intent, err := evidence.Marshal(&typev1.Intent{
		Installation: i.ID(), Wallet: h.wallet, Payment: name, Rail: typev1.Rail_RAIL_BOOK, Asset: i.BookUSD(), Units: units,
		Recipient: to[:], Purpose: "weather data", DeadlineMillis: now.Add(time.Hour).UnixMilli(),
	})
	if err != nil {
		h.t.Fatal(err)
	}
	checked, number, err := evidence.CheckIntent(i, intent)
	if err != nil {
		h.t.Fatal(err)
	}
	message, err := book.Message{
		Installation: i.ID(), Payment: name, Payer: h.share.GroupKey(), Recipient: to, Asset: checked.GetAsset(), Units: number,
		IntentDigest: evidence.IntentDigest(intent), ExpiryMillis: now.Add(time.Minute).UnixMilli(),
	}.Encode()
	if err != nil {
		h.t.Fatal(err)
	}
	nonces, commitment, err := h.share.Commit()
	if err != nil {
		h.t.Fatal(err)
	}
	head := new(typev1.JournalHead)
	if err := evidence.Peek(account.GetHead(), head); err != nil {
		h.t.Fatal(err)
	}
	payment := &typev1.Payment{}
	h.post("/v1/"+h.wallet+"/payments", &gatewayv1.CreatePaymentRequest{
		Request: h.sign(&typev1.Request{
			Installation: i.ID(), Wallet: h.wallet, Payment: name, Intent: intent, MessageDigest: evidence.MessageDigest(message).Bytes(),
			Commitment: commitment[:], SeenEntry: head.GetEntry(), SeenHash: head.GetEntryHash(), TimeMillis: now.UnixMilli(),
		}),
		Message: message, ValidateOnly: dry,
	}, payment)
	return payment, nonces
}

// A payment from the key generation to the settlement, and its dry run, its history and its refusals, by nothing but HTTP and JSON.
func TestPaymentByHand(t *testing.T) {
	w := newWorld(t)
	shop := w.Agent("Shop")
	h := &hand{w: w, t: t}
	code := h.register("by-hand")
	if _, err := w.Owner().Claim(t.Context(), code); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Owner().SetGuardRails(t.Context(), h.wallet, client.StandardRules(shop.GroupKey())); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Operator().Deposit(t.Context(), h.wallet, uuid.NewString(), 10_000_000); err != nil {
		t.Fatal(err)
	}

	dry, _ := h.create("first", "2000000", shop.GroupKey(), true)
	if dry.GetState() != typev1.PaymentState_PAYMENT_STATE_AUTHORIZED || len(dry.GetRelease()) != 0 ||
		dry.GetLight() != typev1.Light_LIGHT_GREEN {
		t.Errorf("a dry run answers %v", dry)
	}
	payment, nonces := h.create("first", "2000000", shop.GroupKey(), false)
	if payment.GetState() != typev1.PaymentState_PAYMENT_STATE_AUTHORIZED {
		t.Fatalf("got %v", payment)
	}
	signature := h.finish(nonces, payment.GetMessage(), payment.GetRelease())
	settled := &typev1.Payment{}
	h.post("/v1/"+h.wallet+"/payments/first:settle", &gatewayv1.SettlePaymentRequest{Signature: signature[:]}, settled)
	settlement, err := evidence.CheckSettlement(w.Installation(), settled.GetSettlement())
	if err != nil || settlement.GetPayment() != h.wallet+"/payments/first" || settlement.GetUnits() != "2000000" {
		t.Fatalf("settlement %v: %v", settlement, err)
	}

	read, listed, account := &typev1.Payment{}, &gatewayv1.ListPaymentsResponse{}, &gatewayv1.GetAccountResponse{}
	h.get("GetPayment", "/v1/"+h.wallet+"/payments/first", read)
	if read.GetState() != typev1.PaymentState_PAYMENT_STATE_SETTLED {
		t.Errorf("got %v", read.GetState())
	}
	h.get("ListPayments", "/v1/"+h.wallet+"/payments?state=PAYMENT_STATE_SETTLED&page_size=1", listed)
	if len(listed.GetPayments()) != 1 || listed.GetPayments()[0].GetName() != read.GetName() {
		t.Errorf("got %v", listed)
	}
	h.get("GetAccount", "/v1/"+h.wallet+"/account", account)
	if len(account.GetBalances()) != 1 || account.GetBalances()[0].GetAvailable() != "8000000" {
		t.Errorf("got %v", account.GetBalances())
	}

	t.Run("over the hard cap", func(t *testing.T) {
		denied, _ := h.create("second", "101000000", shop.GroupKey(), false)
		if denied.GetState() != typev1.PaymentState_PAYMENT_STATE_DENIED {
			t.Errorf("got %v", denied.GetState())
		}
	})
	t.Run("a settlement by another signature", func(t *testing.T) {
		signature[0] ^= 1
		b := `{"signature":"` + base64.StdEncoding.EncodeToString(signature[:]) + `"}`
		got := w.do(t, request{method: "POST", path: "/v1/" + h.wallet + "/payments/second:settle", body: b})
		if got.status != http.StatusConflict || got.problem.Reason != "WRONG_STATE" || got.problem.MoneyMoved != "NO" {
			t.Errorf("got %d %s", got.status, got.body)
		}
	})
	t.Run("watch", func(t *testing.T) { h.watch(t, shop) })
	t.Run("freeze", func(t *testing.T) {
		frozen := w.do(t, request{
			method: "POST", path: "/v1/freezes", token: h.token("Freeze"),
			body: `{"freeze":{"freeze_id":"stop-1","scope":"SCOPE_WALLET","wallet":"` + h.wallet + `"}}`,
		})
		if frozen.status != http.StatusOK {
			t.Fatalf("got %s", frozen.body)
		}
		freezes := &gatewayv1.ListFreezesResponse{}
		h.get("ListFreezes", "/v1/"+h.wallet+"/freezes", freezes)
		if !freezes.GetFrozen() || len(freezes.GetFreezes()) != 1 || freezes.GetFreezes()[0].GetFreezeId() != "stop-1" {
			t.Errorf("got %v", freezes)
		}
	})
}

// watch follows a payment that waits for a person until it has ended: a line for each change, as it happens.
func (h *hand) watch(t *testing.T, shop *client.Agent) {
	waiting, _ := h.create("third", "6000000", shop.GroupKey(), false)
	if waiting.GetState() != typev1.PaymentState_PAYMENT_STATE_PENDING_REVIEW {
		t.Fatalf("got %v", waiting.GetState())
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, h.w.HTTPS()+"/v1/"+h.wallet+"/payments/third:watch", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set(httpjson.TokenHeader, h.token("WatchPayment"))
	resp, err := h.w.web.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK || resp.Header.Get("Content-Type") != "application/x-ndjson" {
		t.Fatalf("got %d %v", resp.StatusCode, resp.Header)
	}
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, 1<<20)
	next := func() string {
		t.Helper()
		if !lines.Scan() {
			t.Fatalf("the stream ended: %v", lines.Err())
		}
		var one struct {
			Result struct{ State string }
		}
		if err := json.Unmarshal(lines.Bytes(), &one); err != nil {
			t.Fatalf("%q: %v", lines.Text(), err)
		}
		return one.Result.State
	}
	if got := next(); got != "PAYMENT_STATE_PENDING_REVIEW" {
		t.Errorf("got %s", got)
	}
	canceled := h.w.do(t, request{method: "POST", path: "/v1/" + h.wallet + "/payments/third:cancel", token: h.token("CancelPayment")})
	if canceled.status != http.StatusOK {
		t.Fatalf("got %s", canceled.body)
	}
	if got := next(); got != "PAYMENT_STATE_CANCELED" {
		t.Errorf("got %s", got)
	}
	if lines.Scan() {
		t.Errorf("a line after the end: %s", lines.Text())
	}
}
