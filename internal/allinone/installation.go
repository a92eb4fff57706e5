package allinone

import (
	"bytes"
	"cmp"
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
	"slices"
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
	// fileSecondOperatorKey is in a directory of its own, to be carried away whole.
	fileSecondOperatorKey = "offline/operator-2.key"
	fileBootstrap         = "bootstrap.key"
	// fileBootstrapPublic stays when the code was used, and its file is removed.
	fileBootstrapPublic = "bootstrap.pub"
	fileCosignerKey     = "cosigner.key"
	filePolicyKey       = "policy.key"
	fileLedgerKey       = "ledger.key"
	fileKEK             = "kek.json"
	fileAuthority       = "ca.pem"
	fileAuthorityKey    = "ca.key"
	fileLedger          = "ledger.db"
	dirEtcd             = "etcd"
)

// material is what an installation is made of, as its data directory holds it.
type material struct {
	dir                      string
	installations            []*evidence.Installation // The chain from number 1; installation is its last.
	installation             *evidence.Installation
	cosigner, policy, ledger ed25519.PrivateKey
	bootstrap                ed25519.PrivateKey // nil once it was used
	bootstrapPublic          []byte
	authority                *devcert.Authority
}

// openMaterial reads a data directory, or makes a new installation in an empty one. The installation file is written last:
// a directory in which it is missing was not finished, and is made anew under the keys that it has. Once it is there no key
// is ever made again, because another key is another installation. operators are the files of the operators' keys that a new
// installation has; of one that is there none is
// looked at, because they may be elsewhere.
func openMaterial(dir, grpcAddress, httpsAddress string, operators []string, now time.Time) (*material, error) {
	m := &material{dir: dir}
	chain, err := readChain(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return m, m.makeInstallation(grpcAddress, httpsAddress, operators, now)
	}
	if err != nil {
		return nil, err
	}
	m.installations, m.installation = chain, chain[len(chain)-1]
	for _, k := range m.serviceKeys() {
		if *k.to, err = m.currentKey(k); err != nil {
			return nil, err
		}
	}
	if err := m.readBootstrap(); err != nil {
		return nil, err
	}
	return m, m.readAuthority()
}

// numbered is a file's name with a number before its ending: installation.2.json, ledger.2.key.
func numbered(file string, number uint64) string {
	if number == 1 {
		return file
	}
	extension := filepath.Ext(file)
	return fmt.Sprintf("%s.%d%s", strings.TrimSuffix(file, extension), number, extension)
}

// readChain reads the installation file and its successors installation.2.json, installation.3.json and so on. fs.ErrNotExist is a
// directory without the first one. A successor whose predecessor is not there is refused: it was meant to be in force.
func readChain(dir string) ([]*evidence.Installation, error) {
	var files [][]byte
	for number := uint64(1); ; number++ {
		b, err := os.ReadFile(filepath.Join(dir, numbered(fileInstallation, number)))
		if errors.Is(err, fs.ErrNotExist) && number > 1 {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("allinone: %w", err)
		}
		files = append(files, b)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("allinone: %w", err)
	}
	extension, there := filepath.Ext(fileInstallation), 0
	for _, e := range entries {
		middle, ok := strings.CutPrefix(e.Name(), strings.TrimSuffix(fileInstallation, extension)+".")
		if ok && middle != strings.TrimPrefix(extension, ".") && strings.HasSuffix(middle, extension) {
			there++
		}
	}
	if there != len(files)-1 {
		return nil, fmt.Errorf("allinone: %s holds %d successors of %s, and the numbers 2 to %d are not all there: each needs the one before it",
			dir, there, fileInstallation, there+1)
	}
	chain, err := evidence.LoadChain(files...)
	if err != nil {
		return nil, fmt.Errorf("allinone: %s and its successors: %w", filepath.Join(dir, fileInstallation), err)
	}
	return chain, nil
}

// currentKey finds a service's current key: in its first file, or in the one with the number of a successor, which a rotation adds.
// Files of retired keys are of no use, and may be there.
func (m *material) currentKey(k serviceKey) (ed25519.PrivateKey, error) {
	current := m.installation.Key(k.purpose)
	var found error
	for number := m.installation.Number(); number > 0; number-- {
		path := m.path(numbered(k.file, number))
		key, err := readKey(path)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			found = cmp.Or(found, err)
		case err != nil:
			return nil, err
		case bytes.Equal(public(key), current):
			return key, nil
		default:
			found = fmt.Errorf("allinone: %s is not the key that the installation file names", path)
		}
	}
	return nil, fmt.Errorf("%w: number %d names %x, which is kept in %s or, after a rotation, in a file such as %s",
		found, m.installation.Number(), current, k.file, numbered(k.file, 2))
}

