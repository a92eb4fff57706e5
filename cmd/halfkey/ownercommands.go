package main

// ownerCommands are the owner's nouns: each is a field here, and a file of its name.
type ownerCommands struct{}
