package evidence_test

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/halfkey/halfkey/internal/evidence"
	"github.com/halfkey/halfkey/internal/evidence/evidencetest"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

func TestInstallationFile(t *testing.T) {
	w := evidencetest.New(t)
	b, err := w.Installation.MarshalFile()
	if err != nil {
		t.Fatalf("MarshalFile: %v", err)
	}
	i, err := evidence.LoadInstallation(b)
	if err != nil {
		t.Fatalf("LoadInstallation: %v", err)
	}
	var compact bytes.Buffer
	if err := json.Compact(&compact, b); err != nil {
		t.Fatalf("Compact: %v", err)
	}
	if again, err := evidence.LoadInstallation(compact.Bytes()); err != nil || again.Digest() != i.Digest() {
		t.Errorf("without white space: %v, %v", again, err)
	}
	if i.ID() != "test" || i.Number() != 1 || i.BookUSD() != "halfkey:test/iso4217:USD" || i.Digest() != w.Installation.Digest() {
		t.Errorf("loaded %s number %d with %s", i.ID(), i.Number(), i.BookUSD())
	}
	if i.RedemptionAccount() != evidencetest.Key32(w.Redemption) || !bytes.Equal(i.Operators()[0], evidencetest.Public(w.Operator)) {
		t.Error("redemption account or operator keys are others")
	}
	for purpose, want := range map[typev1.Purpose][]byte{
		typev1.Purpose_PURPOSE_COSIGNER:    evidencetest.Public(w.Cosigner),
		typev1.Purpose_PURPOSE_POLICY:      evidencetest.Public(w.Policy),
		typev1.Purpose_PURPOSE_LEDGER:      evidencetest.Public(w.Ledger),
		typev1.Purpose_PURPOSE_UNSPECIFIED: nil,
	} {
		if got := i.Key(purpose); !bytes.Equal(got, want) {
			t.Errorf("Key(%v) = %x, want %x", purpose, got, want)
		}
	}
	// What is given out does not change the file.
	i.Key(typev1.Purpose_PURPOSE_POLICY)[0] ^= 1
	i.Operators()[0][0] ^= 1
	i.Content().GatewayAddresses[0] = "evil.example:443"
	i.Envelope().Payload[0] ^= 1
	if again, err := i.MarshalFile(); err != nil || !bytes.Equal(again, b) {
		t.Errorf("the file changed: %v", err)
	}
}

func TestLoadInstallationRefuses(t *testing.T) {
	w := evidencetest.New(t)
	good, err := w.Installation.MarshalFile()
	if err != nil {
		t.Fatalf("MarshalFile: %v", err)
	}
	swap := func(from, to string) func() []byte {
		return func() []byte {
			if strings.Count(string(good), from) != 1 {
				t.Fatalf("the file holds %q %d times", from, strings.Count(string(good), from))
			}
			return []byte(strings.Replace(string(good), from, to, 1))
		}
	}
	rows := []struct {
		name string
		file func() []byte
	}{
		{"empty", func() []byte { return nil }},
		{"not JSON", func() []byte { return []byte("installation") }},
		{"null", func() []byte { return []byte("null") }},
		{"followed by more", func() []byte { return append(bytes.Clone(good), "{}"...) }},
		{"unknown name", swap(`"payload":`, `"note": "", "payload":`)},
		{"doubled name", swap(`"payload":`, `"payload": "", "payload":`)},
		{"name in other letters", swap(`"payload":`, `"Payload":`)},
		{"escaped letter", swap(`"payloadType": "a`, `"payloadType": "\u0061`)},
		{"newline inside base64", swap(`"payload": "`, `"payload": "\n`)},
		{"another type", swap(evidence.TypeInstallation, evidence.TypeReview)},
		{"key in capitals", func() []byte {
			at := bytes.Index(good, []byte(`"keyid": "`)) + len(`"keyid": "`)
			b := bytes.Clone(good)
			copy(b[at:], bytes.ToUpper(b[at:at+64]))
			if bytes.Equal(b, good) {
				t.Fatal("the key has no letters")
			}
			return b
		}},
		{"no signatures", func() []byte {
			return good[:bytes.Index(good, []byte(`,
  "signatures"`))]
		}},
		{"too large", func() []byte { return append(bytes.Repeat([]byte(" "), evidence.FileMax), good...) }},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			if _, err := evidence.LoadInstallation(row.file()); err == nil {
				t.Error("taken")
			}
		})
	}
}

