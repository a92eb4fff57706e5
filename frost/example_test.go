package frost_test

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"log"

	"github.com/halfkey/halfkey/frost"
)

// A wallet's key is made by agent and co-signer, and signs one payment. Every value that crosses between the two is bytes
// that any relay may carry.
func Example() {
	agentShare, coSignerShare := generate([]byte("installations/example/wallets/w/runs/7f3a9c"))

	// The agent commits, and puts the commitment into its signed request.
	message := []byte("the bytes that move the money")
	nonces, commitment, err := agentShare.Commit()
	if err != nil {
		log.Fatal(err)
	}

	// The co-signer, once it has verified that this payment may be signed, answers in one call.
	release, err := frost.CoSign(coSignerShare, commitment, message, []byte("wallets/w/payments/1"))
	if err != nil {
		log.Fatal(err)
	}

	// The agent checks the release as it came off the wire and makes the signature.
	received, err := frost.ParseRelease(release.Bytes())
	if err != nil {
		log.Fatal(err)
	}
	signature, err := nonces.Finish(message, received)
	if err != nil {
		log.Fatal(err)
	}
	key := agentShare.GroupKey()
	fmt.Println("verifies:", ed25519.Verify(key[:], message, signature[:]))

	// The nonces are gone.
	_, err = nonces.Finish(message, received)
	fmt.Println("again:", errors.Is(err, frost.ErrNoncesUsed))
	fmt.Println(agentShare)
	// Output:
	// verifies: true
	// again: true
	// [frost secret]
}

// generate runs key generation between agent and co-signer.
func generate(session []byte) (agentShare, coSignerShare *frost.KeyShare) {
	run := frost.Run{Session: session, Threshold: 2}
	var statics []*frost.StaticKey
	for range 2 {
		static, err := frost.NewStaticKey()
		if err != nil {
			log.Fatal(err)
		}
		statics = append(statics, static)
		run.StaticKeys = append(run.StaticKeys, static.Public())
	}
	var parties []*frost.KeyGeneration
	var messages [][]byte
	for k, id := range []frost.Identifier{frost.Agent, frost.CoSigner} {
		party, err := frost.NewKeyGeneration(id, statics[k], run)
		if err != nil {
			log.Fatal(err)
		}
		statics[k].Zero()
		parties = append(parties, party)
		messages = append(messages, party.Round1())
	}
	var certificates [][64]byte
	for _, party := range parties {
		certificate, err := party.Round2(messages)
		if err != nil {
			log.Fatal(err)
		}
		certificates = append(certificates, certificate)
	}
	var shares []*frost.KeyShare
	for _, party := range parties {
		share, err := party.Finish(certificates)
		if err != nil {
			log.Fatal(err)
		}
		party.Zero()
		shares = append(shares, share)
	}
	return shares[0], shares[1]
}
