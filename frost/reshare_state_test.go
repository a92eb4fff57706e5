package frost

import (
	"bytes"
	"errors"
	"slices"
	"testing"

	"filippo.io/edwards25519"
)

func TestReshareFinishRefuses(t *testing.T) {
	old := deal(t, 3, 1)
	keys := statics(t, 3)
	both := [2]Identifier{Agent, CoSigner}
	r := newResharing("certificates", old[0].Sharing(), both, keys)
	runs, deals := beginReshare(t, r, old, keys)
	all := accept(t, runs, deals)
	ofRecovery, err := runs[2].Accept(deals)
	if err != nil {
		t.Fatal(err)
	}
	earlier, earlierDeals := beginReshare(t, newResharing("earlier", old[0].Sharing(), both, keys), old, keys)
	replayed := accept(t, earlier, earlierDeals)
	flipped := all[1]
	flipped[50] ^= 1
	for _, tt := range []struct {
		name    string
		given   [2][64]byte
		want    error
		culprit Identifier
	}{
		{"exchanged", [2][64]byte{all[1], all[0]}, ErrReplay, Relay},
		{"own missing", [2][64]byte{{}, all[1]}, ErrReplay, Relay},
		{"own twice", [2][64]byte{all[0], all[0]}, ErrCertificate, CoSigner},
		{"altered", [2][64]byte{all[0], flipped}, ErrCertificate, CoSigner},
		{"of an earlier run", [2][64]byte{all[0], replayed[1]}, ErrCertificate, CoSigner},
		{"of one who does not deal", [2][64]byte{all[0], ofRecovery}, ErrCertificate, CoSigner},
		{"none", [2][64]byte{all[0], {}}, ErrCertificate, CoSigner},
	} {
		share, err := runs[0].Finish(tt.given)
		var culprit *CulpritError
		if share != nil || !errors.Is(err, tt.want) || !errors.As(err, &culprit) || culprit.Culprit != tt.culprit {
			t.Errorf("%s: Finish = %v, want %v naming the %s", tt.name, err, tt.want, tt.culprit)
		}
	}
	// One who does not deal wants both dealers'.
	for place, dealer := range both {
		given := all
		given[place] = replayed[place]
		var culprit *CulpritError
		if share, err := runs[2].Finish(given); share != nil || !errors.As(err, &culprit) || culprit.Culprit != dealer {
			t.Errorf("Finish of the recovery = %v, want the %s named", err, dealer)
		}
	}
	first, err := runs[0].Finish(all)
	if err != nil {
		t.Fatalf("Finish after refusals: %v", err)
	}
	second, err := runs[0].Finish(all)
	if err != nil || !bytes.Equal(first.Secret(), second.Secret()) {
		t.Errorf("Finish again gives another share (%v)", err)
	}
	second.Zero()
	runs[0].Zero()
	if first.usable() != nil {
		t.Error("erasing the run erased the share that Finish returned")
	}
}

