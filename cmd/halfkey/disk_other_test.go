//go:build !linux

package main

import "testing"

// mountSmall is for Linux.
func mountSmall(testing.TB) (dir string, ok bool) { return "", false }

// fill has nothing to fill.
func fill(testing.TB, string, room) (empty func()) { return func() {} }
