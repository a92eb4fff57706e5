//go:build race

package e2e_test

// raced says that the tests are built with the race detector. The programs that they start are not.
const raced = true
