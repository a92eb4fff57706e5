package client

// WeakenRecovery makes the recovery files that a client writes cheap to open, so that a test can crash it at every step.
func (c *Client) WeakenRecovery() { c.recoveryWork = 4 }
