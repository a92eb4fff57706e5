package frost

import (
	"bytes"
	"encoding"
	"encoding/gob"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"testing"

	"filippo.io/edwards25519"
)

// TestSecretsDoNotPrint runs every secret type, as pointer and as value, through every way a program prints.
func TestSecretsDoNotPrint(t *testing.T) {
	parties, messages := begin(t, "printing", statics(t, 2))
	certificates(t, parties, messages)
	share := deal(t, 2, 1)[0]
	nonces, _ := mustCommit(t, share)
	resharing := accepted(t)
	for _, tt := range []struct {
		name           string
		pointer, value any
	}{
		{"KeyShare", share, *share},
		{"Nonces", nonces, *nonces},
		{"StaticKey", parties[0].static, *parties[0].static},
		{"KeyGeneration", parties[0].run, *parties[0].run},
		{"Reshare", resharing, *resharing},
	} {
		for _, secret := range []any{tt.pointer, tt.value} {
			for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%o", "%b", "%t", "%p"} {
				if got := fmt.Sprintf(verb, secret); verb != "%p" && got != redactedText {
					t.Errorf("%s: %s prints %q", tt.name, verb, got)
				}
			}
			if got := fmt.Sprint([]any{secret}, map[string]any{"k": secret}); got != "["+redactedText+"] map[k:"+redactedText+"]" {
				t.Errorf("%s: in containers prints %q", tt.name, got)
			}
			if b, err := json.Marshal(secret); !errors.Is(err, errMarshalSecret) {
				t.Errorf("%s: JSON = %s, %v", tt.name, b, err)
			}
			if b, err := secret.(encoding.TextMarshaler).MarshalText(); err == nil {
				t.Errorf("%s: text = %s", tt.name, b)
			}
			if b, err := secret.(encoding.BinaryMarshaler).MarshalBinary(); err == nil {
				t.Errorf("%s: binary = %x", tt.name, b)
			}
			if err := gob.NewEncoder(new(bytes.Buffer)).Encode(secret); err == nil {
				t.Errorf("%s: gob encodes it", tt.name)
			}
			for _, format := range []func(*bytes.Buffer) slog.Handler{
				func(b *bytes.Buffer) slog.Handler { return slog.NewTextHandler(b, nil) },
				func(b *bytes.Buffer) slog.Handler { return slog.NewJSONHandler(b, nil) },
			} {
				var log bytes.Buffer
				slog.New(format(&log)).Info("m", "secret", secret)
				if !bytes.Contains(log.Bytes(), []byte(redactedText)) || bytes.Contains(log.Bytes(), []byte("0x")) {
					t.Errorf("%s: log %q", tt.name, log.String())
				}
			}
		}
	}
}

// accepted is a resharing of an agent that holds its new share.
func accepted(t *testing.T) *Reshare {
	t.Helper()
	old, keys := deal(t, 2, 1), statics(t, 2)
	runs, deals := beginReshare(t, newResharing("printing", old[0].Sharing(), [2]Identifier{Agent, CoSigner}, keys), old, keys)
	accept(t, runs, deals)
	return runs[0]
}

// TestHiddenSecretsDoNotPrint: fmt cannot call methods on what it finds in unexported fields, so what it prints there must
// not depend on the secret.
func TestHiddenSecretsDoNotPrint(t *testing.T) {
	parties, messages := begin(t, "hidden", statics(t, 2))
	certificates(t, parties, messages)
	share := deal(t, 2, 1)[0]
	nonces, _ := mustCommit(t, share)
	type holder struct {
		share   KeyShare
		static  StaticKey
		run     KeyGeneration
		nonces  Nonces
		reshare Reshare
	}
	resharing := accepted(t)
	h := holder{*share, *parties[0].static, *parties[0].run, *nonces, *resharing}
	print := func() (out []string) {
		for _, verb := range []string{"%v", "%+v", "%#v"} {
			out = append(out, fmt.Sprintf(verb, h))
		}
		return out
	}
	before := print()
	pair := nonces.unused.Load().pair
	for _, secret := range []*edwards25519.Scalar{
		share.secret, parties[0].static.secret, parties[0].run.static, parties[0].run.share.secret, &pair.d, &pair.e,
		resharing.static, resharing.share.secret,
	} {
		wipe(secret)
	}
	for k, after := range print() {
		if after != before[k] {
			t.Errorf("what prints depends on a secret:\n%s\n%s", before[k], after)
		}
	}
}

