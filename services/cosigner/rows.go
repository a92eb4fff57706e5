package cosigner

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/halfkey/halfkey/internal/evidence"
	"github.com/halfkey/halfkey/internal/resource"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// Keys. Ids are of [a-z0-9-] and key bytes hexadecimal, so a slash ends each part, and a prefix that ends in one means
// exactly what it says.
//
//	root                              the key that vouches for rows, sealed
//	installation                      number and digest of the highest installation file accepted
//	keygens/{wallet}                  a run between two calls, on a lease
//	registrations/{wallet}            UNCLAIMED: what sealing or ending takes
//	ends/{wallet}                     the statement that it ended
//	records/{wallet}                  the wallet record, once and for ever
//	heads/{wallet}                    the guard rails in force
//	shares/{wallet}/{epoch}           the sealed share; the highest epoch is in force
//	resharings/{wallet}               the newest order for new shares, and how far it has come
//	handles/{handle}                  the wallet that took it, never reassigned
//	groupkeys/{key}                   the wallet that it is the key of
//	enrolments/{key}                  the wallet that the token of this key claimed, for ever
//	ownerkeys/{owner}/{key}           a key that some accepted document named as the owner's
//	freezes/{scope}/{subject}/{id}    a freeze; gone when a wallet's or the installation's is ended, since nobody else judges it
//	unfreezes/{scope}/{subject}/{id}/{key}
//	revoked/{wallet}/{key}            a request key that the owner revoked, for ever: the statement
const (
	keyRoot             = "root"
	keyInstallation     = "installation"
	prefixKeygens       = "keygens/"
	prefixRegistrations = "registrations/"
)

func keyKeygen(id string) string       { return prefixKeygens + id }
func keyRegistration(id string) string { return prefixRegistrations + id }
func keyEnd(id string) string          { return "ends/" + id }
func keyRecord(id string) string       { return "records/" + id }
func keyHead(id string) string         { return "heads/" + id }
func prefixShares(id string) string    { return "shares/" + id + "/" }
func keyResharing(id string) string    { return "resharings/" + id }
func keyHandle(handle string) string   { return "handles/" + handle }
func keyGroupKey(key []byte) string    { return "groupkeys/" + hex.EncodeToString(key) }
func keyEnrolment(key []byte) string   { return "enrolments/" + hex.EncodeToString(key) }

func keyRevoked(id string, requestKey []byte) string {
	return "revoked/" + id + "/" + hex.EncodeToString(requestKey)
}

func keyOwnerKey(owner string, key []byte) string {
	return "ownerkeys/" + owner + "/" + hex.EncodeToString(key)
}

// keyShare pads the epoch to the digits of the largest, so that keys sort as numbers do.
func keyShare(id string, epoch uint64) string {
	return prefixShares(id) + fmt.Sprintf("%020d", epoch)
}

func epochOf(id, key string) (uint64, error) {
	epoch, err := strconv.ParseUint(strings.TrimPrefix(key, prefixShares(id)), 10, 64)
	if err != nil || keyShare(id, epoch) != key {
		return 0, fmt.Errorf("%s: %w", key, errDamaged)
	}
	return epoch, nil
}

// walletID checks a wallet's name and returns its id, which is what keys hold.
func walletID(name string) (string, error) {
	id, err := resource.ParseWallet(name)
	if err != nil {
		return "", invalid("wallet", "is not a wallet's name")
	}
	return id, nil
}

// stage is how far a key generation has come.
type stage string

const (
	stageDrawn     stage = "drawn"     // own message made
	stageCertified stage = "certified" // both messages verified, own certificate made
	stageConfirmed stage = "confirmed" // both certificates verified: the share is made and the run's secrets are erased
)

// keygenRow is a key generation between two calls.
type keygenRow struct {
	Run         []byte
	StartDigest []byte
	RequestKey  []byte
	// Answer and Round1 are what StartKeyGeneration answered, for its repeat.
	Answer []byte
	Round1 []byte
	Stage  stage
	// State is frost's, sealed; nil from stageConfirmed on.
	State []byte `json:",omitempty"`
	// From stageCertified on: the agent's message and the own certificate.
	PeerRound1  []byte `json:",omitempty"`
	Certificate []byte `json:",omitempty"`
	GroupKey    []byte `json:",omitempty"`
	Transcript  []byte `json:",omitempty"`
	// From stageConfirmed on: the agent's certificate and the own share, sealed for its wallet.
	PeerCertificate []byte `json:",omitempty"`
	Share           []byte `json:",omitempty"`
}

// The stages of a resharing; between stageOrdered and the sharing's coming into force they are a key generation's.
const (
	stageOrdered stage = "ordered"
	stagePending stage = "pending" // in force; what the recovery share needs is kept
	stageDone    stage = "done"    // in force, and nothing older is held
)

// resharingRow is a wallet's newest resharing.
type resharingRow struct {
	// Order is the owner's envelope. Replaced are the digests of earlier orders for the same epoch, which do not come back.
	Order    []byte
	Replaced [][]byte `json:",omitempty"`
	Stage    stage
	// From stageDrawn on: what began the run, and what StartResharing answered, for its repeat.
	Start   []byte `json:",omitempty"`
	Answer  []byte `json:",omitempty"`
	Dealing []byte `json:",omitempty"`
	// State is frost's, sealed; nil from stageConfirmed on.
	State []byte `json:",omitempty"`
	// From stageCertified on: the other dealer's dealing, the own certificate, and what both dealings make.
	PeerDealing []byte `json:",omitempty"`
	Certificate []byte `json:",omitempty"`
	Transcript  []byte `json:",omitempty"`
	Sharing     []byte `json:",omitempty"`
	// From stageConfirmed on: the other dealer's certificate and, until it is in force, the new share, sealed for its epoch.
	PeerCertificate []byte `json:",omitempty"`
	Share           []byte `json:",omitempty"`
	// Record is the own SharingRecord, once the new sharing is in force.
	Record []byte `json:",omitempty"`
}

