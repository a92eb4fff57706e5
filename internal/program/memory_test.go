package program

import (
	"runtime/debug"
	"testing"
)

func TestCollectLess(t *testing.T) {
	before := debug.SetGCPercent(100)
	t.Cleanup(func() { debug.SetGCPercent(before) })
	for _, tt := range []struct {
		name, percent, limit string
		want                 int
	}{
		{"nothing is said", "", "", collectAt},
		{"GOGC", "50", "", 100},
		{"GOMEMLIMIT", "", "64MiB", 100},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Setenv("GOGC", tt.percent)
			t.Setenv("GOMEMLIMIT", tt.limit)
			CollectLess()
			if got := debug.SetGCPercent(100); got != tt.want {
				t.Errorf("got %d, want %d", got, tt.want)
			}
		})
	}
}
