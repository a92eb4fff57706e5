package allinone

import "github.com/halfkey/halfkey/services/cosigner"

// KeyInKEK is a key of a key-encryption key's file.
type KeyInKEK = cosigner.KeyInKEK

// MakeKEK makes the file of a co-signer's key-encryption key if it is not there.
func MakeKEK(path string) error {
	_, err := cosigner.OpenKEK(path)
	return err
}

// AddToKEK is cosigner.AddToKEK.
func AddToKEK(path string) (id uint32, err error) { return cosigner.AddToKEK(path) }

// PromoteInKEK is cosigner.PromoteInKEK.
func PromoteInKEK(path string, id uint32) error { return cosigner.PromoteInKEK(path, id) }

// KeysInKEK is cosigner.KeysInKEK.
func KeysInKEK(path string) ([]KeyInKEK, error) { return cosigner.KeysInKEK(path) }
