package ledger

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"

	ledgerv1 "github.com/halfkey/halfkey/proto/gen/halfkey/ledger/v1"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// A recipient is told what was paid and the proof of it. The payer's guard rails, what was left of them, its agent's requests and
// its owner's answer are not the recipient's, whichever way it asks.
func TestIncomingPaymentsKeepThePayersBusiness(t *testing.T) {
	f := start(t)
	first, _, others := f.houses(asking)
	watchers := map[string]*watcher{
		"the changes of the wallet": f.watch(others.Name, "", true),
		"the changes of the owner":  f.watch(others.Owner, "", true),
	}
	whole := f.get(f.life(first, others, "asked").Name)
	if len(whole.GetResults()) == 0 || whole.GetVerdict() == nil || whole.GetRequest() == nil || whole.GetReview() == nil ||
		len(whole.GetDeadMessages()) == 0 {
		t.Fatalf("the payer is not shown all: %v", whole)
	}
	told := map[string]*typev1.Payment{}
	for name, w := range watchers {
		told[name] = w.see("asked SETTLED")
	}
	for name, parent := range map[string]string{"the list of the wallet": others.Name, "the list of the owner": others.Owner} {
		resp, err := f.client.ListPayments(t.Context(), &ledgerv1.ListPaymentsRequest{Parent: parent, Incoming: true})
		if err != nil || len(resp.GetPayments()) != 1 {
			t.Fatalf("%s: %v, %v", name, resp, err)
		}
		told[name] = resp.GetPayments()[0]
	}
	tip := f.entries(others)
	for name, got := range told {
		want := &typev1.Payment{
			Name: whole.GetName(), State: settled, Intent: whole.GetIntent(), Message: whole.GetMessage(),
			Settlement: whole.GetSettlement(), Signature: whole.GetSignature(),
			UpdateTime: whole.GetUpdateTime(), LedgerTime: got.GetLedgerTime(), Entry: tip[len(tip)-1].GetNumber(), EntryHash: got.GetEntryHash(),
		}
		if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" || got.GetLedgerTime() == nil || len(got.GetEntryHash()) != 32 {
			t.Errorf("%s shows otherwise than it should (-want +got):\n%s", name, diff)
		}
	}
}
