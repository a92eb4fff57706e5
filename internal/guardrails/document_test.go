package guardrails

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/halfkey/halfkey/internal/resource"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

const (
	dollar = 1_000_000
	green  = typev1.Light_LIGHT_GREEN
	yellow = typev1.Light_LIGHT_YELLOW
	red    = typev1.Light_LIGHT_RED
)

// key is 32 bytes that sort by n.
func key(n byte) []byte { return append([]byte{n}, make([]byte, 31)...) }

func perPayment(dollars int64, crossed typev1.Light) *typev1.Limit {
	return &typev1.Limit{
		Unit: "USD", Measure: typev1.Measure_MEASURE_UNITS, Window: typev1.Window_WINDOW_PAYMENT,
		Amount: resource.FormatUnits(dollars * dollar), Crossed: crossed,
	}
}

func perWindow(w typev1.Window, dollars int64, crossed typev1.Light) *typev1.Limit {
	return &typev1.Limit{
		Unit: "USD", Measure: typev1.Measure_MEASURE_UNITS, Window: w, Amount: resource.FormatUnits(dollars * dollar), Crossed: crossed,
	}
}

func perDay(dollars int64, crossed typev1.Light) *typev1.Limit {
	return perWindow(typev1.Window_WINDOW_DAY, dollars, crossed)
}

func rolling(hours, dollars int64, crossed typev1.Light) *typev1.Limit {
	l := perWindow(typev1.Window_WINDOW_ROLLING, dollars, crossed)
	l.RollingSeconds = hours * 3600
	return l
}

func counting(w typev1.Window, payments int64, crossed typev1.Light) *typev1.Limit {
	return &typev1.Limit{
		Unit: "USD", Measure: typev1.Measure_MEASURE_COUNT, Window: w, Amount: resource.FormatUnits(payments), Crossed: crossed,
	}
}

// standard is the standard guard rails: auto-approve 5, daily 50, hard cap 100. Key 1 may be paid, key 9 may not.
func standard(edits ...func(*typev1.GuardRails)) *typev1.GuardRails {
	doc := &typev1.GuardRails{
		Installation: "acme", Wallet: "wallets/agent-1", Number: 1, Replaces: [][]byte{key(7)},
		Owner: "owners/ada", OwnerKeys: [][]byte{key(2), key(3)}, RequestKey: key(4), TimeZone: "Europe/Zurich",
		Assets: []string{"halfkey:acme/iso4217:USD"}, Rails: []typev1.Rail{typev1.Rail_RAIL_BOOK},
		Limits:     []*typev1.Limit{perPayment(5, yellow), perDay(50, yellow), perPayment(100, red)},
		Recipients: &typev1.Recipients{Allow: [][]byte{key(1)}, Deny: [][]byte{key(9)}, Unknown: yellow},
	}
	for _, edit := range edits {
		edit(doc)
	}
	return doc
}

// usdc is a token on Solana.
const usdc = "solana:5eykt4UsFv8P8NJdTREpY1vzqKqZKvdp/token:EPjFWdd5AufqSSqeM2qN1xzybapC8G4wEGGkZwyTDt1v"

// onSolana is the standard guard rails, and lets USDC be paid on Solana besides.
func onSolana() *typev1.GuardRails {
	doc := standard()
	doc.Assets, doc.Rails = append(doc.GetAssets(), usdc), append(doc.GetRails(), typev1.Rail_RAIL_SOLANA)
	return doc
}

// claim is guard rails number 0.
func claim(edits ...func(*typev1.GuardRails)) *typev1.GuardRails {
	doc := &typev1.GuardRails{
		Installation: "acme", Wallet: "wallets/agent-1", Owner: "owners/ada", OwnerKeys: [][]byte{key(2)}, RequestKey: key(4),
		RegistrationDigest: key(8),
	}
	for _, edit := range edits {
		edit(doc)
	}
	return doc
}

func keys(n int) (list [][]byte) {
	for i := range n {
		k := make([]byte, 32)
		k[0], k[1] = byte(i>>8), byte(i)
		list = append(list, k)
	}
	return list
}

