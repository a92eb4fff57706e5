package frost_test

import (
	"crypto/ed25519"
	"fmt"
	"log"

	"github.com/halfkey/halfkey/frost"
)

// Agent and co-signer refresh their shares: the wallet keeps its key, and what was stolen before is worthless once the old
// share of the other is destroyed.
func ExampleNewReshare() {
	oldAgent, oldCoSigner := generate([]byte("installations/example/wallets/w/runs/7f3a9c"))

	// Both know the sharing, and vouch for a static key made for this run.
	agentKey, coSignerKey := newStaticKey(), newStaticKey()
	r := frost.Resharing{
		Session:    []byte("installations/example/wallets/w/resharings/18d2e0"),
		Old:        oldAgent.Sharing(),
		Dealers:    [2]frost.Identifier{frost.Agent, frost.CoSigner},
		StaticKeys: [][32]byte{agentKey.Public(), coSignerKey.Public()},
	}
	agent, err := frost.NewReshare(frost.Agent, agentKey, oldAgent, r)
	if err != nil {
		log.Fatal(err)
	}
	coSigner, err := frost.NewReshare(frost.CoSigner, coSignerKey, oldCoSigner, r)
	if err != nil {
		log.Fatal(err)
	}

	// A relay carries the dealings, then the certificates.
	deals := [2][]byte{agent.Deal(), coSigner.Deal()}
	var certificates [2][64]byte
	if certificates[0], err = agent.Accept(deals); err != nil {
		log.Fatal(err)
	}
	if certificates[1], err = coSigner.Accept(deals); err != nil {
		log.Fatal(err)
	}
	newAgent, err := agent.Finish(certificates)
	if err != nil {
		log.Fatal(err)
	}
	newCoSigner, err := coSigner.Finish(certificates)
	if err != nil {
		log.Fatal(err)
	}

	fmt.Println("epoch:", newAgent.Epoch())
	fmt.Println("same key:", newAgent.GroupKey() == oldAgent.GroupKey())
	fmt.Println("new with new:", signs(newAgent, newCoSigner))
	fmt.Println("old with new:", signs(oldAgent, newCoSigner))
	fmt.Println("old with old:", signs(oldAgent, oldCoSigner))

	// The last line is why the old epoch ends only now.
	agent.Zero()
	coSigner.Zero()
	oldAgent.Zero()
	oldCoSigner.Zero()
	fmt.Println("old with old, destroyed:", signs(oldAgent, oldCoSigner))
	// Output:
	// epoch: 2
	// same key: true
	// new with new: true
	// old with new: false
	// old with old: true
	// old with old, destroyed: false
}

// An owner enrols a recovery share that stays offline, and replaces with it an agent's share that was lost.
func ExampleOpenReshare() {
	agentShare, coSignerShare := generate([]byte("installations/example/wallets/w/runs/7f3a9c"))
	old := agentShare.Sharing()

	// Enrolment: agent and co-signer deal to three. The owner need not be there: its static key was made offline.
	agentKey, coSignerKey, recoveryKey := newStaticKey(), newStaticKey(), newStaticKey()
	enrolment := frost.Resharing{
		Session:    []byte("installations/example/wallets/w/resharings/18d2e0"),
		Old:        old,
		Dealers:    [2]frost.Identifier{frost.Agent, frost.CoSigner},
		StaticKeys: [][32]byte{agentKey.Public(), coSignerKey.Public(), recoveryKey.Public()},
	}
	shares, deals, certificates := reshare(enrolment,
		dealer{frost.Agent, agentKey, agentShare}, dealer{frost.CoSigner, coSignerKey, coSignerShare})
	coSignerShare = shares[1]

	// Later, offline, the owner opens what was kept for it.
	recoveryShare, err := frost.OpenReshare(frost.Recovery, recoveryKey, enrolment, deals, certificates)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("participants:", recoveryShare.Sharing().Participants())

	// The agent's host burns down. Co-signer and recovery deal a new share to a new agent, which has none.
	newAgentKey, coSignerKey, recoveryKey := newStaticKey(), newStaticKey(), newStaticKey()
	replacement := frost.Resharing{
		Session:    []byte("installations/example/wallets/w/resharings/93b5c7"),
		Old:        recoveryShare.Sharing(),
		Dealers:    [2]frost.Identifier{frost.CoSigner, frost.Recovery},
		StaticKeys: [][32]byte{newAgentKey.Public(), coSignerKey.Public(), recoveryKey.Public()},
	}
	shares, deals, certificates = reshare(replacement,
		dealer{frost.CoSigner, coSignerKey, coSignerShare}, dealer{frost.Recovery, recoveryKey, recoveryShare})
	newAgentShare, err := frost.OpenReshare(frost.Agent, newAgentKey, replacement, deals, certificates)
	if err != nil {
		log.Fatal(err)
	}

	fmt.Println("epoch:", newAgentShare.Epoch())
	fmt.Println("same key:", newAgentShare.GroupKey() == old.GroupKey())
	fmt.Println("new agent:", signs(newAgentShare, shares[0]))
	fmt.Println("agent that was lost:", signs(agentShare, shares[0]))
	// Output:
	// participants: [agent co-signer recovery]
	// epoch: 3
	// same key: true
	// new agent: true
	// agent that was lost: false
}

func newStaticKey() *frost.StaticKey {
	key, err := frost.NewStaticKey()
	if err != nil {
		log.Fatal(err)
	}
	return key
}

type dealer struct {
	id    frost.Identifier
	key   *frost.StaticKey
	share *frost.KeyShare
}

// reshare runs both dealers, and returns their new shares and what is kept for whoever was not there.
func reshare(r frost.Resharing, dealers ...dealer) (shares [2]*frost.KeyShare, deals [2][]byte, certificates [2][64]byte) {
	var runs [2]*frost.Reshare
	for k, d := range dealers {
		run, err := frost.NewReshare(d.id, d.key, d.share, r)
		if err != nil {
			log.Fatal(err)
		}
		runs[k], deals[k] = run, run.Deal()
	}
	for k, run := range runs {
		certificate, err := run.Accept(deals)
		if err != nil {
			log.Fatal(err)
		}
		certificates[k] = certificate
	}
	for k, run := range runs {
		share, err := run.Finish(certificates)
		if err != nil {
			log.Fatal(err)
		}
		run.Zero()
		shares[k] = share
	}
	return shares, deals, certificates
}

// signs reports whether agent and co-signer make a signature under the wallet's key.
func signs(agent, coSigner *frost.KeyShare) bool {
	message := []byte("the bytes that move the money")
	nonces, commitment, err := agent.Commit()
	if err != nil {
		return false
	}
	release, err := frost.CoSign(coSigner, commitment, message, []byte("wallets/w/payments/1"))
	if err != nil {
		return false
	}
	signature, err := nonces.Finish(message, release)
	key := coSigner.GroupKey()
	return err == nil && ed25519.Verify(key[:], message, signature[:])
}
