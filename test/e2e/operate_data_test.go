package e2e_test

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"errors"
	"flag"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/halfkey/halfkey/client"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// keepData makes the next file of testdata/data.
var keepData = flag.String("data.keep", "",
	"the file in which TestDataOfEarlierVersions keeps an installation of this version, such as testdata/data/v2.tar.gz")

// etcdCopy is the snapshot of etcd in such a file. Everything else stands where it stood.
const etcdCopy = "etcd.snapshot"

// archiveMax bounds what is unpacked: an installation with a few payments has some hundred KiB.
const archiveMax = 64 << 20

// Every file of testdata/data is an installation as an earlier version left it: configurations, keys, stores and the homes of an owner
// and two agents. This version opens it, as docs/operate.md says under "Upgrading", shows and verifies all that was, and goes on paying.
func TestDataOfEarlierVersions(t *testing.T) {
	t.Parallel()
	if *keepData != "" {
		keep(t, *keepData)
	}
	archives, err := filepath.Glob(filepath.Join("testdata", "data", "*.tar.gz"))
	if err != nil || len(archives) == 0 {
		t.Fatalf("there is no data of an earlier version: %v", err)
	}
	for _, archive := range archives {
		t.Run(filepath.Base(archive), func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
			defer cancel()
			s := openData(t, archive)
			s.etcd.start()
			for _, p := range s.programs {
				p.start()
			}
			s.awaitReady()
			s.wantKept(ctx, t)
		})
	}
}

