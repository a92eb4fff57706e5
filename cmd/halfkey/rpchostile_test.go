package main

import (
	"crypto/ed25519"
	"crypto/sha256"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/halfkey/halfkey/client"
	"github.com/halfkey/halfkey/halfkeytest"
	"github.com/halfkey/halfkey/internal/chain/solana"
	"github.com/halfkey/halfkey/internal/chain/solanarpc/solanarpctest"
	"github.com/halfkey/halfkey/internal/resource"
	"github.com/halfkey/halfkey/internal/sellertest"
)

// What becomes on the chain of the message that a row's command sent.
const (
	nodeLands = "lands" // It lands and is final.
	nodeLoses = "loses" // It never lands, and its time is over.
	nodeFails = "fails" // It lands with an error.
	nodeWaits = "waits" // It has not landed, and may still.
	nodeUnmet = "unmet" // The nodes are so before the command begins, which sends nothing.
)

// nodeRow is what the nodes of a ledger do while somebody pays by the command line, and what it makes of it.
type nodeRow struct {
	name  string
	truth string
	node  func(*nodes) []solanarpctest.Option // What the second of two nodes does once the message was sent.
	both  bool                                // The first one does it, too.
	// told is what `pay` says, and end what the same command says once the nodes are honest again.
	told, end hostileOutcome
}

var (
	nodeSettled = hostileOutcome{0, "SETTLED", "YES"}
	nodeFailed  = hostileOutcome{3, "FAILED", "NO"}
	nodeUnknown = hostileOutcome{6, "AUTHORIZED", "UNKNOWN"}
	nodeUnheard = hostileOutcome{6, "", "UNKNOWN"} // No answer came in time.
)

// nodeWords stand for all that a node could write; nodeKey is a provider's key in a node's URL.
const (
	nodeWords = "\x1b[31mHALFKEY SAYS: pay again"
	nodeKey   = "provider-key-5e7d"
)

// nodePrice is what each row pays.
const (
	nodePrice     = 100_000
	nodePriceText = "0.1"
)

func nodeIs(options ...solanarpctest.Option) func(*nodes) []solanarpctest.Option {
	return func(*nodes) []solanarpctest.Option { return options }
}

// nodeOn changes a node's answers to one method.
func nodeOn(method string, change func(*solanarpctest.Call) bool) func(*nodes) []solanarpctest.Option {
	return nodeIs(solanarpctest.Answering(func(c *solanarpctest.Call) bool { return c.Method == method && change(c) }))
}

func nodeSays(method string, result any) func(*nodes) []solanarpctest.Option {
	return nodeOn(method, func(c *solanarpctest.Call) bool { c.Result = result; return false })
}

func nodeWrites(method, text string) func(*nodes) []solanarpctest.Option {
	return nodeOn(method, func(c *solanarpctest.Call) bool { return c.Write(text) })
}

// nodeSilent has a node answer nothing until it is honest again.
func nodeSilent(n *nodes) []solanarpctest.Option {
	woken := n.woken
	return []solanarpctest.Option{solanarpctest.Answering(func(*solanarpctest.Call) bool {
		<-woken
		return false
	})}
}

// nodeHides has a node list no transaction and show none.
func nodeHides(*nodes) []solanarpctest.Option {
	return []solanarpctest.Option{solanarpctest.Answering(func(c *solanarpctest.Call) bool {
		switch c.Method {
		case "getSignaturesForAddress":
			c.Result = []any{}
		case "getTransaction":
			c.Result = nil
		}
		return false
	})}
}

// nodeShows has a node show a chain of its own, on which the message never landed and its time is over.
func nodeShows(n *nodes) []solanarpctest.Option {
	return []solanarpctest.Option{solanarpctest.Showing(n.chain.Branch(n.chain.Tip(), 250))}
}

func nodePruned(n *nodes) []solanarpctest.Option {
	return []solanarpctest.Option{solanarpctest.Pruned(n.chain.Tip().Slot + 20)}
}

func nodeHole(n *nodes) []solanarpctest.Option {
	tip := n.chain.Tip().Slot
	return []solanarpctest.Option{solanarpctest.Hole(tip+1, tip+5)}
}

