package solanarpc_test

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/halfkey/halfkey/internal/chain/solana"
	"github.com/halfkey/halfkey/internal/chain/solanarpc"
	"github.com/halfkey/halfkey/internal/chain/solanarpc/solanarpctest"
)

type hostileRow struct {
	name  string
	kind  string
	also  []func(*story, int) // What somebody else sends.
	node  deed                // What one of two nodes does; the other one is honest.
	both  bool                // Both do it.
	short bool                // Nobody is waited for longer than half a second.
	state solanarpc.State
	why   string
}

const epoch = `{"jsonrpc":"2.0","id":%s,"result":{"absoluteSlot":1400,"blockHeight":300}`

var hostileRows = []hostileRow{
	// What is not hostile.
	{name: "honest, lost", kind: lost, state: solanarpc.Dead},
	{name: "honest, landed in the last block", kind: landed, state: solanarpc.Landed},
	{name: "honest, failed", kind: failed, state: solanarpc.Failed},
	{name: "honest, still open", kind: open, why: "may still land until it is past LAST+32"},
	{name: "short pages, lost", kind: lost, node: does(solanarpctest.Paging(1)), state: solanarpc.Dead},
	{name: "short pages, landed", kind: landed, node: does(solanarpctest.Paging(1)), state: solanarpc.Landed},
	{
		name: "strangers' transactions of every form", kind: lost, state: solanarpc.Dead,
		also: []func(*story, int){func(s *story, before int) {
			if before == 100 {
				s.chain.FundIn(solanarpctest.Version1, wallet.key, usdc, 1)
				s.chain.FundIn(solanarpctest.Tables, wallet.key, usdc, 1)
			}
		}},
	},

	// Which chain, and how far.
	{name: "another network", kind: lost, node: result("getGenesisHash", newPerson("elsewhere").key.String()), why: "another network"},
	{name: "behind, lost", kind: lost, node: behind(40), why: "may still land"},
	{name: "behind, landed", kind: landed, node: behind(40), why: "not all do yet"},
	{
		name: "says that it is far ahead", kind: open, both: true, why: "getBlocksWithLimit does not show",
		node: func(s *story) solanarpctest.Option {
			// The tip of the question stays honest, so the list is answered.
			return solanarpctest.Answering(func(c *solanarpctest.Call) bool {
				if c.Method == "getEpochInfo" {
					c.Result = map[string]any{"absoluteSlot": s.tip.Slot, "blockHeight": s.tip.Slot}
				}
				if c.Method == "getBlocksWithLimit" {
					c.Result = c.Result.([]uint64)[:151]
				}
				return false
			})
		},
	},
	{name: "says more blocks than slots", kind: lost, node: member("getEpochInfo", "blockHeight", 1<<50), why: "more blocks than slots"},
	{
		name: "height goes back", kind: lost, why: "has gone back",
		node: func(s *story) solanarpctest.Option {
			asked := 0
			return answering("getEpochInfo", func(c *solanarpctest.Call) bool {
				if asked++; asked == 2 {
					c.Result.(map[string]any)["blockHeight"] = s.tip.Height - 1
				}
				return false
			})
		},
	},
	{
		name: "a node behind answers the list", kind: landed, why: "getSignaturesForAddress was refused",
		node: on("getSignaturesForAddress", func(c *solanarpctest.Call) bool {
			// Of a pool behind one address, one that has not finalised the block with the message yet.
			if c.Config()["minContextSlot"] == nil {
				c.Result = []any{}
			} else {
				c.Result = solanarpctest.Refusal(-32016)
			}
			return false
		}),
	},
	{
		name: "another block in the hash's slot", kind: lost, why: "another block hash",
		node: member("getBlock", "blockhash", shop.key.String()),
	},
	{name: "another height of the hash's block", kind: lost, node: member("getBlock", "blockHeight", 99), why: "150 blocks"},

	// What it has.
	{name: "pruned", kind: lost, node: pruned(1), why: "getBlocksWithLimit does not show"},
	{
		name: "says that it is pruned", kind: lost, why: "does not reach back",
		node: func(s *story) solanarpctest.Option { return answers("getFirstAvailableBlock", s.start.Slot+1) },
	},
	{name: "pruned, landed", kind: landed, node: pruned(152), why: "not all do yet"},
	{name: "a hole around the message", kind: landed, node: hole(145, 155), why: "not all do yet"},
	{name: "a hole in the window", kind: lost, node: hole(140, 140), why: "blocks are missing in between"},
	{
		name: "a window with a slot twice", kind: lost, why: "not in order",
		node: on("getBlocksWithLimit", func(c *solanarpctest.Call) bool {
			slots := c.Result.([]uint64)
			slots[5] = slots[4]
			return false
		}),
	},
	{
		name: "a window that is shorter", kind: lost, why: "does not show",
		node: on("getBlocksWithLimit", func(c *solanarpctest.Call) bool { c.Result = c.Result.([]uint64)[:151]; return false }),
	},

	// What it lists.
	{name: "hides it", kind: landed, node: result("getSignaturesForAddress", []any{}), why: "another shows all blocks"},
	{
		name: "lists in circles", kind: lost, why: "in circles",
		node: func(s *story) solanarpctest.Option {
			one := map[string]any{"signature": shop.sign(nil).String(), "slot": s.after(140).Slot, "err": nil}
			return answers("getSignaturesForAddress", []any{one})
		},
	},
	{
		name: "lists out of order", kind: lost, why: "not in order",
		node: on("getSignaturesForAddress", func(c *solanarpctest.Call) bool { slices.Reverse(c.Result.([]map[string]any)); return false }),
	},
	{
		name: "lists what is not finalised", kind: landed, why: "not finalised",
		node: on("getSignaturesForAddress", func(c *solanarpctest.Call) bool {
			c.Result.([]map[string]any)[0]["confirmationStatus"] = "confirmed"
			return false
		}),
	},
	{
		name: "lists more than was asked for", kind: lost, why: "longer than was asked for",
		node: result("getSignaturesForAddress", make([]int, 1001)),
	},
	{
		name: "lists without a result", kind: lost, why: "lacks err",
		node: on("getSignaturesForAddress", func(c *solanarpctest.Call) bool {
			for _, one := range c.Result.([]map[string]any) {
				delete(one, "err")
			}
			return false
		}),
	},
	{
		name: "lists a signature that is none", kind: lost, why: "where a signature in base58 belongs",
		node: result("getSignaturesForAddress", []any{map[string]any{"signature": planted, "slot": 1300, "err": nil}}),
	},

	// What it shows of a transaction.
	{name: "lists and does not show", kind: landed, node: result("getTransaction", nil), why: "knows nothing of a transaction"},
	{
		name: "another transaction's bytes", kind: landed, why: "has another transaction",
		node: ours(func(s *story, answer map[string]any) { answer["transaction"] = solanarpctest.Bytes(renamed(s).wire) }),
	},
	{
		name: "the same signature with other bytes", kind: landed, why: "does not verify",
		node: ours(func(s *story, answer map[string]any) {
			wire := slices.Clone(s.tx.wire)
			wire[len(wire)-2] ^= 1
			answer["transaction"] = solanarpctest.Bytes(wire)
		}),
	},
	{
		name: "an error that the other does not see", kind: landed, why: "different transactions, slots or with different results",
		node: func(s *story) solanarpctest.Option {
			return solanarpctest.Answering(func(c *solanarpctest.Call) bool {
				switch answer := c.Result.(type) {
				case []map[string]any:
					for _, one := range answer {
						if one["signature"] == s.tx.signature.String() {
							one["err"] = planted
						}
					}
				case map[string]any:
					if meta, ok := answer["meta"].(map[string]any); ok && c.Params[0] == s.tx.signature.String() {
						meta["err"] = planted
					}
				}
				return false
			})
		},
	},
	{
		name: "an error that its own list does not have", kind: landed, why: "another slot or result",
		node: ours(func(_ *story, answer map[string]any) { answer["meta"].(map[string]any)["err"] = planted }),
	},
	{
		name: "an error less than its own list has", kind: failed, why: "another slot or result",
		node: ours(func(_ *story, answer map[string]any) { answer["meta"].(map[string]any)["err"] = nil }),
	},
	{
		name: "another slot", kind: landed, why: "another slot or result",
		node: ours(func(_ *story, answer map[string]any) { answer["slot"] = 1 }),
	},
	{
		name: "no meta", kind: landed, why: "where an object belongs",
		node: ours(func(_ *story, answer map[string]any) { answer["meta"] = nil }),
	},
	{
		name: "as if it were of version 1", kind: landed, why: "could not have landed",
		node: ours(func(_ *story, answer map[string]any) { answer["version"] = 1 }),
	},
	{name: "of version 2", kind: landed, node: ours(func(_ *story, answer map[string]any) { answer["version"] = 2 }), why: "not asked for"},
	{
		name: "as if it were legacy", kind: landed, why: "another version",
		node: ours(func(_ *story, answer map[string]any) { answer["version"] = "legacy" }),
	},
	{
		name: "base64 with a line break", kind: landed, why: "bytes in base64",
		node: ours(func(s *story, answer map[string]any) {
			text := solanarpctest.Bytes(s.tx.wire)
			text[0] = text[0][:40] + "\n" + text[0][40:]
			answer["transaction"] = text
		}),
	},
	{
		name: "both invent a fee payer's signature", kind: lost, both: true, why: "does not verify",
		node: invented(func(s *story) (solana.Signature, solana.Signature) {
			return stranger.sign(s.tx.message), wallet.sign(s.tx.message)
		}),
	},
	{
		name: "both invent the wallet's signature", kind: lost, both: true, why: "could not have landed",
		node: invented(func(s *story) (solana.Signature, solana.Signature) {
			return feePayer.sign(s.tx.message), stranger.sign(s.tx.message)
		}),
	},
	{
		name: "one invents a landing by a signature that leaked", kind: lost, why: "another shows all blocks",
		node: invented(func(s *story) (solana.Signature, solana.Signature) {
			return feePayer.sign(s.tx.message), wallet.sign(s.tx.message)
		}),
	},

	// How it answers.
	{name: "null", kind: lost, node: result("getEpochInfo", nil), why: "where an object belongs"},
	{
		name: "a refusal", kind: lost, why: "refused by the node, code -32005",
		node: body("getEpochInfo", `{"jsonrpc":"2.0","id":%s,"error":{"code":-32005,"message":"HALFKEY SAYS"}}`),
	},
	{
		name: "a refusal that is a text", kind: lost, why: "refused by the node",
		node: body("getEpochInfo", `{"jsonrpc":"2.0","id":%s,"error":"HALFKEY SAYS"}`),
	},
	{name: "HTML", kind: lost, node: body("getEpochInfo", "<html>"+planted+"</html>"), why: "is not JSON"},
	{name: "nothing", kind: lost, node: body("getEpochInfo", ""), why: "is not JSON"},
	{name: "a huge body", kind: lost, node: on("getEpochInfo", func(c *solanarpctest.Call) bool {
		return c.Write(`{"jsonrpc":"2.0","result":"` + strings.Repeat("a", 1<<20) + `"}`)
	}), why: "more than 65536 bytes"},
	{name: "an endless list", kind: lost, node: on("getSignaturesForAddress", func(c *solanarpctest.Call) bool {
		for c.Request.Context().Err() == nil && c.Write(strings.Repeat("[", 1<<16)) {
			if _, err := c.Writer.Write([]byte(" ")); err != nil {
				break
			}
		}
		return true
	}), why: "more than 4194304 bytes"},
	{name: "a slow body", kind: lost, short: true, node: on("getEpochInfo", func(c *solanarpctest.Call) bool {
		c.Write(`{"jsonrpc":"2.0",`)
		_ = http.NewResponseController(c.Writer).Flush()
		<-c.Request.Context().Done()
		return true
	}), why: "was not answered within 500ms"},
	{
		name: "no answer", kind: lost, short: true, why: "was not answered within 500ms",
		node: on("getEpochInfo", func(c *solanarpctest.Call) bool { <-c.Request.Context().Done(); return true }),
	},
	{name: "cut off", kind: lost, node: on("getEpochInfo", func(c *solanarpctest.Call) bool {
		c.Writer.Header().Set("Content-Length", "1000")
		c.Write(`{"jsonrpc":"2.0",`)
		panic(http.ErrAbortHandler)
	}), why: "was cut off"},
	{name: "a redirect to who answers", kind: lost, node: func(s *story) solanarpctest.Option {
		other := s.node()
		return solanarpctest.Answering(func(c *solanarpctest.Call) bool { return c.Redirect(other.URL) })
	}, why: "redirects are not followed"},
	{name: "an answer with status 500", kind: lost, node: on("getEpochInfo", func(c *solanarpctest.Call) bool {
		c.Writer.WriteHeader(http.StatusInternalServerError)
		return false
	}), why: "HTTP status 500"},
	{name: "too many requests", kind: lost, node: on("getEpochInfo", func(c *solanarpctest.Call) bool {
		c.Writer.WriteHeader(http.StatusTooManyRequests)
		return c.Write(planted)
	}), why: "HTTP status 429"},
	{name: "a gzip bomb", kind: lost, node: on("getEpochInfo", func(c *solanarpctest.Call) bool {
		c.Writer.Header().Set("Content-Encoding", "gzip")
		var b bytes.Buffer
		z := gzip.NewWriter(&b)
		_, _ = z.Write(bytes.Repeat([]byte(" "), 1<<20))
		_ = z.Close()
		return c.Write(b.String())
	}), why: "compressed"},
	{name: "headers without end", kind: lost, node: on("getEpochInfo", func(c *solanarpctest.Call) bool {
		c.Writer.Header().Set("X-Padding", strings.Repeat("a", 64<<10))
		return false
	}), why: "did not get through"},
	{
		name: "another question's id", kind: lost, why: "another question",
		node: body("getEpochInfo", `{"jsonrpc":"2.0","id":9%s,"result":{"absoluteSlot":1400,"blockHeight":300}}`),
	},
	{
		name: "an id that is a text", kind: lost, why: "whole number",
		node: body("getEpochInfo", `{"jsonrpc":"2.0","id":"%s","result":{"absoluteSlot":1400,"blockHeight":300}}`),
	},
	{
		name: "another protocol", kind: lost, why: "another protocol",
		node: body("getEpochInfo", `{"jsonrpc":"1.0","id":%s,"result":{"absoluteSlot":1400,"blockHeight":300}}`),
	},
	{name: "result and error", kind: lost, node: body("getEpochInfo", epoch+`,"error":null}`), why: "both or neither"},
	{name: "neither result nor error", kind: lost, node: body("getEpochInfo", `{"jsonrpc":"2.0","id":%s}`), why: "both or neither"},
	{name: "something after the answer", kind: lost, node: body("getEpochInfo", epoch+`}{}`), why: "is not JSON"},
	{name: "a member twice", kind: lost, node: body("getEpochInfo", epoch+`,"result":null}`), why: "a member twice"},
	{
		name: "a member in other letters", kind: lost, why: "both or neither",
		node: body("getEpochInfo", `{"jsonrpc":"2.0","id":%s,"Result":{"absoluteSlot":1400,"blockHeight":300}}`),
	},
	{name: "not UTF-8", kind: lost, node: body("getEpochInfo", epoch+`,"a":"`+"\xff"+`"}`), why: "is not JSON"},
	{
		name: "nested too deeply", kind: lost, why: "nested too deeply",
		node: body("getEpochInfo", epoch+`,"a":`+strings.Repeat("[", 100)+strings.Repeat("]", 100)+`}`),
	},
	{
		name: "too many values", kind: lost, why: "too many values",
		node: body("getSignaturesForAddress", `{"jsonrpc":"2.0","id":%s,"result":[`+strings.Repeat("0,", 50_000)+`0]}`),
	},
	{
		name: "a height beyond 64 bits", kind: lost, why: "whole number",
		node: member("getEpochInfo", "blockHeight", json.Number("18446744073709551616")),
	},
	{
		name: "a height beyond 2^60", kind: lost, why: "whole number",
		node: member("getEpochInfo", "blockHeight", json.Number("1152921504606846977")),
	},
	{name: "a negative height", kind: lost, node: member("getEpochInfo", "blockHeight", -1), why: "whole number"},
	{name: "a height with an exponent", kind: lost, node: member("getEpochInfo", "blockHeight", json.Number("3e2")), why: "whole number"},
	{name: "a height that is a text", kind: lost, node: member("getEpochInfo", "blockHeight", "300"), why: "whole number"},
	{name: "no height", kind: lost, node: member("getEpochInfo", "blockHeight", nil), why: "whole number"},
}