// TestZeroValues: what nobody made refuses, or has nothing to give, and does not panic.
func TestZeroValues(t *testing.T) {
	good := deal(t, 2, 1)[0]
	_, commitment := mustCommit(t, good)
	signers := []SignerCommitment{{Agent, commitment}, {CoSigner, Commitment{}}}
	refuses := func(_ any, err error) bool { return err != nil }
	for _, share := range []*KeyShare{nil, {}} {
		_, _, committed := share.Commit()
		_, _, drawn := share.NewNonces()
		if committed == nil || drawn == nil || !refuses(CoSign(share, commitment, nil, nil)) ||
			!refuses(Exit(nil, share, good)) || !refuses(Exit(nil, good, share)) || share.Secret() != nil || share.Scalar() != nil {
			t.Error("the zero key share signs")
		}
		share.Zero()
	}
	for _, nonces := range []*Nonces{nil, {}} {
		if !refuses(nonces.Finish(nil, Release{})) || !refuses(nonces.SignShare(nil, signers)) {
			t.Error("the zero nonces sign")
		}
	}
	for _, static := range []*StaticKey{nil, {}} {
		r := Resharing{Session: make([]byte, SessionSizeMin), Old: good.Sharing(), Dealers: [2]Identifier{Agent, CoSigner}}
		for range 2 {
			r.StaticKeys = append(r.StaticKeys, statics(t, 1)[0].Public())
		}
		if !refuses(NewKeyGeneration(Agent, static, Run{r.Session, r.StaticKeys, thresholdOfWallet})) ||
			!refuses(NewReshare(Agent, static, good, r)) || !refuses(OpenReshare(Agent, static, r, [2][]byte{}, [2][64]byte{})) ||
			static.Secret() != nil {
			t.Error("the zero static key takes part")
		}
		static.Zero()
	}
	var run KeyGeneration
	if run.Round1() != nil || run.Secret() != nil || !refuses(run.Round2(nil)) || !refuses(run.Finish(nil)) || !refuses(run.GroupKey()) ||
		!refuses(run.TranscriptDigest()) {
		t.Error("the zero key generation runs")
	}
	run.Zero()
	var resharing Reshare
	if resharing.Deal() != nil || resharing.Secret() != nil || !refuses(resharing.Accept([2][]byte{})) ||
		!refuses(resharing.Finish([2][64]byte{})) || !refuses(resharing.Sharing()) || !refuses(resharing.TranscriptDigest()) {
		t.Error("the zero resharing runs")
	}
	resharing.Zero()
	for _, sharing := range []*Sharing{nil, {}} {
		if !refuses(AggregateShares(sharing, nil, signers, make([]SignatureShare, 2))) ||
			!refuses(NewReshare(Agent, nil, nil, Resharing{Old: sharing})) {
			t.Error("the zero sharing verifies")
		}
	}
	if !refuses(ParseSharing(new(Sharing).Bytes())) {
		t.Error("the zero sharing parses")
	}
	if !refuses(NewKeyShare(Agent, 1, nil, nil)) || VerifySignature([32]byte{}, nil, nil) || ValidGroupKey(nil) {
		t.Error("nothing is a key")
	}
}

// TestSuites: everything that is stored, and a dealing, begins with its suite, and nothing parses as anything else.
func TestSuites(t *testing.T) {
	share, static, resharing := deal(t, 2, 1)[0], statics(t, 1)[0], accepted(t)
	parties, _ := begin(t, "suites", statics(t, 2))
	objects := []struct {
		name, suite string
		b           []byte
		parse       func([]byte) error
	}{
		{"key share", Suite, share.Secret(), func(b []byte) error { _, err := ParseKeyShare(b); return err }},
		{"sharing", suiteSharing, share.Sharing().Bytes(), func(b []byte) error { _, err := ParseSharing(b); return err }},
		{"static key", suiteStaticKey, static.Secret(), func(b []byte) error { _, err := ParseStaticKey(b); return err }},
		{"key generation", suiteKeyGeneration, parties[0].run.Secret(), func(b []byte) error { _, err := ParseKeyGeneration(b); return err }},
		{"resharing", suiteResharing, resharing.Secret(), func(b []byte) error { _, err := ParseReshare(b); return err }},
		{"dealing", suiteResharing, resharing.Deal(), func(b []byte) error { _, err := agreementOf(resharing).parse(0, b); return err }},
	}
	for _, object := range objects {
		if begin := string(byte(len(object.suite))) + object.suite; !bytes.HasPrefix(object.b, []byte(begin)) {
			t.Errorf("%s begins with %q, want %q", object.name, object.b[:len(begin)], begin)
		}
		for _, as := range objects {
			if err := as.parse(object.b); (err == nil) != (as.name == object.name) || err != nil && !errors.Is(err, ErrEncoding) {
				t.Errorf("%s as %s: %v", object.name, as.name, err)
			}
		}
	}
}

// TestErrorsHoldNoSecret: an error's text names participants and sizes, never a value.
func TestErrorsHoldNoSecret(t *testing.T) {
	share := deal(t, 2, 1)[1]
	secret := fmt.Sprintf("%x", share.secret.Bytes())
	b := share.Secret()
	for k := range b {
		damaged := bytes.Clone(b)
		damaged[k] ^= 0x80
		if _, err := ParseKeyShare(damaged); err != nil && bytes.Contains([]byte(err.Error()), []byte(secret[:8])) {
			t.Errorf("byte %d: %v", k, err)
		}
	}
}
