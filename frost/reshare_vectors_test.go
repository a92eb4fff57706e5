package frost

import (
	"encoding/json"
	"strconv"
	"testing"

	"filippo.io/edwards25519"
)

// zfParticipant is one participant of ZF FROST's key generation vectors. The file's fields "secret" follow from none of the
// other values, and ZF's own test does not read them either.
type zfParticipant struct {
	Identifier  Identifier          `json:"identifier"`
	Constant    hexBytes            `json:"signing_key"`
	Slope       hexBytes            `json:"coefficient"`
	Commitments []hexBytes          `json:"vss_commitments"`
	Proof       hexBytes            `json:"proof_of_knowledge"`
	Received    map[string]hexBytes `json:"signing_shares"` // by sender
	Public      hexBytes            `json:"verifying_share"`
	Share       hexBytes            `json:"signing_share"`
}

func loadZF(t *testing.T) (key hexBytes, participants []zfParticipant) {
	t.Helper()
	var file struct{ Inputs map[string]json.RawMessage }
	loadVectors(t, "zf-frost-ed25519-vectors-dkg.json", &file)
	decode := func(field string, into any) {
		t.Helper()
		if err := json.Unmarshal(file.Inputs[field], into); err != nil {
			t.Fatalf("%s: %v", field, err)
		}
	}
	decode("verifying_key", &key)
	participants = make([]zfParticipant, 3)
	for k := range participants {
		decode(strconv.Itoa(k+1), &participants[k])
	}
	return key, participants
}

// TestZFKeyGenerationVectors recomputes ZF FROST's vectors of PedPoP, 2 of 3. Its messages are not COCKTAIL-DKG's, but its
// polynomials, commitments, shares and group key are what ours are: whoever made a key with it can bring the shares here.
func TestZFKeyGenerationVectors(t *testing.T) {
	key, participants := loadZF(t)
	lines := make([][]*edwards25519.Scalar, len(participants))
	commitments := []*edwards25519.Point{edwards25519.NewIdentityPoint(), edwards25519.NewIdentityPoint()}
	for k, p := range participants {
		lines[k] = []*edwards25519.Scalar{mustScalar(t, p.Constant), mustScalar(t, p.Slope)}
		for i, c := range lines[k] {
			same(t, "commitment", basePoint(c).Bytes(), p.Commitments[i])
			point, err := decodePoint(p.Commitments[i])
			if err != nil {
				t.Fatal(err)
			}
			commitments[i].Add(commitments[i], point)
		}
		// The proof of knowledge has a challenge of its own: H("dkg" ‖ id ‖ phi_0 ‖ R).
		r, err := decodePoint(p.Proof[:pointSize])
		if err != nil {
			t.Fatal(err)
		}
		c := hashToScalar(Suite+"dkg", p.Identifier.scalar().Bytes(), p.Commitments[0], p.Proof[:pointSize])
		if !verifySchnorr(mustScalar(t, p.Proof[pointSize:]), r, c, basePoint(lines[k][0])) {
			t.Errorf("proof of knowledge of %s does not verify", p.Identifier)
		}
	}
	same(t, "group key", commitments[0].Bytes(), key)

	var secrets []*edwards25519.Scalar
	for k, p := range participants {
		share := evaluate(lines[k], p.Identifier)
		for from, line := range lines {
			if from == k {
				continue
			}
			value := evaluate(line, p.Identifier)
			same(t, "value from "+Identifier(from+1).String(), value.Bytes(), p.Received[strconv.Itoa(from+1)])
			share.Add(share, value)
		}
		same(t, "share", share.Bytes(), p.Share)
		same(t, "public share", evaluateCommitment(commitments, p.Identifier).Bytes(), p.Public)
		secrets = append(secrets, share)
	}
	shares := make([]*KeyShare, len(secrets))
	for k, s := range secrets {
		share, err := newKeyShare(Identifier(k+1), 1, thresholdOfWallet, s, publicShares(secrets))
		if err != nil {
			t.Fatal(err)
		}
		same(t, "group key of the share", share.groupKey[:], key)
		shares[k] = share
	}
	// And the key can be reshared here.
	checkRenewed(t, shares, reshare(t, "ZF's key", shares, [2]Identifier{CoSigner, Recovery}, 3))
}

// TestRepairVectors recomputes ZF FROST's vectors of the repairable threshold scheme (Stinson and Wei, ePrint 2017/1155,
// "enrolment"), and repairs with its random values a share of ZF's key generation vectors.
//
// There, helper i splits lambda_i·s_i, with lambda_i taken at the lost identifier, additively into one delta per helper;
// each helper adds the deltas it got to a sigma, and the sigmas add up to the lost share, of the sharing as it was. In our
// resharing lambda_i is taken at 0, and each helper shares lambda_i·s_i by a line, one value for each recipient: what a
// recipient adds up is a share of a new sharing. So one protocol repairs, enrols and refreshes, values are checked against
// public commitments, and the share that was lost is worth nothing afterwards.
func TestRepairVectors(t *testing.T) {
	var v struct {
		Scalars struct {
			R1  hexBytes `json:"random_scalar_1"`
			R2  hexBytes `json:"random_scalar_2"`
			R3  hexBytes `json:"random_scalar_3"`
			Sum hexBytes `json:"random_scalar_sum"`
		} `json:"scalar_generation"`
		Sigmas struct {
			S1  hexBytes `json:"sigma_1"`
			S2  hexBytes `json:"sigma_2"`
			S3  hexBytes `json:"sigma_3"`
			S4  hexBytes `json:"sigma_4"`
			Sum hexBytes `json:"sigma_sum"`
		} `json:"sigma_generation"`
	}
	loadVectors(t, "zf-frost-ed25519-repair-share.json", &v)
	sum := func(parts ...*edwards25519.Scalar) *edwards25519.Scalar {
		s := new(edwards25519.Scalar)
		for _, part := range parts {
			s.Add(s, part)
		}
		return s
	}
	r := []*edwards25519.Scalar{mustScalar(t, v.Scalars.R1), mustScalar(t, v.Scalars.R2), mustScalar(t, v.Scalars.R3)}
	same(t, "sum of deltas", sum(r...).Bytes(), v.Scalars.Sum)
	same(t, "sum of sigmas", sum(mustScalar(t, v.Sigmas.S1), mustScalar(t, v.Sigmas.S2),
		mustScalar(t, v.Sigmas.S3), mustScalar(t, v.Sigmas.S4)).Bytes(), v.Sigmas.Sum)

	_, participants := loadZF(t)
	for lost := range Identifier(4) {
		if lost == 0 {
			continue // where the polynomial's value is the key
		}
		var helpers []Identifier
		for id := range Identifier(4) {
			if id != 0 && id != lost {
				helpers = append(helpers, id)
			}
		}
		sigmas := []*edwards25519.Scalar{new(edwards25519.Scalar), new(edwards25519.Scalar)}
		for k, id := range helpers {
			whole := new(edwards25519.Scalar).Multiply(lagrange(id, helpers, lost), mustScalar(t, participants[id-1].Share))
			sigmas[0].Add(sigmas[0], r[k])
			sigmas[1].Add(sigmas[1], whole.Subtract(whole, r[k]))
		}
		same(t, "repaired share of "+lost.String(), sum(sigmas...).Bytes(), participants[lost-1].Share)
	}
}