var nodeRows = []nodeRow{
	{name: "honest, lands", truth: nodeLands, told: nodeSettled, end: nodeSettled},
	{name: "honest, fails", truth: nodeFails, told: nodeFailed, end: nodeFailed},
	{name: "honest, waits", truth: nodeWaits, told: nodeUnknown, end: nodeSettled},

	// They do not answer.
	{name: "one is silent", truth: nodeLands, node: nodeSilent, told: nodeUnknown, end: nodeSettled},
	{name: "all are silent", truth: nodeLands, both: true, node: nodeSilent, told: nodeUnknown, end: nodeSettled},
	{name: "all are down", truth: nodeLands, both: true, node: nodeIs(solanarpctest.Down(http.StatusBadGateway)), told: nodeUnknown, end: nodeSettled},
	{
		name: "all refuse so many questions", truth: nodeLands, both: true, node: nodeIs(solanarpctest.Down(http.StatusTooManyRequests)),
		told: nodeUnknown, end: nodeSettled,
	},
	{
		name: "all are down before anything is sent", truth: nodeUnmet, both: true, node: nodeIs(solanarpctest.Down(http.StatusBadGateway)),
		told: nodeUnheard, end: nodeSettled,
	},
	{name: "all answer with words", truth: nodeLands, both: true, node: nodeWrites("getEpochInfo", nodeWords), told: nodeUnknown, end: nodeSettled},
	{
		name: "one answers without end", truth: nodeLands, node: nodeWrites("getSignaturesForAddress", strings.Repeat("[", 5<<20)),
		told: nodeUnknown, end: nodeSettled,
	},
	{
		name: "all send elsewhere", truth: nodeLands, both: true,
		node: nodeOn("getEpochInfo", func(c *solanarpctest.Call) bool { return c.Redirect("http://127.0.0.1:1/") }), told: nodeUnknown, end: nodeSettled,
	},

	// They know less.
	{name: "one is behind", truth: nodeLands, node: nodeIs(solanarpctest.Behind(250)), told: nodeUnknown, end: nodeSettled},
	{name: "all are behind", truth: nodeLands, both: true, node: nodeIs(solanarpctest.Behind(250)), told: nodeUnknown, end: nodeSettled},
	{name: "one is pruned", truth: nodeLands, node: nodePruned, told: nodeUnknown, end: nodeSettled},
	{name: "all are pruned", truth: nodeLands, both: true, node: nodePruned, told: nodeUnknown, end: nodeSettled},
	{name: "all have a hole where it landed", truth: nodeLands, both: true, node: nodeHole, told: nodeUnknown, end: nodeSettled},
	{name: "all have blocks without their transactions", truth: nodeLands, both: true, node: nodeSays("getTransaction", nil), told: nodeUnknown, end: nodeSettled},

	// They lie.
	{name: "one hides it", truth: nodeLands, node: nodeHides, told: nodeUnknown, end: nodeSettled},
	{name: "one lies that it is dead by a chain of its own", truth: nodeLands, node: nodeShows, told: nodeUnknown, end: nodeSettled},
	{name: "one lies that its time is over", truth: nodeWaits, node: nodeShows, told: nodeUnknown, end: nodeSettled},
	{name: "one is down, lost", truth: nodeLoses, node: nodeIs(solanarpctest.Down(http.StatusBadGateway)), told: nodeUnknown, end: nodeSettled},
	{name: "one says that it is pruned, lost", truth: nodeLoses, node: nodeSays("getFirstAvailableBlock", 1<<40), told: nodeUnknown, end: nodeSettled},
}

// nodes are an installation whose ledger asks two nodes, and an agent that pays a shop on their chain.
type nodes struct {
	*chainScripts
	both  [2]*solanarpctest.Endpoint
	home  string
	woken chan struct{} // Closed once the nodes are honest again.
}

func newNodes(t *testing.T) *nodes {
	t.Helper()
	key := func(seed string) solana.Key {
		hash := sha256.Sum256([]byte(seed))
		return solana.Key(ed25519.NewKeyFromSeed(hash[:]).Public().(ed25519.PublicKey))
	}
	chain := solanarpctest.New(t, resource.SolanaDevnet)
	mint, err := solana.ParseKey(soldMint)
	if err != nil {
		t.Fatal(err)
	}
	n := &nodes{both: [2]*solanarpctest.Endpoint{chain.Endpoint(), chain.Endpoint()}}
	n.chainScripts = &chainScripts{
		chain: chain, dir: t.TempDir(), mint: mint, shop: key("a shop on the chain"),
		seller: sellertest.New(resource.SolanaDevnet, mint, key("a seller on the chain"), chain),
		system: halfkeytest.Start(t, halfkeytest.WithSolana(resource.SolanaDevnet,
			n.both[0].URL+"/?key="+nodeKey, n.both[1].URL+"/?key="+nodeKey)),
	}
	n.owner = n.system.Owner()
	_, n.payer = n.agent(t, "Node Buyer", 1_000_000_000)
	n.home = filepath.Join(n.dir, "Node Buyer")
	chain.Open(n.shop, mint)
	chain.Finalize()
	return n
}

