package resource

import (
	"errors"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestValidIDs(t *testing.T) {
	long := strings.Repeat("a", 80)
	tests := []struct {
		name                      string
		text                      string
		id, installation, handles bool
	}{
		{"one letter", "a", true, true, true},
		{"one digit", "0", true, true, true},
		{"uuid", "018f3c1e-7b1a-7c3d-9e2f-0123456789ab", true, false, false},
		{"hyphens inside", "research-agent-2", true, true, true},
		{"hyphen alone", "-", true, true, false},
		{"hyphen first", "-a", true, true, false},
		{"hyphen last", "a-", true, true, false},
		{"32 letters", long[:32], true, true, true},
		{"33 letters", long[:33], true, false, false},
		{"63 letters", long[:63], true, false, false},
		{"64 letters", long[:64], false, false, false},
		{"empty", "", false, false, false},
		{"capital", "Agent", false, false, false},
		{"underscore", "a_b", false, false, false},
		{"dot", "a.b", false, false, false},
		{"slash", "a/b", false, false, false},
		{"at sign", "@a", false, false, false},
		{"space before", " a", false, false, false},
		{"space after", "a ", false, false, false},
		{"newline", "a\n", false, false, false},
		{"nul", "a\x00", false, false, false},
		{"cyrillic a", "\u0430", false, false, false},
		{"arabic digit", "\u0665", false, false, false},
		{"not UTF-8", "a\xff", false, false, false},
		{"byte before a", "`", false, false, false},
		{"byte after z", "{", false, false, false},
		{"byte after 9", ":", false, false, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if got := ValidID(test.text) == nil; got != test.id {
				t.Errorf("ValidID(%q) passes: %v, want %v", test.text, got, test.id)
			}
			if got := ValidInstallation(test.text) == nil; got != test.installation {
				t.Errorf("ValidInstallation(%q) passes: %v, want %v", test.text, got, test.installation)
			}
			if got := ValidHandle(test.text) == nil; got != test.handles {
				t.Errorf("ValidHandle(%q) passes: %v, want %v", test.text, got, test.handles)
			}
		})
	}
}

func TestParseNames(t *testing.T) {
	parsers := map[string]func(string) (string, error){
		"owner": ParseOwner, "agent": ParseAgent, "wallet": ParseWallet,
		"payment": func(s string) (string, error) {
			wallet, id, err := ParsePayment(s)
			return wallet + " " + id, err
		},
	}
	tests := []struct {
		name   string
		text   string
		parser string // the one that takes it, if any
		want   string
	}{
		{"owner", "owners/o-1", "owner", "o-1"},
		{"agent", "agents/a-1", "agent", "a-1"},
		{"wallet", "wallets/w-1", "wallet", "w-1"},
		{"payment", "wallets/w-1/payments/p-1", "payment", "wallets/w-1 p-1"},
		{
			"payment with longest ids", Payment(Wallet(strings.Repeat("w", IDMax)), strings.Repeat("p", IDMax)), "payment",
			Wallet(strings.Repeat("w", IDMax)) + " " + strings.Repeat("p", IDMax),
		},
		{"empty", "", "", ""},
		{"collection alone", "wallets/", "", ""},
		{"collection without slash", "wallets", "", ""},
		{"leading slash", "/wallets/w", "", ""},
		{"trailing slash", "wallets/w/", "", ""},
		{"double slash", "wallets//w", "", ""},
		{"capital collection", "Wallets/w", "", ""},
		{"capital id", "wallets/W", "", ""},
		{"payment without id", "wallets/w/payments/", "", ""},
		{"payment without wallet id", "wallets//payments/p", "", ""},
		{"payment of an owner", "owners/w/payments/p", "", ""},
		{"payment of a payment", "wallets/w/payments/p/payments/p", "", ""},
		{"review", "wallets/w/payments/p/review", "", ""},
		{"dots", "wallets/../payments/p", "", ""},
		{"escaped slash", "wallets/w%2Fpayments%2Fp", "", ""},
		{"newline at the end", "wallets/w\n", "", ""},
		{"id too long", Wallet(strings.Repeat("w", IDMax+1)), "", ""},
		{"payment's id too long", Payment("wallets/w", strings.Repeat("p", IDMax+1)), "", ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			for field, parse := range parsers {
				got, err := parse(test.text)
				if field == test.parser {
					if err != nil || got != test.want {
						t.Errorf("Parse %s(%q) = %q, %v; want %q", field, test.text, got, err, test.want)
					}
					continue
				}
				var refused *Error
				if !errors.As(err, &refused) {
					t.Errorf("Parse %s(%q) = %q, %v; want a resource.Error", field, test.text, got, err)
					continue
				}
				if refused.Field != field {
					t.Errorf("Parse %s(%q) refuses field %q", field, test.text, refused.Field)
				}
			}
		})
	}
}

