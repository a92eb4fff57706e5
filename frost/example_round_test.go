package frost_test

import (
	"crypto/ed25519"
	"fmt"
	"log"

	"github.com/halfkey/halfkey/frost"
)

// RFC 9591's two rounds, with a coordinator that holds no share. Both signers see the whole commitment list before they sign.
func ExampleAggregateShares() {
	agent, coSigner := generate([]byte("installations/example/wallets/w/runs/91b2d4"))
	sharing := agent.Sharing()
	message := []byte("the bytes that move the money")

	// Round one.
	agentNonces, agentCommitment, err := agent.NewNonces()
	if err != nil {
		log.Fatal(err)
	}
	coSignerNonces, coSignerCommitment, err := coSigner.NewNonces()
	if err != nil {
		log.Fatal(err)
	}
	signers := []frost.SignerCommitment{
		{Signer: frost.Agent, Commitment: agentCommitment},
		{Signer: frost.CoSigner, Commitment: coSignerCommitment},
	}

	// Round two.
	first, err := agentNonces.SignShare(message, signers)
	if err != nil {
		log.Fatal(err)
	}
	second, err := coSignerNonces.SignShare(message, signers)
	if err != nil {
		log.Fatal(err)
	}

	signature, err := frost.AggregateShares(sharing, message, signers, []frost.SignatureShare{first, second})
	if err != nil {
		log.Fatal(err)
	}
	key := sharing.GroupKey()
	fmt.Println("verifies:", ed25519.Verify(key[:], message, signature[:]))
	_, err = agentNonces.SignShare(message, signers)
	fmt.Println("again:", err)
	// Output:
	// verifies: true
	// again: frost: nonces were used
}

// An owner leaves: the shares go out in RFC 9591's encodings and come in again, and two of them sign without any service.
func ExampleExit() {
	agent, coSigner := generate([]byte("installations/example/wallets/w/runs/2ac07e"))
	var public [][32]byte
	for _, id := range agent.Sharing().Participants() {
		share, _ := agent.PublicShare(id)
		public = append(public, share)
	}
	scalar := coSigner.Scalar()
	imported, err := frost.NewKeyShare(frost.CoSigner, agent.Epoch(), scalar, public)
	clear(scalar)
	if err != nil {
		log.Fatal(err)
	}

	message := []byte("all of it, to a key of my own")
	signature, err := frost.Exit(message, agent, imported)
	if err != nil {
		log.Fatal(err)
	}
	key := agent.GroupKey()
	fmt.Println("verifies:", ed25519.Verify(key[:], message, signature[:]))
	// Output: verifies: true
}
