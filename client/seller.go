package client

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"path/filepath"

	"github.com/halfkey/halfkey/internal/evidence"
	"github.com/halfkey/halfkey/internal/x402"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// SoldMax bounds an answer that a Seller sells: it is kept, so that a buyer who lost it on the way gets it again.
const SoldMax = 512 << 10

// Goods is what a request asks for.
type Goods struct {
	// Units is the price in millionths of a book dollar.
	Units int64
	// Description says what is sold, for the buyer.
	Description string
}

// SellerConfig is what a Seller needs.
type SellerConfig struct {
	// Origin is the scheme and host under which buyers reach it, like https://shop.example. It is what a payment must name, so it is
	// not taken from a request.
	Origin string
	// Price says what a request costs; false serves it for nothing.
	Price func(r *http.Request) (Goods, bool)
	// Dir is a directory of its own, in which it keeps what was sold.
	Dir string
}

// Seller sells answers to HTTP requests for payments to an agent's wallet, by x402 with the scheme halfkey-book. It delivers
// against the ledger's signed statement that the payment settled, and nothing less.
type Seller struct {
	agent   *Agent
	config  SellerConfig
	selling nameLocks
}

// NewSeller makes a seller whose money goes to the agent's wallet.
func (a *Agent) NewSeller(config SellerConfig) (*Seller, error) {
	const op = "sell"
	u, err := url.Parse(config.Origin)
	if err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" || u.Path != "" {
		return nil, local(op, typev1.Reason_REASON_INVALID_ARGUMENT,
			"an origin is a scheme and a host, like https://shop.example", "field", "origin")
	}
	if _, err := X402Context(http.MethodGet, u, sha256.Sum256(nil)); err != nil {
		return nil, err
	}
	if config.Price == nil {
		return nil, local(op, typev1.Reason_REASON_INVALID_ARGUMENT, "a seller has prices", "field", "price")
	}
	if err := makeDir(config.Dir); err != nil {
		return nil, wrap(op, err, notMoved)
	}
	return &Seller{agent: a, config: config}, nil
}

// Sell is next, sold: a request that costs something reaches it once it is paid, and only once for each payment unless its answer
// was lost before it could be kept. Its answer is at most SoldMax; one with a status of 300 or more is not a sale, and the same
// payment may try again.
func (s *Seller) Sell(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		goods, costs := s.config.Price(r)
		if !costs {
			next.ServeHTTP(w, r)
			return
		}
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, FetchBodyMax))
		if err != nil {
			http.Error(w, "the request's body cannot be read, or is larger than 256 KiB", http.StatusRequestEntityTooLarge)
			return
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		request, err := s.request(r, body)
		if err != nil {
			http.Error(w, "nothing is sold under this method or URL", http.StatusBadRequest)
			return
		}
		if r.Header.Get(x402.HeaderPayment) == "" {
			s.ask(w, request, goods, "")
			return
		}
		s.deliver(w, r, next, Sale{Request: request, Units: goods.Units}, goods)
	})
}

// request is the context that a payment for this request must have.
func (s *Seller) request(r *http.Request, body []byte) (*typev1.X402Context, error) {
	u, err := url.Parse(s.config.Origin + r.URL.RequestURI())
	if err != nil {
		return nil, err
	}
	return X402Context(r.Method, u, sha256.Sum256(body))
}

// ask answers with the price.
func (s *Seller) ask(w http.ResponseWriter, request *typev1.X402Context, goods Goods, why string) {
	i := s.agent.c.Installation()
	required := &x402.Required{
		Version: 2, Error: x402.Untrusted(why),
		Resource: x402.Resource{URL: x402.Untrusted(s.config.Origin + request.GetPath()), Description: x402.Untrusted(goods.Description)},
		Offers: []x402.Offer{{
			Version: 2, Scheme: x402.SchemeBook, Network: x402.BookNetwork(i.ID()), Asset: i.BookUSD(), PayTo: s.agent.wallet,
			Units: goods.Units, MaxTimeoutSeconds: sellTimeoutSeconds, Flow: x402.FlowAuthorization,
		}},
	}
	value, err := required.Encode()
	if err != nil {
		http.Error(w, "the price cannot be told", http.StatusInternalServerError)
		return
	}
	w.Header().Set(x402.HeaderRequired, value)
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusPaymentRequired)
	_, _ = io.WriteString(w, "{}\n") // What is asked stands in the header.
}

// sellTimeoutSeconds is how long a buyer may have to wait for an answer.
const sellTimeoutSeconds = 60

