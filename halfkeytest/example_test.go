package halfkeytest_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/halfkey/halfkey/client"
	"github.com/halfkey/halfkey/halfkeytest"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// TestExample is what an integrator's test looks like: an agent that buys data until its budget for the day is spent, and asks
// its owner for what is dear.
func TestExample(t *testing.T) {
	clock := halfkeytest.NewClock(time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC))
	h := halfkeytest.Start(t, halfkeytest.WithClock(clock))
	shop, agent := h.Agent("Data Shop"), h.Agent("Research Agent")

	rules := client.StandardRules(shop.GroupKey())
	rules.DailyDeny = 5_000_000 // no more than 5 USD a day, whoever approves
	h.GuardRails(agent, rules)

	h.Fund(agent, 20_000_000)

	buy := func(id string, units int64) typev1.PaymentState {
		t.Helper()
		p, err := agent.Pay(t.Context(), client.Order{ID: id, Recipient: "@data-shop", Units: units, Purpose: "weather data"})
		if err != nil {
			t.Fatal(err)
		}
		return p.State
	}
	if got := buy("monday", 4_000_000); got != typev1.PaymentState_PAYMENT_STATE_SETTLED {
		t.Errorf("the first is %v, want SETTLED", got)
	}
	if got := buy("monday-again", 4_000_000); got != typev1.PaymentState_PAYMENT_STATE_DENIED {
		t.Errorf("over the budget: %v, want DENIED", got)
	}

	clock.Advance(24 * time.Hour)
	if got := buy("tuesday", 4_000_000); got != typev1.PaymentState_PAYMENT_STATE_SETTLED {
		t.Errorf("the next day: %v, want SETTLED", got)
	}

	// A thief with the agent's whole home: its owner freezes the wallet, and nothing more is paid.
	if _, err := h.Owner().Freeze(t.Context(), agent.Wallet(), "stolen"); err != nil {
		t.Fatal(err)
	}
	if _, err := agent.Pay(t.Context(), client.Order{Recipient: "@data-shop", Units: 1}); client.ReasonOf(err) != typev1.Reason_REASON_FROZEN {
		t.Errorf("frozen: %v", err)
	}
	account, err := shop.Account(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if got := account.Balances[0].Available; got != 8_000_000 {
		t.Errorf("the shop has %d units, want 8 USD", got)
	}
}

// The snippets of the package's documentation are lines of the example.
func TestDocumentation(t *testing.T) {
	source, err := os.ReadFile("example_test.go")
	if err != nil {
		t.Fatal(err)
	}
	file, err := parser.ParseFile(token.NewFileSet(), "doc.go", nil, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	snippets := 0
	for _, line := range commentLines(file.Doc) {
		snippet, ok := strings.CutPrefix(line, "\t")
		if !ok {
			continue
		}
		snippets++
		if !strings.Contains(string(source), "\t"+snippet+"\n") {
			t.Errorf("%q is no line of the example", snippet)
		}
	}
	if snippets < 7 {
		t.Errorf("%d lines of snippets in doc.go", snippets)
	}
}

func commentLines(doc *ast.CommentGroup) []string {
	var lines []string
	for _, c := range doc.List {
		lines = append(lines, strings.TrimPrefix(strings.TrimPrefix(c.Text, "//"), " "))
	}
	return lines
}
