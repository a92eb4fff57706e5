//go:build !unix

package client

import "errors"

// lockFile refuses where there is no lock that its process's death gives back: two processes that write one home without it
// could lose a message that was sent.
func lockFile(string) (unlock func(), err error) {
	return nil, errors.New("halfkey: a home needs a system with file locks; bring a key store and a payment store instead")
}
