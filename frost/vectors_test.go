package frost

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha512"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"testing"

	"filippo.io/edwards25519"
	"github.com/google/go-cmp/cmp"
)

// hexBytes is a hex string in a vector file.
type hexBytes []byte

func (h *hexBytes) UnmarshalJSON(b []byte) error {
	var s string
	if err := json.Unmarshal(b, &s); err != nil {
		return err
	}
	decoded, err := hex.DecodeString(s)
	*h = decoded
	return err
}

func loadVectors(t testing.TB, name string, into any) {
	t.Helper()
	b, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, into); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
}

// same compares bytes and says in hex how they differ.
func same(t *testing.T, what string, got, want []byte) {
	t.Helper()
	if !bytes.Equal(got, want) {
		t.Errorf("%s = %x, want %x", what, got, want)
	}
}

func mustScalar(t testing.TB, b []byte) *edwards25519.Scalar {
	t.Helper()
	s, err := decodeScalar(b)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func basePoint(s *edwards25519.Scalar) *edwards25519.Point {
	return new(edwards25519.Point).ScalarBaseMult(s)
}

// publicShares returns the public shares of secrets, by identifier from 1.
func publicShares(secrets []*edwards25519.Scalar) []publicShare {
	public := make([]publicShare, len(secrets))
	for k, s := range secrets {
		public[k] = publicShare{id: Identifier(k + 1), point: basePoint(s), encoded: encodePoint(basePoint(s))}
	}
	return public
}

// newKeyShare makes a share of any participant and threshold.
func newKeyShare(id Identifier, epoch uint64, threshold int, secret *edwards25519.Scalar, public []publicShare) (*KeyShare, error) {
	s, err := newSharing(epoch, threshold, public)
	if err != nil {
		return nil, err
	}
	return s.keyShare(id, secret)
}

type frostVectors struct {
	Inputs struct {
		ParticipantList []Identifier `json:"participant_list"`
		GroupSecretKey  hexBytes     `json:"group_secret_key"`
		GroupPublicKey  hexBytes     `json:"group_public_key"`
		VerifyingKey    hexBytes     `json:"verifying_key_key"`
		Message         hexBytes     `json:"message"`
		Coefficients    []hexBytes   `json:"share_polynomial_coefficients"`
		Shares          []struct {
			Identifier Identifier `json:"identifier"`
			Share      hexBytes   `json:"participant_share"`
		} `json:"participant_shares"`
	} `json:"inputs"`
	RoundOne struct {
		Outputs []struct {
			Identifier        Identifier `json:"identifier"`
			HidingRandomness  hexBytes   `json:"hiding_nonce_randomness"`
			BindingRandomness hexBytes   `json:"binding_nonce_randomness"`
			HidingNonce       hexBytes   `json:"hiding_nonce"`
			BindingNonce      hexBytes   `json:"binding_nonce"`
			HidingCommitment  hexBytes   `json:"hiding_nonce_commitment"`
			BindingCommitment hexBytes   `json:"binding_nonce_commitment"`
			FactorInput       hexBytes   `json:"binding_factor_input"`
			Factor            hexBytes   `json:"binding_factor"`
		} `json:"outputs"`
	} `json:"round_one_outputs"`
	RoundTwo struct {
		Outputs []struct {
			Identifier Identifier `json:"identifier"`
			Share      hexBytes   `json:"sig_share"`
		} `json:"outputs"`
	} `json:"round_two_outputs"`
	Final struct {
		Signature hexBytes `json:"sig"`
	} `json:"final_output"`
}

func TestSigningVectors(t *testing.T) {
	for _, tt := range []struct{ name, file string }{
		{"RFC 9591 E.1", "frost-ed25519-sha512.json"},
		{"ZF FROST", "zf-frost-ed25519-vectors.json"},
		{"ZF FROST with identifiers of two bytes", "zf-frost-ed25519-vectors-big-identifier.json"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var v frostVectors
			loadVectors(t, tt.file, &v)
			groupKey := [pointSize]byte(append(v.Inputs.GroupPublicKey, v.Inputs.VerifyingKey...))

			coefficients := []*edwards25519.Scalar{mustScalar(t, v.Inputs.GroupSecretKey)}
			for _, c := range v.Inputs.Coefficients {
				coefficients = append(coefficients, mustScalar(t, c))
			}
			same(t, "group key", basePoint(coefficients[0]).Bytes(), groupKey[:])
			var secrets []*edwards25519.Scalar
			for _, s := range v.Inputs.Shares {
				got := evaluate(coefficients, s.Identifier)
				same(t, "participant share", got.Bytes(), s.Share)
				secrets = append(secrets, got)
			}
			public := publicShares(secrets)
			shares := map[Identifier]*KeyShare{}
			for _, id := range v.Inputs.ParticipantList {
				share, err := newKeyShare(id, 1, len(coefficients), secrets[id-1], public)
				if err != nil {
					t.Fatal(err)
				}
				if share.groupKey != groupKey {
					t.Errorf("interpolated group key = %x, want %x", share.groupKey, groupKey)
				}
				shares[share.id] = share
			}

			pairs := map[Identifier]*noncePair{}
			var set []signer
			for _, o := range v.RoundOne.Outputs {
				random := [64]byte(slices.Concat(o.HidingRandomness, o.BindingRandomness))
				n, err := newNoncePair(&random, shares[o.Identifier].secret)
				if err != nil {
					t.Fatal(err)
				}
				same(t, "hiding nonce", n.d.Bytes(), o.HidingNonce)
				same(t, "binding nonce", n.e.Bytes(), o.BindingNonce)
				same(t, "hiding commitment", n.commitment[:pointSize], o.HidingCommitment)
				same(t, "binding commitment", n.commitment[pointSize:], o.BindingCommitment)
				pairs[o.Identifier] = n
				set = append(set, n.signer(o.Identifier))
			}
			s, err := newSigning(groupKey, set, v.Inputs.Message)
			if err != nil {
				t.Fatal(err)
			}
			messageHash, listHash := bindingHashes(set, v.Inputs.Message)
			for k, o := range v.RoundOne.Outputs {
				same(t, "binding factor input", slices.Concat(groupKey[:], messageHash[:], listHash[:], o.Identifier.scalar().Bytes()), o.FactorInput)
				same(t, "binding factor", s.rho[k].Bytes(), o.Factor)
			}
			z := new(edwards25519.Scalar)
			for k, o := range v.RoundTwo.Outputs {
				coefficient := lagrange(o.Identifier, v.Inputs.ParticipantList, 0)
				share := new(edwards25519.Scalar)
				s.share(share, k, pairs[o.Identifier], coefficient, shares[o.Identifier].secret)
				same(t, "signature share", share.Bytes(), o.Share)
				y := public[o.Identifier-1].point
				if !s.verifyShare(k, share, coefficient, y) {
					t.Errorf("share of %d does not verify", o.Identifier)
				}
				z.Add(z, share)
			}
			signature, err := s.signature(z, groupKey, v.Inputs.Message)
			if err != nil {
				t.Fatal(err)
			}
			same(t, "signature", signature[:], v.Final.Signature)
			if !ed25519.Verify(groupKey[:], v.Inputs.Message, signature[:]) {
				t.Error("crypto/ed25519 does not verify the signature")
			}
		})
	}
}