func TestOpenReshareRefuses(t *testing.T) {
	old := deal(t, 3, 1)
	keys := statics(t, 3)
	both := [2]Identifier{Agent, CoSigner}
	r := newResharing("offline", old[0].Sharing(), both, keys)
	runs, deals := beginReshare(t, r, old, keys)
	all := accept(t, runs[:2], deals)
	earlier, earlierDeals := beginReshare(t, newResharing("earlier", old[0].Sharing(), both, keys), old, keys)
	replayed := accept(t, earlier[:2], earlierDeals)
	flip := func(b []byte, at int) []byte {
		b = bytes.Clone(b)
		b[at] ^= 1
		return b
	}
	// Dealings whose agent sealed rubbish for the recovery, certified by both all the same.
	agent, err := newAgreement(Agent, keys[0], r)
	if err != nil {
		t.Fatal(err)
	}
	rubbish := flip(deals[0], len(deals[0])-1)
	x, err := NewReshare(CoSigner, keys[1], old[1], r)
	if err != nil {
		t.Fatal(err)
	}
	certified := [2][]byte{rubbish, x.Deal()}
	ofAgent, err := schnorrSign(keys[0].secret, agent.transcript([]*message{{encoded: rubbish}, {encoded: x.Deal()}}))
	if err != nil {
		t.Fatal(err)
	}
	ofCoSigner, err := x.Accept(certified)
	if err != nil {
		t.Fatal(err)
	}
	with := func(change func(*Resharing)) Resharing {
		changed := r
		changed.StaticKeys = slices.Clone(r.StaticKeys)
		change(&changed)
		return changed
	}
	last := len(deals[0]) - 1 // in the recovery's ciphertext
	for _, tt := range []struct {
		name    string
		self    Identifier
		static  *StaticKey
		r       Resharing
		deals   [2][]byte
		given   [2][64]byte
		want    error
		culprit Identifier // 0 where nobody is named
	}{
		{"agent's ciphertext altered", Recovery, keys[2], r, [2][]byte{flip(deals[0], last), deals[1]}, all, ErrCertificate, Agent},
		{"co-signer's ciphertext altered", Recovery, keys[2], r, [2][]byte{deals[0], flip(deals[1], last)}, all, ErrCertificate, Agent},
		{"ciphertext for another altered", Recovery, keys[2], r, [2][]byte{flip(deals[0], valuesAt), deals[1]}, all, ErrCertificate, Agent},
		{"a certificate of an earlier run", Recovery, keys[2], r, deals, [2][64]byte{all[0], replayed[1]}, ErrCertificate, CoSigner},
		{"an earlier run for this one", Recovery, keys[2], r, earlierDeals, replayed, ErrCertificate, Agent},
		{"certificates exchanged", Recovery, keys[2], r, deals, [2][64]byte{all[1], all[0]}, ErrCertificate, Agent},
		{"no certificates", Recovery, keys[2], r, deals, [2][64]byte{}, ErrCertificate, Agent},
		{"rubbish that the dealer certified", Recovery, keys[2], r, certified, [2][64]byte{ofAgent, ofCoSigner}, ErrDecryption, Agent},
		{"dealings exchanged", Recovery, keys[2], r, [2][]byte{deals[1], deals[0]}, all, ErrReplay, Agent},
		{"a dealing missing", Recovery, keys[2], r, [2][]byte{deals[0], nil}, all, ErrEncoding, CoSigner},
		{
			"another session", Recovery, keys[2], with(func(r *Resharing) { r.Session = []byte("session of a test/other") }),
			deals, all, ErrCertificate, Agent,
		},
		{"another old sharing", Recovery, keys[2], with(func(r *Resharing) {
			r.Old = dealFrom(t, []*edwards25519.Scalar{random(t), random(t)}, 3, 1)[0].Sharing()
		}), deals, all, ErrCertificate, Agent},
		{"another epoch", Recovery, keys[2], with(func(r *Resharing) {
			s := *r.Old
			s.epoch++
			r.Old = &s
		}), deals, all, ErrCertificate, Agent},
		{"another's static key for the agent's", Recovery, keys[2], with(func(r *Resharing) {
			r.StaticKeys[0] = statics(t, 1)[0].Public()
		}), deals, all, ErrCertificate, Agent},
		{
			"other dealers", Recovery, keys[2], with(func(r *Resharing) { r.Dealers = [2]Identifier{Agent, Recovery} }),
			deals, all, ErrReplay, Recovery,
		},
		{"another's place", Agent, keys[2], r, deals, all, ErrParameter, 0},
		{"nobody's place", 4, keys[2], r, deals, all, ErrParameter, 0},
		{"no static key", Recovery, nil, r, deals, all, ErrErased, 0},
		{"no old sharing", Recovery, keys[2], with(func(r *Resharing) { r.Old = nil }), deals, all, ErrParameter, 0},
	} {
		share, err := OpenReshare(tt.self, tt.static, tt.r, tt.deals, tt.given)
		var culprit *CulpritError
		if share != nil || !errors.Is(err, tt.want) || errors.As(err, &culprit) != (tt.culprit != 0) ||
			culprit != nil && culprit.Culprit != tt.culprit {
			t.Errorf("%s: OpenReshare = %v, want %v naming the %s", tt.name, err, tt.want, tt.culprit)
		}
	}
	if _, err := OpenReshare(Recovery, keys[2], r, deals, all); err != nil {
		t.Errorf("OpenReshare of what nobody altered: %v", err)
	}
}

