package guardrails

import (
	"bytes"
	"math"
	"strconv"

	"github.com/halfkey/halfkey/internal/resource"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

const (
	// ReplacesMax bounds the heads that a document replaces: one normally, a few where holders were restored differently.
	ReplacesMax = 16
	// OwnerKeysMax bounds owner keys: each is a key to watch over, and every signature is tried against all.
	OwnerKeysMax = 16
	// AssetsMax bounds allowed assets: a list that a person reads.
	AssetsMax = 16
	// LimitsMax bounds limits: each window costs the ledger a sum per payment.
	LimitsMax = 32
	// RecipientsMax bounds each list of recipients: two full ones are 16 KiB of the document's 64.
	RecipientsMax = 256
	// ZoneMax bounds a time zone's name; the longest in use has 32 bytes.
	ZoneMax = 64
	// RollingMaxSeconds is the longest rolling window, 366 days: beyond a year, use lifetime.
	RollingMaxSeconds = 366 * 24 * 60 * 60

	keySize    = 32
	digestSize = 32
)

// Refusal says where a document is refused, and why.
type Refusal struct {
	// Field is the field by its name in the contract, with an index into a list: `limits[2].amount`.
	Field string
	// Why says what is wrong; a constant of this package, to be read after the field.
	Why string
}

// Error joins field and why.
func (r *Refusal) Error() string { return "guard rails: " + r.Field + " " + r.Why }

func refuse(field, why string) *Refusal { return &Refusal{Field: field, Why: why} }

func at(field string, i int) string { return field + "[" + strconv.Itoa(i) + "]" }

// Validate checks what a document says, as a holder must before the document becomes its head: structure, bounds, order, and
// that every rule can be judged here. An asset is allowed only with a limit per payment that denies and a limit per window in
// its unit of account, so that no document leaves a wallet open. Number 0 pays nothing. The error is a *Refusal.
//
// Signatures, and whether a key is a point of prime order, are for package evidence.
func Validate(doc *typev1.GuardRails) error {
	if doc == nil {
		return refuse("guard_rails", "is missing")
	}
	// A nil *Refusal must not become an error that is not nil.
	for _, check := range []func(*typev1.GuardRails) *Refusal{checkParties, checkPlace, checkZone, checkRules} {
		if r := check(doc); r != nil {
			return r
		}
	}
	return nil
}

// checkParties checks who the document speaks of.
func checkParties(doc *typev1.GuardRails) *Refusal {
	if resource.ValidInstallation(doc.GetInstallation()) != nil {
		return refuse("installation", "is not 1 to 32 of [a-z0-9-]")
	}
	if _, err := resource.ParseWallet(doc.GetWallet()); err != nil {
		return refuse("wallet", "is not wallets/{wallet}")
	}
	if _, err := resource.ParseOwner(doc.GetOwner()); err != nil {
		return refuse("owner", "is not owners/{owner}")
	}
	if len(doc.GetOwnerKeys()) == 0 {
		return refuse("owner_keys", "are missing: nobody could ever change the document")
	}
	if r := checkKeys("owner_keys", doc.GetOwnerKeys(), OwnerKeysMax, "are more than 16"); r != nil {
		return r
	}
	if len(doc.GetRequestKey()) != keySize {
		return refuse("request_key", "is not 32 bytes")
	}
	return nil
}

// checkPlace checks where the document stands among the wallet's.
func checkPlace(doc *typev1.GuardRails) *Refusal {
	replaces := doc.GetReplaces()
	switch {
	case doc.GetNumber() > math.MaxInt64:
		return refuse("number", "is larger than 2^63-1")
	case doc.GetNumber() == 0 && len(replaces) != 0:
		return refuse("replaces", "is given, and number 0 is the first")
	case doc.GetNumber() == 0 && len(doc.GetRegistrationDigest()) != digestSize:
		return refuse("registration_digest", "is not 32 bytes")
	case doc.GetNumber() != 0 && len(replaces) == 0:
		return refuse("replaces", "is missing: the document follows none")
	case doc.GetNumber() != 0 && len(doc.GetRegistrationDigest()) != 0:
		return refuse("registration_digest", "is given, and only number 0 names the registration")
	case len(replaces) > ReplacesMax:
		return refuse("replaces", "holds more than 16")
	}
	for i, digest := range replaces {
		if len(digest) != digestSize {
			return refuse(at("replaces", i), "is not 32 bytes")
		}
		for _, other := range replaces[:i] {
			if bytes.Equal(digest, other) {
				return refuse(at("replaces", i), "is there twice")
			}
		}
	}
	return nil
}

func checkZone(doc *typev1.GuardRails) *Refusal {
	if _, err := zone(doc.GetTimeZone()); err != nil {
		return refuse("time_zone", "is not a time zone known here, such as Europe/Zurich")
	}
	return nil
}

// checkRules checks the rules themselves.
func checkRules(doc *typev1.GuardRails) *Refusal {
	if doc.GetNumber() == 0 {
		return checkPaysNothing(doc)
	}
	if r := checkRails(doc.GetRails()); r != nil {
		return r
	}
	if len(doc.GetLimits()) > LimitsMax {
		return refuse("limits", "are more than 32")
	}
	for i, l := range doc.GetLimits() {
		if field, why := checkLimit(l); why != "" {
			return refuse(at("limits", i)+field, why)
		}
	}
	if r := checkAssets(doc); r != nil {
		return r
	}
	if r := checkRecipients(doc.GetRecipients()); r != nil {
		return r
	}
	return checkX402(doc.GetX402())
}

// checkPaysNothing: a claim is signed before its owner has thought about rules, by one click or a token.
func checkPaysNothing(doc *typev1.GuardRails) *Refusal {
	const why = "is given, and number 0 pays nothing"
	switch {
	case len(doc.GetAssets()) != 0:
		return refuse("assets", why)
	case len(doc.GetRails()) != 0:
		return refuse("rails", why)
	case len(doc.GetLimits()) != 0:
		return refuse("limits", why)
	case doc.GetRecipients() != nil:
		return refuse("recipients", why)
	case doc.GetX402() != nil:
		return refuse("x402", why)
	}
	return nil
}

func checkRails(rails []typev1.Rail) *Refusal {
	for i, r := range rails {
		if !knownRail(r) {
			return refuse(at("rails", i), "is not a rail known here")
		}
		if i > 0 && rails[i-1] >= r {
			return refuse(at("rails", i), "is not in ascending order without repeats")
		}
	}
	return nil
}

func knownRail(r typev1.Rail) bool { return r == typev1.Rail_RAIL_BOOK || r == typev1.Rail_RAIL_SOLANA }

func checkAssets(doc *typev1.GuardRails) *Refusal {
	assets := doc.GetAssets()
	if len(assets) > AssetsMax {
		return refuse("assets", "are more than 16")
	}
	for i, a := range assets {
		unit, _, ok := resource.UnitOf(a, doc.GetInstallation())
		switch {
		case !ok:
			return refuse(at("assets", i), "has no unit of account known here")
		case i > 0 && assets[i-1] >= a:
			return refuse(at("assets", i), "is not in ascending order without repeats")
		case !deniesPayment(doc.GetLimits(), unit):
			return refuse(at("assets", i), "needs a limit per payment in its unit that denies")
		case !sumsPayments(doc.GetLimits(), unit):
			return refuse(at("assets", i), "needs a limit per day, week, month, rolling window or lifetime in its unit")
		}
	}
	return nil
}

// deniesPayment reports whether a limit per payment denies what is above it in this unit.
func deniesPayment(limits []*typev1.Limit, unit string) bool {
	for _, l := range limits {
		if l.GetUnit() == unit && l.GetWindow() == typev1.Window_WINDOW_PAYMENT && l.GetCrossed() == typev1.Light_LIGHT_RED {
			return true
		}
	}
	return false
}

// sumsPayments reports whether a limit sums payments in this unit. By count is enough: what one payment moves has its own limit.
func sumsPayments(limits []*typev1.Limit, unit string) bool {
	for _, l := range limits {
		if l.GetUnit() == unit && l.GetWindow() != typev1.Window_WINDOW_PAYMENT {
			return true
		}
	}
	return false
}

// checkLimit says which field of a limit is refused, with the point before it, and why; both empty if none.
func checkLimit(l *typev1.Limit) (field, why string) {
	if l == nil {
		return "", "is missing"
	}
	if !resource.KnownUnit(l.GetUnit()) {
		return ".unit", "is not a unit of account known here, such as USD"
	}
	perPayment := l.GetWindow() == typev1.Window_WINDOW_PAYMENT
	switch l.GetMeasure() {
	case typev1.Measure_MEASURE_UNITS:
	case typev1.Measure_MEASURE_COUNT:
		if perPayment {
			return ".measure", "counts payments, and the window is one payment"
		}
	default:
		return ".measure", "is not given or not known here"
	}
	switch l.GetWindow() {
	case typev1.Window_WINDOW_PAYMENT, typev1.Window_WINDOW_DAY, typev1.Window_WINDOW_WEEK, typev1.Window_WINDOW_MONTH,
		typev1.Window_WINDOW_LIFETIME:
		if l.GetRollingSeconds() != 0 {
			return ".rolling_seconds", "is given, and the window does not roll"
		}
	case typev1.Window_WINDOW_ROLLING:
		if s := l.GetRollingSeconds(); s < quarterSeconds || s > RollingMaxSeconds || s%quarterSeconds != 0 {
			return ".rolling_seconds", "is not a multiple of 900 from 900 to 366 days"
		}
	default:
		return ".window", "is not given or not known here"
	}
	if _, err := resource.ParseAmount(l.GetAmount()); err != nil {
		return ".amount", "is not a whole number of 0 to 2^63-1"
	}
	if !stops(l.GetCrossed()) {
		return ".crossed", "is neither YELLOW nor RED"
	}
	return "", ""
}

// stops reports whether a light keeps a payment from going at once.
func stops(l typev1.Light) bool {
	return l == typev1.Light_LIGHT_YELLOW || l == typev1.Light_LIGHT_RED
}

func checkRecipients(r *typev1.Recipients) *Refusal {
	if r == nil {
		return refuse("recipients", "are missing")
	}
	if refusal := checkKeys("recipients.allow", r.GetAllow(), RecipientsMax, "are more than 256"); refusal != nil {
		return refusal
	}
	if refusal := checkKeys("recipients.deny", r.GetDeny(), RecipientsMax, "are more than 256"); refusal != nil {
		return refusal
	}
	if !stops(r.GetUnknown()) {
		return refuse("recipients.unknown", "is neither YELLOW nor RED")
	}
	return nil
}

// checkKeys checks a set of keys. Ascending without repeats, so that one set has one encoding and a person who compares two
// documents sees only what changed.
func checkKeys(field string, keys [][]byte, most int, tooMany string) *Refusal {
	if len(keys) > most {
		return refuse(field, tooMany)
	}
	for i, k := range keys {
		if len(k) != keySize {
			return refuse(at(field, i), "is not 32 bytes")
		}
		if i > 0 && bytes.Compare(keys[i-1], k) >= 0 {
			return refuse(at(field, i), "is not in ascending order without repeats")
		}
	}
	return nil
}