type cocktailVectors struct {
	Ciphersuite string   `json:"ciphersuite"`
	Seed        hexBytes `json:"seed"`
	Vectors     []struct {
		N         int        `json:"n"`
		T         int        `json:"t"`
		Session   hexBytes   `json:"session_tag"`
		Context   hexBytes   `json:"context"`
		Extension hexBytes   `json:"extension"`
		Payloads  []hexBytes `json:"payloads"`
		Config    struct {
			Secret []hexBytes `json:"static_secret_keys"`
			Public []hexBytes `json:"static_public_keys"`
		} `json:"config"`
		Round1 []struct {
			ID         Identifier `json:"participant_id"`
			Ephemeral  hexBytes   `json:"ephemeral_public_key"`
			Commitment []hexBytes `json:"vss_commitment"`
			PoP        hexBytes   `json:"pop"`
			PoPParts   struct {
				Message         hexBytes `json:"message"`
				NonceInput      hexBytes `json:"nonce_input"`
				Nonce           hexBytes `json:"nonce"`
				NonceCommitment hexBytes `json:"nonce_commitment"`
				ChallengeInput  hexBytes `json:"challenge_input"`
				Challenge       hexBytes `json:"challenge"`
			} `json:"pop_intermediate"`
			Encrypted []hexBytes `json:"encrypted_shares"`
		} `json:"round1"`
		Round2 []struct {
			ID     Identifier `json:"participant_id"`
			Secret hexBytes   `json:"secret_share"`
			Public hexBytes   `json:"verification_share"`
		} `json:"round2"`
		Round3 struct {
			TranscriptHash hexBytes `json:"transcript_hash"`
			Signatures     []struct {
				ID        Identifier `json:"signer_id"`
				Signature hexBytes   `json:"signature"`
			} `json:"signatures"`
		} `json:"round3"`
		GroupKey hexBytes `json:"group_public_key"`
		Recovery *struct {
			ID          Identifier `json:"participant_id"`
			Ciphertexts []hexBytes `json:"ciphertexts"`
			Secret      hexBytes   `json:"recovered_secret_share"`
			Public      hexBytes   `json:"recovered_verification_share"`
		} `json:"recovery"`
	} `json:"vectors"`
}

