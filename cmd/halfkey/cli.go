package main

import "time"

// globals are the flags of every command.
type globals struct {
	Home    string        `placeholder:"DIR" help:"The home: keys, unfinished payments, the pinned installation. Default: HALFKEY_HOME, or halfkey in the user's configuration directory."`
	Wallet  string        `placeholder:"WALLET" complete:"wallet" help:"wallets/{wallet} or @handle. Default: HALFKEY_WALLET, what 'wallet use' chose, or the only one."`
	JSON    bool          `name:"json" help:"Print one JSON object instead of text for people."`
	Timeout time.Duration `placeholder:"DURATION" help:"End the command after this long, for example 30s."`
}

// cli is the command line. Each noun's commands are in a file of its name.
type cli struct {
	globals

	Connect  connectCommand  `cmd:"" group:"Agent" help:"Connect this home with an installation, by its file."`
	Register registerCommand `cmd:"" group:"Agent" help:"Make a wallet, and print the code by which its owner claims it."`
	Whoami   whoamiCommand   `cmd:"" group:"Agent" help:"Show home, installation, wallet and owner."`
	Wallets  walletCommands  `cmd:"" name:"wallet" group:"Agent" help:"List, show and choose wallets."`
	Balance  balanceCommand  `cmd:"" group:"Agent" help:"Show what the wallet holds."`
	Limits   limitsCommand   `cmd:"" group:"Agent" help:"Show what the wallet may pay."`
	Pay      payCommand      `cmd:"" group:"Agent" help:"Pay a recipient, once for each id."`
	X402     x402Commands    `cmd:"" name:"x402" group:"Agent" help:"Fetch resources that cost money, by x402."`
	Payments paymentCommands `cmd:"" group:"Agent" help:"List, show, watch and cancel payments."`
	Spending spendingCommand `cmd:"" group:"Agent" help:"Sum up what was spent."`
	Shadow   shadowCommands  `cmd:"" group:"Agent" help:"See what guard rails would make of payments by other means; nothing is enforced."`
	Freeze   freezeCommand   `cmd:"" group:"Agent" help:"Stop a wallet at once."`
	Offer    offerCommand    `cmd:"" group:"Agent" help:"Offer the owner a new request key, for a refresh."`
	Refresh  refreshCommand  `cmd:"" group:"Owner" help:"Answer a leak: put an agent's offered request key in force and order new shares."`
	Reshare  reshareCommand  `cmd:"" group:"Agent" help:"Carry out the new shares that the owner has ordered."`

	// The owner's nouns hang here; ownercommands.go lists them.
	ownerCommands

	Operator     operatorCommands     `cmd:"" group:"Operator" help:"Issue and redeem book money, stop the installation, repair a wallet's record."`
	Installation installationCommands `cmd:"" group:"Operator" help:"Show installation files, and make the next one: rotate service keys, change addresses and operators."`

	Token      tokenCommand      `cmd:"" group:"Other" help:"Print a token for a call by hand."`
	Version    versionCommand    `cmd:"" group:"Other" help:"Print the version."`
	Completion completionCommand `cmd:"" group:"Other" help:"Print a completion script for a shell."`
	Complete   completeCommand   `cmd:"" name:"__complete" hidden:"" help:"Complete a command line."`
}
