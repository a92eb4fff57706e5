package plain

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// Installation is the root of trust: whose signatures count, and who answers for the gateway.
type Installation struct{ content typev1.Installation }

// ReadInstallation reads the installation file, which was given to this agent by somebody it trusts: that is what pins it. The
// signature only shows that nothing in it was changed by accident. Successors are not followed here.
func ReadInstallation(file []byte) (*Installation, error) {
	var dsse struct {
		PayloadType string `json:"payloadType"`
		Payload     string `json:"payload"`
		Signatures  []struct {
			KeyID string `json:"keyid"`
			Sig   string `json:"sig"`
		} `json:"signatures"`
	}
	d := json.NewDecoder(bytes.NewReader(file))
	d.DisallowUnknownFields()
	if err := d.Decode(&dsse); err != nil {
		return nil, fmt.Errorf("installation file: %w", err)
	}
	payload, err := base64.StdEncoding.Strict().DecodeString(dsse.Payload)
	if err != nil {
		return nil, fmt.Errorf("installation file: %w", err)
	}
	e := &typev1.Envelope{PayloadType: dsse.PayloadType, Payload: payload}
	for _, s := range dsse.Signatures {
		key, bad := hex.DecodeString(s.KeyID)
		sig, worse := base64.StdEncoding.Strict().DecodeString(s.Sig)
		if err := errors.Join(bad, worse); err != nil {
			return nil, fmt.Errorf("installation file: %w", err)
		}
		e.Signatures = append(e.Signatures, &typev1.Signature{PublicKey: key, Signature: sig})
	}
	i := &Installation{}
	if err := decode(payload, &i.content); err != nil {
		return nil, fmt.Errorf("installation file: %w", err)
	}
	if err := open(e, typeInstallation, &typev1.Installation{}, i.content.GetOperatorKeys()...); err != nil {
		return nil, fmt.Errorf("installation file: %w", err)
	}
	if len(i.content.GetGatewayAddresses()) == 0 {
		return nil, errors.New("installation file: it names no gateway")
	}
	return i, nil
}

// ID is the installation's id.
func (i *Installation) ID() string { return i.content.GetInstallation() }

// USD is the asset that is the installation's book dollars; a unit is a millionth.
func (i *Installation) USD() string { return "halfkey:" + i.ID() + "/iso4217:USD" }

// key is the current key of a purpose.
func (i *Installation) key(purpose typev1.Purpose) []byte {
	for _, k := range i.content.GetServiceKeys() {
		if k.GetPurpose() == purpose && !k.GetRetired() {
			return k.GetPublicKey()
		}
	}
	return nil
}

// CheckSettlement verifies the ledger's word that a payment was settled. A seller delivers against it and nothing less.
func (i *Installation) CheckSettlement(e *typev1.Envelope) (*typev1.Settlement, error) {
	s := &typev1.Settlement{}
	if err := open(e, typeSettlement, s, i.key(typev1.Purpose_PURPOSE_LEDGER)); err != nil {
		return nil, err
	}
	if s.GetInstallation() != i.ID() {
		return nil, errors.New("the settlement is another installation's")
	}
	return s, nil
}

// Dial connects to the gateway: TLS 1.3, under the authority that the installation file names and no other.
func (i *Installation) Dial() (*grpc.ClientConn, error) {
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM([]byte(i.content.GetCaPem())) {
		return nil, errors.New("installation file: it names no certificate authority")
	}
	return grpc.NewClient("passthrough:///"+i.content.GetGatewayAddresses()[0],
		grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS13})))
}

// CheckIntent reads what a payment was for, and demands that it is the intent which a verified settlement names.
func CheckIntent(intent []byte, s *typev1.Settlement) (*typev1.Intent, error) {
	if !bytes.Equal(digest(typeIntent, intent), s.GetIntentDigest()) {
		return nil, errors.New("the intent is another one than was settled")
	}
	m := &typev1.Intent{}
	return m, decode(intent, m)
}
