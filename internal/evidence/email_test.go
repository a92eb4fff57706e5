package evidence_test

import (
	"net/mail"
	"strings"
	"testing"

	"github.com/halfkey/halfkey/internal/evidence"
)

// An address is one address: what a program, a person or a mail server could read otherwise is refused.
func TestValidEmail(t *testing.T) {
	for s, want := range map[string]bool{
		"you@company.com":                    true,
		"first.last+tag@sub.company.example": true,
		"you@localhost":                      true,
		"":                                   false,
		"you":                                false,
		"@company.com":                       false,
		"you@":                               false,
		"You@company.com":                    false,
		"a@b@c":                              false,
		"<you@company.com>":                  false,
		"you <you@company.com>":              false,
		"you<you@company.com>":               false,
		"you@company.com,evil@x":             false,
		"you@company.com;evil@x":             false,
		"you@company.com(evil)":              false,
		"list:you@company.com;":              false,
		`"a@b"@company.com`:                  false,
		`"you"@company.com`:                  false,
		"you@company.com\nevil@x":            false,
		"yоu@company.com":                    false, // The o is Cyrillic.
		"you..me@company.com":                false,
		strings.Repeat("a", 242) + "@company.com": true,
		strings.Repeat("a", 243) + "@company.com": false,
	} {
		if got := evidence.ValidEmail(s); got != want {
			t.Errorf("%q: got %v", s, got)
		}
	}
}

// What is taken for an address is one for programs that read mail as well, to the letter.
func TestValidEmailIsOneForMail(t *testing.T) {
	const alphabet = "ab1@.-<>(),;:\"\\ +'"
	taken := 0
	var try func(s string, more int)
	try = func(s string, more int) {
		if evidence.ValidEmail(s) {
			taken++
			if a, err := mail.ParseAddress(s); err != nil || a.Name != "" || a.Address != s {
				t.Errorf("%q is taken, and mail reads %v, %v", s, a, err)
			}
		}
		if more > 0 {
			for _, r := range alphabet {
				try(s+string(r), more-1)
			}
		}
	}
	try("", 5)
	if taken < 100 {
		t.Errorf("%d texts were taken", taken)
	}
}
