package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/rogpeppe/go-internal/diff"

	"github.com/halfkey/halfkey/client"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// setRulesAfterRestore shows what the guard rails in force and those that this home has seen differ in, and replaces both: by the rules
// that are given, or by those that this home has seen.
func (a *app) setRulesAfterRestore(ctx context.Context, o *client.Owner, wallet string, f *rulesFile, yes bool) error {
	r, err := o.Restored(ctx, wallet)
	if err != nil {
		return unmoved(err)
	}
	if r == nil {
		if f != nil {
			return a.setRules(ctx, o, wallet, f) // As a repeat of this command finds it, once it has got through.
		}
		return localError(typev1.Reason_REASON_WRONG_STATE, "nothing was restored: the guard rails in force are those that this home has seen, or follow them",
			"see `halfkey guardrails show`")
	}
	held, seen := fmt.Sprintf("in force, number %d", r.Held.Number), fmt.Sprintf("seen, number %d", r.Seen.Number)
	p := printer{w: a.stderr}
	p.line("The holders have number %d in force, and not number %d, which this home has seen.", r.Held.Number, r.Seen.Number)
	printDifference(&p, held, fullYAML(r.Held.Document), seen, fullYAML(r.Seen.Document))
	var doc *typev1.GuardRails
	source := "what this home has seen"
	if f != nil {
		if doc, err = a.rulesDocument(ctx, o, wallet, f); err != nil {
			return err
		}
		source = "what is given"
		printDifference(&p, seen, newRulesFile(r.Seen.Document).yaml(), "given", newRulesFile(doc).yaml())
	}
	if err := a.confirm(yes, "Put %s in force as number %d of %s, in the place of both?", source, r.Number(), wallet); err != nil {
		return err
	}
	v, err := o.SetDocumentAfterRestore(ctx, r, doc)
	if err != nil {
		return unmoved(err)
	}
	return a.show(newRulesResult(v))
}

func printDifference(p *printer, oldName, old, newName, text string) {
	for l := range strings.Lines(string(diff.Diff(oldName, []byte(old), newName, []byte(text)))) {
		p.line("%s", strings.TrimSuffix(l, "\n"))
	}
}
