package allinone

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base32"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/halfkey/halfkey/internal/evidence"
	"github.com/halfkey/halfkey/internal/rpc/devcert"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// Files of a data directory. Secrets are of mode 0600 in a directory of mode 0700.
const (
	fileInstallation = "installation.json"
	fileOperatorKey  = "operator.key"
	fileBootstrap    = "bootstrap.key"
	fileCosignerKey  = "cosigner.key"
	filePolicyKey    = "policy.key"
	fileLedgerKey    = "ledger.key"
	fileKEK          = "kek.json"
	fileAuthority    = "ca.pem"
	fileAuthorityKey = "ca.key"
	fileLedger       = "ledger.db"
	dirEtcd          = "etcd"
)

// material is what an installation is made of, as its data directory holds it.
type material struct {
	dir                      string
	installation             *evidence.Installation
	cosigner, policy, ledger ed25519.PrivateKey
	bootstrap                ed25519.PrivateKey
	authority                *devcert.Authority
}

// openMaterial reads a data directory, or makes a new installation in an empty one. The installation file is written last:
// a directory in which it is missing was not finished, and is made anew under the keys that it has.
func openMaterial(dir, grpcAddress, httpsAddress string, now time.Time) (*material, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("allinone: %w", err)
	}
	m := &material{dir: dir}
	var operator ed25519.PrivateKey
	for _, k := range []struct {
		file string
		to   *ed25519.PrivateKey
	}{
		{fileOperatorKey, &operator},
		{fileBootstrap, &m.bootstrap},
		{fileCosignerKey, &m.cosigner},
		{filePolicyKey, &m.policy},
		{fileLedgerKey, &m.ledger},
	} {
		var err error
		if *k.to, err = openKey(filepath.Join(dir, k.file)); err != nil {
			return nil, err
		}
	}
	if err := m.openAuthority(now); err != nil {
		return nil, err
	}
	file, err := os.ReadFile(filepath.Join(dir, fileInstallation))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return m, m.makeInstallation(operator, grpcAddress, httpsAddress)
	case err != nil:
		return nil, fmt.Errorf("allinone: %w", err)
	}
	m.installation, err = evidence.LoadInstallation(file)
	return m, err
}

// addressesOf are the addresses that the directory's installation file names, or the given ones for a new installation.
func addressesOf(dir, listen string) (grpcAddress, httpsAddress string, err error) {
	file, err := os.ReadFile(filepath.Join(dir, fileInstallation))
	if errors.Is(err, fs.ErrNotExist) {
		host, _, err := net.SplitHostPort(listen)
		return listen, net.JoinHostPort(host, "0"), err
	}
	if err != nil {
		return "", "", err
	}
	i, err := evidence.LoadInstallation(file)
	if err != nil {
		return "", "", err
	}
	c := i.Content()
	if len(c.GetGatewayAddresses()) == 0 || len(c.GetHttpsAddresses()) == 0 {
		return "", "", errors.New("allinone: the installation file names no address")
	}
	return c.GetGatewayAddresses()[0], strings.TrimPrefix(c.GetHttpsAddresses()[0], "https://"), nil
}

func (m *material) makeInstallation(operator ed25519.PrivateKey, grpcAddress, httpsAddress string) error {
	var id [5]byte
	rand.Read(id[:])
	// Nobody holds the redemption account's private key: money leaves it only by the operator's statement about a payment
	// that was settled to it.
	redemption, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return err
	}
	key := func(k ed25519.PrivateKey) []byte { return k.Public().(ed25519.PublicKey) } //nolint:forcetypeassert // crypto/ed25519 says so
	e, err := evidence.Sign(operator, &typev1.Installation{
		Installation: "dev-" + hex.EncodeToString(id[:]), Number: 1,
		GatewayAddresses: []string{grpcAddress}, HttpsAddresses: []string{"https://" + httpsAddress},
		CaPem: string(m.authority.Certificate()), RedemptionAccount: redemption, OperatorKeys: [][]byte{key(operator)},
		ServiceKeys: []*typev1.ServiceKey{
			{Purpose: typev1.Purpose_PURPOSE_COSIGNER, PublicKey: key(m.cosigner)},
			{Purpose: typev1.Purpose_PURPOSE_POLICY, PublicKey: key(m.policy)},
			{Purpose: typev1.Purpose_PURPOSE_LEDGER, PublicKey: key(m.ledger)},
		},
	})
	if err != nil {
		return err
	}
	if m.installation, err = evidence.ParseInstallation(e); err != nil {
		return err
	}
	file, err := m.installation.MarshalFile()
	if err != nil {
		return err
	}
	return writeFile(filepath.Join(m.dir, fileInstallation), file)
}

func (m *material) openAuthority(now time.Time) error {
	certificate, err := os.ReadFile(filepath.Join(m.dir, fileAuthority))
	if errors.Is(err, fs.ErrNotExist) {
		if m.authority, err = devcert.NewAuthority("Halfkey development CA", now); err != nil {
			return err
		}
		pair, err := m.authority.Pair()
		if err != nil {
			return err
		}
		if err := writeFile(filepath.Join(m.dir, fileAuthorityKey), pair.Key); err != nil {
			return err
		}
		return writeFile(filepath.Join(m.dir, fileAuthority), pair.Certificate)
	}
	if err != nil {
		return err
	}
	key, err := os.ReadFile(filepath.Join(m.dir, fileAuthorityKey))
	if err != nil {
		return err
	}
	m.authority, err = devcert.ParseAuthority(devcert.Pair{Certificate: certificate, Key: key})
	return err
}

// bootstrapCode is the one-time private key of the first owner, as text.
func (m *material) bootstrapCode() string {
	return base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(m.bootstrap.Seed())
}

// openKey reads an Ed25519 seed in hexadecimal, or makes one.
func openKey(path string) (ed25519.PrivateKey, error) {
	b, err := os.ReadFile(path) //nolint:gosec // a file of the data directory
	if errors.Is(err, fs.ErrNotExist) {
		_, key, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			return nil, err
		}
		return key, writeFile(path, []byte(hex.EncodeToString(key.Seed())+"\n"))
	}
	if err != nil {
		return nil, fmt.Errorf("allinone: %w", err)
	}
	seed, err := hex.DecodeString(strings.TrimSpace(string(b)))
	if err != nil || len(seed) != ed25519.SeedSize {
		return nil, fmt.Errorf("allinone: %s is not a key", path)
	}
	return ed25519.NewKeyFromSeed(seed), nil
}

// writeFile writes a file of mode 0600 so that it is there whole or not at all.
func writeFile(path string, b []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*") // mode 0600
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}
