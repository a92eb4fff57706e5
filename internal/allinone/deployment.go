package allinone

import (
	"crypto/ed25519"
	"crypto/x509"
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

	example "github.com/halfkey/halfkey/deploy/config"
	"github.com/halfkey/halfkey/internal/authz"
	"github.com/halfkey/halfkey/internal/rpc/devcert"
	"github.com/halfkey/halfkey/services/cosigner"
)

// Deployment is what five programs and their etcd need for development: an installation, a certificate authority, and for each
// program a directory with its own keys, certificates and configuration, and nobody else's.
type Deployment struct {
	// Dir is an installation's data directory, made if it is absent. Only Dir's own files make other keys or certificates, so
	// that no program is given it; the directories below it, named after the programs and etcd, are.
	Dir string
	// Gateway and HTTPS are the addresses that clients connect to, host:port; an installation that is there keeps its own.
	Gateway, HTTPS string
	// EtcdHosts are the names and addresses that etcd answers on.
	EtcdHosts []string
	// User, if above zero, is the user id that the programs run as, to whom their files are given.
	User int
}

// fileBootstrapCode is the bootstrap code as halfkey owner init takes it.
const fileBootstrapCode = "bootstrap.code"

// Files of a program's directory, as the example configurations name them.
const (
	fileTLS        = "tls.pem"
	fileTLSKey     = "tls.key"
	filePublic     = "public.pem"
	filePublicKey  = "public.key"
	fileEtcd       = "etcd.pem"
	fileEtcdKey    = "etcd.key"
	fileStatement  = "statement.key"
	fileEtcdServer = "server.pem"
	fileServerKey  = "server.key"
	fileEtcdRoot   = "root.pem"
	fileRootKey    = "root.key"
)

// etcdRoot is the user of etcd that may make users.
const etcdRoot = "root"

// dirEtcdTLS is what etcd is given, dirEtcdRoot what whoever makes its users is given.
const (
	dirEtcdTLS  = "etcd-tls"
	dirEtcdRoot = "etcd-root"
)

// storing are the services whose store is etcd.
var storing = []authz.Service{authz.Identity, authz.Policy, authz.Cosigner}

// SecondOperatorKey is the file of the second operator's key, from when the installation is made until somebody takes it offline;
// then it is empty.
func (d Deployment) SecondOperatorKey() string {
	path := filepath.Join(d.Dir, fileSecondOperatorKey)
	if _, err := os.Stat(path); err != nil {
		return ""
	}
	return path
}

