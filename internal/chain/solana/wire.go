package solana

// WireMax is the largest transaction in bytes: what one packet of the network carries.
const WireMax = 1232

// Wire puts signatures before a message: one for each of its signers, in their order, and zero for one that has not signed yet,
// such as the fee payer of X402. It checks their number, and not what they sign.
func Wire(message []byte, signatures ...Signature) ([]byte, error) {
	if err := checkSigners(message, len(signatures)); err != nil {
		return nil, err
	}
	b := make([]byte, 0, 1+len(signatures)*len(Signature{})+len(message))
	b = append(b, byte(len(signatures))) // below 128, for they fit a transaction
	for i := range signatures {
		b = append(b, signatures[i][:]...)
	}
	return append(b, message...), nil
}

// ParseWire splits a transaction around a message of version 0 into signatures and message. The message points into b and is not
// judged: Decode does that.
func ParseWire(b []byte) (signatures []Signature, message []byte, err error) {
	if len(b) > WireMax {
		return nil, nil, refuse("transaction", "is longer than 1,232 bytes")
	}
	r := reader{rest: b}
	n := r.count()
	signed := r.take(n * len(Signature{}))
	if r.why != "" {
		return nil, nil, refuse("transaction", r.why)
	}
	if err := checkSigners(r.rest, n); err != nil {
		return nil, nil, err
	}
	signatures = make([]Signature, n)
	for i := range signatures {
		signatures[i] = Signature(signed[i*len(Signature{}):][:len(Signature{})])
	}
	return signatures, r.rest, nil
}

// checkSigners refuses a message that is not of version 0, or that asks for another number of signatures than n.
func checkSigners(message []byte, n int) error {
	if why := version(message); why != "" {
		return refuse("message", why)
	}
	switch {
	case len(message) < 2 || n == 0 || int(message[1]) != n:
		return refuse("transaction", "does not hold one signature for each signer of its message")
	case 1+n*len(Signature{})+len(message) > WireMax:
		return refuse("transaction", "is longer than 1,232 bytes")
	}
	return nil
}
