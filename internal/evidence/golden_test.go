package evidence_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/halfkey/halfkey/internal/evidence"
	"github.com/halfkey/halfkey/internal/evidence/evidencetest"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

var update = flag.Bool("update", false, "write testdata/golden.json again")

const (
	goldenFile = "testdata/golden.json"
	docFile    = "../../docs/evidence.md"
)

// vector is one content with everything that follows from it.
type vector struct {
	Name      string `json:"name"`
	Type      string `json:"type"`
	Payload   string `json:"payload"`
	Digest    string `json:"digest"`
	PublicKey string `json:"public_key,omitempty"`
	Signature string `json:"signature,omitempty"`
}

// golden is the file: what an implementation in another language must make from the same content.
type golden struct {
	Statements           []vector          `json:"statements"`
	BookMessage          vector            `json:"book_message"`
	SolanaTransfer       vector            `json:"solana_transfer"`
	SolanaX402           vector            `json:"solana_x402"`
	KeyTestMessage       string            `json:"key_test_message"`
	KeyGenerationSession string            `json:"key_generation_session"`
	ClaimCode            string            `json:"claim_code"`
	InstallationFile     string            `json:"installation_file"`
	Seeds                map[string]string `json:"seeds"`
}

func makeGolden(t *testing.T) golden {
	t.Helper()
	w := fixedWorld(t)
	p := fixedPayment(t, w)
	g := golden{Seeds: make(map[string]string)}
	for _, s := range samples(t) {
		b, err := evidence.Marshal(s.m)
		if err != nil {
			t.Fatalf("Marshal %s: %v", s.name, err)
		}
		v := vector{Name: s.name, Type: s.payloadType, Payload: hex.EncodeToString(b), Digest: evidence.DigestOf(s.payloadType, b).String()}
		if s.signer != "" {
			e := w.Sign(w.Key(s.signer), s.m)
			v.PublicKey = hex.EncodeToString(e.GetSignatures()[0].GetPublicKey())
			v.Signature = hex.EncodeToString(e.GetSignatures()[0].GetSignature())
			g.Seeds[v.PublicKey] = hex.EncodeToString(w.Key(s.signer).Seed())
		}
		g.Statements = append(g.Statements, v)
	}
	message := func(name, payloadType string, p *evidencetest.Payment) vector {
		return vector{
			Name: name, Type: payloadType, Payload: hex.EncodeToString(p.MessageBytes), Digest: evidence.MessageDigest(p.MessageBytes).String(),
			PublicKey: hex.EncodeToString(p.GroupKey[:]), Signature: hex.EncodeToString(p.Settle()),
		}
	}
	transfer, bought := fixedSolana(t, w)
	g.BookMessage = message("book message", evidence.TypeBookMessage, p)
	g.SolanaTransfer = message("transfer on Solana", evidence.TypeSolanaMessage, transfer)
	g.SolanaX402 = message("payment for an HTTP resource on Solana", evidence.TypeSolanaMessage, bought)
	g.KeyTestMessage = hex.EncodeToString(evidence.KeyTestMessage(w.Installation.ID(), p.Wallet.Name, p.GroupKey, [32]byte(digestOf(5))))
	g.KeyGenerationSession = hex.EncodeToString(evidence.KeyGenerationSession(w.Installation.ID(), p.Wallet.Name, bytes.Repeat([]byte{9}, 16)))
	g.ClaimCode = evidence.ClaimCode(w.Installation.ID(), sampleOf(t, "registration").(*typev1.Registration))
	file, err := w.Installation.MarshalFile()
	if err != nil {
		t.Fatalf("MarshalFile: %v", err)
	}
	g.InstallationFile = string(file)
	return g
}

