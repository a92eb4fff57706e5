//go:build race

package main

// raced says that the race detector is built in, which makes each process some eight times as slow.
const raced = true

// scriptStride is how far apart the scripts are that are run: the commands in them are processes of one short thread each, alike in
// what they do side by side.
const scriptStride = 3