func TestValidDocuments(t *testing.T) {
	tests := []struct {
		name string
		doc  *typev1.GuardRails
	}{
		{"standard", standard()},
		{"Solana besides the book", onSolana()},
		{"claim", claim()},
		{"claim with a time zone", claim(func(d *typev1.GuardRails) { d.TimeZone = "Asia/Kathmandu" })},
		{"UTC", standard(func(d *typev1.GuardRails) { d.TimeZone = "" })},
		{"largest number", standard(func(d *typev1.GuardRails) { d.Number = 1<<63 - 1 })},
		{"repairs a fork", standard(func(d *typev1.GuardRails) { d.Replaces = [][]byte{key(8), key(7)} })},
		{"replaces 16", standard(func(d *typev1.GuardRails) { d.Replaces = keys(16) })},
		{"16 owner keys", standard(func(d *typev1.GuardRails) { d.OwnerKeys = keys(16) })},
		{"full lists of recipients", standard(func(d *typev1.GuardRails) { d.Recipients.Allow, d.Recipients.Deny = keys(256), keys(256) })},
		{"a recipient in both lists", standard(func(d *typev1.GuardRails) { d.Recipients.Deny = d.Recipients.Allow })},
		{"unknown recipients denied", standard(func(d *typev1.GuardRails) { d.Recipients.Unknown = red })},
		{"no recipients named", standard(func(d *typev1.GuardRails) { d.Recipients = &typev1.Recipients{Unknown: yellow} })},
		{"pays nothing", standard(func(d *typev1.GuardRails) { d.Assets, d.Rails, d.Limits = nil, nil, nil })},
		{"limits kept while nothing is paid", standard(func(d *typev1.GuardRails) { d.Assets = nil })},
		{"32 limits", standard(func(d *typev1.GuardRails) {
			d.Limits = append(d.Limits, slices.Repeat([]*typev1.Limit{perDay(1, red)}, 29)...)
		})},
		{"the daily limit is a wall", standard(func(d *typev1.GuardRails) { d.Limits[1].Crossed = red })},
		{"limits of zero", standard(func(d *typev1.GuardRails) { d.Limits[0].Amount, d.Limits[2].Amount = "0", "0" })},
		{"largest limit", standard(func(d *typev1.GuardRails) { d.Limits[1].Amount = "9223372036854775807" })},
		{"by count", standard(func(d *typev1.GuardRails) { d.Limits[1] = counting(typev1.Window_WINDOW_WEEK, 10, red) })},
		{"shortest rolling window", standard(func(d *typev1.GuardRails) { d.Limits[1] = rolling(1, 1, red); d.Limits[1].RollingSeconds = 900 })},
		{"longest rolling window", standard(func(d *typev1.GuardRails) { d.Limits[1] = rolling(366*24, 1, red) })},
		{"month", standard(func(d *typev1.GuardRails) { d.Limits[1] = perWindow(typev1.Window_WINDOW_MONTH, 1, red) })},
		{"lifetime", standard(func(d *typev1.GuardRails) { d.Limits[1] = perWindow(typev1.Window_WINDOW_LIFETIME, 1, red) })},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			before := proto.CloneOf(test.doc)
			if err := Validate(test.doc); err != nil {
				t.Errorf("Validate: %v", err)
			}
			if !proto.Equal(before, test.doc) {
				t.Error("Validate changed the document")
			}
		})
	}
}

