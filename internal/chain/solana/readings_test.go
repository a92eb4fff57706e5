package solana_test

import (
	"encoding/json"
	"os"
	"slices"
	"strconv"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/halfkey/halfkey/internal/chain/solana"
)

// reading is what another library says of a message.
type reading struct {
	Version      int
	LookupTables int
	BlockHash    string
	FeePayer     string
	Roles        map[string]string
	Instructions []readInstruction
}

type readInstruction struct {
	Name         string
	Program      string
	Accounts     map[string]string
	AccountCount int
	Data         readData
}

// readData are the fields of all instructions; each has its own.
type readData struct {
	Units         uint32
	MicroLamports string
	Amount        string
	Decimals      uint8
	Memo          string
}

// TestReadings: the golden messages say to @solana/kit, which never saw this package, what they say here. testdata/readings.json
// names the versions that read them; "make x402" has it read thousands of others.
func TestReadings(t *testing.T) {
	b, err := os.ReadFile("testdata/readings.json")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Messages []struct {
			Name, Message string
			Says          reading
		}
	}
	if err := json.Unmarshal(b, &file); err != nil {
		t.Fatal(err)
	}
	if len(file.Messages) != len(layouts) {
		t.Fatalf("there are readings of %d messages, want %d", len(file.Messages), len(layouts))
	}
	for i, layout := range layouts {
		read, m := file.Messages[i], sample(t, layout)
		if read.Message != golden[layout] || read.Name != layout.String() {
			t.Fatalf("%v: another message was read, %s: %s", layout, read.Name, read.Message)
		}
		from, to := account(t, m.Payer, m.Mint).String(), account(t, m.Recipient, m.Mint).String()
		payer, recipient, mint := m.Payer.String(), m.Recipient.String(), m.Mint.String()
		roles := map[string]string{from: "WRITABLE", to: "WRITABLE", mint: "READONLY", payer: "READONLY_SIGNER"}
		limit, price := uint32(20_000), 1
		if layout == solana.Transfer {
			limit, price = 200_000, 10_000
			roles[payer], roles[recipient] = "WRITABLE_SIGNER", "READONLY"
			roles[systemProgram], roles[tokenProgram] = "READONLY", "READONLY"
		}
		none := map[string]string{}
		want := reading{FeePayer: m.FeePayer.String(), BlockHash: solana.Key(m.BlockHash).String(), Roles: roles}
		want.Instructions = []readInstruction{
			{"SetComputeUnitLimit", computeBudget, none, 0, readData{Units: limit}},
			{"SetComputeUnitPrice", computeBudget, none, 0, readData{MicroLamports: strconv.Itoa(price)}},
			{
				"TransferChecked", tokenProgram,
				map[string]string{"source": from, "mint": mint, "destination": to, "authority": payer},
				4,
				readData{Amount: strconv.FormatInt(m.Units, 10), Decimals: m.Decimals},
			},
			{"Memo", memoProgram, none, 0, readData{Memo: m.Memo}},
		}
		if layout == solana.Transfer {
			want.Instructions = slices.Insert(want.Instructions, 2, readInstruction{"CreateIdempotent", associatedToken, map[string]string{
				"payer": payer, "ata": to, "owner": recipient, "mint": mint, "systemProgram": systemProgram, "tokenProgram": tokenProgram,
			}, 6, readData{}})
		}
		if diff := cmp.Diff(want, read.Says); diff != "" {
			t.Errorf("%v: what is read (-want +got):\n%s", layout, diff)
		}
	}
}