// deliver verifies a payment and serves what it bought: once, and then the same answer again.
func (s *Seller) deliver(w http.ResponseWriter, r *http.Request, next http.Handler, sale Sale, goods Goods) {
	proof, err := readProof(r.Header)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	bought, err := s.agent.c.VerifyPurchase(s.agent.wallet, sale, *proof)
	if err != nil {
		s.ask(w, sale.Request, goods, err.Error())
		return
	}
	unlock, err := s.selling.lock(r.Context(), bought.Payment)
	if err != nil {
		return // The buyer has gone.
	}
	defer unlock()
	path := s.soldPath(bought.Payment)
	sold, err := loadSold(path, bought.Payment)
	if errors.Is(err, fs.ErrNotExist) {
		sold, err = s.serve(next, r, bought.Payment, path)
	}
	if err != nil {
		http.Error(w, "the seller failed; the payment stays good for this request", http.StatusInternalServerError)
		return
	}
	s.answer(w, sold, bought)
}

// readProof reads what a buyer shows.
func readProof(header http.Header) (*Proof, error) {
	paid, err := x402.ParsePayment(header)
	if err != nil {
		return nil, err
	}
	payload, err := x402.ParseBookPayload(paid.Payload)
	if err != nil {
		return nil, err
	}
	settlement := new(typev1.Envelope)
	if err := evidence.Unmarshal(payload.Settlement, settlement); err != nil {
		return nil, err
	}
	return &Proof{Payment: payload.Payment, Intent: payload.Intent, Settlement: settlement}, nil
}

// soldPath is the file of what a payment bought.
func (s *Seller) soldPath(payment string) string {
	digest := sha256.Sum256([]byte(payment))
	return filepath.Join(s.config.Dir, hex.EncodeToString(digest[:])+recordSuffix)
}

// soldFile is an answer that was sold, on disk.
type soldFile struct {
	Version int                 `json:"version"`
	Payment string              `json:"payment"`
	Status  int                 `json:"status"`
	Header  map[string][]string `json:"header"`
	Body    []byte              `json:"body"`
}

func loadSold(path, payment string) (*soldFile, error) {
	f := new(soldFile)
	if err := readJSON(path, f); err != nil {
		return nil, err
	}
	if f.Version != fileVersion || f.Payment != payment {
		return nil, fileErrorf("halfkey: %s is of another version or payment", path)
	}
	return f, nil
}

// serve lets the handler make the answer, and keeps it before anybody sees it.
func (s *Seller) serve(next http.Handler, r *http.Request, payment, path string) (*soldFile, error) {
	kept := &keptAnswer{header: make(http.Header), status: http.StatusOK}
	// A buyer who hangs up must not cut short what is kept for the payment for ever.
	next.ServeHTTP(kept, r.WithContext(context.WithoutCancel(r.Context())))
	if kept.tooLong {
		return nil, errors.New("halfkey: an answer that is sold is longer than 512 KiB")
	}
	f := &soldFile{Version: fileVersion, Payment: payment, Status: kept.status, Header: kept.header, Body: kept.body.Bytes()}
	if f.Status >= http.StatusMultipleChoices {
		return f, nil
	}
	b, err := encodeJSON(f)
	if err != nil {
		return nil, err
	}
	return f, writeFile(path, b)
}

// answer sends what was sold, with the receipt.
func (s *Seller) answer(w http.ResponseWriter, sold *soldFile, bought *Purchase) {
	for name, values := range sold.Header {
		w.Header()[name] = values
	}
	receipt := &x402.Receipt{
		Success: true, Transaction: x402.Untrusted(bought.Payment), Network: x402.Untrusted(x402.BookNetwork(s.agent.c.Installation().ID())),
		Payer: x402.Untrusted(bought.Settlement.GetWallet()), Amount: x402.Untrusted(bought.Settlement.GetUnits()),
	}
	if value, err := receipt.Encode(); err == nil {
		w.Header().Set(x402.HeaderReceipt, value)
	}
	w.Header().Set("Cache-Control", "private")
	w.WriteHeader(sold.Status)
	_, _ = w.Write(sold.Body) // A buyer who lost it sends the same payment again.
}

// keptAnswer is a ResponseWriter that keeps an answer, as far as SoldMax.
type keptAnswer struct {
	header  http.Header
	status  int
	begun   bool
	body    bytes.Buffer
	tooLong bool
}

// Header is the answer's.
func (k *keptAnswer) Header() http.Header { return k.header }

// WriteHeader keeps the first final status.
func (k *keptAnswer) WriteHeader(status int) {
	if !k.begun && status >= http.StatusOK {
		k.status, k.begun = status, true
	}
}

// Write keeps p.
func (k *keptAnswer) Write(p []byte) (int, error) {
	k.begun = true
	if k.tooLong = k.tooLong || k.body.Len()+len(p) > SoldMax; k.tooLong {
		return 0, errors.New("halfkey: an answer that is sold is at most 512 KiB")
	}
	return k.body.Write(p)
}
