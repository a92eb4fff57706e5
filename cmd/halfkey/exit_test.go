package main

import (
	"maps"
	"slices"
	"testing"

	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// Every reason has an exit code of its own choosing, and only what may be repeated without thought invites to it.
func TestEveryReasonHasAnExitCode(t *testing.T) {
	for number, name := range typev1.Reason_name {
		code, ok := exitCodes[typev1.Reason(number)]
		if !ok {
			t.Errorf("%s has no exit code", name)
		}
		if code <= exitDone || code > exitUnavailable {
			t.Errorf("%s has exit code %d", name, code)
		}
	}
	for reason := range exitCodes {
		if _, ok := typev1.Reason_name[int32(reason)]; !ok {
			t.Errorf("exit code for %d, which is no reason", reason)
		}
	}
}

// Whatever the reason, money that may have moved is all that matters, and money that moved is never to be moved again.
func TestMoneyDecidesTheExitCode(t *testing.T) {
	for _, number := range slices.Sorted(maps.Keys(typev1.Reason_name)) {
		reason := typev1.Reason(number)
		for _, money := range []typev1.MoneyMoved{unknown, typev1.MoneyMoved_MONEY_MOVED_UNSPECIFIED, 99} {
			if got := exitCode(reason, money); got != exitUnknown {
				t.Errorf("%v, money moved %v: got exit code %d, want %d", reason, money, got, exitUnknown)
			}
		}
		if got := exitCode(reason, moved); got != exitOther {
			t.Errorf("%v, money moved: got exit code %d, want %d", reason, got, exitOther)
		}
		if got, want := exitCode(reason, notMoved), exitCodes[reason]; got != want {
			t.Errorf("%v, no money moved: got exit code %d, want %d", reason, got, want)
		}
	}
	if got := exitCode(9999, notMoved); got != exitOther {
		t.Errorf("a reason of a later release: got exit code %d, want %d", got, exitOther)
	}
}

func TestExitCodes(t *testing.T) {
	for reason, want := range map[typev1.Reason]int{
		typev1.Reason_REASON_UNSPECIFIED:        1,
		typev1.Reason_REASON_INVALID_ARGUMENT:   2,
		typev1.Reason_REASON_PAYMENT_DIFFERS:    3,
		typev1.Reason_REASON_INSUFFICIENT_FUNDS: 3,
		typev1.Reason_REASON_NOT_ACTIVE:         4,
		typev1.Reason_REASON_FROZEN:             5,
		typev1.Reason_REASON_REVOKED:            5,
		typev1.Reason_REASON_RULES_CHANGED:      6,
		typev1.Reason_REASON_UNAVAILABLE:        7,
	} {
		if got := exitCode(reason, notMoved); got != want {
			t.Errorf("%v: got exit code %d, want %d", reason, got, want)
		}
	}
}

// A command that was to pay ends with 0 if, and only if, it is known to have paid.
func TestPaymentExitCodes(t *testing.T) {
	want := map[typev1.PaymentState]int{
		typev1.PaymentState_PAYMENT_STATE_UNSPECIFIED:    6,
		typev1.PaymentState_PAYMENT_STATE_PENDING_REVIEW: 4,
		typev1.PaymentState_PAYMENT_STATE_READY:          7,
		typev1.PaymentState_PAYMENT_STATE_AUTHORIZED:     6,
		typev1.PaymentState_PAYMENT_STATE_SETTLED:        0,
		typev1.PaymentState_PAYMENT_STATE_DENIED:         3,
		typev1.PaymentState_PAYMENT_STATE_CANCELED:       3,
		typev1.PaymentState_PAYMENT_STATE_EXPIRED:        3,
		typev1.PaymentState_PAYMENT_STATE_FAILED:         3,
	}
	for number, name := range typev1.PaymentState_name {
		state := typev1.PaymentState(number)
		code, ok := want[state]
		if !ok {
			t.Errorf("%s is not expected here", name)
		}
		if got := paymentCode(state); got != code {
			t.Errorf("%s: got exit code %d, want %d", name, got, code)
		}
	}
}