func TestParseInstallationRefuses(t *testing.T) {
	type file = *typev1.Installation
	rows := []struct {
		name, field string
		edit        func(w *evidencetest.World, m file)
	}{
		{"id", "installation", func(w *evidencetest.World, m file) { m.Installation = "Test" }},
		{"a wallet", "wallet", func(w *evidencetest.World, m file) { m.Wallet = "wallets/a" }},
		{"number 0", "number", func(w *evidencetest.World, m file) { m.Number = 0 }},
		{"number 1 with a predecessor", "predecessor", func(w *evidencetest.World, m file) { m.Predecessor = digestOf(1) }},
		{"number 2 without one", "predecessor", func(w *evidencetest.World, m file) { m.Number = 2 }},
		{"no gateway", "gateway_addresses", func(w *evidencetest.World, m file) { m.GatewayAddresses = nil }},
		{"gateway without port", "gateway_addresses", func(w *evidencetest.World, m file) { m.GatewayAddresses = []string{"gateway"} }},
		{"gateway with a scheme", "gateway_addresses", func(w *evidencetest.World, m file) { m.GatewayAddresses = []string{"unix:///tmp/x:1"} }},
		{"gateway on port 0", "gateway_addresses", func(w *evidencetest.World, m file) { m.GatewayAddresses = []string{"gateway:0"} }},
		{"plain HTTP", "https_addresses", func(w *evidencetest.World, m file) { m.HttpsAddresses = []string{"http://gateway"} }},
		{"HTTPS with a user", "https_addresses", func(w *evidencetest.World, m file) { m.HttpsAddresses = []string{"https://a:b@gateway"} }},
		{"no CA", "ca_pem", func(w *evidencetest.World, m file) { m.CaPem = "" }},
		{"a key beside the CA", "ca_pem", func(w *evidencetest.World, m file) {
			m.CaPem += "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"
		}},
		{"text before the CA", "ca_pem", func(w *evidencetest.World, m file) { m.CaPem = "the gateway's\n" + m.GetCaPem() }},
		{"a CA with headers", "ca_pem", func(w *evidencetest.World, m file) {
			m.CaPem = strings.Replace(m.GetCaPem(), "CERTIFICATE-----\n", "CERTIFICATE-----\nNote: x\n\n", 1)
		}},
		{"a CA that does not parse", "ca_pem", func(w *evidencetest.World, m file) {
			m.CaPem = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
		}},
		{"no redemption account", "redemption_account", func(w *evidencetest.World, m file) { m.RedemptionAccount = nil }},
		{"redemption account of small order", "", func(w *evidencetest.World, m file) { m.RedemptionAccount = identityPoint() }},
		{"no operator", "operator_keys", func(w *evidencetest.World, m file) { m.OperatorKeys = nil }},
		{"operator key of small order", "", func(w *evidencetest.World, m file) {
			m.OperatorKeys = sortedKeys(identityPoint(), m.GetOperatorKeys()[0])
		}},
		{"no policy key", "service_keys", func(w *evidencetest.World, m file) {
			m.ServiceKeys = append(m.ServiceKeys[:1:1], m.ServiceKeys[2])
		}},
		{"policy's key retired", "service_keys", func(w *evidencetest.World, m file) { m.ServiceKeys[1].Retired = true }},
		{"two current policy keys", "service_keys", func(w *evidencetest.World, m file) {
			m.ServiceKeys = append(m.ServiceKeys,
				&typev1.ServiceKey{Purpose: typev1.Purpose_PURPOSE_POLICY, PublicKey: evidencetest.Public(w.Key("p2"))})
		}},
		{
			"one key for two purposes", "service_keys",
			func(w *evidencetest.World, m file) { m.ServiceKeys[1].PublicKey = m.ServiceKeys[2].PublicKey },
		},
		{
			"an operator's key for a service", "service_keys",
			func(w *evidencetest.World, m file) { m.ServiceKeys[1].PublicKey = m.OperatorKeys[0] },
		},
		{"a key without a purpose", "service_keys", func(w *evidencetest.World, m file) { m.ServiceKeys[1].Purpose = 0 }},
		{"service key of small order", "", func(w *evidencetest.World, m file) { m.ServiceKeys[1].PublicKey = identityPoint() }},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			w := evidencetest.New(t)
			m := w.Installation.Content()
			row.edit(w, m)
			_, err := evidence.ParseInstallation(w.SignLoose(w.Operator, m))
			wantRefusal(t, err, badStatement, "installation", row.field)
		})
	}
	w := evidencetest.New(t)
	if _, err := evidence.ParseInstallation(w.Sign(w.Key("foreign"), w.Installation.Content())); err == nil {
		t.Error("number 1 is taken under a key that it does not name")
	}
	if _, err := evidence.ParseInstallation(nil); err == nil {
		t.Error("nothing is taken")
	}
}

