package interop

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/bytemare/ecc"
	oracle "github.com/bytemare/frost"
	"github.com/bytemare/frost/debug"
	"github.com/bytemare/secret-sharing/keys"

	"github.com/halfkey/halfkey/frost"
)

const (
	messages = 1000 // for each direction and each origin of the shares
	// messageSizeMax is Solana's packet, the largest message that a chain carries.
	messageSizeMax = 1232
)

// lock is held through every call of the oracle: all its signers share one hash state.
var lock sync.Mutex

// wallet is one 2-of-3 key in both implementations.
type wallet struct {
	ours    map[frost.Identifier]*frost.KeyShare
	theirs  map[frost.Identifier]*oracle.Signer
	config  *oracle.Configuration
	sharing *frost.Sharing
	key     [32]byte
}

func try(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// generate makes a key with our key generation.
func generate(t testing.TB) []*frost.KeyShare {
	t.Helper()
	run := frost.Run{Session: make([]byte, 32), Threshold: 2}
	_, _ = rand.Read(run.Session)
	var statics []*frost.StaticKey
	for range 3 {
		static, err := frost.NewStaticKey()
		try(t, err)
		statics, run.StaticKeys = append(statics, static), append(run.StaticKeys, static.Public())
	}
	var parties []*frost.KeyGeneration
	var sent [][]byte
	for k, static := range statics {
		party, err := frost.NewKeyGeneration(frost.Identifier(k+1), static, run)
		try(t, err)
		parties, sent = append(parties, party), append(sent, party.Round1())
	}
	var certificates [][64]byte
	for _, party := range parties {
		certificate, err := party.Round2(sent)
		try(t, err)
		certificates = append(certificates, certificate)
	}
	var shares []*frost.KeyShare
	for _, party := range parties {
		share, err := party.Finish(certificates)
		try(t, err)
		shares = append(shares, share)
	}
	return shares
}

// exported is a wallet whose key we made: the oracle gets scalars and points in RFC encodings.
func exported(t testing.TB) *wallet {
	t.Helper()
	ours := generate(t)
	key := ours[0].GroupKey()
	var theirs []*keys.KeyShare
	for _, share := range ours {
		public, _ := share.PublicShare(share.Identifier())
		lock.Lock()
		imported, err := oracle.NewKeyShare(oracle.Ed25519, uint16(share.Identifier()), share.Scalar(), public[:], key[:])
		lock.Unlock()
		try(t, err)
		theirs = append(theirs, imported)
	}
	return newWallet(t, ours, theirs)
}

// imported is a wallet whose key the oracle's dealer made.
func imported(t testing.TB) *wallet {
	t.Helper()
	lock.Lock()
	theirs, _, _ := debug.TrustedDealerKeygen(oracle.Ed25519, ecc.Edwards25519Sha512.NewScalar().Random(), 2, 3)
	lock.Unlock()
	var public [][32]byte
	for _, share := range theirs {
		public = append(public, [32]byte(share.PublicKey().Encode()))
	}
	var ours []*frost.KeyShare
	for _, share := range theirs {
		share, err := frost.NewKeyShare(frost.Identifier(share.Identifier()), 1, share.SecretKey().Encode(), public)
		try(t, err)
		ours = append(ours, share)
	}
	return newWallet(t, ours, theirs)
}

func newWallet(t testing.TB, ours []*frost.KeyShare, theirs []*keys.KeyShare) *wallet {
	t.Helper()
	lock.Lock()
	defer lock.Unlock()
	w := &wallet{
		ours: map[frost.Identifier]*frost.KeyShare{}, theirs: map[frost.Identifier]*oracle.Signer{},
		sharing: ours[0].Sharing(), key: ours[0].GroupKey(),
	}
	w.config = &oracle.Configuration{
		Ciphersuite: oracle.Ed25519, Threshold: 2, MaxSigners: 3, VerificationKey: theirs[0].VerificationKey(),
	}
	for _, share := range theirs {
		w.config.SignerPublicKeyShares = append(w.config.SignerPublicKeyShares, share.PublicKeyShare())
	}
	try(t, w.config.Init())
	for k, share := range theirs {
		signer, err := w.config.Signer(share)
		try(t, err)
		w.ours[ours[k].Identifier()], w.theirs[frost.Identifier(share.Identifier())] = ours[k], signer
	}
	if got := w.config.VerificationKey.Encode(); !bytes.Equal(got, w.key[:]) {
		t.Fatalf("the oracle's group key is %x, ours %x", got, w.key)
	}
	return w
}

// verify asks the independent verifier.
func (w *wallet) verify(t testing.TB, message, signature []byte) {
	t.Helper()
	if !ed25519.Verify(w.key[:], message, signature) {
		t.Fatalf("crypto/ed25519 does not verify %x over %x under %x", signature, message, w.key)
	}
}

// element and scalar take our encodings over.
func element(t testing.TB, b []byte) *ecc.Element {
	t.Helper()
	e := ecc.Edwards25519Sha512.NewElement()
	try(t, e.Decode(b))
	return e
}

func scalar(t testing.TB, b []byte) *ecc.Scalar {
	t.Helper()
	s := ecc.Edwards25519Sha512.NewScalar()
	try(t, s.Decode(b))
	return s
}

// toOracle and fromOracle exchange a commitment.
func toOracle(t testing.TB, id frost.Identifier, c frost.Commitment) *oracle.Commitment {
	t.Helper()
	return &oracle.Commitment{
		HidingNonceCommitment: element(t, c[:32]), BindingNonceCommitment: element(t, c[32:]),
		SignerID: uint16(id), Group: ecc.Edwards25519Sha512,
	}
}

func fromOracle(t testing.TB, c *oracle.Commitment) frost.Commitment {
	t.Helper()
	commitment, err := frost.ParseCommitment(append(c.HidingNonceCommitment.Encode(), c.BindingNonceCommitment.Encode()...))
	try(t, err)
	return commitment
}

// withOurAgent: our agent commits, the oracle's co-signer answers, our agent finishes.
func (w *wallet) withOurAgent(t testing.TB, message []byte) {
	t.Helper()
	nonces, commitment, err := w.ours[frost.Agent].Commit()
	try(t, err)

	lock.Lock()
	coSigner := w.theirs[frost.CoSigner]
	second := coSigner.Commit()
	share, err := coSigner.Sign(message, oracle.CommitmentList{toOracle(t, frost.Agent, commitment), second})
	lock.Unlock()
	try(t, err)

	signature, err := nonces.Finish(message, frost.Release{
		Commitment: fromOracle(t, second), Share: [32]byte(share.SignatureShare.Encode()),
	})
	try(t, err)
	w.verify(t, message, signature[:])
}

// withOurCoSigner: the oracle's agent commits, our co-signer answers in its one call, the oracle checks our share and adds its own.
func (w *wallet) withOurCoSigner(t testing.TB, message []byte) {
	t.Helper()
	lock.Lock()
	defer lock.Unlock()
	agent := w.theirs[frost.Agent]
	first := agent.Commit()
	release, err := frost.CoSign(w.ours[frost.CoSigner], fromOracle(t, first), message, []byte("wallets/w/payments/1"))
	try(t, err)

	list := oracle.CommitmentList{first, toOracle(t, frost.CoSigner, release.Commitment)}
	mine, err := agent.Sign(message, list)
	try(t, err)
	signature, err := w.config.AggregateSignatures(message, []*oracle.SignatureShare{mine, {
		SignatureShare: scalar(t, release.Share[:]), SignerIdentifier: uint16(frost.CoSigner), Group: ecc.Edwards25519Sha512,
	}}, list, true)
	try(t, err)
	w.verify(t, message, append(signature.R.Encode(), signature.Z.Encode()...))
}

// inTwoRounds: one of our signers and one of the oracle's, in RFC 9591's two rounds, as in an exit. Both aggregate.
func (w *wallet) inTwoRounds(t testing.TB, ours, theirs frost.Identifier, message []byte) {
	t.Helper()
	lock.Lock()
	defer lock.Unlock()
	nonces, commitment, err := w.ours[ours].NewNonces()
	try(t, err)
	other := w.theirs[theirs].Commit()

	signers := []frost.SignerCommitment{{Signer: ours, Commitment: commitment}, {Signer: theirs, Commitment: fromOracle(t, other)}}
	slices.SortFunc(signers, func(a, b frost.SignerCommitment) int { return int(a.Signer) - int(b.Signer) })
	mine, err := nonces.SignShare(message, signers)
	try(t, err)
	list := oracle.CommitmentList{toOracle(t, ours, commitment), other}
	list.Sort()
	its, err := w.theirs[theirs].Sign(message, list)
	try(t, err)

	shares := map[frost.Identifier]frost.SignatureShare{ours: mine, theirs: [32]byte(its.SignatureShare.Encode())}
	signature, err := frost.AggregateShares(w.sharing, message, signers,
		[]frost.SignatureShare{shares[signers[0].Signer], shares[signers[1].Signer]})
	try(t, err)
	w.verify(t, message, signature[:])

	same, err := w.config.AggregateSignatures(message, []*oracle.SignatureShare{its, {
		SignatureShare: scalar(t, mine[:]), SignerIdentifier: uint16(ours), Group: ecc.Edwards25519Sha512,
	}}, list, true)
	try(t, err)
	if got := append(same.R.Encode(), same.Z.Encode()...); !bytes.Equal(got, signature[:]) {
		t.Fatalf("the oracle aggregates to %x, we to %x", got, signature)
	}
}

func randomMessage(t testing.TB) []byte {
	t.Helper()
	var size [8]byte
	_, _ = rand.Read(size[:])
	message := make([]byte, binary.BigEndian.Uint64(size[:])%(messageSizeMax+1))
	_, _ = rand.Read(message)
	return message
}

func TestBothSign(t *testing.T) {
	for _, origin := range []struct {
		name string
		make func(testing.TB) *wallet
	}{
		{"shares exported to the oracle", exported},
		{"shares imported from the oracle", imported},
	} {
		w := origin.make(t)
		type way struct {
			name string
			sign func(testing.TB, []byte)
		}
		ways := []way{
			{"our agent, its co-signer", w.withOurAgent},
			{"its agent, our co-signer", w.withOurCoSigner},
		}
		for _, pair := range [][2]frost.Identifier{
			{frost.Agent, frost.CoSigner},
			{frost.CoSigner, frost.Agent},
			{frost.Agent, frost.Recovery},
			{frost.Recovery, frost.Agent},
			{frost.CoSigner, frost.Recovery},
			{frost.Recovery, frost.CoSigner},
		} {
			ways = append(ways, way{fmt.Sprintf("two rounds, our %s and its %s", pair[0], pair[1]), func(t testing.TB, message []byte) {
				w.inTwoRounds(t, pair[0], pair[1], message)
			}})
		}
		for k, tt := range ways {
			t.Run(origin.name+"/"+tt.name, func(t *testing.T) {
				n := messages
				if k >= 2 {
					n = messages / 10 // what is new in these is the pair
				}
				for range n {
					tt.sign(t, randomMessage(t))
				}
			})
		}
	}
}

// TestBothRefuse: a share made over something else is refused by either, so that agreement above says something.
func TestBothRefuse(t *testing.T) {
	w := exported(t)
	nonces, commitment, err := w.ours[frost.Agent].Commit()
	try(t, err)
	lock.Lock()
	defer lock.Unlock()
	second := w.theirs[frost.CoSigner].Commit()
	share, err := w.theirs[frost.CoSigner].Sign([]byte("pay 6"), oracle.CommitmentList{toOracle(t, frost.Agent, commitment), second})
	try(t, err)
	release := frost.Release{Commitment: fromOracle(t, second), Share: [32]byte(share.SignatureShare.Encode())}
	if _, err := nonces.Finish([]byte("pay 5"), release); err == nil {
		t.Error("we finish with the oracle's share over another message")
	}

	first := w.theirs[frost.Agent].Commit()
	release, err = frost.CoSign(w.ours[frost.CoSigner], fromOracle(t, first), []byte("pay 6"), nil)
	try(t, err)
	list := oracle.CommitmentList{first, toOracle(t, frost.CoSigner, release.Commitment)}
	if err := w.config.VerifySignatureShare(&oracle.SignatureShare{
		SignatureShare: scalar(t, release.Share[:]), SignerIdentifier: uint16(frost.CoSigner), Group: ecc.Edwards25519Sha512,
	}, []byte("pay 5"), list); err == nil {
		t.Error("the oracle takes our share over another message")
	}
}
