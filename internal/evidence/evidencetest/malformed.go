package evidencetest

import (
	"strings"

	"google.golang.org/protobuf/proto"

	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// MalformedUnits are texts that are no amount to be paid: below 1, above 2^63-1, and every other way to write a number.
func MalformedUnits() []string {
	return []string{
		"", "0", "-1", "+1", "00", "01", " 1", " 5", "1 ", "1e3", "1E3", "1.0", "0.0000001", "1,000", "1_000", "0x10", "٥", "５", "NaN", "1\x00",
		"9223372036854775808", "18446744073709551617", "1" + strings.Repeat("0", 30), strings.Repeat("9", 30), strings.Repeat("1", 1<<10),
	}
}

// MalformedIntent is a change that makes an intent one which nobody takes.
type MalformedIntent struct {
	Name string
	Edit func(*typev1.Intent)
}

// MalformedIntents are intents with malformed units, and with other fields that are malformed or too large.
func MalformedIntents() []MalformedIntent {
	all := []MalformedIntent{
		{"no rail", func(i *typev1.Intent) { i.Rail = 0 }},
		{"unknown rail", func(i *typev1.Intent) { i.Rail = 7 }},
		{"no recipient", func(i *typev1.Intent) { i.Recipient = nil }},
		{"recipient of 31 bytes", func(i *typev1.Intent) { i.Recipient = i.Recipient[1:] }},
		{"recipient of 33 bytes", func(i *typev1.Intent) { i.Recipient = append(i.Recipient, 0) }},
		{"no asset", func(i *typev1.Intent) { i.Asset = "" }},
		{"asset without end", func(i *typev1.Intent) { i.Asset = strings.Repeat("a", 1<<10) }},
		{"purpose without end", func(i *typev1.Intent) { i.Purpose = strings.Repeat("p", 1<<12) }},
		{"no deadline", func(i *typev1.Intent) { i.DeadlineMillis = 0 }},
		{"deadline before time", func(i *typev1.Intent) { i.DeadlineMillis = -1 }},
		{"payment id with a slash", func(i *typev1.Intent) { i.Payment += "/x" }},
		{"payment id without end", func(i *typev1.Intent) { i.Payment += strings.Repeat("x", 64) }},
	}
	for _, units := range MalformedUnits() {
		name := units
		if len(name) > 40 {
			name = name[:40] + " and so on"
		}
		all = append(all, MalformedIntent{"units " + name, func(i *typev1.Intent) { i.Units = units }})
	}
	return all
}

// Malform changes the intent as no honest program does; the agent signs it all the same.
func (p *Payment) Malform(edit func(*typev1.Intent)) {
	p.t.Helper()
	edit(p.Intent)
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(p.Intent)
	if err != nil {
		p.t.Fatal(err)
	}
	request := new(typev1.Request)
	p.Decode(p.Request, request)
	request.Intent = b
	p.IntentBytes, p.Request = b, p.SignLoose(p.RequestKey, request)
}