func TestAgentAndWalletShareAnID(t *testing.T) {
	tests := []struct {
		name string
		from func(string) string
		text string
		want string
	}{
		{"agent of wallet", AgentOf, "wallets/a-1", "agents/a-1"},
		{"wallet of agent", WalletOf, "agents/a-1", "wallets/a-1"},
		{"agent of agent", AgentOf, "agents/a-1", ""},
		{"wallet of wallet", WalletOf, "wallets/a-1", ""},
		{"agent of payment", AgentOf, "wallets/a-1/payments/p", ""},
		{"agent of nothing", AgentOf, "", ""},
		{"agent of a bad id", AgentOf, "wallets/A", ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if got := test.from(test.text); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

// TestNamesFormatAgain: whatever parses is the one spelling of what was parsed.
func TestNamesFormatAgain(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		part := rapid.StringMatching(`[a-zA-Z0-9/@ -]{0,12}`)
		name := rapid.SampledFrom([]string{"owners/", "agents/", "wallets/", ""}).Draw(t, "collection") + part.Draw(t, "id") +
			rapid.SampledFrom([]string{"", "/payments/"}).Draw(t, "infix") + part.Draw(t, "payment")
		if id, err := ParseOwner(name); err == nil && Owner(id) != name {
			t.Errorf("Owner(%q) is not %q", id, name)
		}
		if id, err := ParseAgent(name); err == nil && Agent(id) != name {
			t.Errorf("Agent(%q) is not %q", id, name)
		}
		if id, err := ParseWallet(name); err == nil && Wallet(id) != name {
			t.Errorf("Wallet(%q) is not %q", id, name)
		}
		if wallet, id, err := ParsePayment(name); err == nil && Payment(wallet, id) != name {
			t.Errorf("Payment(%q, %q) is not %q", wallet, id, name)
		}
	})
}

func TestErrorShowsLittleAndNothingUnprintable(t *testing.T) {
	tests := []struct {
		name string
		text string
		want string
	}{
		{"short", "a b", `id "a b" is not 1 to 63 of [a-z0-9-]`},
		{"terminal escape", "\x1b[2J", `id "\x1b[2J" is not 1 to 63 of [a-z0-9-]`},
		{"reordering mark", "a\u202eb", `id "a\u202eb" is not 1 to 63 of [a-z0-9-]`},
		{"long", strings.Repeat("A", 5000), `id "` + strings.Repeat("A", 40) + `"... is not 1 to 63 of [a-z0-9-]`},
		{"cut inside a character", strings.Repeat("A", 39) + "\u20ac", `id "` + strings.Repeat("A", 39) + `\xe2"... is not 1 to 63 of [a-z0-9-]`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if got := ValidID(test.text).Error(); got != test.want {
				t.Errorf("got  %s\nwant %s", got, test.want)
			}
		})
	}
}

func FuzzParsePayment(f *testing.F) {
	for _, s := range []string{"wallets/w/payments/p", "wallets/w/payments/p/payments/q", "wallets//payments/", "wallets/W/payments/p"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		wallet, id, err := ParsePayment(s)
		if err != nil {
			return
		}
		if Payment(wallet, id) != s || len(s) > PaymentNameMax || strings.Count(s, "/") != 3 {
			t.Errorf("ParsePayment(%q) = %q, %q", s, wallet, id)
		}
		if _, err := ParseWallet(wallet); err != nil {
			t.Errorf("ParsePayment(%q) gives the wallet %q: %v", s, wallet, err)
		}
		if err := ValidID(id); err != nil {
			t.Errorf("ParsePayment(%q) gives the id %q: %v", s, id, err)
		}
	})
}
