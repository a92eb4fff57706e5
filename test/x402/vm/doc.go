// Package vm pays in a Solana virtual machine and lets our client of a node's RPC find out what became of it: node.mjs is the node, and
// the tests sign with ordinary keys. "make x402" runs it. Tests of other folders start their node and other Node.js programs by it.
package vm