func (m *material) path(file string) string { return filepath.Join(m.dir, file) }

// serviceKey is the key by which one service signs.
type serviceKey struct {
	file    string
	purpose typev1.Purpose
	to      *ed25519.PrivateKey
}

func (m *material) serviceKeys() []serviceKey {
	return []serviceKey{
		{fileCosignerKey, typev1.Purpose_PURPOSE_COSIGNER, &m.cosigner},
		{filePolicyKey, typev1.Purpose_PURPOSE_POLICY, &m.policy},
		{fileLedgerKey, typev1.Purpose_PURPOSE_LEDGER, &m.ledger},
	}
}

// addressesOf are the addresses that the directory's installation file names, or the given ones for a new installation.
func addressesOf(dir, listen string) (grpcAddress, httpsAddress string, err error) {
	chain, err := readChain(dir)
	if errors.Is(err, fs.ErrNotExist) {
		host, _, err := net.SplitHostPort(listen)
		if err != nil {
			return "", "", fmt.Errorf("allinone: the address to listen on: %w", err)
		}
		if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
			// The installation file tells clients where to connect, and the certificate whom they meet there.
			return "", "", fmt.Errorf("allinone: the address to listen on must name a host that clients connect to, not %q", listen)
		}
		return listen, net.JoinHostPort(host, "0"), nil
	}
	if err != nil {
		return "", "", err
	}
	c := chain[len(chain)-1].Content()
	if len(c.GetGatewayAddresses()) == 0 || len(c.GetHttpsAddresses()) == 0 {
		return "", "", errors.New("allinone: the installation file names no address")
	}
	return c.GetGatewayAddresses()[0], strings.TrimPrefix(c.GetHttpsAddresses()[0], "https://"), nil
}

// prepare makes the data directory, takes an empty one from everybody but its owner, and refuses any other that others can
// read.
func prepare(dir string) error {
	if dir == "" {
		return errors.New("allinone: no data directory")
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("allinone: %w", err)
	}
	info, err := os.Stat(dir)
	if err != nil {
		return fmt.Errorf("allinone: %w", err)
	}
	if info.Mode().Perm()&0o077 == 0 {
		return nil
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) > 0 {
		return errors.Join(fmt.Errorf("allinone: %s: %w: keys are kept in it, so it must be of mode 0700", dir, fs.ErrPermission), err)
	}
	if err := os.Chmod(dir, 0o700); err != nil { //nolint:gosec // a directory needs its x
		return fmt.Errorf("allinone: %w", err)
	}
	return nil
}

// makeInstallation makes keys, authority and the first installation file.
func (m *material) makeInstallation(grpcAddress, httpsAddress string, operators []string, now time.Time) error {
	var err error
	c := &typev1.Installation{
		Number: 1, GatewayAddresses: []string{grpcAddress}, HttpsAddresses: []string{"https://" + httpsAddress},
	}
	for _, k := range m.serviceKeys() {
		if *k.to, err = openKey(m.path(k.file)); err != nil {
			return err
		}
		c.ServiceKeys = append(c.ServiceKeys, &typev1.ServiceKey{Purpose: k.purpose, PublicKey: public(*k.to)})
	}
	var operator ed25519.PrivateKey
	for _, file := range operators {
		if err := os.MkdirAll(filepath.Dir(m.path(file)), 0o700); err != nil {
			return fmt.Errorf("allinone: %w", err)
		}
		key, err := openKey(m.path(file))
		if err != nil {
			return err
		}
		if operator == nil { // Any one signs.
			operator = key
		}
		c.OperatorKeys = append(c.OperatorKeys, public(key))
	}
	slices.SortFunc(c.OperatorKeys, bytes.Compare)
	if err := m.openBootstrap(); err != nil {
		return err
	}
	if err := m.openAuthority(now); err != nil {
		return err
	}
	// Nobody holds the redemption account's private key: money leaves it only by the operator's statement about a payment
	// that was settled to it.
	redemption, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return err
	}
	var id [5]byte
	rand.Read(id[:])
	c.Installation = "dev-" + hex.EncodeToString(id[:])
	c.CaPem = string(m.authority.Certificate())
	c.RedemptionAccount = redemption
	e, err := evidence.Sign(operator, c)
	if err != nil {
		return err
	}
	if m.installation, err = evidence.ParseInstallation(e); err != nil {
		return err
	}
	m.installations = []*evidence.Installation{m.installation}
	file, err := m.installation.MarshalFile()
	if err != nil {
		return err
	}
	return writeFile(m.path(fileInstallation), file)
}

