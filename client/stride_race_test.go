//go:build race

package client_test

// crashStride is how far apart the steps are at which a resharing dies: the race detector makes each some eight times as slow, and
// looks for other things than what a step leaves behind.
const crashStride = 5
