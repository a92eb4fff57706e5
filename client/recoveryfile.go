package client
type recoveryFile struct{}
func (r *run) keepRecovery(x any, c [2][64]byte, s any, t [32]byte) error { return nil }
func (r *run) join(b *begun, a, c any, d []byte) error { return nil }