func TestSucceed(t *testing.T) {
	w := evidencetest.New(t)
	rotate := func(m *typev1.Installation) {
		m.ServiceKeys[1].Retired = true
		m.ServiceKeys = append(m.ServiceKeys,
			&typev1.ServiceKey{Purpose: typev1.Purpose_PURPOSE_POLICY, PublicKey: evidencetest.Public(w.Key("p2"))})
	}
	e := w.Successor(rotate)
	next, err := evidence.Succeed(w.Installation, e)
	if err != nil {
		t.Fatalf("Succeed: %v", err)
	}
	if got := next.Key(typev1.Purpose_PURPOSE_POLICY); !bytes.Equal(got, evidencetest.Public(w.Key("p2"))) {
		t.Errorf("current policy key = %x", got)
	}
	if got := len(next.EveryKey(typev1.Purpose_PURPOSE_POLICY)); got != 2 {
		t.Errorf("%d policy keys in all, want 2", got)
	}
	// A file that stands alone parses: whoever pins number 2 trusts it as a whole.
	if _, err := evidence.ParseInstallation(e); err != nil {
		t.Errorf("ParseInstallation of a successor: %v", err)
	}
	rows := []struct {
		name string
		old  *evidence.Installation
		e    *typev1.Envelope
	}{
		{"the same file", w.Installation, w.Installation.Envelope()},
		{"a lower one", next, w.Installation.Envelope()},
		{"not the next", w.Installation, w.Successor(func(m *typev1.Installation) { m.Number = 3 })},
		{"another installation", w.Installation, w.Successor(func(m *typev1.Installation) { m.Installation = "prod" })},
		{"another predecessor", w.Installation, w.Successor(func(m *typev1.Installation) { m.Predecessor = digestOf(1) })},
		{"missing", w.Installation, nil},
		{"under a key that only the successor names", w.Installation, func() *typev1.Envelope {
			m := new(typev1.Installation)
			k := w.Key("usurper")
			w.Decode(w.Successor(func(m *typev1.Installation) { m.OperatorKeys = [][]byte{evidencetest.Public(k)} }), m)
			return w.Sign(k, m)
		}()},
		{"under a service's key", w.Installation, func() *typev1.Envelope {
			m := new(typev1.Installation)
			w.Decode(e, m)
			return w.Sign(w.Ledger, m)
		}()},
		{"tampered", w.Installation, func() *typev1.Envelope {
			c := proto.CloneOf(e)
			c.Signatures[0].Signature[3] ^= 1
			return c
		}()},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			if i, err := evidence.Succeed(row.old, row.e); err == nil || i != nil {
				t.Errorf("got %v, %v, want a refusal", i, err)
			}
		})
	}
}
