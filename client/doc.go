// Package client is Halfkey's Go SDK: the agent's half of a wallet, the owner's, and the operator's statements.
//
// An agent registers once and pays:
//
//	home, err := client.OpenHome("")                    // HALFKEY_HOME, 0700
//	err = home.Connect(installationFile)                // pins the installation
//	c, err := client.Open(home, client.Options{})
//	r, err := c.Register(ctx, client.RegisterOptions{Name: "Research agent", OwnerEmail: "you@example.com"})
//	fmt.Println(r.ClaimCode)                            // the owner claims it
//	                                                    // or RegisterOptions.EnrolmentToken claims it without the owner
//	agent, err := c.Agent("")
//	p, err := agent.Pay(ctx, client.Order{Recipient: "@data-shop", Units: 2_500_000, Purpose: "weather data"})
//
// An order in a token on Solana is paid on that chain: Pay returns it AUTHORIZED, and WaitProven once the chain has proven what became
// of it.
//
// A resource that a server sells over HTTP is fetched, which shows its price, and confirmed, which pays it once and hands it over:
// Agent.Fetch and Agent.ConfirmFetch. NewTransport does both for an http.Client; Agent.NewSeller is the other side.
//
// Who should not use it: services, which have contracts of their own, and whoever wants a whole key: an agent's home holds
// one share, which signs nothing alone.
//
// # Promises
//
//   - Nothing that comes back is taken on the gateway's word. Wallet records, guard rails, verdicts, receipts, settlements,
//     acknowledgements and journal heads are verified under the keys of the pinned installation file, and every payment's
//     signature is over bytes that this package encoded itself.
//   - Whatever may move money is stored durably before it is sent: the payment's id, its intent, every message. A program
//     that dies anywhere calls Resume with the id, and there is one payment.
//   - A further message for a payment is made only on the ledger's signed statement that the one before is dead, and on a chain at most
//     twice.
//   - A fetch has one payment at most, whatever its server answers; what became of the money is the ledger's word, never the server's.
//   - Nonces live in memory only and serve one answer.
//   - Secrets are in files of mode 0600 under directories of mode 0700, written by way of a synced temporary file; nothing is
//     read from the working directory; no secret prints.
//   - Every failed call is an *Error that says whether money moved and what to do next.
package client
