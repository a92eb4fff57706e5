package client

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/halfkey/halfkey/internal/resource"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// fetchFile is a fetch's record on disk.
type fetchFile struct {
	Version       int                 `json:"version"`
	Name          string              `json:"name"`
	Revision      uint64              `json:"revision"`
	Method        string              `json:"method"`
	URL           string              `json:"url"`
	Header        map[string][]string `json:"header"`
	Body          []byte              `json:"body"`
	Loopback      bool                `json:"loopback"`
	Private       bool                `json:"private"`
	CreatedMillis int64               `json:"created_millis"`
	QuotedMillis  int64               `json:"quoted_millis"`
	X402Version   int                 `json:"x402_version"`
	Required      []byte              `json:"required"`
	Offer         int                 `json:"offer"`
	Asset         string              `json:"asset"`
	Units         int64               `json:"units,string"`
	PayTo         string              `json:"pay_to"`
	Recipient     []byte              `json:"recipient"`
	Memo          string              `json:"memo"`
	Judged        string              `json:"judged"`
	State         FetchState          `json:"state"`
	Ended         string              `json:"ended"`
	Money         string              `json:"money"`
	LastHeight    uint64              `json:"last_valid_height,string"`
	UntilMillis   int64               `json:"until_millis"`
	PaymentHeader string              `json:"payment_header"`
	PaymentValue  string              `json:"payment_value"`
	Attempts      int                 `json:"attempts"`
	AnswerStatus  int                 `json:"answer_status"`
	AnswerProblem string              `json:"answer_problem"`
	AnswerClaim   string              `json:"answer_claim"`
	AnswerBytes   int64               `json:"answer_bytes"`
	DeliveredAt   int64               `json:"delivered_millis"`
}

// fetchStates are the states that a record on disk may have.
var fetchStates = []FetchState{FetchQuoted, FetchConfirmed, FetchSent, FetchPaid, FetchDelivered, FetchEnded}

// LoadFetch returns a fetch's record.
func (h *Home) LoadFetch(name string) (*FetchRecord, error) {
	path, err := h.fetchPath(name)
	if err != nil {
		return nil, err
	}
	return loadFetch(path, name)
}

func loadFetch(path, name string) (*FetchRecord, error) {
	var f fetchFile
	if err := readJSON(path, &f); err != nil {
		return nil, err
	}
	judged, ok := typev1.PaymentState_value[f.Judged]
	money, known := typev1.MoneyMoved_value[cmp.Or(f.Money, unsaid.String())]
	if f.Version != fileVersion || f.Name != name || len(f.Recipient) != 32 || !ok || !known || !slices.Contains(fetchStates, f.State) {
		return nil, fileErrorf("halfkey: the record of the fetch %s is of another version or fetch", name)
	}
	r := &FetchRecord{
		Name: f.Name, Revision: f.Revision, Method: f.Method, URL: f.URL, Header: http.Header(f.Header), Body: f.Body,
		Reach:   Reach{Loopback: f.Loopback, Private: f.Private},
		Created: time.UnixMilli(f.CreatedMillis), Quoted: time.UnixMilli(f.QuotedMillis),
		Version: f.X402Version, Required: f.Required, Offer: f.Offer,
		Asset: f.Asset, Units: f.Units, PayTo: f.PayTo, Recipient: [32]byte(f.Recipient), Memo: f.Memo,
		Judged: typev1.PaymentState(judged), State: f.State, Ended: f.Ended, Attempts: f.Attempts,
		PaymentHeader: f.PaymentHeader, PaymentValue: f.PaymentValue, Money: typev1.MoneyMoved(money), LastValidHeight: f.LastHeight,
		Answer: FetchAnswer{Status: f.AnswerStatus, Problem: f.AnswerProblem, Claim: f.AnswerClaim, Bytes: f.AnswerBytes},
	}
	if f.UntilMillis != 0 {
		r.Until = time.UnixMilli(f.UntilMillis)
	}
	if f.DeliveredAt != 0 {
		r.Delivered = time.UnixMilli(f.DeliveredAt)
	}
	return r, nil
}

// unsaid is what a record says of the money where its state says it, as those did that were written before payments on a chain.
const unsaid = typev1.MoneyMoved_MONEY_MOVED_UNSPECIFIED

// SaveFetch puts a fetch's record.
func (h *Home) SaveFetch(r *FetchRecord) error {
	path, err := h.fetchPath(r.Name)
	if err != nil {
		return err
	}
	f := fetchFile{
		Version: fileVersion, Name: r.Name, Revision: r.Revision + 1, Method: r.Method, URL: r.URL, Header: r.Header, Body: r.Body,
		Loopback: r.Reach.Loopback, Private: r.Reach.Private,
		CreatedMillis: r.Created.UnixMilli(), QuotedMillis: r.Quoted.UnixMilli(),
		X402Version: r.Version, Required: r.Required, Offer: r.Offer,
		Asset: r.Asset, Units: r.Units, PayTo: r.PayTo, Recipient: r.Recipient[:], Memo: r.Memo,
		Judged: r.Judged.String(), State: r.State, Ended: r.Ended, Attempts: r.Attempts,
		PaymentHeader: r.PaymentHeader, PaymentValue: r.PaymentValue, Money: r.Money.String(), LastHeight: r.LastValidHeight,
		AnswerStatus: r.Answer.Status, AnswerProblem: r.Answer.Problem, AnswerClaim: r.Answer.Claim, AnswerBytes: r.Answer.Bytes,
	}
	if !r.Until.IsZero() {
		f.UntilMillis = r.Until.UnixMilli()
	}
	if !r.Delivered.IsZero() {
		f.DeliveredAt = r.Delivered.UnixMilli()
	}
	b, err := encodeJSON(f)
	if err != nil {
		return err
	}
	if len(b) > fileMax {
		return fileErrorf("halfkey: the record of the fetch %s is larger than 1 MiB: its body and headers are too large to be kept", r.Name)
	}
	err = h.locked(func() error {
		stored, err := loadFetch(path, r.Name)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			stored = &FetchRecord{}
			if err := makeDir(filepath.Dir(path)); err != nil {
				return err
			}
		case err != nil:
			return err
		}
		if stored.Revision != r.Revision {
			return ErrConflict
		}
		return writeFile(path, b)
	})
	if err == nil {
		r.Revision++
	}
	return err
}

// Fetches lists the names of a wallet's fetches.
func (h *Home) Fetches(wallet string) ([]string, error) {
	id, err := resource.ParseWallet(wallet)
	if err != nil {
		return nil, fmt.Errorf("halfkey: list fetches: %w", err)
	}
	files, err := listFiles(h.path(homeFetches, id))
	if err != nil {
		return nil, err
	}
	var names []string
	for _, file := range files {
		if fetch, ok := strings.CutSuffix(file, recordSuffix); ok && resource.ValidID(fetch) == nil {
			names = append(names, resource.Payment(wallet, fetch))
		}
	}
	return names, nil
}

func (h *Home) fetchPath(name string) (string, error) {
	wallet, id, err := resource.ParsePayment(name)
	if err != nil {
		return "", fmt.Errorf("halfkey: fetch: %w", err)
	}
	of, err := resource.ParseWallet(wallet)
	if err != nil {
		return "", fmt.Errorf("halfkey: fetch: %w", err)
	}
	return h.path(homeFetches, of, id+recordSuffix), nil
}
