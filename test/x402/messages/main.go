// Command messages prints random payments on Solana, one JSON object a line: what each says, and its message and transaction as
// this project's own codec writes them. ../codec.mjs reads them with another library.
package main

import (
	"bufio"
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
	Signature   string `json:"signature"` // the payer's, 64 random bytes
	Message     string `json:"message"`
	Transaction string `json:"transaction"`
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
	owners, mints []solana.Key
}

func newSource(seed uint64) source {
	var key [32]byte
	binary.LittleEndian.PutUint64(key[:], seed)
	s := source{ChaCha8: rand.NewChaCha8(key)}
	for range 64 {
		s.owners = append(s.owners, s.key())
	}
	for range 4 {
		s.mints = append(s.mints, s.key())
	}
	return s
}

// oneOf is a key of known, or now and then a new one.
func (s source) oneOf(known []solana.Key) solana.Key {
	if s.Uint64()%16 == 0 {
		return s.key()
	}
	return known[s.Uint64()%uint64(len(known))]
}

func (s source) line() (line, error) {
	m := solana.Message{
		Layout: solana.X402, FeePayer: s.key(), Payer: s.oneOf(s.owners), Recipient: s.oneOf(s.owners), Mint: s.oneOf(s.mints),
		Units: s.units(), Decimals: uint8(s.Uint64()), Memo: s.memo(), BlockHash: s.key(),
	}
	for m.Recipient == m.Payer {
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
	var signature solana.Signature
	_, _ = s.Read(signature[:]) // never fails
	signatures := []solana.Signature{signature}
	if m.Layout == solana.X402 {
		signatures = []solana.Signature{{}, signature}
	}
	transaction, err := solana.Wire(message, signatures...)
	if err != nil {
		return line{}, err
	}
	return line{
		Layout: m.Layout.String(), FeePayer: m.FeePayer.String(), Payer: m.Payer.String(), Recipient: m.Recipient.String(),
		Mint: m.Mint.String(), Units: m.Units, Decimals: m.Decimals, Memo: m.Memo, BlockHash: solana.Key(m.BlockHash).String(),
		Signature: signature.String(), Message: hex.EncodeToString(message), Transaction: hex.EncodeToString(transaction),
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