func TestRefusedDocuments(t *testing.T) {
	type edit = func(*typev1.GuardRails)
	limit := func(change func(*typev1.Limit)) edit {
		return func(d *typev1.GuardRails) { change(d.Limits[1]) }
	}
	const order, sized = "is not in ascending order without repeats", "is not 32 bytes"
	tests := []struct {
		name  string
		edit  edit
		field string
		why   string
	}{
		{"no installation", func(d *typev1.GuardRails) { d.Installation = "" }, "installation", "is not 1 to 32 of [a-z0-9-]"},
		{
			"long installation", func(d *typev1.GuardRails) { d.Installation = strings.Repeat("a", 33) },
			"installation", "is not 1 to 32 of [a-z0-9-]",
		},
		{"no wallet", func(d *typev1.GuardRails) { d.Wallet = "" }, "wallet", "is not wallets/{wallet}"},
		{"a payment for a wallet", func(d *typev1.GuardRails) { d.Wallet += "/payments/p" }, "wallet", "is not wallets/{wallet}"},
		{"no owner", func(d *typev1.GuardRails) { d.Owner = "" }, "owner", "is not owners/{owner}"},
		{"an agent for an owner", func(d *typev1.GuardRails) { d.Owner = "agents/ada" }, "owner", "is not owners/{owner}"},
		{"no owner keys", func(d *typev1.GuardRails) { d.OwnerKeys = nil }, "owner_keys", "are missing: nobody could ever change the document"},
		{"17 owner keys", func(d *typev1.GuardRails) { d.OwnerKeys = keys(17) }, "owner_keys", "are more than 16"},
		{"short owner key", func(d *typev1.GuardRails) { d.OwnerKeys[1] = key(3)[:31] }, "owner_keys[1]", sized},
		{"owner keys out of order", func(d *typev1.GuardRails) { slices.Reverse(d.OwnerKeys) }, "owner_keys[1]", order},
		{"owner key twice", func(d *typev1.GuardRails) { d.OwnerKeys[1] = key(2) }, "owner_keys[1]", order},
		{"no request key", func(d *typev1.GuardRails) { d.RequestKey = nil }, "request_key", sized},
		{"long request key", func(d *typev1.GuardRails) { d.RequestKey = append(key(4), 0) }, "request_key", sized},
		{"number above int64", func(d *typev1.GuardRails) { d.Number = 1 << 63 }, "number", "is larger than 2^63-1"},
		{"replaces nothing", func(d *typev1.GuardRails) { d.Replaces = nil }, "replaces", "is missing: the document follows none"},
		{"replaces 17", func(d *typev1.GuardRails) { d.Replaces = keys(17) }, "replaces", "holds more than 16"},
		{"replaces a short digest", func(d *typev1.GuardRails) { d.Replaces[0] = key(7)[:20] }, "replaces[0]", sized},
		{"replaces one twice", func(d *typev1.GuardRails) { d.Replaces = [][]byte{key(7), key(8), key(7)} }, "replaces[2]", "is there twice"},
		{
			"names a registration", func(d *typev1.GuardRails) { d.RegistrationDigest = key(8) },
			"registration_digest", "is given, and only number 0 names the registration",
		},

		{"rail not given", func(d *typev1.GuardRails) { d.Rails = []typev1.Rail{0} }, "rails[0]", "is not a rail known here"},
		{"rail not known", func(d *typev1.GuardRails) { d.Rails = []typev1.Rail{1, 99} }, "rails[1]", "is not a rail known here"},
		{"rails out of order", func(d *typev1.GuardRails) { d.Rails = []typev1.Rail{2, 1} }, "rails[1]", order},
		{"a token that is not known", func(d *typev1.GuardRails) {
			d.Assets = append(d.Assets, "solana:5eykt4UsFv8P8NJdTREpY1vzqKqZKvdp/token:4zMMC9srt5Ri5X14GAgXhaHii3GnPAEERYPJgZJDncDU")
		}, "assets[1]", "has no unit of account known here"},
		{"rail twice", func(d *typev1.GuardRails) { d.Rails = []typev1.Rail{1, 1} }, "rails[1]", order},
		{"17 assets", func(d *typev1.GuardRails) { d.Assets = slices.Repeat(d.Assets, 17) }, "assets", "are more than 16"},
		{"asset twice", func(d *typev1.GuardRails) { d.Assets = slices.Repeat(d.Assets, 2) }, "assets[1]", order},
		{
			"asset without unit", func(d *typev1.GuardRails) { d.Assets = append(d.Assets, "halfkey:acme/iso4217:XXX") },
			"assets[1]", "has no unit of account known here",
		},
		{
			"another installation's money", func(d *typev1.GuardRails) { d.Assets[0] = "halfkey:other/iso4217:USD" },
			"assets[0]", "has no unit of account known here",
		},
		{"no limits", func(d *typev1.GuardRails) { d.Limits = nil }, "assets[0]", "needs a limit per payment in its unit that denies"},
		{"no hard cap", func(d *typev1.GuardRails) { d.Limits = d.Limits[:2] }, "assets[0]", "needs a limit per payment in its unit that denies"},
		{
			"hard cap only asks", func(d *typev1.GuardRails) { d.Limits[2].Crossed = yellow },
			"assets[0]", "needs a limit per payment in its unit that denies",
		},
		{
			"no window", func(d *typev1.GuardRails) { d.Limits = slices.Delete(d.Limits, 1, 2) },
			"assets[0]", "needs a limit per day, week, month, rolling window or lifetime in its unit",
		},
		{"33 limits", func(d *typev1.GuardRails) { d.Limits = slices.Repeat(d.Limits, 11) }, "limits", "are more than 32"},

		{"limit missing", func(d *typev1.GuardRails) { d.Limits[1] = nil }, "limits[1]", "is missing"},
		{
			"limit without unit", limit(func(l *typev1.Limit) { l.Unit = "" }),
			"limits[1].unit", "is not a unit of account known here, such as USD",
		},
		{
			"limit in a unit that counts nothing", limit(func(l *typev1.Limit) { l.Unit = "usd" }),
			"limits[1].unit", "is not a unit of account known here, such as USD",
		},
		{"measure not given", limit(func(l *typev1.Limit) { l.Measure = 0 }), "limits[1].measure", "is not given or not known here"},
		{"measure not known", limit(func(l *typev1.Limit) { l.Measure = 3 }), "limits[1].measure", "is not given or not known here"},
		{
			"payments counted in one payment", func(d *typev1.GuardRails) { d.Limits[0].Measure = typev1.Measure_MEASURE_COUNT },
			"limits[0].measure", "counts payments, and the window is one payment",
		},
		{"window not given", limit(func(l *typev1.Limit) { l.Window = 0 }), "limits[1].window", "is not given or not known here"},
		{"window not known", limit(func(l *typev1.Limit) { l.Window = 7 }), "limits[1].window", "is not given or not known here"},
		{
			"a day that rolls", limit(func(l *typev1.Limit) { l.RollingSeconds = 86400 }),
			"limits[1].rolling_seconds", "is given, and the window does not roll",
		},
		{
			"a payment that rolls", func(d *typev1.GuardRails) { d.Limits[0].RollingSeconds = 900 },
			"limits[0].rolling_seconds", "is given, and the window does not roll",
		},
		{
			"rolls over nothing", limit(func(l *typev1.Limit) { l.Window = typev1.Window_WINDOW_ROLLING }),
			"limits[1].rolling_seconds", "is not a multiple of 900 from 900 to 366 days",
		},
		{
			"rolls backwards", limit(func(l *typev1.Limit) { l.Window, l.RollingSeconds = typev1.Window_WINDOW_ROLLING, -900 }),
			"limits[1].rolling_seconds", "is not a multiple of 900 from 900 to 366 days",
		},
		{
			"rolls over half a quarter hour", limit(func(l *typev1.Limit) { l.Window, l.RollingSeconds = typev1.Window_WINDOW_ROLLING, 1350 }),
			"limits[1].rolling_seconds", "is not a multiple of 900 from 900 to 366 days",
		},
		{
			"rolls over more than 366 days",
			limit(func(l *typev1.Limit) { l.Window, l.RollingSeconds = typev1.Window_WINDOW_ROLLING, 366*86400+900 }),
			"limits[1].rolling_seconds", "is not a multiple of 900 from 900 to 366 days",
		},
		{"amount missing", limit(func(l *typev1.Limit) { l.Amount = "" }), "limits[1].amount", "is not a whole number of 0 to 2^63-1"},
		{"amount negative", limit(func(l *typev1.Limit) { l.Amount = "-1" }), "limits[1].amount", "is not a whole number of 0 to 2^63-1"},
		{"amount with decimals", limit(func(l *typev1.Limit) { l.Amount = "5.0" }), "limits[1].amount", "is not a whole number of 0 to 2^63-1"},
		{"amount with exponent", limit(func(l *typev1.Limit) { l.Amount = "1e3" }), "limits[1].amount", "is not a whole number of 0 to 2^63-1"},
		{
			"amount of 2^63", limit(func(l *typev1.Limit) { l.Amount = "9223372036854775808" }),
			"limits[1].amount", "is not a whole number of 0 to 2^63-1",
		},
		{"crossed not given", limit(func(l *typev1.Limit) { l.Crossed = 0 }), "limits[1].crossed", "is neither YELLOW nor RED"},
		{"crossed is GREEN", limit(func(l *typev1.Limit) { l.Crossed = green }), "limits[1].crossed", "is neither YELLOW nor RED"},
		{"crossed not known", limit(func(l *typev1.Limit) { l.Crossed = 4 }), "limits[1].crossed", "is neither YELLOW nor RED"},

		{"no recipients", func(d *typev1.GuardRails) { d.Recipients = nil }, "recipients", "are missing"},
		{
			"unknown recipients not said", func(d *typev1.GuardRails) { d.Recipients.Unknown = 0 },
			"recipients.unknown", "is neither YELLOW nor RED",
		},
		{
			"unknown recipients GREEN", func(d *typev1.GuardRails) { d.Recipients.Unknown = green },
			"recipients.unknown", "is neither YELLOW nor RED",
		},
		{
			"unknown recipients not known", func(d *typev1.GuardRails) { d.Recipients.Unknown = -1 },
			"recipients.unknown", "is neither YELLOW nor RED",
		},
		{"257 allowed", func(d *typev1.GuardRails) { d.Recipients.Allow = keys(257) }, "recipients.allow", "are more than 256"},
		{"257 denied", func(d *typev1.GuardRails) { d.Recipients.Deny = keys(257) }, "recipients.deny", "are more than 256"},
		{"short allowed key", func(d *typev1.GuardRails) { d.Recipients.Allow = [][]byte{{1}} }, "recipients.allow[0]", sized},
		{"denied out of order", func(d *typev1.GuardRails) { d.Recipients.Deny = [][]byte{key(5), key(9), key(8)} }, "recipients.deny[2]", order},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) { wantRefusal(t, standard(test.edit), test.field, test.why) })
	}
}

