package evidence

import (
	"bytes"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"io"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/halfkey/halfkey/internal/resource"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

const (
	// GatewayAddressesMax bounds a file's gRPC addresses, and its HTTPS ones: replicas stand behind few names.
	GatewayAddressesMax = 8
	// AddressMax bounds one address: the longest DNS name, scheme, port and a short path.
	AddressMax = 320
	// OperatorKeysMax bounds the operator keys: people who may replace service keys.
	OperatorKeysMax = 8
	// ServiceKeysMax bounds the service keys: three current ones and every retired one since number 1.
	ServiceKeysMax = 64
	// CAMax bounds the certificates of the gateway's authority.
	CAMax = 32 << 10
	// FileMax bounds an installation file: base64 of the largest payload, white space and its signatures.
	FileMax = 2 * EnvelopeMax
)

// Installation is a verified installation file: the root of trust for clients and services. It does not change.
type Installation struct {
	content  *typev1.Installation
	envelope *typev1.Envelope
	digest   Digest
}

// ParseInstallation verifies a file as far as it can vouch for itself: encoding, bounds, keys, and its signatures; number 1
// is signed under one of its own operator keys. That it is the right installation is known by pinning the file or, for a
// successor, by Succeed.
func ParseInstallation(e *typev1.Envelope) (*Installation, error) {
	m := new(typev1.Installation)
	if err := Peek(e, m); err != nil {
		return nil, err
	}
	keys := m.GetOperatorKeys()
	if m.GetNumber() > 1 {
		// Its predecessor's operator keys sign it; which these are only the predecessor says. The check against damage stays.
		keys = Signers(e)
	}
	if _, err := Open(e, m, keys...); err != nil {
		return nil, err
	}
	for _, k := range slices.Concat(m.GetOperatorKeys(), [][]byte{m.GetRedemptionAccount()}, serviceKeys(m)) {
		if !ValidKey(k) {
			return nil, bad(pieceOf(m), "", "names a key that is not a point of prime order")
		}
	}
	return &Installation{content: m, envelope: proto.CloneOf(e), digest: EnvelopeDigest(e)}, nil
}

// Succeed verifies that e follows old: the same installation, the next number, old's digest, signed under an operator key
// of old. It keeps the redemption account and every service key, and what was retired stays retired. Successors are taken one by
// one, so that each is vouched for by the one before.
func Succeed(old *Installation, e *typev1.Envelope) (*Installation, error) {
	i, err := ParseInstallation(e)
	if err != nil {
		return nil, err
	}
	const piece = "installation"
	switch {
	case i.ID() != old.ID():
		return nil, mismatch(piece, "installation", "is another installation")
	case i.Number() != old.Number()+1:
		return nil, mismatch(piece, "number",
			"is "+strconv.FormatUint(i.Number(), 10)+", not the next one after "+strconv.FormatUint(old.Number(), 10))
	case !old.digest.Is(i.content.GetPredecessor()):
		return nil, mismatch(piece, "predecessor", "is another file")
	}
	if _, err := Open(e, new(typev1.Installation), old.Operators()...); err != nil {
		return nil, err
	}
	if i.RedemptionAccount() != old.RedemptionAccount() {
		return nil, mismatch(piece, "redemption_account", "is another account: what was paid to the one before could never be redeemed")
	}
	if err := keepsKeys(old.content, i.content); err != nil {
		return nil, err
	}
	return i, nil
}

// keepsKeys checks that next names every service key that old names, for the same purpose, and that what was retired stays so: a
// journal must stay readable, and a key was perhaps retired because others have it.
func keepsKeys(old, next *typev1.Installation) error {
	keys := make(map[string]*typev1.ServiceKey)
	for _, k := range next.GetServiceKeys() {
		keys[string(k.GetPublicKey())] = k
	}
	const piece, field = "installation", "service_keys"
	for _, k := range old.GetServiceKeys() {
		switch now := keys[string(k.GetPublicKey())]; {
		case now == nil:
			return mismatch(piece, field, "leave out one that the file before names: it must be listed as retired")
		case now.GetPurpose() != k.GetPurpose():
			return mismatch(piece, field, "give one another purpose than the file before")
		case k.GetRetired() && !now.GetRetired():
			return mismatch(piece, field, "put one in force that the file before has retired")
		}
	}
	return nil
}

// ID is the installation's id.
func (i *Installation) ID() string { return i.content.GetInstallation() }

// Number is the file's number, from 1.
func (i *Installation) Number() uint64 { return i.content.GetNumber() }

// Digest names this file.
func (i *Installation) Digest() Digest { return i.digest }

// Content returns a copy of the file's content.
func (i *Installation) Content() *typev1.Installation { return proto.CloneOf(i.content) }

// Envelope returns a copy of the signed file.
func (i *Installation) Envelope() *typev1.Envelope { return proto.CloneOf(i.envelope) }

// Key returns the current key of a purpose, or nil for a purpose that is none.
func (i *Installation) Key(p typev1.Purpose) []byte {
	for _, k := range i.content.GetServiceKeys() {
		if k.GetPurpose() == p && !k.GetRetired() {
			return bytes.Clone(k.GetPublicKey())
		}
	}
	return nil
}

// EveryKey returns the current and the retired keys of a purpose. A statement under a retired one counts only if a journal
// holds it whose head is signed under a current one: so it is for auditors, never for the gate.
func (i *Installation) EveryKey(p typev1.Purpose) [][]byte {
	var keys [][]byte
	for _, k := range i.content.GetServiceKeys() {
		if k.GetPurpose() == p {
			keys = append(keys, bytes.Clone(k.GetPublicKey()))
		}
	}
	return keys
}

// Operators returns the operator keys; any one signs.
func (i *Installation) Operators() [][]byte {
	keys := make([][]byte, 0, len(i.content.GetOperatorKeys()))
	for _, k := range i.content.GetOperatorKeys() {
		keys = append(keys, bytes.Clone(k))
	}
	return keys
}

// BookUSD is the asset id of this installation's book dollars.
func (i *Installation) BookUSD() string { return resource.BookUSD(i.ID()) }

// RedemptionAccount is the key that book money is paid to for being paid out.
func (i *Installation) RedemptionAccount() [32]byte {
	return [32]byte(i.content.GetRedemptionAccount())
}

// file is the DSSE JSON of an installation file; keyid is the public key in hexadecimal.
type file struct {
	PayloadType string          `json:"payloadType"`
	Payload     string          `json:"payload"`
	Signatures  []fileSignature `json:"signatures"`
}

type fileSignature struct {
	KeyID string `json:"keyid"`
	Sig   string `json:"sig"`
}

// MarshalFile returns the installation file: a DSSE envelope in JSON, indented, ending in a newline.
func (i *Installation) MarshalFile() ([]byte, error) {
	b, err := json.MarshalIndent(newFile(i.envelope), "", "  ")
	if err != nil {
		return nil, &Error{Reason: typev1.Reason_REASON_INTERNAL, Piece: "installation", Why: "does not encode", err: err}
	}
	return append(b, '\n'), nil
}

func newFile(e *typev1.Envelope) file {
	f := file{PayloadType: e.GetPayloadType(), Payload: base64.StdEncoding.EncodeToString(e.GetPayload())}
	for _, s := range e.GetSignatures() {
		f.Signatures = append(f.Signatures, fileSignature{
			KeyID: hex.EncodeToString(s.GetPublicKey()),
			Sig:   base64.StdEncoding.EncodeToString(s.GetSignature()),
		})
	}
	return f
}

// LoadInstallation reads an installation file and verifies it as ParseInstallation does. White space is free; everything
// else has one form, so that two readers of one file cannot see two installations.
func LoadInstallation(b []byte) (*Installation, error) {
	const piece = "installation"
	if len(b) > FileMax {
		return nil, bad(piece, "", "is too large")
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	var f file
	if err := d.Decode(&f); err != nil {
		return nil, bad(piece, "", "is not a DSSE envelope in JSON")
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, bad(piece, "", "is followed by something")
	}
	e := &typev1.Envelope{PayloadType: f.PayloadType}
	var err error
	if e.Payload, err = base64.StdEncoding.Strict().DecodeString(f.Payload); err != nil {
		return nil, bad(piece, "payload", "is not base64")
	}
	for _, s := range f.Signatures {
		key, err := hex.DecodeString(s.KeyID)
		if err != nil {
			return nil, bad(piece, "keyid", "is not a public key in hexadecimal")
		}
		sig, err := base64.StdEncoding.Strict().DecodeString(s.Sig)
		if err != nil {
			return nil, bad(piece, "sig", "is not base64")
		}
		e.Signatures = append(e.Signatures, &typev1.Signature{PublicKey: key, Signature: sig})
	}
	// Names in other letters, doubled names, newlines inside base64, another order: all show as other JSON.
	var got bytes.Buffer
	want, err := json.Marshal(newFile(e))
	if err != nil || json.Compact(&got, b) != nil || !bytes.Equal(got.Bytes(), want) {
		return nil, bad(piece, "", "is not in its one form")
	}
	return ParseInstallation(e)
}

func serviceKeys(m *typev1.Installation) [][]byte {
	var keys [][]byte
	for _, k := range m.GetServiceKeys() {
		keys = append(keys, k.GetPublicKey())
	}
	return keys
}

func (f *fields) installationFile(m *typev1.Installation) {
	f.installation(m.GetInstallation())
	f.noWallet(m.GetWallet())
	f.number("number", m.GetNumber())
	if m.GetNumber() == 1 {
		f.check(len(m.GetPredecessor()) == 0, "predecessor", "is not empty, and the file is the first")
	} else {
		f.digest("predecessor", m.GetPredecessor())
	}
	f.check(len(m.GetGatewayAddresses()) > 0 && len(m.GetGatewayAddresses()) <= GatewayAddressesMax, "gateway_addresses", "are not 1 to 8")
	for _, a := range m.GetGatewayAddresses() {
		f.check(validHostPort(a), "gateway_addresses", "hold one that is not host:port")
	}
	f.check(len(m.GetHttpsAddresses()) <= GatewayAddressesMax, "https_addresses", "are more than 8")
	for _, a := range m.GetHttpsAddresses() {
		f.check(validHTTPS(a), "https_addresses", "hold one that is not an https base URL")
	}
	f.check(validCA(m.GetCaPem()), "ca_pem", "is not 1 or more certificates in PEM")
	f.key("redemption_account", m.GetRedemptionAccount())
	f.keys("operator_keys", m.GetOperatorKeys(), 1, OperatorKeysMax)
	f.serviceKeys(m)
}

// serviceKeys checks that every purpose has its one current key, and that one key has one purpose: a break-in at one
// service must not sign in another's name.
func (f *fields) serviceKeys(m *typev1.Installation) {
	f.check(len(m.GetServiceKeys()) <= ServiceKeysMax, "service_keys", "are too many")
	var current [4]int
	seen := make(map[string]bool)
	for _, k := range m.GetOperatorKeys() {
		seen[string(k)] = true
	}
	for _, k := range m.GetServiceKeys() {
		f.key("service_keys", k.GetPublicKey())
		f.check(!seen[string(k.GetPublicKey())], "service_keys", "hold one key twice, or an operator's")
		seen[string(k.GetPublicKey())] = true
		p := k.GetPurpose()
		if p <= typev1.Purpose_PURPOSE_UNSPECIFIED || int(p) >= len(current) {
			f.refuse("service_keys", "hold one without a purpose")
			return
		}
		if !k.GetRetired() {
			current[p]++
		}
	}
	for _, n := range current[1:] {
		f.check(n == 1, "service_keys", "do not hold exactly one current key for each purpose")
	}
}

func validHostPort(s string) bool {
	host, port, err := net.SplitHostPort(s)
	if err != nil || host == "" || len(s) > AddressMax || !printableASCII(s) || strings.ContainsAny(host, "/@?#") {
		return false
	}
	n, err := strconv.ParseUint(port, 10, 16)
	return err == nil && n > 0
}

func validHTTPS(s string) bool {
	u, err := url.Parse(s)
	return err == nil && len(s) <= AddressMax && printableASCII(s) && u.Scheme == "https" && u.Host != "" &&
		u.User == nil && u.RawQuery == "" && u.Fragment == "" && !strings.HasSuffix(s, "/")
}

// validCA takes PEM that is certificates and nothing else: a private key pasted into the file by mistake would be published.
func validCA(s string) bool {
	if s == "" || len(s) > CAMax {
		return false
	}
	rest := []byte(s)
	for len(bytes.TrimSpace(rest)) > 0 {
		if !bytes.HasPrefix(rest, []byte("-----BEGIN CERTIFICATE-----")) {
			return false
		}
		var block *pem.Block
		block, rest = pem.Decode(rest)
		if block == nil || len(block.Headers) > 0 {
			return false
		}
		if _, err := x509.ParseCertificate(block.Bytes); err != nil {
			return false
		}
	}
	return true
}