// Make makes what is missing and issues fresh certificates. It may be repeated: keys stay, and so does a configuration that is
// there.
func (d Deployment) Make(now time.Time) error {
	if err := prepare(d.Dir); err != nil {
		return err
	}
	m, err := openMaterial(d.Dir, d.Gateway, d.HTTPS, []string{fileOperatorKey, fileSecondOperatorKey}, now)
	if err != nil {
		return err
	}
	if _, err := cosigner.OpenKEK(m.path(fileKEK)); err != nil {
		return err
	}
	if code := m.bootstrapCode(); code != "" {
		if err := writeFile(m.path(fileBootstrapCode), []byte(code+"\n")); err != nil {
			return err
		}
	}
	for _, name := range authz.Services() {
		if err := d.program(m, name, now); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return errors.Join(d.etcd(m, now), d.etcdRoot(m, now))
}

// program makes the directory of one program.
func (d Deployment) program(m *material, name authz.Service, now time.Time) error {
	dir, err := d.directory(string(name))
	if err != nil {
		return err
	}
	pair, err := m.authority.Service(m.installation.ID(), name, now)
	if err != nil {
		return err
	}
	dir.pair(fileTLS, fileTLSKey, pair)
	dir.write(fileAuthority, m.authority.Certificate())
	for _, i := range m.installations {
		file, err := i.MarshalFile()
		if err != nil {
			return err
		}
		dir.write(numbered(fileInstallation, i.Number()), file)
	}
	if slices.Contains(storing, name) {
		pair, err := m.authority.Issue(devcert.Leaf{Name: string(name), Usages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}, now)
		if err != nil {
			return err
		}
		dir.pair(fileEtcd, fileEtcdKey, pair)
	}
	switch name {
	case authz.Identity:
		dir.write(fileBootstrapPublic, []byte(hex.EncodeToString(m.bootstrapPublic)+"\n"))
	case authz.Policy:
		dir.key(m.policy)
	case authz.Ledger:
		dir.key(m.ledger)
	case authz.Cosigner:
		dir.key(m.cosigner)
		if err := keepsKEK(m.path(fileKEK), filepath.Join(dir.path, fileKEK)); err != nil {
			return err
		}
		dir.copy(m.path(fileKEK), fileKEK)
	case authz.Gateway:
		pair, err := m.authority.Issue(devcert.Leaf{Hosts: m.publicHosts(), Usages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}, now)
		if err != nil {
			return err
		}
		dir.pair(filePublic, filePublicKey, pair)
	}
	configuration := string(name) + ".yaml"
	text, err := example.Files.ReadFile(configuration)
	if err != nil {
		return err
	}
	dir.writeOnce(configuration, text)
	return dir.err
}

// keepsKEK refuses to put a keyset in the place of another one that has keys which it lacks: shares may be sealed under them.
func keepsKEK(from, to string) error {
	held, err := cosigner.KeysInKEK(to)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	given, err := cosigner.KeysInKEK(from)
	if err != nil {
		return err
	}
	for _, key := range held {
		if !slices.ContainsFunc(given, func(k cosigner.KeyInKEK) bool { return k.ID == key.ID }) {
			return fmt.Errorf("%s has key %d, and %s, which would take its place, has not: copy the one to the other first", to, key.ID, from)
		}
	}
	return nil
}

// etcd makes the directory of etcd: its certificate, and nobody's who may do something in it.
func (d Deployment) etcd(m *material, now time.Time) error {
	dir, err := d.directory(dirEtcdTLS)
	if err != nil {
		return err
	}
	// A member calls itself too.
	server, err := m.authority.Issue(devcert.Leaf{
		Hosts: d.EtcdHosts, Usages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}, now)
	if err != nil {
		return err
	}
	dir.pair(fileEtcdServer, fileServerKey, server)
	dir.write(fileAuthority, m.authority.Certificate())
	// Earlier builds put root's here.
	dir.remove(fileEtcdRoot, fileRootKey)
	return dir.err
}

// etcdRoot makes the directory of etcd's user root, who makes the services' users.
func (d Deployment) etcdRoot(m *material, now time.Time) error {
	dir, err := d.directory(dirEtcdRoot)
	if err != nil {
		return err
	}
	root, err := m.authority.Issue(devcert.Leaf{Name: etcdRoot, Usages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}, now)
	if err != nil {
		return err
	}
	dir.pair(fileEtcdRoot, fileRootKey, root)
	dir.write(fileAuthority, m.authority.Certificate())
	return dir.err
}

// publicHosts are the hosts that the installation file sends clients to.
func (m *material) publicHosts() []string {
	content := m.installation.Content()
	var hosts []string
	for _, address := range append(content.GetGatewayAddresses(), content.GetHttpsAddresses()...) {
		host, _, err := net.SplitHostPort(strings.TrimPrefix(address, "https://"))
		if err == nil && !slices.Contains(hosts, host) {
			hosts = append(hosts, host)
		}
	}
	return hosts
}

// directory is a program's directory that is being filled. After the first error nothing more is written.
type directory struct {
	path string
	user int
	err  error
}

func (d Deployment) directory(name string) (*directory, error) {
	made := &directory{path: filepath.Join(d.Dir, name), user: d.User}
	if err := os.MkdirAll(made.path, 0o700); err != nil {
		return nil, fmt.Errorf("allinone: %w", err)
	}
	made.give(made.path)
	return made, made.err
}

// give makes a file the program's.
func (d *directory) give(path string) {
	if d.err == nil && d.user > 0 {
		d.err = os.Chown(path, d.user, d.user)
	}
}

func (d *directory) write(file string, content []byte) {
	if d.err == nil {
		path := filepath.Join(d.path, file)
		d.err = writeFile(path, content)
		d.give(path)
	}
}

// remove removes files that may be there.
func (d *directory) remove(files ...string) {
	for _, file := range files {
		if err := os.Remove(filepath.Join(d.path, file)); d.err == nil && !errors.Is(err, fs.ErrNotExist) {
			d.err = err
		}
	}
}

// writeOnce leaves a file alone that is there: somebody may have changed it.
func (d *directory) writeOnce(file string, content []byte) {
	if _, err := os.Stat(filepath.Join(d.path, file)); errors.Is(err, fs.ErrNotExist) {
		d.write(file, content)
	} else if d.err == nil {
		d.err = err
	}
}

func (d *directory) pair(certificate, key string, p devcert.Pair) {
	d.write(key, p.Key)
	d.write(certificate, p.Certificate)
}

func (d *directory) key(k ed25519.PrivateKey) {
	d.write(fileStatement, []byte(hex.EncodeToString(k.Seed())+"\n"))
}

func (d *directory) copy(from, file string) {
	if d.err != nil {
		return
	}
	b, err := os.ReadFile(from)
	defer clear(b)
	if d.err = err; err == nil {
		d.write(file, b)
	}
}