func TestRefusedClaims(t *testing.T) {
	const pays = "is given, and number 0 pays nothing"
	tests := []struct {
		name  string
		edit  func(*typev1.GuardRails)
		field string
		why   string
	}{
		{"assets", func(d *typev1.GuardRails) { d.Assets = standard().Assets }, "assets", pays},
		{"rails", func(d *typev1.GuardRails) { d.Rails = standard().Rails }, "rails", pays},
		{"limits", func(d *typev1.GuardRails) { d.Limits = standard().Limits }, "limits", pays},
		{"recipients", func(d *typev1.GuardRails) { d.Recipients = &typev1.Recipients{} }, "recipients", pays},
		{"no registration", func(d *typev1.GuardRails) { d.RegistrationDigest = nil }, "registration_digest", "is not 32 bytes"},
		{
			"short registration digest", func(d *typev1.GuardRails) { d.RegistrationDigest = key(8)[:31] },
			"registration_digest", "is not 32 bytes",
		},
		{"replaces one", func(d *typev1.GuardRails) { d.Replaces = [][]byte{key(7)} }, "replaces", "is given, and number 0 is the first"},
		{"no owner keys", func(d *typev1.GuardRails) { d.OwnerKeys = nil }, "owner_keys", "are missing: nobody could ever change the document"},
		{
			"unknown time zone", func(d *typev1.GuardRails) { d.TimeZone = "Mars/Olympus" },
			"time_zone", "is not a time zone known here, such as Europe/Zurich",
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) { wantRefusal(t, claim(test.edit), test.field, test.why) })
	}
	wantRefusal(t, nil, "guard_rails", "is missing")
	wantRefusal(t, new(typev1.GuardRails), "installation", "is not 1 to 32 of [a-z0-9-]")
}

