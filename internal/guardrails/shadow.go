package guardrails

import typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"

// WithoutRecipient is a judgement without the rules about who is paid: for a report of what was paid elsewhere by somebody who cannot
// say to whom. A payment always has a recipient, so nothing that decides about money calls this. Where nothing could be judged it
// stays RED.
func (j Judgement) WithoutRecipient() Judgement {
	if len(j.Results) == 0 {
		return j
	}
	out := Judgement{Light: typev1.Light_LIGHT_GREEN}
	for _, r := range j.Results {
		switch r.GetRule() {
		case typev1.Rule_RULE_RECIPIENT, typev1.Rule_RULE_X402_RECIPIENT, typev1.Rule_RULE_X402_CHANGED_RECIPIENT:
		default:
			out.add(r)
		}
	}
	return out
}
