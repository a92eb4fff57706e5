// Command concurrency signs from several goroutines that share nothing, each with a key, a configuration and signers of its
// own, with github.com/bytemare/frost and with frost, and counts what goes wrong. It exits with 1 when frost does.
package main

import (
	"crypto/ed25519"
	"flag"
	"fmt"
	"os"
	"runtime"
	"sync"

	"github.com/bytemare/ecc"
	oracle "github.com/bytemare/frost"
	"github.com/bytemare/frost/debug"

	"github.com/halfkey/halfkey/frost"
)

func main() {
	goroutines := flag.Int("goroutines", 8, "how many sign at once")
	signatures := flag.Int("signatures", 4000, "how many signatures each makes")
	flag.Parse()
	fmt.Printf("%d goroutines on %d processors, %d signatures each, nothing shared between them\n",
		*goroutines, runtime.GOMAXPROCS(0), *signatures)
	theirs := count(*goroutines, *signatures, newTheirs)
	fmt.Println("github.com/bytemare/frost:", theirs)
	ours := count(*goroutines, *signatures, newOurs)
	fmt.Println("halfkey/frost:            ", ours)
	if ours.wrong+ours.panics+ours.repeated > 0 {
		os.Exit(1)
	}
}

// tally is what several goroutines met.
type tally struct {
	good, wrong, panics int
	repeated            int // a hiding or binding commitment that was there before: one nonce in two places
}

func (t tally) String() string {
	return fmt.Sprintf("%d signatures verify, %d do not, %d panics; %d nonce commitments made more than once",
		t.good, t.wrong, t.panics, t.repeated)
}

// signer makes one 2-of-2 signature with a key of its own, and returns the nonce commitments in it.
type signer func(message []byte) (signature []byte, commitments [][]byte, err error)

func count(goroutines, signatures int, create func() (ed25519.PublicKey, signer)) tally {
	var t tally
	var lock sync.Mutex // of the tally alone
	seen := map[string]bool{}
	var wg sync.WaitGroup
	start := make(chan struct{})
	for range goroutines {
		key, sign := create()
		wg.Go(func() {
			<-start
			for k := range signatures {
				message := fmt.Appendf(nil, "payment %d", k)
				signature, commitments, panicked, err := protected(sign, message)
				lock.Lock()
				switch {
				case panicked:
					t.panics++
				case err != nil || !ed25519.Verify(key, message, signature):
					t.wrong++
				default:
					t.good++
				}
				for _, c := range commitments {
					if seen[string(c)] {
						t.repeated++
					}
					seen[string(c)] = true
				}
				lock.Unlock()
			}
		})
	}
	close(start)
	wg.Wait()
	return t
}

func protected(sign signer, message []byte) (signature []byte, commitments [][]byte, panicked bool, err error) {
	defer func() {
		if recover() != nil {
			panicked = true
		}
	}()
	signature, commitments, err = sign(message)
	return signature, commitments, false, err
}

func newTheirs() (ed25519.PublicKey, signer) {
	shares, groupKey, _ := debug.TrustedDealerKeygen(oracle.Ed25519, ecc.Edwards25519Sha512.NewScalar().Random(), 2, 2)
	config := &oracle.Configuration{Ciphersuite: oracle.Ed25519, Threshold: 2, MaxSigners: 2, VerificationKey: groupKey}
	for _, share := range shares {
		config.SignerPublicKeyShares = append(config.SignerPublicKeyShares, share.PublicKeyShare())
	}
	check(config.Init())
	first, err := config.Signer(shares[0])
	check(err)
	second, err := config.Signer(shares[1])
	check(err)
	return groupKey.Encode(), func(message []byte) (signature []byte, commitments [][]byte, err error) {
		list := oracle.CommitmentList{first.Commit(), second.Commit()}
		for _, c := range list {
			commitments = append(commitments, c.HidingNonceCommitment.Encode(), c.BindingNonceCommitment.Encode())
		}
		a, err := first.Sign(message, list)
		if err != nil {
			return nil, commitments, err
		}
		b, err := second.Sign(message, list)
		if err != nil {
			return nil, commitments, err
		}
		s, err := config.AggregateSignatures(message, []*oracle.SignatureShare{a, b}, list, false)
		if err != nil {
			return nil, commitments, err
		}
		return append(s.R.Encode(), s.Z.Encode()...), commitments, nil
	}
}

func newOurs() (ed25519.PublicKey, signer) {
	dealt, _, _ := debug.TrustedDealerKeygen(oracle.Ed25519, ecc.Edwards25519Sha512.NewScalar().Random(), 2, 2)
	public := [][32]byte{[32]byte(dealt[0].PublicKey().Encode()), [32]byte(dealt[1].PublicKey().Encode())}
	agent, err := frost.NewKeyShare(frost.Agent, 1, dealt[0].SecretKey().Encode(), public)
	check(err)
	coSigner, err := frost.NewKeyShare(frost.CoSigner, 1, dealt[1].SecretKey().Encode(), public)
	check(err)
	key := agent.GroupKey()
	return key[:], func(message []byte) (signature []byte, commitments [][]byte, err error) {
		nonces, commitment, err := agent.Commit()
		if err != nil {
			return nil, nil, err
		}
		release, err := frost.CoSign(coSigner, commitment, message, nil)
		if err != nil {
			return nil, nil, err
		}
		commitments = [][]byte{commitment[:32], commitment[32:], release.Commitment[:32], release.Commitment[32:]}
		s, err := nonces.Finish(message, release)
		return s[:], commitments, err
	}
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "concurrency: error:", err)
		os.Exit(1)
	}
}
