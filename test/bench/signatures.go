package bench

// The parties that make and verify signatures in one payment.
const (
	agent    = "agent"
	gateway  = "gateway"
	identity = "identity"
	policy   = "policy"
	ledger   = "ledger"
	cosigner = "cosigner"
)

// Signature is one Ed25519 signature that a GREEN book payment makes or verifies, and the reason that it is not left out. FROST's
// own arithmetic is not among them: the two halves of the group key's signature are made and checked as the part "frost" has it.
type Signature struct {
	// By makes or verifies it.
	By string
	// Verified says that it is verified; else it is made.
	Verified bool
	// Over is the statement, by the middle of its payload type, or "message": the bytes that the group key signs.
	Over string
	// Count is how often one payment does it.
	Count int
	// Evidence is what asks for it: a piece of docs/evidence.md's, or a step of docs/life-of-a-payment.md.
	Evidence string
}

// Signatures is the fixed table of one GREEN book payment, CreatePayment and SettlePayment together, when everybody knows everybody:
// the recipient's record is pinned and the connections are open. TestSignaturesOfOnePayment counts them in the running system.
func Signatures() []Signature {
	return []Signature{
		{agent, false, "request", 1, "piece 2: the request, signed by the request key of the head"},
		{identity, true, "request", 1, "step 2: whose request this is, before anything else is done for it"},
		{policy, true, "request", 1, "piece 4: policy approves what the agent asked for, not what the gateway says that it did"},
		{policy, false, "verdict", 1, "piece 4: policy's approval"},
		{ledger, true, "request", 1, "record a payment: the agent's request, verified by the service that acts"},
		{ledger, true, "verdict", 1, "record a payment: policy's verdict, verified by the service that acts"},
		{ledger, false, "receipt", 1, "piece 5: the ledger's receipt"},
		{cosigner, true, "request", 1, "piece 2"},
		{cosigner, true, "verdict", 1, "piece 4"},
		{cosigner, true, "receipt", 1, "piece 5"},
		{agent, true, "request", 1, "no piece of evidence: the agent's own request, before it is sent"},
		{agent, true, "verdict", 1, "piece 4, as the agent is shown it: nobody but policy said GREEN"},
		{agent, true, "receipt", 1, "piece 5, as the agent is shown it: what its store notes as seen is the ledger's signed word"},
		{agent, true, "message", 1, "step 6: the whole signature, checked by the standard library before it is used"},
		{ledger, true, "message", 1, "settle on the book: the group key's signature over the pinned bytes"},
		{ledger, false, "settlement", 1, "answers that matter are signed: SETTLED"},
		{agent, true, "settlement", 1, "answers that matter are signed: the client verifies it"},
	}
}
