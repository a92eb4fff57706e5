// Package halfkeytest runs a whole Halfkey installation inside a test: the five services over mutual TLS, embedded etcd,
// SQLite, real key generation and real signatures. Nothing in it is a stand-in; what a test sees is what production does.
//
// Who should not use it: anything but a test. Its keys are in a temporary directory, its owner claims whatever registers, and
// it ends with the test. An installation that stays is `halfkey-dev serve`.
//
// # Start
//
// Start takes well under a second, and every test can have an installation of its own. Agent registers one by a real key
// generation and lets the installation's owner claim it; it has no money and may pay nothing yet.
//
//	h := halfkeytest.Start(t, halfkeytest.WithClock(clock))
//	shop, agent := h.Agent("Data Shop"), h.Agent("Research Agent")
//
// # Guard rails
//
// GuardRails puts rules in force under the owner's signature. StandardRules are those of the command line: over 5 USD a person
// decides, as for what takes a day over 50; over 100 nobody; and only the recipients named are paid.
//
//	rules := client.StandardRules(shop.GroupKey())
//	rules.DailyDeny = 5_000_000 // no more than 5 USD a day, whoever approves
//	h.GuardRails(agent, rules)
//
// # Fund
//
// Fund issues book dollars, by the operator's statement. A unit is a millionth of a dollar.
//
//	h.Fund(agent, 20_000_000)
//
// # Move time
//
// With a clock of its own an installation stands still until the test moves it: budgets that end with the day, reviews that run
// into their deadline, messages that expire. Clients made by Agent, Owner and Client follow the same clock.
//
//	clock.Advance(24 * time.Hour)
//
// # People, outages, other clients
//
// Owner answers reviews, freezes and reads the journal; Operator deposits and redeems. Kill ends the installation where it
// stands, as a crash does, and Restart starts it again on its directory. WithWrap cuts, delays or alters the gateway's calls to a
// service. WithSolana gives the ledger a chain's nodes to ask. For a client that is not the SDK there are Address, HTTPS and
// InstallationFile; examples/plain is one.
//
// The snippets above are lines of this package's example test.
package halfkeytest
