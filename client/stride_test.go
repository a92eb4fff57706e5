//go:build !race

package client_test

// crashStride is how far apart the steps are at which a resharing dies: at each one.
const crashStride = 1
