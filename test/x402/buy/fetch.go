package buy

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strconv"
)

// Fetch is what `halfkey x402` says of a fetch.
type Fetch struct {
	ID           string `json:"id"`
	Payment      string `json:"payment"`
	State        string `json:"state"`
	PaymentState string `json:"payment_state"`
	MoneyMoved   string `json:"money_moved"`
	Units        string `json:"units"`
	PayTo        string `json:"pay_to"`
	Judged       string `json:"judged"`
	Status       int    `json:"http_status"`
	ServerSays   struct {
		Receipt string `json:"receipt"`
	} `json:"server_says"`
	Next string `json:"next"`

	// Resource is what was written to the output file, or empty.
	Resource string `json:"-"`
}

// fetch asks for a URL and what it costs.
func (a *Agent) fetch(code int, url string, arguments ...string) Fetch {
	a.t.Helper()
	return a.delivered(code, append([]string{"x402", "fetch", url, "--allow-loopback"}, arguments...)...)
}

// confirm pays for a fetch.
func (a *Agent) confirm(code int, id string) Fetch {
	a.t.Helper()
	return a.delivered(code, "x402", "fetch", "confirm", id)
}

// confirmed is confirm with any exit code.
func (a *Agent) confirmed(id string) Result {
	a.t.Helper()
	a.outputs++
	return a.run(a.Handle, "x402", "fetch", "confirm", id, "--json", "--output", filepath.Join(a.dir, "resource-"+strconv.Itoa(a.outputs)))
}

// show asks what became of it.
func (a *Agent) show(id string) Fetch {
	a.t.Helper()
	got := a.run(a.Handle, "x402", "show", id, "--json")
	var f Fetch
	if err := json.Unmarshal([]byte(got.Out), &f); err != nil {
		a.t.Fatalf("x402 show: %v, exit code %d\n%s%s", err, got.Code, got.Out, got.Errors)
	}
	if (got.Code == 6) != (f.MoneyMoved == "UNKNOWN") {
		a.t.Errorf("x402 show: exit code %d, and money_moved is %s", got.Code, f.MoneyMoved)
	}
	return f
}

// proven waits until the ledger has proved what became of a fetch.
func (a *Agent) proven(id string) Fetch {
	a.t.Helper()
	var f Fetch
	a.wait("the proof of what became of "+id, func() bool {
		f = a.show(id)
		return f.MoneyMoved != "UNKNOWN"
	})
	return f
}

// delivered runs a command that may write a resource.
func (a *Agent) delivered(code int, arguments ...string) Fetch {
	a.t.Helper()
	a.outputs++
	file := filepath.Join(a.dir, "resource-"+strconv.Itoa(a.outputs))
	var f Fetch
	a.ask(&f, code, a.Handle, append(arguments, "--output", file)...)
	b, err := os.ReadFile(file)
	if err != nil && !os.IsNotExist(err) {
		a.t.Fatal(err)
	}
	f.Resource = string(b)
	return f
}

// Payment is what `halfkey payments show` says.
type Payment struct {
	Name        string `json:"name"`
	State       string `json:"state"`
	Transaction string `json:"transaction"`
	Slot        int64  `json:"slot"`
	MoneyMoved  string `json:"money_moved"`
	Units       string `json:"units"`
	Address     string `json:"recipient_address"`
}

// payment asks the ledger.
func (a *Agent) payment(name string) Payment {
	a.t.Helper()
	var p Payment
	a.ask(&p, 0, a.Handle, "payments", "show", name)
	return p
}

// settled waits for the ledger's proof.
func (a *Agent) settled(name string) Payment {
	a.t.Helper()
	var p Payment
	a.wait("the proof that "+name+" landed", func() bool {
		p = a.payment(name)
		return p.State == "SETTLED"
	})
	return p
}
