package client

import (
	"encoding/hex"
	"strings"

	"github.com/halfkey/halfkey/internal/guardrails"
	"github.com/halfkey/halfkey/internal/resource"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// explainX402 reads the result of a rule about HTTP requests and compares it with the document.
func (line *ExplainedRule) explainX402(doc *typev1.GuardRails, p *Payment, r *typev1.RuleResult) (err error) {
	entry, allowed := guardrails.X402Entry(doc.GetX402(), p.X402)
	if line.Rule != typev1.Rule_RULE_X402_HOST && !allowed {
		return refusal("results", "rule", "is one that the document does not have for this request")
	}
	if n := len(r.GetLastRecipient()); n == len(line.LastRecipient) {
		line.LastRecipient = [32]byte(r.GetLastRecipient())
	} else if n != 0 {
		return refusal("results", "last_recipient", "is no key")
	}
	switch line.Rule {
	case typev1.Rule_RULE_X402_PRICE:
		if entry.GetMaxPrice() == nil || entry.GetMaxPrice().GetAmount() != r.GetLimit() {
			return refusal("results", "limit", "is not the document's")
		}
	case typev1.Rule_RULE_X402_DRIFT:
		if r.GetLimit() == "" { // Nothing was paid before, or in another unit.
			if line.Observed, err = resource.ParseAmount(r.GetObserved()); err != nil {
				return refusal("results", "observed", "is no amount")
			}
			return nil
		}
	default:
		return nil
	}
	return line.amounts(r)
}

// passesX402 is what a rule about HTTP requests that stopped a payment would have let pass.
func (line *ExplainedRule) passesX402(doc *typev1.GuardRails, p *Payment, out *Passes) {
	out.X402, out.AtMost, out.LastRecipient = p.X402, line.Room, line.LastRecipient
	out.Host, _ = guardrails.X402Entry(doc.GetX402(), p.X402)
	if out.Unit, _, _ = resource.UnitOf(p.Asset, doc.GetInstallation()); out.Host != nil {
		return
	}
	for _, h := range doc.GetX402().GetHosts() {
		out.Hosts = append(out.Hosts, h.GetHost())
	}
}

// x402 says what passes one of the rules about HTTP requests.
func (p Passes) x402() string {
	host := p.X402.GetHost()
	switch p.Rule {
	case typev1.Rule_RULE_X402_HOST:
		switch {
		case p.Host != nil:
			return "a request that is allowed at " + p.Host.GetHost() + ": " + requestsAt(p.Host)
		case len(p.Hosts) == 0:
			return "nothing: no HTTP host is allowed"
		}
		return "a request to one of the hosts " + strings.Join(p.Hosts, ", ")
	case typev1.Rule_RULE_X402_RECIPIENT:
		return "a recipient that the guard rails name for " + host
	case typev1.Rule_RULE_X402_CHANGED_RECIPIENT:
		return "the recipient that was paid last at " + host + ", " + hex.EncodeToString(p.LastRecipient[:])
	case typev1.Rule_RULE_X402_DRIFT:
		if p.AtMost == 0 {
			return "the asset that was paid last for this request"
		}
	}
	return "at most " + amountIn(p.AtMost, p.Unit) + " for this request"
}

// requestsAt are the requests that an entry allows, in words.
func requestsAt(h *typev1.X402Host) string {
	scheme, methods, paths := "https", "any method", "any path"
	if h.GetPlainHttp() {
		scheme = "https or http"
	}
	if len(h.GetMethods()) > 0 {
		methods = strings.Join(h.GetMethods(), " or ")
	}
	if len(h.GetPathPrefixes()) > 0 {
		paths = "under " + strings.Join(h.GetPathPrefixes(), " or ")
	}
	return scheme + ", " + methods + ", " + paths
}