func TestReshareStages(t *testing.T) {
	old := deal(t, 2, 1)
	keys := statics(t, 2)
	r := newResharing("stages", old[0].Sharing(), [2]Identifier{Agent, CoSigner}, keys)
	runs, deals := beginReshare(t, r, old, keys)
	x := runs[0]
	if !bytes.Equal(x.Deal(), deals[0]) {
		t.Error("the second dealing is another")
	}
	if _, err := x.Finish([2][64]byte{}); !errors.Is(err, ErrStage) {
		t.Errorf("Finish before Accept = %v, want ErrStage", err)
	}
	if _, err := x.Sharing(); !errors.Is(err, ErrStage) {
		t.Errorf("Sharing before Accept = %v, want ErrStage", err)
	}
	if _, err := x.TranscriptDigest(); !errors.Is(err, ErrStage) {
		t.Errorf("TranscriptDigest before Accept = %v, want ErrStage", err)
	}
	certificate, err := x.Accept(deals)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := x.Accept(deals); err != nil || again != certificate {
		t.Errorf("Accept again = %x, %v, want %x", again, err, certificate)
	}
	second, err := NewReshare(CoSigner, keys[1], old[1], r)
	if err != nil {
		t.Fatal(err)
	}
	others := [2][]byte{deals[0], second.Deal()}
	restored, err := ParseReshare(x.Secret())
	if err != nil {
		t.Fatal(err)
	}
	for name, run := range map[string]*Reshare{"at once": x, "after a restart": restored} {
		if _, err := run.Accept(others); !errors.Is(err, ErrStage) {
			t.Errorf("Accept of other dealings %s = %v, want ErrStage", name, err)
		}
		if again, err := run.Accept(deals); err != nil || again != certificate {
			t.Errorf("Accept again %s = %x, %v, want %x", name, again, err, certificate)
		}
	}
	x.Zero()
	if _, err := x.Finish([2][64]byte{certificate}); !errors.Is(err, ErrStage) {
		t.Errorf("Finish after Zero = %v, want ErrStage", err)
	}
	if _, err := x.Accept(deals); !errors.Is(err, ErrStage) {
		t.Errorf("Accept after Zero = %v, want ErrStage", err)
	}
	if x.Secret() != nil || x.Deal() != nil {
		t.Error("the erased run has state")
	}
}

// TestReshareStateRoundTrip seals and restores everybody between all calls, a recipient without a share as well.
func TestReshareStateRoundTrip(t *testing.T) {
	reopen := func(x *Reshare) *Reshare {
		t.Helper()
		b := x.Secret()
		restored, err := ParseReshare(b)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(restored.Secret(), b) {
			t.Error("the restored state encodes otherwise")
		}
		clear(b)
		if !bytes.Equal(restored.Deal(), x.Deal()) || !bytes.Equal(restored.Secret(), x.Secret()) {
			t.Error("the restored state differs, or refers to the bytes it was parsed from")
		}
		return restored
	}
	old := deal(t, 3, 1)
	keys := statics(t, 3)
	runs, deals := beginReshare(t, newResharing("state", old[0].Sharing(), [2]Identifier{CoSigner, Recovery}, keys), old, keys)
	for k := range runs {
		runs[k] = reopen(runs[k])
	}
	all := accept(t, runs, deals)
	for _, x := range runs {
		original, err := x.Finish(all)
		if err != nil {
			t.Fatal(err)
		}
		restored, err := reopen(x).Finish(all)
		if err != nil || !bytes.Equal(original.Secret(), restored.Secret()) {
			t.Errorf("share after a restart differs (%v)", err)
		}
	}
}

