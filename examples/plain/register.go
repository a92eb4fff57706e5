package plain

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"strings"
	"time"

	"github.com/google/uuid"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"github.com/halfkey/halfkey/frost"
	gatewayv1 "github.com/halfkey/halfkey/proto/gen/halfkey/gateway/v1"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// callMax bounds each call: the gateway refuses calls without a deadline.
const callMax = 20 * time.Second

// Agent is a wallet's agent: half of its key, and the key that signs its requests. They live in memory; a real agent seals both
// (share.Secret) before it announces the wallet.
type Agent struct {
	installation *Installation
	gateway      gatewayv1.GatewayServiceClient
	wallet       string
	request      ed25519.PrivateKey
	share        *frost.KeyShare
}

// Wallet is `wallets/{wallet}`.
func (a *Agent) Wallet() string { return a.wallet }

// GroupKey is the wallet's key, by which others pay it.
func (a *Agent) GroupKey() [32]byte { return a.share.GroupKey() }

// Register makes a wallet by a key generation with the co-signer, through a gateway that can neither read nor change it. The
// code is for the owner, who claims the wallet by it.
func Register(
	ctx context.Context, i *Installation, conn grpc.ClientConnInterface, handle, ownerEmail string,
) (a *Agent, code string, err error) {
	public, request, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, "", err
	}
	a = &Agent{installation: i, gateway: gatewayv1.NewGatewayServiceClient(conn), wallet: "wallets/" + uuid.NewString(), request: request}
	run := uuid.New()
	static, err := frost.NewStaticKey()
	if err != nil {
		return nil, "", err
	}
	defer static.Zero()
	own := static.Public()
	start := sign(request, typeStart, &typev1.KeyGenerationStart{
		Installation: i.ID(), Wallet: a.wallet, Run: run[:], StaticKey: own[:], RequestKey: public, Handle: handle, OwnerEmail: ownerEmail,
	})

	ctx, cancel := context.WithTimeout(ctx, callMax)
	defer cancel()
	started, err := a.gateway.StartRegistration(ctx, &gatewayv1.StartRegistrationRequest{Start: start, DisplayName: handle})
	if err != nil {
		return nil, "", err
	}
	// The co-signer vouches for its own static key, for this very start: the gateway cannot put itself in between.
	answer := &typev1.KeyGenerationAnswer{}
	if err := open(started.GetAnswer(), typeAnswer, answer, i.key(typev1.Purpose_PURPOSE_COSIGNER)); err != nil {
		return nil, "", err
	}
	if !bytes.Equal(answer.GetStartDigest(), digest(typeStart, start.GetPayload())) || len(answer.GetStaticKey()) != 32 {
		return nil, "", errors.New("the co-signer answers another start")
	}
	g, err := frost.NewKeyGeneration(frost.Agent, static, frost.Run{
		Session: named("", "halfkey/keygen/v1", i.ID(), a.wallet, string(run[:])), Threshold: 2,
		StaticKeys: [][32]byte{own, [32]byte(answer.GetStaticKey())},
	})
	if err != nil {
		return nil, "", err
	}
	defer g.Zero()
	certificate, err := g.Round2([][]byte{g.Round1(), started.GetRound1()})
	if err != nil {
		return nil, "", err
	}
	exchanged, err := a.gateway.ExchangeRegistration(ctx,
		&gatewayv1.ExchangeRegistrationRequest{Wallet: a.wallet, Run: run[:], Round1: g.Round1()})
	if err != nil {
		return nil, "", err
	}
	if len(exchanged.GetCertificate()) != len(certificate) {
		return nil, "", errors.New("the co-signer's certificate is malformed")
	}
	transcript, err := g.TranscriptDigest()
	if err != nil {
		return nil, "", err
	}
	if a.share, err = g.Finish([][64]byte{certificate, [64]byte(exchanged.GetCertificate())}); err != nil {
		return nil, "", err
	}
	code, err = a.announce(ctx, run, certificate, transcript, handle)
	return a, code, err
}

// announce proves by a test signature that both shares sign together, and makes the wallet known.
func (a *Agent) announce(
	ctx context.Context, run uuid.UUID, certificate [64]byte, transcript [32]byte, handle string,
) (code string, err error) {
	nonces, commitment, err := a.share.Commit()
	if err != nil {
		return "", err
	}
	confirmed, err := a.gateway.ConfirmRegistration(ctx, &gatewayv1.ConfirmRegistrationRequest{
		Wallet: a.wallet, Run: run[:], Certificate: certificate[:], Commitment: commitment[:],
	})
	if err != nil {
		return "", err
	}
	group := a.GroupKey()
	test := append(named("\xffhalfkey/keygen-test/v1", a.installation.ID(), a.wallet), group[:]...)
	signature, err := finish(nonces, append(test, transcript[:]...), confirmed.GetRelease())
	if err != nil {
		return "", err
	}
	registration := &typev1.Registration{
		Installation: a.installation.ID(), Wallet: a.wallet, Handle: handle,
		GroupKey: group[:], RequestKey: a.request.Public().(ed25519.PublicKey),
	}
	_, err = a.gateway.CompleteRegistration(ctx, &gatewayv1.CompleteRegistrationRequest{
		Wallet: a.wallet, Run: run[:], Registration: sign(a.request, typeRegistration, registration), Signature: signature[:],
	})
	return claimCode(encode(registration)), err
}

// named is a name as it is, and then each part after its length in four bytes.
func named(name string, parts ...string) []byte {
	b := []byte(name)
	for _, part := range parts {
		b = append(binary.BigEndian.AppendUint32(b, uint32(len(part))), part...)
	}
	return b
}

// claimCode is the first 100 bits of a hash over the registration, in Crockford's base 32.
func claimCode(registration []byte) string {
	sum := sha256.Sum256(pae(typeClaimCode, registration))
	var code strings.Builder
	for n := range 20 {
		if n > 0 && n%4 == 0 {
			code.WriteByte('-')
		}
		digit := 0
		for bit := n * 5; bit < n*5+5; bit++ {
			digit = digit<<1 | int(sum[bit/8]>>(7-bit%8)&1)
		}
		code.WriteByte("0123456789ABCDEFGHJKMNPQRSTVWXYZ"[digit])
	}
	return code.String()
}

// finish makes the whole signature from our nonces and the co-signer's release; frost returns none that does not verify.
func finish(nonces *frost.Nonces, message, release []byte) (frost.Signature, error) {
	parsed, err := frost.ParseRelease(release)
	if err != nil {
		return frost.Signature{}, err
	}
	return nonces.Finish(message, parsed)
}

// withToken lets a call of a method speak for the agent, about its wallet.
func (a *Agent) withToken(ctx context.Context, method string) context.Context {
	now := time.Now()
	token := sign(a.request, typeToken, &typev1.Token{
		Installation: a.installation.ID(), Wallet: a.wallet, Caller: "agents/" + strings.TrimPrefix(a.wallet, "wallets/"),
		Method: method, Resource: a.wallet, TimeMillis: now.Add(-callMax).UnixMilli(), ExpiryMillis: now.Add(callMax).UnixMilli(),
	})
	return metadata.AppendToOutgoingContext(ctx, "halfkey-token-bin", string(encode(token)))
}