// behind knows the chain only up to so many blocks before the newest.
func behind(blocks int) deed {
	return func(s *story) solanarpctest.Option { return solanarpctest.Showing(s.tip.Back(blocks)) }
}

// pruned knows nothing from before a block, counted from the story's start on.
func pruned(first int) deed {
	return func(s *story) solanarpctest.Option { return solanarpctest.Pruned(s.after(first).Slot) }
}

// hole lacks the blocks from one to another, counted alike.
func hole(from, to int) deed {
	return func(s *story) solanarpctest.Option { return solanarpctest.Hole(s.after(from).Slot, s.after(to).Slot) }
}

// renamed is a transaction of the same signers with another memo.
func renamed(s *story) *payment {
	message := slices.Clone(s.tx.message)
	message[len(message)-2] ^= 1
	return signed(s.t, message, feePayer.sign(message), wallet.sign(message))
}

// invented shows the message as landed, in a transaction with these signatures of fee payer and wallet.
func invented(sign func(*story) (solana.Signature, solana.Signature)) deed {
	return func(s *story) solanarpctest.Option {
		first, second := sign(s)
		wire, slot := signed(s.t, s.tx.message, first, second).wire, s.after(141).Slot
		return solanarpctest.Answering(func(c *solanarpctest.Call) bool {
			switch {
			case c.Method == "getSignaturesForAddress":
				list := c.Result.([]map[string]any)
				at := slices.IndexFunc(list, func(one map[string]any) bool { return one["slot"].(uint64) < slot })
				if at >= 0 {
					c.Result = slices.Insert(list, at, map[string]any{"signature": first.String(), "slot": slot, "err": nil})
				}
			case c.Method == "getTransaction" && c.Params[0] == first.String():
				c.Result = map[string]any{
					"slot": slot, "blockTime": nil, "version": 0, "transaction": solanarpctest.Bytes(wire), "meta": map[string]any{"err": nil},
				}
			}
			return false
		})
	}
}

