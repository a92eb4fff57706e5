package client

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/halfkey/halfkey/internal/evidence"
	"github.com/halfkey/halfkey/internal/resource"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// displayNameMax bounds an agent's display name.
const displayNameMax = 64

// check refuses what the services would refuse, before anything is stored: a stored registration is repeated as it is, so a
// name that is refused there would be refused for ever.
func (o RegisterOptions) check() error {
	const op = "register"
	if err := resource.ValidHandle(o.Handle); err != nil {
		return wrap(op, err, notMoved)
	}
	if len(o.Name) > displayNameMax || !utf8.ValidString(o.Name) || strings.ContainsFunc(o.Name, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return local(op, typev1.Reason_REASON_INVALID_ARGUMENT,
			"an agent's name is at most 64 bytes of one line, without control or direction characters", "field", "name")
	}
	if !evidence.ValidEmail(o.OwnerEmail) {
		return local(op, typev1.Reason_REASON_INVALID_ARGUMENT, "an owner is named by one e-mail address in ASCII and nothing else, like you@company.com", "field", "owner_email")
	}
	return nil
}

// lowerEmail lowers the letters A to Z alone: a letter that only looks like one of them stays what it is, and is refused.
func lowerEmail(s string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'A' && r <= 'Z' {
			return r - 'A' + 'a'
		}
		return r
	}, s)
}
