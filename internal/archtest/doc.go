// Package archtest holds the tree to its import rules: which package may know
// which, and what the co-signer may link.
//
// It has no code to import, only tests. The rules are data in rules_test.go,
// each with its reason; graph_test.go reads what the packages import by running
// go list. The co-signer's whole dependency list is committed beside it in
// cmd/cosigner/deps.txt and reviewed like code: "make deps" writes it.
package archtest