func TestOutcomeOfHostileNodes(t *testing.T) {
	for _, row := range hostileRows {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			for place, name := range []string{"first", "second"} {
				t.Run(name, func(t *testing.T) { row.run(t, place) })
			}
		})
	}
}

// run asks two nodes, of which the one in place is hostile.
func (row *hostileRow) run(t *testing.T, place int) {
	s := tell(t, row.kind, row.also...)
	why := strings.ReplaceAll(row.why, "LAST+32", strconv.FormatUint(s.watch.BlockHash.LastValidHeight+32, 10))
	nodes := make([]*solanarpctest.Endpoint, 2)
	for i := range nodes {
		if nodes[i] = s.node(); row.node != nil && (row.both || i == place) {
			nodes[i] = s.node(row.node(s))
		}
	}
	timeout := clientTimeout
	if row.short {
		timeout = 500 * time.Millisecond
	}
	began := time.Now()
	got, err := asking(t, timeout, s.chain, nodes...).Outcome(t.Context(), s.watch)
	if err != nil {
		t.Fatal(err)
	}
	if got.State != row.state || !strings.Contains(got.Why, why) || (got.State == solanarpc.Unknown) != (got.Why != "") {
		t.Fatalf("%v: %q, want %v: %q", got.State, got.Why, row.state, why)
	}
	if strings.Contains(got.Why, "HALFKEY SAYS") || strings.ContainsFunc(got.Why, func(r rune) bool { return r < ' ' || r > '~' }) {
		t.Errorf("%q tells what a node wrote", got.Why)
	}
	proven := got.State == solanarpc.Landed || got.State == solanarpc.Failed
	if proven != (got.Signature == s.tx.signature) || proven == got.Time.IsZero() || proven && !got.Seen {
		t.Errorf("signature %v, time %v, seen %v", got.Signature, got.Time, got.Seen)
	}
	if (row.kind == landed || row.kind == failed) && !row.both && !got.Seen {
		t.Error("the honest endpoint has shown it, and it is not said to be seen")
	}
	if row.short && time.Since(began) > 8*time.Second {
		t.Errorf("waited %v", time.Since(began))
	}
}