// counterStream is the vectors' random stream: SHA-512(prefix ‖ uint64_le(0)), then 1, and so on.
type counterStream struct {
	prefix  []byte
	counter uint64
	block   []byte
}

func (s *counterStream) Read(b []byte) (int, error) {
	if len(s.block) == 0 {
		digest := sha512.Sum512(binary.LittleEndian.AppendUint64(slices.Clone(s.prefix), s.counter))
		s.block, s.counter = digest[:], s.counter+1
	}
	n := copy(b, s.block)
	s.block = s.block[n:]
	return n, nil
}

func TestKeyGenerationVectors(t *testing.T) {
	var file cocktailVectors
	loadVectors(t, "c2sp-cocktail-dkg-ed25519-sha512.json", &file)
	if file.Ciphersuite != suiteKeyGeneration {
		t.Fatalf("suite = %q, want %q", file.Ciphersuite, suiteKeyGeneration)
	}
	for _, v := range file.Vectors {
		t.Run(fmt.Sprintf("%d of %d, %d payloads", v.T, v.N, len(v.Payloads)), func(t *testing.T) {
			label := func(text string) []byte {
				b := slices.Concat(file.Seed, []byte(file.Ciphersuite))
				b = binary.LittleEndian.AppendUint32(b, uint32(v.T))
				b = binary.LittleEndian.AppendUint32(b, uint32(v.N))
				return append(b, text...)
			}
			var statics [][pointSize]byte
			var keys []*StaticKey
			for k, secret := range v.Config.Secret {
				keys = append(keys, newStaticKey(mustScalar(t, secret)))
				statics = append(statics, keys[k].public)
				same(t, "static key", statics[k][:], v.Config.Public[k])
			}
			encoded := make([][]byte, v.N)
			ceremonies := make([]*ceremony, v.N)
			for k, want := range v.Round1 {
				c, err := newCeremony(want.ID, keys[want.ID-1], v.T, v.Session, statics)
				if err != nil {
					t.Fatal(err)
				}
				same(t, "context", c.context[:], v.Context)
				var payload []byte
				if len(v.Payloads) > 0 {
					payload = v.Payloads[k]
					c.extension, c.payloadSize = v.Extension, len(payload)
				}
				stream := label(fmt.Sprintf("round1_participant_%d", want.ID))
				ceremonies[k] = c
				if encoded[k], err = c.draw(&counterStream{prefix: stream}, payload); err != nil {
					t.Fatal(err)
				}
				m, err := c.parse(k, encoded[k])
				if err != nil {
					t.Fatal(err)
				}
				for i, point := range want.Commitment {
					same(t, "commitment", c.commitment(m)[i*pointSize:(i+1)*pointSize], point)
				}
				same(t, "ephemeral key", m.ephemeralKey[:], want.Ephemeral)
				same(t, "proof", c.proof(m), want.PoP)
				for i, ciphertext := range want.Encrypted {
					same(t, "encrypted share", m.sealed[i], ciphertext)
				}

				// The proof's intermediates.
				constant, err := randomScalar(&counterStream{prefix: stream})
				if err != nil {
					t.Fatal(err)
				}
				proofMessage := c.proofMessage(c.commitment(m), m.ephemeralKey)
				nonce := schnorrNonce(constant, proofMessage)
				r := encodePoint(basePoint(nonce))
				public := [pointSize]byte(encoded[k])
				same(t, "proof message", proofMessage, want.PoPParts.Message)
				same(t, "proof nonce input", slices.Concat([]byte(schnorrPrefixNonce), constant.Bytes(), proofMessage), want.PoPParts.NonceInput)
				same(t, "proof nonce", nonce.Bytes(), want.PoPParts.Nonce)
				same(t, "proof nonce commitment", r[:], want.PoPParts.NonceCommitment)
				same(t, "proof challenge input", slices.Concat([]byte(schnorrPrefixChallenge), r[:], public[:], proofMessage),
					want.PoPParts.ChallengeInput)
				same(t, "proof challenge", schnorrChallenge(r, public, proofMessage).Bytes(), want.PoPParts.Challenge)
			}
			for k, want := range v.Round2 {
				c := ceremonies[k]
				messages, err := c.parseAll(c, encoded)
				if err != nil {
					t.Fatal(err)
				}
				share, err := c.receive(c, messages)
				if err != nil {
					t.Fatal(err)
				}
				public, _ := share.PublicShare(want.ID)
				same(t, "secret share", share.secret.Bytes(), want.Secret)
				same(t, "verification share", public[:], want.Public)
				same(t, "group key", share.groupKey[:], v.GroupKey)

				transcript := c.transcript(messages)
				digest := sha512.Sum512(transcript)
				same(t, "transcript hash", digest[:], v.Round3.TranscriptHash)
				certificate, err := schnorrSign(keys[k].secret, transcript)
				if err != nil {
					t.Fatal(err)
				}
				same(t, "certificate", certificate[:], v.Round3.Signatures[k].Signature)

				if r := v.Recovery; r != nil && r.ID == want.ID {
					for i, m := range messages {
						same(t, "recovery ciphertext", m.sealed[r.ID-1], r.Ciphertexts[i])
					}
					same(t, "recovered share", share.secret.Bytes(), r.Secret)
					same(t, "recovered verification share", public[:], r.Public)
				}
			}
			for k, payload := range v.Payloads {
				digest := sha512.Sum512(label(fmt.Sprintf("payload_%d", k+1)))
				same(t, "payload", payload, digest[:])
			}
		})
	}
}