// openAuthority reads the certificate authority, or makes one. The certificate is written last.
func (m *material) openAuthority(now time.Time) error {
	err := m.readAuthority()
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if m.authority, err = devcert.NewAuthority("Halfkey development CA", now); err != nil {
		return err
	}
	pair, err := m.authority.Pair()
	if err != nil {
		return err
	}
	if err := writeFile(m.path(fileAuthorityKey), pair.Key); err != nil {
		return err
	}
	return writeFile(m.path(fileAuthority), pair.Certificate)
}

func (m *material) readAuthority() error {
	certificate, err := os.ReadFile(m.path(fileAuthority))
	if err != nil {
		return fmt.Errorf("allinone: %w", err)
	}
	key, err := os.ReadFile(m.path(fileAuthorityKey))
	if err != nil {
		return fmt.Errorf("allinone: %w", err)
	}
	m.authority, err = devcert.ParseAuthority(devcert.Pair{Certificate: certificate, Key: key})
	return err
}

// openBootstrap reads the bootstrap code, or makes one. Its public half has a file of its own, which is what stays.
func (m *material) openBootstrap() error {
	var err error
	if m.bootstrap, err = openKey(m.path(fileBootstrap)); err != nil {
		return err
	}
	m.bootstrapPublic = public(m.bootstrap)
	return writeFile(m.path(fileBootstrapPublic), []byte(hex.EncodeToString(m.bootstrapPublic)+"\n"))
}

// readBootstrap reads the bootstrap code's public half, and the code unless it was forgotten.
func (m *material) readBootstrap() error {
	b, err := os.ReadFile(m.path(fileBootstrapPublic))
	if err != nil {
		return fmt.Errorf("allinone: %w", err)
	}
	m.bootstrapPublic, err = hex.DecodeString(strings.TrimSpace(string(b)))
	if err != nil || len(m.bootstrapPublic) != ed25519.PublicKeySize {
		return fmt.Errorf("allinone: %s is not a public key", m.path(fileBootstrapPublic))
	}
	m.bootstrap, err = readKey(m.path(fileBootstrap))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil && !bytes.Equal(public(m.bootstrap), m.bootstrapPublic) {
		err = fmt.Errorf("allinone: %s and %s are not of one key", m.path(fileBootstrap), m.path(fileBootstrapPublic))
	}
	return err
}

// forgetBootstrap removes the code after its one use.
func (m *material) forgetBootstrap() error {
	m.bootstrap = nil
	if err := os.Remove(m.path(fileBootstrap)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("allinone: %w", err)
	}
	return nil
}

// bootstrapCode is the one-time private key of the first owner, as text; empty once it was used.
func (m *material) bootstrapCode() string {
	if m.bootstrap == nil {
		return ""
	}
	return base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(m.bootstrap.Seed())
}

// openKey reads an Ed25519 seed in hexadecimal, or makes one.
func openKey(path string) (ed25519.PrivateKey, error) {
	key, err := readKey(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return key, err
	}
	if _, key, err = ed25519.GenerateKey(rand.Reader); err != nil {
		return nil, err
	}
	return key, writeFile(path, []byte(hex.EncodeToString(key.Seed())+"\n"))
}

// readKey reads an Ed25519 seed in hexadecimal.
func readKey(path string) (ed25519.PrivateKey, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("allinone: %w", err)
	}
	seed, err := hex.DecodeString(strings.TrimSpace(string(b)))
	if err != nil || len(seed) != ed25519.SeedSize {
		return nil, fmt.Errorf("allinone: %s is not a key", path)
	}
	return ed25519.NewKeyFromSeed(seed), nil
}

// public is a key's public half.
func public(k ed25519.PrivateKey) []byte { return k.Public().(ed25519.PublicKey) } //nolint:forcetypeassert // crypto/ed25519 says so

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
	return syncDir(filepath.Dir(path))
}

// syncDir makes a directory's entries durable: the installation file must not outlive the keys it names.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