func TestTimeZoneNames(t *testing.T) {
	tests := []struct {
		name string
		zone string
		ok   bool
	}{
		{"UTC", "UTC", true},
		{"empty is UTC", "", true},
		{"city", "America/Santiago", true},
		{"three parts", "America/Argentina/Buenos_Aires", true},
		{"with sign", "Etc/GMT+5", true},
		{"with hyphen", "America/Port-au-Prince", true},
		{"the machine's own", "Local", false},
		{"the machine's own file", "localtime", false},
		{"rules file", "posixrules", false},
		{"zones that count leap seconds", "right/Europe/Zurich", false},
		{"copies of zones", "posix/Europe/Zurich", false},
		{"small letters", "europe/zurich", false},
		{"no such city", "Europe/Atlantis", false},
		{"a folder", "Europe", false},
		{"a folder with slash", "Europe/", false},
		{"parent folder", "../etc/passwd", false},
		{"parent folder inside", "Europe/../Europe/Zurich", false},
		{"absolute", "/etc/localtime", false},
		{"backslash", `Europe\Zurich`, false},
		{"space", "Europe/Zurich ", false},
		{"nul", "Europe/Zurich\x00", false},
		{"offset", "+01:00", false},
		{"rule string", "CET-1CEST,M3.5.0,M10.5.0/3", false},
		{"too long", "E" + strings.Repeat("u", 64), false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			doc := standard(func(d *typev1.GuardRails) { d.TimeZone = test.zone })
			if !test.ok {
				wantRefusal(t, doc, "time_zone", "is not a time zone known here, such as Europe/Zurich")
				return
			}
			if err := Validate(doc); err != nil {
				t.Errorf("Validate: %v", err)
			}
		})
	}
}

func wantRefusal(t *testing.T, doc *typev1.GuardRails, field, why string) {
	t.Helper()
	var refusal *Refusal
	err := Validate(doc)
	if !errors.As(err, &refusal) {
		t.Fatalf("Validate = %v, want a Refusal", err)
	}
	if refusal.Field != field || refusal.Why != why {
		t.Errorf("refused %q, want %q", err, refuse(field, why))
	}
}
