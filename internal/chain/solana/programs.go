package solana

// The programs that a payment calls, and no other.
var (
	computeBudgetProgram   = mustKey("ComputeBudget111111111111111111111111111111")
	memoProgram            = mustKey("MemoSq4gqABAXKb96qnH8TysNcWxMyWCqXgDLGmfcHr")
	tokenProgram           = mustKey("TokenkegQfeZyiNwAJbNbGKPFXCWuBvf9Ss623VQ5DA")
	associatedTokenProgram = mustKey("ATokenGPvbdGVxr1b2hvZbsiqW5xWH25efTNsLJA8knL")
	systemProgram          = Key{}
)

// token2022Program is named to be refused by name: a mint of its kind may take a fee, call foreign code or have a second master.
var token2022Program = mustKey("TokenzQdBNbLqP5VEhdkAS6EPFLC1PHnBqCXEpPxuEb")

// What the instructions' data begins with.
const (
	setComputeUnitLimit = 2
	setComputeUnitPrice = 3
	transferChecked     = 12
	createIdempotent    = 1
	advanceNonce        = 4
)

// mustKey reads a text of this file.
func mustKey(text string) Key {
	k, err := ParseKey(text)
	if err != nil {
		panic(err)
	}
	return k
}