func readGolden(t *testing.T) golden {
	t.Helper()
	b, err := os.ReadFile(goldenFile)
	if err != nil {
		t.Fatal(err)
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	var g golden
	if err := d.Decode(&g); err != nil {
		t.Fatal(err)
	}
	return g
}

// TestGolden: the bytes of every statement are what they were. A change here breaks every agent and every journal.
func TestGolden(t *testing.T) {
	made := makeGolden(t)
	if *update {
		b, err := json.MarshalIndent(made, "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(goldenFile, append(b, '\n'), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(made, readGolden(t)); diff != "" {
		t.Errorf("made (-) and golden (+) differ:\n%s", diff)
	}
}

// TestGoldenVerifies holds the file to the standard library alone: digests, signatures and types as docs/evidence.md says.
func TestGoldenVerifies(t *testing.T) {
	unhex := func(s string) []byte {
		b, err := hex.DecodeString(s)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	g := readGolden(t)
	for _, v := range append(g.Statements, g.BookMessage, g.SolanaTransfer, g.SolanaX402) {
		payload := unhex(v.Payload)
		pae := fmt.Appendf(nil, "DSSEv1 %d %s %d %s", len(v.Type), v.Type, len(payload), payload)
		if got := fmt.Sprintf("%x", sha256.Sum256(pae)); got != v.Digest {
			t.Errorf("%s: digest %s, want %s", v.Name, got, v.Digest)
		}
		signed := pae
		if v.Type == evidence.TypeBookMessage || v.Type == evidence.TypeSolanaMessage {
			signed = payload // a rail's message is signed as it is
		}
		if v.Signature != "" && !ed25519.Verify(unhex(v.PublicKey), signed, unhex(v.Signature)) {
			t.Errorf("%s: the signature does not verify", v.Name)
		}
	}
	if _, err := evidence.LoadInstallation([]byte(g.InstallationFile)); err != nil {
		t.Errorf("installation file: %v", err)
	}
}

// hand is an encoder of its own, written from docs/evidence.md: it shares nothing with protobuf's runtime.
type hand []byte

func (h hand) tag(number, wire int) hand { return binary.AppendUvarint(h, uint64(number<<3|wire)) }

func (h hand) bytes(number int, b []byte) hand {
	if len(b) == 0 {
		return h
	}
	return append(binary.AppendUvarint(h.tag(number, 2), uint64(len(b))), b...)
}

func (h hand) text(number int, s string) hand { return h.bytes(number, []byte(s)) }

func (h hand) number(number int, v uint64) hand {
	if v == 0 {
		return h
	}
	return binary.AppendUvarint(h.tag(number, 0), v)
}

// TestGoldenByHand makes the statements of a payment from their fields with the encoder above.
func TestGoldenByHand(t *testing.T) {
	result := func(r *typev1.RuleResult) hand {
		return hand(nil).number(1, uint64(r.GetRule())).number(2, uint64(r.GetIndex())).number(3, uint64(r.GetLight())).
			text(4, r.GetObserved()).text(5, r.GetLimit()).text(6, r.GetRoom())
	}
	envelope := func(e *typev1.Envelope) hand {
		h := hand(nil).text(1, e.GetPayloadType()).bytes(2, e.GetPayload())
		for _, s := range e.GetSignatures() {
			h = h.bytes(3, hand(nil).bytes(1, s.GetPublicKey()).bytes(2, s.GetSignature()))
		}
		return h
	}
	i := sampleOf(t, "intent").(*typev1.Intent)
	intent := hand(nil).text(1, i.GetInstallation()).text(2, i.GetWallet()).text(3, i.GetPayment()).number(4, uint64(i.GetRail())).
		text(5, i.GetAsset()).text(6, i.GetUnits()).bytes(7, i.GetRecipient()).text(8, i.GetPurpose()).number(9, uint64(i.GetDeadlineMillis()))
	x := sampleOf(t, x402Sample).(*typev1.Intent).GetX402()
	bought := append(hand(nil), intent...).bytes(10, hand(nil).text(1, x.GetMethod()).text(2, x.GetScheme()).text(3, x.GetHost()).
		text(4, x.GetPath()).bytes(5, x.GetUrlDigest()).bytes(6, x.GetBodyDigest()))
	q := sampleOf(t, "request").(*typev1.Request)
	request := hand(nil).text(1, q.GetInstallation()).text(2, q.GetWallet()).text(3, q.GetPayment()).bytes(4, intent).
		bytes(5, q.GetMessageDigest()).bytes(6, q.GetCommitment()).number(7, q.GetSeenEntry()).bytes(8, q.GetSeenHash()).
		number(9, uint64(q.GetTimeMillis()))
	sq := sampleOf(t, solanaRequest).(*typev1.Request)
	onChain := hand(nil).text(1, sq.GetInstallation()).text(2, sq.GetWallet()).text(3, sq.GetPayment()).bytes(4, sq.GetIntent()).
		bytes(5, sq.GetMessageDigest()).bytes(6, sq.GetCommitment()).number(9, uint64(sq.GetTimeMillis())).
		bytes(10, sq.GetFeePayer()).text(11, sq.GetMemo()).bytes(12, sq.GetOfferDigest())
	c := sampleOf(t, "receipt on Solana").(*typev1.Receipt)
	receipt := hand(nil).text(1, c.GetInstallation()).text(2, c.GetWallet()).text(3, c.GetPayment()).bytes(4, c.GetIntentDigest()).
		bytes(5, c.GetMessageDigest()).bytes(6, c.GetRequestDigest()).bytes(7, c.GetVerdictDigest()).bytes(8, c.GetGuardRailsDigest()).
		number(9, uint64(c.GetLight())).number(12, uint64(c.GetTimeMillis())).number(13, c.GetEntry()).bytes(14, c.GetEntryHash()).
		number(15, c.GetLastValidHeight())
	z := sampleOf(t, "settlement on Solana").(*typev1.Settlement)
	settlement := hand(nil).text(1, z.GetInstallation()).text(2, z.GetWallet()).text(3, z.GetPayment()).bytes(4, z.GetPayer()).
		bytes(5, z.GetRecipient()).text(6, z.GetAsset()).text(7, z.GetUnits()).bytes(8, z.GetIntentDigest()).bytes(9, z.GetMessageDigest()).
		number(10, uint64(z.GetTimeMillis())).bytes(11, z.GetTransaction()).number(12, z.GetSlot())
	failed := sampleOf(t, "dead-message of a transaction that failed").(*typev1.DeadMessage)
	dead := hand(nil).text(1, failed.GetInstallation()).text(2, failed.GetWallet()).text(3, failed.GetPayment()).
		bytes(4, failed.GetIntentDigest()).bytes(5, failed.GetMessageDigest()).number(6, uint64(failed.GetTimeMillis())).
		bytes(7, failed.GetTransaction()).number(8, failed.GetSlot())
	o := sampleOf(t, "chain-transfer out").(*typev1.ChainTransfer)
	outflow := hand(nil).text(1, o.GetInstallation()).text(2, o.GetWallet()).text(3, o.GetAsset()).text(4, o.GetUnits()).number(5, 1).
		bytes(6, o.GetTransaction()).number(7, o.GetSlot()).text(8, o.GetPayment()).number(9, uint64(o.GetTimeMillis()))
	v := sampleOf(t, "verdict").(*typev1.Verdict)
	verdict := hand(nil).text(1, v.GetInstallation()).text(2, v.GetWallet()).text(3, v.GetPayment()).bytes(4, v.GetIntentDigest()).
		bytes(5, v.GetMessageDigest()).bytes(6, v.GetGuardRailsDigest()).number(7, uint64(v.GetLight()))
	for _, r := range v.GetResults() {
		verdict = verdict.bytes(8, result(r))
	}
	verdict = verdict.bytes(9, v.GetReviewDigest()).number(10, uint64(v.GetTimeMillis())).number(11, uint64(v.GetExpiryMillis()))
	d := sampleOf(t, "guard-rails").(*typev1.GuardRails)
	document := hand(nil).text(1, d.GetInstallation()).text(2, d.GetWallet()).number(3, d.GetNumber())
	for _, b := range d.GetReplaces() {
		document = document.bytes(4, b)
	}
	document = document.text(5, d.GetOwner())
	for _, b := range d.GetOwnerKeys() {
		document = document.bytes(6, b)
	}
	document = document.bytes(7, d.GetRequestKey()).text(9, d.GetTimeZone())
	for _, s := range d.GetAssets() {
		document = document.text(10, s)
	}
	var rails []byte
	for _, r := range d.GetRails() {
		rails = binary.AppendUvarint(rails, uint64(r))
	}
	document = document.bytes(11, rails)
	for _, l := range d.GetLimits() {
		document = document.bytes(12, hand(nil).text(1, l.GetUnit()).number(2, uint64(l.GetMeasure())).number(3, uint64(l.GetWindow())).
			number(4, uint64(l.GetRollingSeconds())).text(5, l.GetAmount()).number(6, uint64(l.GetCrossed())))
	}
	var recipients hand
	for _, b := range d.GetRecipients().GetAllow() {
		recipients = recipients.bytes(1, b)
	}
	for _, b := range d.GetRecipients().GetDeny() {
		recipients = recipients.bytes(2, b)
	}
	document = document.bytes(13, recipients.number(3, uint64(d.GetRecipients().GetUnknown())))
	n := sampleOf(t, "entry").(*typev1.Entry)
	entry := hand(nil).text(1, n.GetInstallation()).text(2, n.GetWallet()).number(3, n.GetNumber()).bytes(4, n.GetPrevious()).
		number(5, uint64(n.GetTimeMillis())).number(6, uint64(n.GetKind())).text(7, n.GetPayment()).number(8, uint64(n.GetPaymentState())).
		text(9, n.GetAsset()).text(10, n.GetUnits()).text(11, n.GetAvailable()).text(12, n.GetHeld()).number(13, uint64(n.GetLight()))
	for _, r := range n.GetResults() {
		entry = entry.bytes(14, result(r))
	}
	for _, e := range n.GetStatements() {
		entry = entry.bytes(15, envelope(e))
	}
	entry = entry.bytes(16, n.GetMessage()).text(20, n.GetCaller())

	byHand := map[string]hand{
		"intent": intent, x402Sample: bought, "request": request, solanaRequest: onChain, "receipt on Solana": receipt,
		"settlement on Solana": settlement, "dead-message of a transaction that failed": dead,
		"chain-transfer out": outflow, "verdict": verdict, "guard-rails": document, "entry": entry,
	}
	for _, vec := range readGolden(t).Statements {
		if h, ok := byHand[vec.Name]; ok {
			if got := hex.EncodeToString(h); got != vec.Payload {
				t.Errorf("%s by hand:\n%s\nwant\n%s", vec.Name, got, vec.Payload)
			}
			delete(byHand, vec.Name)
		}
	}
	if len(byHand) != 0 {
		t.Errorf("no vector for %d of the statements made by hand", len(byHand))
	}
}

// TestDocExample: the hexadecimal in the page's worked example is the golden file's.
func TestDocExample(t *testing.T) {
	page := readDoc(t)
	blocks := make(map[string]string)
	for rest := page; ; {
		_, after, ok := strings.Cut(rest, "<!-- golden: ")
		if !ok {
			break
		}
		name, after, _ := strings.Cut(after, " -->\n```\n")
		block, after, _ := strings.Cut(after, "\n```")
		blocks[name] = strings.Join(strings.Fields(block), "")
		rest = after
	}
	g := readGolden(t)
	want := map[string]string{
		"book message payload":      g.BookMessage.Payload,
		"book message digest":       g.BookMessage.Digest,
		"book message signature":    g.BookMessage.Signature,
		"Solana transfer payload":   g.SolanaTransfer.Payload,
		"Solana transfer digest":    g.SolanaTransfer.Digest,
		"Solana transfer signature": g.SolanaTransfer.Signature,
		"claim code":                g.ClaimCode,
		"key-test message":          g.KeyTestMessage,
	}
	for _, v := range g.Statements {
		switch v.Name {
		case "intent":
			want["intent payload"], want["intent digest"] = v.Payload, v.Digest
		case "request":
			want["request payload"], want["request digest"] = v.Payload, v.Digest
			want["request key"], want["request seed"], want["request signature"] = v.PublicKey, g.Seeds[v.PublicKey], v.Signature
			payload, err := hex.DecodeString(v.Payload)
			if err != nil {
				t.Fatal(err)
			}
			pae := evidence.PAE(v.Type, payload)
			want["request PAE begins"] = hex.EncodeToString(pae[:len(pae)-len(payload)])
		case "entry":
			want["entry hash"] = v.Digest
		}
	}
	if diff := cmp.Diff(blocks, want); diff != "" {
		t.Errorf("page (-) and golden (+) differ:\n%s", diff)
	}
}

// TestDocFields: the page describes every field of every statement, by number, name and type, and every enum value.
func TestDocFields(t *testing.T) {
	page := readDoc(t)
	file := typev1.File_halfkey_type_v1_evidence_proto
	for i := range file.Messages().Len() {
		md := file.Messages().Get(i)
		_, section, ok := strings.Cut(page, "\n### "+string(md.Name()))
		if !ok {
			t.Errorf("no section for %s", md.Name())
			continue
		}
		section, _, _ = strings.Cut(section, "\n#")
		for j := range md.Fields().Len() {
			fd := md.Fields().Get(j)
			row := fmt.Sprintf("\n| %d | `%s` | %s |", fd.Number(), fd.Name(), docType(fd))
			if !strings.Contains(section, row) {
				t.Errorf("%s has no row%s", md.Name(), row)
			}
		}
		if got := strings.Count(section, "\n| ") - 1; got != md.Fields().Len() {
			t.Errorf("%s has %d rows, want %d", md.Name(), got, md.Fields().Len())
		}
	}
	for i := range file.Enums().Len() {
		values := file.Enums().Get(i).Values()
		for j := 1; j < values.Len(); j++ {
			if cell := "`" + string(values.Get(j).Name()) + "` " + strconv.Itoa(int(values.Get(j).Number())); !strings.Contains(page, cell) {
				t.Errorf("the page does not say %s", cell)
			}
		}
	}
	for _, s := range samples(t) {
		if !strings.Contains(page, "`"+s.payloadType+"`") {
			t.Errorf("the page does not name %s", s.payloadType)
		}
	}
}

func docType(fd protoreflect.FieldDescriptor) string {
	name := fd.Kind().String()
	switch fd.Kind() {
	case protoreflect.EnumKind:
		name = string(fd.Enum().Name())
	case protoreflect.MessageKind:
		name = string(fd.Message().Name())
	}
	if fd.IsList() {
		return name + ", repeated"
	}
	return name
}

func readDoc(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile(docFile)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