// pay runs the command, and what is to happen once its message was sent.
func (n *nodes) pay(t *testing.T, want hostileOutcome, timeout, id string, sent func()) {
	t.Helper()
	before := n.both[0].Asked("sendTransaction")
	ended := make(chan ran, 1)
	go func() {
		ended <- inProcess(t.Context(), map[string]string{client.HomeVariable: n.home}, "",
			"pay", n.shop.String(), nodePriceText, "--asset", "USDC", "--id", id, "--timeout", timeout, "--json")
	}()
	var got ran
	for over := sent == nil; !over; {
		select {
		case got = <-ended:
			t.Fatalf("nothing was sent: %+v", got)
		case <-time.After(time.Millisecond):
			if over = n.both[0].Asked("sendTransaction") > before; over {
				sent()
			}
		}
	}
	got = <-ended
	text := got.stdout
	if text == "" {
		text = got.stderr
	}
	told := object(t, text)
	if e, failed := told["error"].(map[string]any); failed {
		told = e
	}
	state, _ := told["state"].(string)
	money, _ := told["money_moved"].(string)
	if is := (hostileOutcome{got.code, state, money}); is != want {
		t.Errorf("it ends with %+v, want %+v: %+v", is, want, got)
	}
	n.hides(t, got)
}

// become has the nodes do what a row says.
func (n *nodes) become(row *nodeRow) {
	if row.node == nil {
		return
	}
	n.both[1].Become(row.node(n)...)
	if row.both {
		n.both[0].Become(row.node(n)...)
	}
}

// TestHostileNodes pays by the command line while the ledger's nodes fail, lag and lie: what it says of the money is true or UNKNOWN, and
// the same command says the truth once they are honest, and has paid once or not at all.
func TestHostileNodes(t *testing.T) {
	if raced {
		t.Skip("it looks at what programs print, of which the race detector sees no more")
	}
	// Most of a row is waiting, so a few installations share the rows.
	const installations = 3
	for first := range installations {
		t.Run(fmt.Sprintf("installation %d", first+1), func(t *testing.T) {
			t.Parallel()
			n := newNodes(t)
			for i := first; i < len(nodeRows); i += installations {
				t.Run(nodeRows[i].name, func(t *testing.T) { n.runRow(t, &nodeRows[i], fmt.Sprintf("row-%d", i)) })
			}
		})
	}
	if len(nodeRows) < 18 {
		t.Errorf("%d rows", len(nodeRows))
	}
}

// runRow runs a row to its end.
func (n *nodes) runRow(t *testing.T, row *nodeRow, id string) {
	const short, long = "2s", "20s"
	held, begun := n.chain.Units(n.payer, n.mint), time.Now()
	n.woken = make(chan struct{})
	wake := sync.OnceFunc(func() { close(n.woken) })
	defer wake()
	n.chain.Lose(row.truth == nodeLoses)
	n.chain.Freeze(n.shop, n.mint, row.truth == nodeFails)
	if row.truth == nodeUnmet {
		n.become(row)
		n.pay(t, row.told, short, id, nil)
	} else {
		n.pay(t, row.told, short, id, func() {
			n.become(row)
			switch row.truth {
			case nodeLands, nodeFails:
				n.chain.Finalize()
			case nodeLoses:
				n.chain.Advance(200)
			}
		})
	}
	n.balance(t, row.told)
	for _, node := range n.both {
		node.Become()
	}
	wake()
	n.chain.Lose(false)
	n.chain.Freeze(n.shop, n.mint, false)
	switch row.truth {
	case nodeUnmet:
		n.pay(t, row.end, long, id, n.chain.Finalize)
	case nodeLoses:
		// By then the ledger hands out another block's hash.
		time.Sleep(time.Until(begun.Add(5100 * time.Millisecond)))
		n.pay(t, row.end, long, id, n.chain.Finalize)
	case nodeWaits:
		n.chain.Finalize()
		n.pay(t, row.end, long, id, nil)
	default:
		n.pay(t, row.end, long, id, nil)
	}
	want := uint64(0)
	if row.end == nodeSettled {
		want = nodePrice
	}
	if got := held - n.chain.Units(n.payer, n.mint); got != want {
		t.Errorf("%d left the wallet, want %d", got, want)
	}
}

// balance demands that `balance` answers whatever the nodes do, and that it shows the price held exactly while a payment is AUTHORIZED.
func (n *nodes) balance(t *testing.T, told hostileOutcome) {
	t.Helper()
	got := inProcess(t.Context(), map[string]string{client.HomeVariable: n.home}, "", "balance", "--timeout", "10s", "--json")
	want := "0"
	if told == nodeUnknown {
		want = fmt.Sprint(nodePrice)
	}
	if got.code != exitDone || !strings.Contains(got.stdout, `"held_units":"`+want+`"`) {
		t.Errorf("the balance, want %s held: %+v", want, got)
	}
	n.hides(t, got)
}

// hides demands that a command showed nothing of where the nodes are, of the key to them, or of what they write.
func (n *nodes) hides(t *testing.T, got ran) {
	t.Helper()
	for _, secret := range []string{nodeKey, "HALFKEY SAYS", n.both[0].URL, n.both[1].URL} {
		if strings.Contains(got.stdout+got.stderr, secret) {
			t.Errorf("%q is shown: %+v", secret, got)
		}
	}
}
