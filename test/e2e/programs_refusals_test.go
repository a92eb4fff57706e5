package e2e_test

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/halfkey/halfkey/internal/rpc/devcert"
)

// change replaces text in a file that must hold it.
func change(t testing.TB, path, from, to string) {
	t.Helper()
	text := read(t, path)
	if !strings.Contains(text, from) {
		t.Fatalf("%s does not hold %q", path, from)
	}
	write(t, path, strings.Replace(text, from, to, 1))
}

// What is wrong with a configuration, or with a file that it names, is named by check, and the program does not start with it.
func TestProgramsMisconfigured(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	another := newSite(t)
	for _, p := range s.programs {
		if code, stdout, stderr := p.run("check"); code != 0 || !strings.HasSuffix(stdout, "every file is there and fits.\n") {
			t.Errorf("%s as it was made: check says %d %q %q", p.name, code, stdout, stderr)
		}
		if code, stdout, _ := p.run("version"); code != 0 || !strings.HasPrefix(stdout, "halfkey "+p.name+" ") {
			t.Errorf("%s: version says %d %q", p.name, code, stdout)
		}
		if code, _, stderr := p.run("check", "--no-such-flag"); code != 2 || !strings.Contains(stderr, "no-such-flag") {
			t.Errorf("%s: a flag that is none: %d %q", p.name, code, stderr)
		}
	}
	for _, tt := range []struct {
		name, program string
		spoil         func(t *testing.T, p *program, dir string)
		want          []string
	}{
		{"a key that is not known", "policy", func(t *testing.T, p *program, _ string) {
			write(t, p.config, read(t, p.config)+"approve_everything: true\n")
		}, []string{"approve_everything"}},
		{"a key that is missing", "cosigner", func(t *testing.T, p *program, _ string) {
			change(t, p.config, "key_encryption_key: kek.json\n", "")
		}, []string{"key_encryption_key: the file of the key-encryption key"}},
		{"an address without a port", "gateway", func(t *testing.T, p *program, _ string) {
			change(t, p.config, "https: 127", "https: localhost # 127")
		}, []string{"https: want host:port"}},
		{"no installation file", "ledger", func(t *testing.T, _ *program, dir string) {
			remove(t, filepath.Join(dir, "installation.json"))
		}, []string{"installation.json", "no such file"}},
		{"an installation file that was changed", "ledger", func(t *testing.T, _ *program, dir string) {
			change(t, filepath.Join(dir, "installation.json"), `"payload": "`, `"payload": "AAAA`)
		}, []string{"installation"}},
		{"another installation's file", "policy", func(t *testing.T, _ *program, dir string) {
			write(t, filepath.Join(dir, "installation.json"), read(t, filepath.Join(another.made.Dir, "installation.json")))
		}, []string{"installation"}},
		{
			"no certificate", "identity", func(t *testing.T, _ *program, dir string) { remove(t, filepath.Join(dir, "tls.pem")) },
			[]string{"tls.pem", "no such file"},
		},
		{"another service's certificate", "ledger", func(t *testing.T, _ *program, dir string) {
			for _, file := range []string{"tls.pem", "tls.key"} {
				write(t, filepath.Join(dir, file), read(t, filepath.Join(s.made.Dir, "policy", file)))
			}
		}, []string{"tls.certificate: is the policy's, want the ledger's"}},
		{"another certificate's key", "identity", func(t *testing.T, _ *program, dir string) {
			write(t, filepath.Join(dir, "tls.key"), read(t, filepath.Join(s.made.Dir, "policy", "tls.key")))
		}, []string{"private key does not match"}},
		{"an authority that is none", "cosigner", func(t *testing.T, _ *program, dir string) {
			write(t, filepath.Join(dir, "ca.pem"), "nobody")
		}, []string{"PEM"}},
		{"another key than the installation's", "ledger", func(t *testing.T, _ *program, dir string) {
			write(t, filepath.Join(dir, "statement.key"), read(t, filepath.Join(s.made.Dir, "policy", "statement.key")))
		}, []string{"statement_key", "is not the key that installation file number 1 names for the ledger"}},
		{"a key that is no key", "policy", func(t *testing.T, _ *program, dir string) {
			write(t, filepath.Join(dir, "statement.key"), "abcd")
		}, []string{"statement.key is not a key: want 64 hexadecimal digits"}},
		{"a key that others may read", "policy", func(t *testing.T, _ *program, dir string) {
			if err := os.Chmod(filepath.Join(dir, "statement.key"), 0o644); err != nil {
				t.Fatal(err)
			}
		}, []string{"statement.key", "chmod 600"}},
		{
			"no key-encryption key", "cosigner", func(t *testing.T, _ *program, dir string) { remove(t, filepath.Join(dir, "kek.json")) },
			[]string{"kek.json"},
		},
		{"a key-encryption key that is none", "cosigner", func(t *testing.T, _ *program, dir string) {
			write(t, filepath.Join(dir, "kek.json"), "{}")
		}, []string{"kek.json"}},
		{
			"no certificate for etcd", "policy", func(t *testing.T, _ *program, dir string) { remove(t, filepath.Join(dir, "etcd.pem")) },
			[]string{"etcd.pem", "no such file"},
		},
		{"a bootstrap key that is none", "identity", func(t *testing.T, _ *program, dir string) {
			write(t, filepath.Join(dir, "bootstrap.pub"), "abcd")
		}, []string{"bootstrap.pub is not a public key"}},
		{
			"no public certificate", "gateway", func(t *testing.T, _ *program, dir string) { remove(t, filepath.Join(dir, "public.pem")) },
			[]string{"public.pem"},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := s.programs[tt.program]
			dir := filepath.Dir(p.config)
			before := t.TempDir()
			if err := os.CopyFS(before, os.DirFS(dir)); err != nil {
				t.Fatal(err)
			}
			defer func() {
				entries, err := os.ReadDir(before)
				if err != nil {
					t.Fatal(err)
				}
				for _, e := range entries {
					path := filepath.Join(dir, e.Name())
					write(t, path, read(t, filepath.Join(before, e.Name())))
					if err := os.Chmod(path, 0o600); err != nil {
						t.Fatal(err)
					}
				}
			}()
			tt.spoil(t, p, dir)
			for _, args := range [][]string{{"check"}, {"serve"}, nil} {
				code, stdout, stderr := p.run(args...)
				if code != 1 || stdout != "" {
					t.Errorf("%v: exit code %d, want 1, and %q", args, code, stdout)
				}
				for _, want := range append(tt.want, tt.program+": error: ") {
					if !strings.Contains(stderr, want) {
						t.Errorf("%v says %q and not %q", args, stderr, want)
					}
				}
				for _, secret := range []string{"statement.key", "tls.key"} {
					if b, err := os.ReadFile(filepath.Join(dir, secret)); err == nil && len(b) > 8 &&
						strings.Contains(stderr, strings.TrimSpace(string(b))) {
						t.Errorf("%v shows %s", args, secret)
					}
				}
			}
		})
	}
}

