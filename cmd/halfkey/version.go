package main

import (
	"runtime"
	"runtime/debug"
)

// versionCommand is `halfkey version`.
type versionCommand struct{}

// versionResult is what was built, and from what.
type versionResult struct {
	// Version is the release, or (devel).
	Version string `json:"version"`
	// Revision is the commit, and Modified says that what was built differs from it; empty and false where the build does not know.
	Revision string `json:"revision"`
	Modified bool   `json:"modified"`
	// Go is the version of Go.
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

// Run prints it.
func (*versionCommand) Run(a *app) error {
	r := versionResult{Version: "(devel)", Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	if info, ok := debug.ReadBuildInfo(); ok {
		if v := info.Main.Version; v != "" {
			r.Version = v
		}
		for _, s := range info.Settings {
			switch s.Key {
			case "vcs.revision":
				r.Revision = s.Value
			case "vcs.modified":
				r.Modified = s.Value == "true"
			}
		}
	}
	return a.show(&r)
}

func (r *versionResult) people(p *printer) {
	p.line("halfkey %s (%s, %s)", r.Version, r.Go, r.Platform)
}