// TestEdgePoints: of the keys and Rs in CCTV's Ed25519 vectors exactly those are points for us which are not of low order,
// have no low-order component and are canonically encoded; and no signature with one of the others verifies.
func TestEdgePoints(t *testing.T) {
	var vectors []struct {
		Number int
		Key    hexBytes
		Sig    hexBytes
		Msg    string
		Flags  []string
	}
	loadVectors(t, "c2sp-cctv-ed25519vectors.json", &vectors)
	accepted := map[string]bool{}
	for _, v := range vectors {
		for _, part := range []struct {
			name  string
			bytes []byte
		}{{"A", v.Key}, {"R", v.Sig[:pointSize]}} {
			bad := slices.ContainsFunc(v.Flags, func(f string) bool {
				return f == "low_order_"+part.name || f == "low_order_component_"+part.name || f == "non_canonical_"+part.name
			})
			if got, want := ValidGroupKey(part.bytes), !bad; got != want {
				t.Errorf("vector %d: %s %x accepted = %v, want %v", v.Number, part.name, part.bytes, got, want)
			}
			if !bad {
				accepted[part.name] = true
			}
		}
		if got, want := VerifySignature([32]byte(v.Key), []byte(v.Msg), v.Sig), len(v.Flags) == 0; got != want {
			t.Errorf("vector %d with %v verifies = %v, want %v", v.Number, v.Flags, got, want)
		}
	}
	if diff := cmp.Diff(map[string]bool{"A": true, "R": true}, accepted); diff != "" {
		t.Errorf("the vectors hold no good point (-want +got):\n%s", diff)
	}
}

func TestLambda(t *testing.T) {
	for _, self := range []Identifier{1, 2, 3} {
		for _, peer := range []Identifier{1, 2, 3} {
			if self == peer {
				continue
			}
			if lambda(self, peer).Equal(lagrange(self, []Identifier{self, peer}, 0)) != 1 {
				t.Errorf("lambda(%d, %d) is not the Lagrange coefficient", self, peer)
			}
		}
	}
}