// registrationRow is an UNCLAIMED wallet.
type registrationRow struct {
	// Registration is the agent's envelope.
	Registration []byte
	// EndMillis is the last moment at which it can be claimed.
	EndMillis int64
	// Share is the own share, sealed for its wallet.
	Share []byte
	Epoch uint64
}

// freezeRow says who froze and when, for whoever looks into the store; nothing is decided by these.
type freezeRow struct {
	Caller     string
	TimeMillis int64
	// Revocation is the owner's envelope, if the freeze is one: it says when it may end.
	Revocation []byte `json:",omitempty"`
}

func encodeRow(v any) ([]byte, error) { return json.Marshal(v) }

// decodeRow is strict: a field that this version does not know may be one that it should have obeyed.
func decodeRow(r row, v any) error {
	d := json.NewDecoder(bytes.NewReader(r.value))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return fmt.Errorf("%s: %w", r.key, errDamaged)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("%s: %w", r.key, errDamaged)
	}
	return nil
}

// statement is a payload of the contract.
type statement interface {
	proto.Message
	GetInstallation() string
}

// encodeEnvelope and decodeEnvelope store a statement as its envelope's one encoding.
func encodeEnvelope(e *typev1.Envelope) ([]byte, error) { return evidence.Marshal(e) }

func decodeEnvelope(key string, b []byte) (*typev1.Envelope, error) {
	e := new(typev1.Envelope)
	if err := evidence.Unmarshal(b, e); err != nil {
		return nil, fmt.Errorf("%s: %w", key, errDamaged)
	}
	return e, nil
}

const (
	// firstEpoch is the sharing that key generation makes.
	firstEpoch      = 1
	keySize         = 32
	digestSize      = 32
	certificateSize = 64
)

func loadKeygen(r row) (*keygenRow, error) {
	k := new(keygenRow)
	if err := decodeRow(r, k); err != nil {
		return nil, err
	}
	// What later steps take as arrays has its size; the tag says that the co-signer wrote it, this that it can be read.
	if k.Stage != stageDrawn && (len(k.GroupKey) != keySize || len(k.Transcript) != digestSize || len(k.Certificate) != certificateSize) {
		return nil, fmt.Errorf("%s: %w", r.key, errDamaged)
	}
	return k, nil
}

// resharing is a resharingRow with its order decoded, and the row that it was read from.
type resharing struct {
	resharingRow
	row         row
	envelope    *typev1.Envelope
	order       *typev1.ResharingOrder
	orderDigest evidence.Digest
}

func loadResharing(r row) (*resharing, error) {
	out := &resharing{row: r, order: new(typev1.ResharingOrder)}
	if err := decodeRow(r, &out.resharingRow); err != nil {
		return nil, err
	}
	var err error
	if out.envelope, err = decodeEnvelope(r.key, out.Order); err != nil {
		return nil, err
	}
	if err := evidence.Peek(out.envelope, out.order); err != nil {
		return nil, fmt.Errorf("%s: %w", r.key, errDamaged)
	}
	out.orderDigest = evidence.EnvelopeDigest(out.envelope)
	if !out.whole() {
		return nil, fmt.Errorf("%s: %w", r.key, errDamaged)
	}
	return out, nil
}

// whole reports whether a row holds what its stage needs, at the sizes that later steps take as arrays.
func (r *resharingRow) whole() bool {
	switch r.Stage {
	case stageOrdered:
		return true
	case stageDrawn:
		return len(r.State) > 0
	case stageCertified:
		return len(r.State) > 0 && len(r.Transcript) == digestSize && len(r.Certificate) == certificateSize
	case stageConfirmed:
		return len(r.Share) > 0 && len(r.Transcript) == digestSize && len(r.Certificate) == certificateSize
	case stagePending, stageDone:
		return len(r.Record) > 0 && len(r.Transcript) == digestSize
	}
	return false
}

// registered is a registrationRow with its statement decoded.
type registered struct {
	registrationRow
	envelope *typev1.Envelope
	content  *typev1.Registration
}

func loadRegistration(r row) (*registered, error) {
	out := new(registered)
	if err := decodeRow(r, &out.registrationRow); err != nil {
		return nil, err
	}
	var err error
	if out.envelope, err = decodeEnvelope(r.key, out.Registration); err != nil {
		return nil, err
	}
	out.content = new(typev1.Registration)
	if err := evidence.Peek(out.envelope, out.content); err != nil {
		return nil, fmt.Errorf("%s: %w", r.key, errDamaged)
	}
	return out, nil
}

func encodeRegistration(e *typev1.Envelope, endMillis int64, share []byte) ([]byte, error) {
	b, err := encodeEnvelope(e)
	if err != nil {
		return nil, err
	}
	return encodeRow(&registrationRow{Registration: b, EndMillis: endMillis, Share: share, Epoch: firstEpoch})
}

// loadStatement decodes a row that is a statement's envelope into m.
func loadStatement(r row, m statement) (*typev1.Envelope, error) {
	e, err := decodeEnvelope(r.key, r.value)
	if err != nil {
		return nil, err
	}
	if err := evidence.Peek(e, m); err != nil {
		return nil, fmt.Errorf("%s: %w", r.key, errDamaged)
	}
	return e, nil
}

// ownerID checks an owner's name and returns its id.
func ownerID(name string) (string, error) {
	id, err := resource.ParseOwner(name)
	if err != nil {
		return "", invalid("owner", "is not an owner's name")
	}
	return id, nil
}
