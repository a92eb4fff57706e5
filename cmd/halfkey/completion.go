package main

import (
	_ "embed"
	"io"
)

// completionCommand is `halfkey completion`.
type completionCommand struct {
	Shell string `arg:"" enum:"bash,zsh,fish" help:"The shell: ${enum}."`
}

//go:embed completion.bash
var completionBash string

//go:embed completion.zsh
var completionZsh string

//go:embed completion.fish
var completionFish string

// completionResult is a shell's script.
type completionResult struct {
	Shell string `json:"shell"`
	// Script is what the shell reads.
	Script string `json:"script"`
}

// Run prints the script.
func (c *completionCommand) Run(a *app) error {
	scripts := map[string]string{"bash": completionBash, "zsh": completionZsh, "fish": completionFish}
	return a.show(&completionResult{Shell: c.Shell, Script: scripts[c.Shell]})
}

func (r *completionResult) people(p *printer) {
	if p.err == nil {
		// A constant of this program, tabs and all.
		_, p.err = io.WriteString(p.w, r.Script)
	}
}