// TestParseReshareRefuses: each prefix, a byte more, and each flipped bit that the state can know of. Ciphertexts to others
// are the exception: only their recipients can open them.
func TestParseReshareRefuses(t *testing.T) {
	old := deal(t, 2, 1)
	keys := statics(t, 2)
	runs, deals := beginReshare(t, newResharing("damage", old[0].Sharing(), [2]Identifier{Agent, CoSigner}, keys), old, keys)
	drawn := runs[0].Secret()
	accept(t, runs, deals)
	certified := runs[0].Secret()
	size := len(deals[0])
	for _, tt := range []struct {
		name   string
		b      []byte
		opaque [][2]int // what lies between, counted from the end, are ciphertexts for the other
	}{
		{"drawn", drawn, [][2]int{{ciphertextSizeMin, 0}}},
		{"certified", certified, [][2]int{{size + ciphertextSizeMin, size}, {ciphertextSizeMin, 0}}},
	} {
		for k := range tt.b {
			if _, err := ParseReshare(tt.b[:k]); !errors.Is(err, ErrEncoding) {
				t.Fatalf("%s: %d of %d bytes: %v, want ErrEncoding", tt.name, k, len(tt.b), err)
			}
		}
		if _, err := ParseReshare(append(bytes.Clone(tt.b), 0)); !errors.Is(err, ErrEncoding) {
			t.Errorf("%s: a byte more: %v, want ErrEncoding", tt.name, err)
		}
		for k := range tt.b {
			if slices.ContainsFunc(tt.opaque, func(o [2]int) bool { return k >= len(tt.b)-o[0] && k < len(tt.b)-o[1] }) {
				continue
			}
			b := bytes.Clone(tt.b)
			b[k] ^= 1 << (k % 8)
			if _, err := ParseReshare(b); !errors.Is(err, ErrEncoding) {
				t.Errorf("%s: bit flipped in byte %d: %v, want ErrEncoding", tt.name, k, err)
			}
		}
	}
	// The agent's dealing of one run with the co-signer's of another.
	again, others := beginReshare(t, newResharing("damage again", old[0].Sharing(), [2]Identifier{Agent, CoSigner}, keys), old, keys)
	accept(t, again, others)
	mixed := append(bytes.Clone(certified[:len(certified)-size]), others[1]...)
	if _, err := ParseReshare(mixed); !errors.Is(err, ErrEncoding) {
		t.Errorf("dealings of two runs: %v, want ErrEncoding", err)
	}
	for name, b := range map[string][]byte{"a key share": old[0].Secret(), "a sharing": old[0].Sharing().Bytes(), "a dealing": deals[0]} {
		if _, err := ParseReshare(b); !errors.Is(err, ErrEncoding) {
			t.Errorf("%s: %v, want ErrEncoding", name, err)
		}
	}
}

func TestStaticKeyRoundTrip(t *testing.T) {
	key := statics(t, 1)[0]
	b := key.Secret()
	restored, err := ParseStaticKey(b)
	if err != nil || restored.Public() != key.Public() || !bytes.Equal(restored.Secret(), b) {
		t.Errorf("the restored key differs (%v)", err)
	}
	for k := range b {
		if _, err := ParseStaticKey(b[:k]); !errors.Is(err, ErrEncoding) {
			t.Errorf("%d of %d bytes: %v, want ErrEncoding", k, len(b), err)
		}
		damaged := bytes.Clone(b)
		damaged[k] ^= 1 << (k % 8)
		if _, err := ParseStaticKey(damaged); !errors.Is(err, ErrEncoding) {
			t.Errorf("bit flipped in byte %d: %v, want ErrEncoding", k, err)
		}
	}
	if _, err := ParseStaticKey(append(bytes.Clone(b), 0)); !errors.Is(err, ErrEncoding) {
		t.Errorf("a byte more: %v, want ErrEncoding", err)
	}
	key.Zero()
	if key.Secret() != nil {
		t.Error("the erased key has bytes")
	}
}