// kept are the agents of such a file, by the names of their homes.
func (s *site) kept(t *testing.T, name string) *client.Agent {
	t.Helper()
	a, err := s.client(t, name).Agent("")
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// wantKept demands what keep has left.
func (s *site) wantKept(ctx context.Context, t *testing.T) {
	t.Helper()
	payer, shop := s.kept(t, "payer-0"), s.kept(t, "shop")
	owner, err := s.client(t, "owner").Owner()
	if err != nil {
		t.Fatal(err)
	}
	verified := func() {
		t.Helper()
		for _, a := range []*client.Agent{payer, shop} {
			journal, err := a.Journal(ctx)
			if err == nil {
				err = journal.Verify(s.client(t, "observer").Installation())
			}
			if err != nil {
				t.Errorf("journal of %s: %v", a.Handle(), err)
			}
		}
	}
	verified()
	states := statesOf(ctx, t, payer, false)
	if asked := states["asked"]; len(states) != 4 || states["first"] != settled || states["second"] != settled ||
		states["refused"] != typev1.PaymentState_PAYMENT_STATE_DENIED ||
		asked != typev1.PaymentState_PAYMENT_STATE_PENDING_REVIEW && asked != typev1.PaymentState_PAYMENT_STATE_EXPIRED {
		t.Errorf("the payments are %v", states)
	}
	wantBalance(ctx, t, payer, deposited-2*usd)
	wantBalance(ctx, t, shop, 2*usd)
	// The freeze of before stops the wallet until the owner ends it.
	order := client.Order{ID: "third", Recipient: shop.Wallet(), Units: usd}
	if _, err := payer.Pay(ctx, order); client.ReasonOf(err) != typev1.Reason_REASON_FROZEN {
		t.Fatalf("a payment from a wallet that was left frozen: %v, want FROZEN", err)
	}
	if _, err := owner.Unfreeze(ctx, payer.Wallet(), "kept"); err != nil {
		t.Fatal(err)
	}
	if paid, err := payer.Pay(ctx, order); err != nil || paid.State != settled {
		t.Fatalf("a payment: %v, %v, want SETTLED", paid, err)
	}
	// What was paid before is not paid again, and other guard rails can follow.
	if paid, err := payer.Pay(ctx, client.Order{ID: "first", Recipient: shop.Wallet(), Units: usd, Purpose: "load"}); err != nil ||
		paid.State != settled {
		t.Errorf("the repeat of a payment of before: %v, %v", paid, err)
	}
	rules := client.StandardRules(shop.GroupKey())
	rules.AutoApprove = 9 * usd
	if _, err := owner.SetGuardRails(ctx, payer.Wallet(), rules); err != nil {
		t.Fatal(err)
	}
	if paid, err := payer.Pay(ctx, client.Order{ID: "fourth", Recipient: shop.Wallet(), Units: 8 * usd}); err != nil || paid.State != settled {
		t.Errorf("a payment under new guard rails: %v, %v", paid, err)
	}
	wantBalance(ctx, t, payer, deposited-11*usd)
	verified()
}

// keep makes an installation, uses it, stops it, and puts it into a file.
func keep(t *testing.T, file string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	s := newSite(t)
	s.up()
	p := s.people(ctx, t, 1)
	p.pay(ctx, t, 0, "first")
	p.pay(ctx, t, 0, "second")
	for id, units := range map[string]int64{"asked": 6 * usd, "refused": 101 * usd} {
		if _, err := p.payers[0].Pay(ctx, client.Order{ID: id, Recipient: p.shop.Wallet(), Units: units, Deadline: time.Hour}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := p.owner.Freeze(ctx, p.payers[0].Wallet(), "kept"); err != nil {
		t.Fatal(err)
	}
	for _, p := range s.programs {
		p.stop(t)
	}
	c := &cluster{program: s.etcd, member: s.member, s: s}
	c.save(ctx, filepath.Join(s.made.Dir, etcdCopy))
	c.stop(t)
	if err := os.RemoveAll(s.member.Dir); err != nil {
		t.Fatal(err)
	}
	// The reserve of the ledger's disk is empty space, and made anew.
	if err := os.Remove(s.ledgerFile() + ".reserve"); err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	if err := pack(file, s.made.Dir); err != nil {
		t.Fatal(err)
	}
}

// openData unpacks a file into a site that is not up yet, on addresses that are free now, of which a successor of its installation file
// tells clients. Certificates are fresh: its own have expired.
func openData(t *testing.T, archive string) *site {
	t.Helper()
	s := newSite(t)
	addresses := make(map[string]string)
	for name, p := range s.programs {
		addresses[name] = read(t, p.config)
	}
	if err := os.RemoveAll(s.made.Dir); err != nil {
		t.Fatal(err)
	}
	if err := unpack(s.made.Dir, archive); err != nil {
		t.Fatal(err)
	}
	for name, p := range s.programs {
		write(t, p.config, readdressed(t, read(t, p.config), addresses[name]))
	}
	s.succeed([]string{s.made.Gateway})
	s.process.ready.InstallationFile = filepath.Join(s.made.Dir, "installation.2.json")
	(&cluster{program: s.etcd, member: s.member, s: s}).putBack(filepath.Join(s.made.Dir, etcdCopy))
	return s
}

// readdressed is a configuration with the addresses of another one, and with the successor.
func readdressed(t *testing.T, kept, fresh string) string {
	t.Helper()
	lines := strings.Split(kept, "\n")
	for n, line := range lines {
		key, _, ok := strings.Cut(line, ":")
		if !ok || strings.HasPrefix(strings.TrimSpace(line), "#") {
			continue
		}
		if key == "installation" {
			lines[n] = "installation: [installation.json, installation.2.json]"
		}
		if !strings.Contains(line, "127.0.0.1:") {
			continue
		}
		found := false
		for other := range strings.SplitSeq(fresh, "\n") {
			if strings.HasPrefix(other, key+":") {
				lines[n], found = other, true
			}
		}
		if !found {
			t.Fatalf("the configuration of now has no %s", key)
		}
	}
	return strings.Join(lines, "\n")
}

// pack writes a directory to a new file, without times and owners.
func pack(file, dir string) (err error) {
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	z, err := gzip.NewWriterLevel(f, gzip.BestCompression)
	if err != nil {
		return err
	}
	w := tar.NewWriter(z)
	err = filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		err = w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: filepath.ToSlash(name), Mode: 0o600, Size: int64(len(b))})
		if err == nil {
			_, err = w.Write(b)
		}
		return err
	})
	return errors.Join(err, w.Close(), z.Close())
}

// unpack is the inverse of pack.
func unpack(dir, file string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		return err
	}
	r := tar.NewReader(io.LimitReader(z, archiveMax))
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if !filepath.IsLocal(h.Name) {
			return errors.New(h.Name + " is outside of the directory")
		}
		b, err := io.ReadAll(r)
		if err != nil {
			return err
		}
		path := filepath.Join(dir, filepath.FromSlash(h.Name))
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			return err
		}
		if err := os.WriteFile(path, b, 0o600); err != nil {
			return err
		}
	}
}
