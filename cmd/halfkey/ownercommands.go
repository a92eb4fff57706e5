package main

// ownerCommands are the owner's nouns: each is a field here, and a file of its name.
type ownerCommands struct {
	Owner      ownerCommand       `cmd:"" group:"Owner" help:"Become an owner, claim wallets, look at the owner's keys."`
	Enrol      enrolCommand       `cmd:"" group:"Owner" help:"Make one-time tokens by which agents register without you being there."`
	Agents     agentsCommands     `cmd:"" group:"Owner" help:"List, look at, suspend and revoke the owner's agents."`
	GuardRails guardRailsCommands `cmd:"" name:"guardrails" group:"Owner" help:"Show, set and compare a wallet's guard rails."`
	Review     reviewCommands     `cmd:"" group:"Owner" help:"Answer payments that wait for you."`
	Unfreeze   unfreezeCommand    `cmd:"" group:"Owner" help:"End freezes of a wallet."`
	Recovery   recoveryCommands   `cmd:"" group:"Owner" help:"Make a recovery share, and use it."`
	Audit      auditCommands      `cmd:"" group:"Owner" help:"Read, export and verify a wallet's journal."`
}