// TestOneOfManyDelays: three honest endpoints and one that says anything.
func TestOneOfManyDelays(t *testing.T) {
	s := tell(t, landed)
	liar := s.node(answers("getSignaturesForAddress", []any{}))
	client := s.client(t, s.node(), s.node(), s.node(), liar)
	got, err := client.Outcome(t.Context(), s.watch)
	if err != nil || got.State != solanarpc.Unknown {
		t.Fatalf("%+v, %v", got, err)
	}
	liar.Become(solanarpctest.Showing(s.tip))
	got, err = client.Outcome(t.Context(), s.watch)
	in := s.tip.Holding(s.tx.message)
	if want := (solanarpc.Outcome{
		State: solanarpc.Landed, Seen: true, Signature: s.tx.signature, Slot: in.Slot, PayerSignature: wallet.sign(s.tx.message),
		Time: in.Time(),
	}); err != nil || got != want {
		t.Fatalf("%+v, %v, want %+v", got, err, want)
	}
	if liar.Asked("getSignaturesForAddress") == 0 {
		t.Error("nobody asked the fourth endpoint")
	}
}

// TestLieIsForgotten: a transaction that was once shown as another one, in a form that cannot be verified, is looked at again when an
// endpoint contradicts.
func TestLieIsForgotten(t *testing.T) {
	s := tell(t, landed)
	liar := s.node(ours(func(_ *story, answer map[string]any) {
		answer["version"], answer["transaction"] = 1, solanarpctest.Bytes([]byte{0x81})
	})(s))
	client := s.client(t, s.node(), liar)
	for i, want := range []solanarpc.State{solanarpc.Unknown, solanarpc.Landed} {
		got, err := client.Outcome(t.Context(), s.watch)
		if err != nil || got.State != want || !got.Seen {
			t.Fatalf("look %d: %+v, %v, want %v", i, got, err, want)
		}
		liar.Become(solanarpctest.Showing(s.tip))
	}
}

