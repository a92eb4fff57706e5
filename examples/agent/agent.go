// Package agent is an agent's loop with the SDK: it works off tasks that cost money, goes on with the next one while a person
// looks at the last, and takes a refusal for an answer.
package agent

import (
	"context"
	"errors"
	"fmt"

	"github.com/halfkey/halfkey/client"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// Task is something to be paid for and then done.
type Task struct {
	// ID names the task, and with it its payment: a task that is worked off again after a crash is paid once.
	ID string
	// Recipient is who is paid, for example `@data-shop`.
	Recipient string
	// Units is what it costs.
	Units int64
	// Purpose is what the owner reads when asked.
	Purpose string
	// Do does it, once it is paid.
	Do func(ctx context.Context, paid *client.Payment) error
}

// Outcome is what became of a task.
type Outcome string

// Outcomes.
const (
	// Done was paid and done.
	Done Outcome = "done"
	// Refused was refused, by a rule or by the owner, and cost nothing.
	Refused Outcome = "refused"
	// Stopped was not begun, or not finished, because the wallet was stopped: it can be worked off later.
	Stopped Outcome = "stopped"
)

// Work works off tasks and says what became of each. What waits for a person is taken up again at the end. It can be called
// again with the same tasks, in another process too: nothing is paid twice.
func Work(ctx context.Context, a *client.Agent, tasks []Task) (map[string]Outcome, error) {
	outcomes := make(map[string]Outcome)
	var waiting []Task
	for _, task := range tasks {
		p, err := a.Pay(ctx, client.Order{ID: task.ID, Recipient: task.Recipient, Units: task.Units, Purpose: task.Purpose})
		if stopped(err) {
			outcomes[task.ID] = Stopped
			continue
		}
		if err != nil {
			return outcomes, fmt.Errorf("%s: %w", task.ID, err)
		}
		if p.State == typev1.PaymentState_PAYMENT_STATE_PENDING_REVIEW {
			waiting = append(waiting, task) // Its owner was told; there is other work meanwhile.
			continue
		}
		if outcomes[task.ID], err = finish(ctx, task, p); err != nil {
			return outcomes, err
		}
	}
	for _, task := range waiting {
		p, err := a.Wait(ctx, task.ID) // Until a person has answered; an approved payment it brings to its end.
		if stopped(err) {
			outcomes[task.ID] = Stopped
			continue
		}
		if err != nil {
			return outcomes, fmt.Errorf("%s: %w", task.ID, err)
		}
		if outcomes[task.ID], err = finish(ctx, task, p); err != nil {
			return outcomes, err
		}
	}
	return outcomes, nil
}

// finish does a task that is paid. Any other end of a payment is a no.
func finish(ctx context.Context, task Task, p *client.Payment) (Outcome, error) {
	if p.State != typev1.PaymentState_PAYMENT_STATE_SETTLED {
		return Refused, nil
	}
	if err := task.Do(ctx, p); err != nil {
		return "", fmt.Errorf("%s: %w", task.ID, err)
	}
	return Done, nil
}

// stopped says that the wallet pays nothing at present, and nothing moved. An agent does not argue with that.
func stopped(err error) bool {
	var e *client.Error
	if !errors.As(err, &e) || e.MoneyMoved != typev1.MoneyMoved_MONEY_MOVED_NO {
		return false
	}
	switch e.Reason {
	case typev1.Reason_REASON_FROZEN, typev1.Reason_REASON_REVOKED, typev1.Reason_REASON_INSUFFICIENT_FUNDS:
		return true
	default:
		return false
	}
}