func remove(t testing.TB, path string) {
	t.Helper()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
}

// A second ledger on one file does not start and says why, and the first goes on; when that has died the next one starts.
func TestProgramsOneLedger(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	first := s.programs["ledger"]
	first.start()
	first.awaitReady()
	addresses := free(t, 2)
	config := filepath.Join(filepath.Dir(first.config), "second.yaml")
	text := read(t, first.config)
	for i, key := range []string{"listen: ", "operations: "} {
		_, rest, _ := strings.Cut(text, "\n"+key)
		old, _, _ := strings.Cut(rest, "\n")
		text = strings.Replace(text, "\n"+key+old, "\n"+key+addresses[i], 1)
	}
	write(t, config, text)
	second := s.add("ledger-2", binary(t, "ledger"), config, addresses[1])
	code, _, stderr := second.run()
	if code != 1 || !strings.Contains(stderr, "another ledger has this database open") {
		t.Errorf("a second ledger: %d %q", code, stderr)
	}
	if !first.ready() {
		t.Error("the first ledger does not serve")
	}
	first.kill()
	second.start()
	second.awaitReady()
}

// A service whose user etcd does not know, or whose namespace is another's, says so and tries again, and serves as soon as that was
// put right; until then it is not ready.
func TestProgramsUnknownToEtcd(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 2*comesUp)
	defer cancel()
	s := newSite(t)
	s.etcd.start()
	s.users()

	policy, identity := s.programs["policy"], s.programs["identity"]
	authority := s.authority(t)
	stranger, err := authority.Issue(devcert.Leaf{Name: "stranger", Usages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Dir(policy.config)
	own := devcert.Pair{Certificate: []byte(read(t, filepath.Join(dir, "etcd.pem"))), Key: []byte(read(t, filepath.Join(dir, "etcd.key")))}
	write(t, filepath.Join(dir, "etcd.pem"), string(stranger.Certificate))
	write(t, filepath.Join(dir, "etcd.key"), string(stranger.Key))
	change(t, identity.config, "namespace: halfkey/identity", "namespace: halfkey/cosigner")

	for _, p := range []*program{policy, identity} {
		p.start()
		awaits(t, p.name+" says that etcd denies it", func() bool {
			for line := range strings.Lines(p.logs.String()) {
				var said struct{ Msg, Cause string }
				if json.Unmarshal([]byte(line), &said) == nil && said.Msg == "not started yet, trying again" &&
					strings.Contains(said.Cause, "permission denied") {
					return true
				}
			}
			return false
		})
		if p.ready() || !p.running() {
			t.Errorf("%s: ready %t, running %t", p.name, p.ready(), p.running())
		}
	}
	write(t, filepath.Join(dir, "etcd.pem"), string(own.Certificate))
	write(t, filepath.Join(dir, "etcd.key"), string(own.Key))
	policy.awaitReady()
	if identity.ready() {
		t.Error("identity serves on the co-signer's namespace")
	}
	identity.kill()
	change(t, identity.config, "namespace: halfkey/cosigner", "namespace: halfkey/identity")
	for _, name := range []string{"identity", "ledger", "cosigner", "gateway"} {
		s.programs[name].start()
	}
	s.awaitReady()
	s.people(ctx, t, 1).pay(ctx, t, 0, "first")
}

// authority is the one that signs the site's certificates.
func (s *site) authority(t testing.TB) *devcert.Authority {
	t.Helper()
	a, err := devcert.ParseAuthority(devcert.Pair{
		Certificate: []byte(read(t, filepath.Join(s.made.Dir, "ca.pem"))), Key: []byte(read(t, filepath.Join(s.made.Dir, "ca.key"))),
	})
	if err != nil {
		t.Fatal(err)
	}
	return a
}
