package resource

import "strings"

const (
	// IDMax bounds every id: a DNS label's length, so that an id fits wherever a platform wants one.
	IDMax = 63
	// HandleMax bounds a handle: a person reads it whole before paying to it.
	HandleMax = 32
	// InstallationMax bounds an installation's id: it stands in every statement, message, book asset and certificate name.
	InstallationMax = 32
	// PaymentNameMax is the length of the longest payment name.
	PaymentNameMax = len(walletPrefix) + IDMax + len(paymentInfix) + IDMax
)

const (
	ownerPrefix  = "owners/"
	agentPrefix  = "agents/"
	walletPrefix = "wallets/"
	paymentInfix = "/payments/"
	shadowInfix  = "/shadowPayments/"
)

// ValidID reports why s is not an id: 1 to 63 of [a-z0-9-].
func ValidID(s string) error { return valid("id", s, IDMax, "is not 1 to 63 of [a-z0-9-]") }

// ValidInstallation reports why s is not an installation's id: 1 to 32 of [a-z0-9-].
func ValidInstallation(s string) error {
	return valid("installation", s, InstallationMax, "is not 1 to 32 of [a-z0-9-]")
}

// ValidHandle reports why s is not a handle: 1 to 32 of [a-z0-9-], beginning and ending with a letter or digit. The `@` that
// people write before it is not part of it.
func ValidHandle(s string) error {
	const field, why = "handle", "is not 1 to 32 of [a-z0-9-], beginning and ending with a letter or digit"
	if err := valid(field, s, HandleMax, why); err != nil {
		return err
	}
	if s[0] == '-' || s[len(s)-1] == '-' {
		return refuse(field, s, why)
	}
	return nil
}

func valid(field, s string, most int, why string) error {
	if len(s) == 0 || len(s) > most {
		return refuse(field, s, why)
	}
	for i := range len(s) {
		if c := s[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return refuse(field, s, why)
		}
	}
	return nil
}

// Owner is the name of the owner with this id, `owners/{owner}`. It does not check the id: a name made of a bad one does not
// parse, and neither does any other made below.
func Owner(id string) string { return ownerPrefix + id }

// ParseOwner takes `owners/{owner}` apart.
func ParseOwner(name string) (id string, err error) {
	return parse("owner", name, ownerPrefix, "is not owners/{owner}")
}

// Agent is the name of the agent with this id, `agents/{agent}`.
func Agent(id string) string { return agentPrefix + id }

// ParseAgent takes `agents/{agent}` apart.
func ParseAgent(name string) (id string, err error) {
	return parse("agent", name, agentPrefix, "is not agents/{agent}")
}

// Wallet is the name of the wallet with this id, `wallets/{wallet}`.
func Wallet(id string) string { return walletPrefix + id }

// ParseWallet takes `wallets/{wallet}` apart.
func ParseWallet(name string) (id string, err error) {
	return parse("wallet", name, walletPrefix, "is not wallets/{wallet}")
}

// AgentOf is the name of the agent whose wallet this is: both have one id. It is empty for what is no wallet's name.
func AgentOf(wallet string) string { return sameID(wallet, walletPrefix, agentPrefix) }

// WalletOf is the name of the agent's wallet, or empty for what is no agent's name.
func WalletOf(agent string) string { return sameID(agent, agentPrefix, walletPrefix) }

func sameID(name, from, to string) string {
	id, err := parse("", name, from, "")
	if err != nil {
		return ""
	}
	return to + id
}

// Payment is the name of a payment of a wallet, `wallets/{wallet}/payments/{payment}`; wallet is the wallet's whole name.
func Payment(wallet, id string) string { return wallet + paymentInfix + id }

// ShadowPayment is the name of a report of a payment that was made by other means, `wallets/{wallet}/shadowPayments/{shadow_payment}`.
// It is no payment's name, and does not parse as one.
func ShadowPayment(wallet, id string) string { return wallet + shadowInfix + id }

// ParsePayment takes a payment's name apart, into the whole name of its wallet and the payment's id.
func ParsePayment(name string) (wallet, id string, err error) {
	const field, why = "payment", "is not wallets/{wallet}/payments/{payment}"
	wallet, id, ok := strings.Cut(name, paymentInfix)
	if !ok || ValidID(id) != nil {
		return "", "", refuse(field, name, why)
	}
	if _, err := ParseWallet(wallet); err != nil {
		return "", "", refuse(field, name, why)
	}
	return wallet, id, nil
}

func parse(field, name, prefix, why string) (string, error) {
	id, ok := strings.CutPrefix(name, prefix)
	if !ok || ValidID(id) != nil {
		return "", refuse(field, name, why)
	}
	return id, nil
}
