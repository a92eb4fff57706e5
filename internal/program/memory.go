package program

import (
	"os"
	"runtime/debug"
)

// collectAt is by how many percent of what lives memory grows before it is collected. Go's own 100 has a service, of which some ten
// MiB live, look through them several times a second under load; what is saved is worth the tens of MiB that this takes.
const collectAt = 400

// CollectLess sets how often memory is collected, unless the environment does: with GOGC, or with GOMEMLIMIT, which whoever runs
// a program in little memory sets, Go's own rules hold.
func CollectLess() {
	if os.Getenv("GOGC") == "" && os.Getenv("GOMEMLIMIT") == "" {
		debug.SetGCPercent(collectAt)
	}
}
