//go:build !race

package main

const (
	raced        = false
	scriptStride = 1
)