// TestCallsInFlight: however many ask at once, an endpoint gets 16 calls at a time, and everybody an answer.
func TestCallsInFlight(t *testing.T) {
	s := tell(t, landed)
	// The first sixteen calls are held, and the other 48 askers would call meanwhile.
	var arrived atomic.Int64
	more, release := make(chan struct{}), make(chan struct{})
	n := s.node(solanarpctest.Answering(func(*solanarpctest.Call) bool {
		switch at := arrived.Add(1); {
		case at < 16:
			<-release
		case at == 16:
			select {
			case <-more:
			case <-time.After(100 * time.Millisecond):
			}
			close(release)
		case at == 17:
			select {
			case <-release:
			default:
				close(more)
			}
		}
		return false
	}))
	client := s.client(t, n)
	var wait sync.WaitGroup
	for range 64 {
		wait.Go(func() {
			if got, err := client.Outcome(t.Context(), s.watch); err != nil || got.State != solanarpc.Landed {
				t.Errorf("%+v, %v", got, err)
			}
		})
	}
	wait.Wait()
	select {
	case <-more:
		t.Error("more than 16 calls at once")
	default:
	}
}

// TestDownEndpoint: nobody there, and no word of the URL's key.
func TestDownEndpoint(t *testing.T) {
	s := tell(t, lost)
	client, err := solanarpc.New(solanarpc.Config{
		Network:   s.chain.Network(),
		Endpoints: []string{s.node().URL, "http://127.0.0.1:1/v1/key-in-path?api-key=key-in-query"}, Timeout: clientTimeout,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	got, err := client.Outcome(t.Context(), s.watch)
	why := "endpoint 2 (127.0.0.1:1): getGenesisHash did not get through"
	if err != nil || got.State != solanarpc.Unknown || !strings.Contains(got.Why, why) {
		t.Fatalf("%+v, %v", got, err)
	}
	_, blockHashErr := client.BlockHash(t.Context())
	checkErr := client.Check(t.Context())
	_, transfersErr := client.Transfers(t.Context(), s.watch.Account, solanarpc.Cursor{})
	for _, text := range []string{got.Why, fmt.Sprint(blockHashErr), fmt.Sprint(checkErr), fmt.Sprint(transfersErr)} {
		if strings.Contains(text, "key-in") || !strings.Contains(text, "endpoint 2") {
			t.Errorf("%q", text)
		}
	}
}

// TestManyTransactions: one look fetches so many, remembers them, and the next goes on.
func TestManyTransactions(t *testing.T) {
	const many, inBlocks = 1500, 3
	s := tell(t, lost, func(s *story, before int) {
		switch {
		case before <= inBlocks:
			for range many / inBlocks {
				s.chain.Mention(wallet.key, usdc)
			}
		case before == inBlocks+1: // Nobody tries to land them again.
			s.chain.Lose(true)
			s.chain.Lose(false)
		}
	})
	client := s.client(t, s.node())
	var states []solanarpc.State
	for range 3 {
		got, err := client.Outcome(t.Context(), s.watch)
		if err != nil {
			t.Fatal(err)
		}
		states = append(states, got.State)
	}
	if want := []solanarpc.State{solanarpc.Unknown, solanarpc.Unknown, solanarpc.Dead}; !slices.Equal(states, want) {
		t.Errorf("%v, want %v", states, want)
	}
}
