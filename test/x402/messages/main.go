// Command messages prints random payments on Solana, one JSON object a line: what each says, and its message and transaction as
// this project's own codec writes them. ../codec.mjs reads them with another library, ../vm.mjs executes them.
package main

import (
	"bufio"
	"crypto/ed25519"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"math"
	"math/rand/v2"
	"os"

	"github.com/halfkey/halfkey/internal/chain/solana"
)

// line is one payment. Units is a text, for a JSON number does not hold it everywhere.
type line struct {
	Layout      string `json:"layout"`
	FeePayer    string `json:"feePayer"`
	Payer       string `json:"payer"`
	Recipient   string `json:"recipient"`
	Mint        string `json:"mint"`
	Units       int64  `json:"units,string"`
	Decimals    uint8  `json:"decimals"`
	Memo        string `json:"memo"`
	BlockHash   string `json:"blockHash"`
	Message     string `json:"message"`
	Transaction string `json:"transaction"` // signed by the payer
	Signature   string `json:"signature"`   // the payer's
	// FeePayerSignature is what x402's facilitator adds, in hex.
	FeePayerSignature string `json:"feePayerSignature,omitempty"`
}

func main() {
	n := flag.Int("n", 10_000, "how many")
	seed := flag.Uint64("seed", 1, "of what is chosen at random")
	flag.Parse()
	if err := run(*n, *seed); err != nil {
		fmt.Fprintln(os.Stderr, "messages: error:", err)
		os.Exit(1)
	}
}

func run(n int, seed uint64) error {
	random := newSource(seed)
	out := bufio.NewWriter(os.Stdout)
	lines := json.NewEncoder(out)
	for range n {
		l, err := random.line()
		if err != nil {
			return err
		}
		if err := lines.Encode(l); err != nil {
			return err
		}
	}
	return out.Flush()
}

// source draws what payments say. Most owners and mints return, so that the reader, which takes long to derive an account, derives
// most of them once.
type source struct {
	*rand.ChaCha8
	wallets []wallet
	mints   []solana.Key
}

// wallet is an owner that can sign.
type wallet struct {
	private ed25519.PrivateKey
	key     solana.Key
}

func newSource(seed uint64) source {
	var key [32]byte
	binary.LittleEndian.PutUint64(key[:], seed)
	s := source{ChaCha8: rand.NewChaCha8(key)}
	for range 64 {
		s.wallets = append(s.wallets, s.newWallet())
	}
	for range 4 {
		s.mints = append(s.mints, s.key())
	}
	return s
}

func (s source) newWallet() wallet {
	seed := s.key()
	private := ed25519.NewKeyFromSeed(seed[:])
	return wallet{private, solana.Key(private.Public().(ed25519.PublicKey))}
}

// rarely is true once in sixteen times.
func (s source) rarely() bool { return s.Uint64()%16 == 0 }

func (s source) wallet() wallet {
	if s.rarely() {
		return s.newWallet()
	}
	return s.wallets[s.Uint64()%uint64(len(s.wallets))]
}

func (s source) mint() solana.Key {
	if s.rarely() {
		return s.key()
	}
	return s.mints[s.Uint64()%uint64(len(s.mints))]
}

func (s source) line() (line, error) {
	payer, feePayer := s.wallet(), s.newWallet()
	m := solana.Message{
		Layout: solana.X402, FeePayer: feePayer.key, Payer: payer.key, Recipient: s.wallet().key, Mint: s.mint(),
		Units: s.units(), Decimals: uint8(s.Uint64()), Memo: s.memo(), BlockHash: s.key(),
	}
	// An owner need not be able to sign: a program's address owns tokens too.
	if s.rarely() || m.Recipient == m.Payer {
		m.Recipient = s.key()
	}
	if s.Uint64()%2 == 0 {
		m.Layout, m.FeePayer = solana.Transfer, m.Payer
	}
	message, err := m.Encode()
	if err != nil {
		return line{}, err
	}
	again, err := solana.Decode(message, m.Recipient, []solana.Mint{{Key: m.Mint, Decimals: m.Decimals}})
	if err != nil || again != m {
		return line{}, fmt.Errorf("%+v is read back as %+v: %w", m, again, err)
	}
	signature := solana.Signature(ed25519.Sign(payer.private, message))
	signatures, feePayerSignature := []solana.Signature{signature}, ""
	if m.Layout == solana.X402 {
		signatures = []solana.Signature{{}, signature}
		feePayerSignature = hex.EncodeToString(ed25519.Sign(feePayer.private, message))
	}
	transaction, err := solana.Wire(message, signatures...)
	if err != nil {
		return line{}, err
	}
	return line{
		Layout: m.Layout.String(), FeePayer: m.FeePayer.String(), Payer: m.Payer.String(), Recipient: m.Recipient.String(),
		Mint: m.Mint.String(), Units: m.Units, Decimals: m.Decimals, Memo: m.Memo, BlockHash: solana.Key(m.BlockHash).String(),
		Message: hex.EncodeToString(message), Transaction: hex.EncodeToString(transaction),
		Signature: signature.String(), FeePayerSignature: feePayerSignature,
	}, nil
}

// key is 32 random bytes, and now and then with zeros in front, which base58 writes otherwise.
func (s source) key() (k solana.Key) {
	_, _ = s.Read(k[:]) // never fails
	if zeros := s.Uint64() % 64; zeros < 8 {
		clear(k[:zeros])
	}
	return k
}

// units are of every size from one bit to 63.
func (s source) units() int64 {
	return 1 + int64(s.Uint64()>>(1+s.Uint64()%63))%math.MaxInt64
}

// memo is of every length, around the length where its prefix grows more often, in letters of one to four bytes.
func (s source) memo() string {
	letters := []rune("0123456789abcdef\n\"\\ßЖ✓🗝")
	length := int(1 + s.Uint64()%solana.MemoMax)
	if s.Uint64()%4 == 0 {
		length = int(124 + s.Uint64()%8)
	}
	var memo []byte
	for {
		letter := string(letters[s.Uint64()%uint64(len(letters))])
		if len(memo)+len(letter) > length {
			break
		}
		memo = append(memo, letter...)
	}
	if len(memo) == 0 {
		return "m"
	}
	return string(memo)
}
