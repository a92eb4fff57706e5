package e2e_test

import (
	"context"
	"database/sql"
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/halfkey/halfkey/client"
)

// sizes are what stores hold, by what docs/operate.md calls it.
type sizes map[string]int64

// The figures of docs/operate.md, "Sizing": what a wallet, a version of its guard rails and a payment add to each store. Counts
// are equal to the page's, and bytes lie within a third of it.
func TestOperateSizes(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	const wallets, versions, payments = 4, 8, 64
	s := newSite(t)
	s.up()
	p := s.people(ctx, t, 1)
	p.pay(ctx, t, 0, "first") // The first payment to a recipient, and of a day, makes rows that further ones use.
	before := s.measure(ctx)

	step := func(what string, n int64, do func(n int)) {
		t.Helper()
		for i := range n {
			do(int(i))
		}
		after := s.measure(ctx)
		page := pageSizes(t, what)
		for _, name := range slices.Sorted(maps.Keys(after)) {
			each := float64(after[name]-before[name]) / float64(n)
			want := page[name]
			allowed := 0.0
			if strings.HasSuffix(name, "bytes") {
				allowed = want / 3
			}
			t.Logf("%s adds %.1f %s", what, each, name)
			if math.Abs(each-want) > allowed {
				t.Errorf("%s adds %.1f %s, and the page says %v", what, each, name, want)
			}
		}
		before = after
	}
	step("A wallet", wallets, func(n int) { s.agent(ctx, t, p.owner, fmt.Sprintf("more-%d", n)) })
	step("A version of guard rails", versions, func(n int) {
		rules := client.StandardRules(p.shop.GroupKey())
		rules.Daily = deposited + int64(n) + 1
		if _, err := p.owner.SetGuardRails(ctx, p.payers[0].Wallet(), rules); err != nil {
			t.Fatal(err)
		}
	})
	step("A payment", payments, func(n int) { p.pay(ctx, t, 0, fmt.Sprintf("n-%d", n)) })
}

// pageSizes reads a row of the page's table, by the heads of its columns.
func pageSizes(t *testing.T, what string) map[string]float64 {
	t.Helper()
	page := read(t, filepath.Join("..", "..", "docs", "operate.md"))
	columns := []string{
		"ledger rows", "journal entries", "ledger bytes", "etcd keys of identity", "etcd keys of policy", "etcd keys of cosigner", "etcd bytes",
	}
	row := regexp.MustCompile(`(?m)^\| ` + regexp.QuoteMeta(what) + ` +\|(.*)\|$`).FindStringSubmatch(page)
	if row == nil {
		t.Fatalf("the page has no row for %s", what)
	}
	cells := regexp.MustCompile(`\|`).Split(row[1], -1)
	if len(cells) != len(columns) {
		t.Fatalf("the row of %s has %d columns, want %v", what, len(cells), columns)
	}
	sizes := make(map[string]float64)
	for n, cell := range cells {
		number := regexp.MustCompile(`[ ,]`).ReplaceAllString(cell, "")
		value, err := strconv.ParseFloat(number, 64)
		if err != nil {
			t.Fatal(err)
		}
		sizes[columns[n]] = value
	}
	return sizes
}

// measure counts the rows of the ledger's tables, the bytes that its file has in use, and what each service has in etcd.
func (s *site) measure(ctx context.Context) sizes {
	s.t.Helper()
	copied := filepath.Join(s.t.TempDir(), "ledger.db")
	s.saveLedger(ctx, copied)
	info, err := os.Stat(copied)
	if err != nil {
		s.t.Fatal(err)
	}
	sizes := sizes{"ledger bytes": info.Size()}
	db, err := sql.Open("sqlite", copied)
	if err != nil {
		s.t.Fatal(err)
	}
	defer db.Close()
	for _, table := range tables(s.t, db) {
		var n int64
		if err := db.QueryRowContext(ctx, "SELECT count(*) FROM "+table).Scan(&n); err != nil {
			s.t.Fatal(err)
		}
		sizes["ledger rows"] += n
		if table == "entry" {
			sizes["journal entries"] = n
		}
	}
	etcd, err := clientv3.New((&cluster{program: s.etcd, member: s.member, s: s}).root())
	if err != nil {
		s.t.Fatal(err)
	}
	defer etcd.Close()
	for _, name := range inEtcd {
		rows, err := etcd.Get(ctx, "halfkey/"+name+"/", clientv3.WithPrefix())
		if err != nil {
			s.t.Fatal(err)
		}
		sizes["etcd keys of "+name] = rows.Count
		for _, kv := range rows.Kvs {
			sizes["etcd bytes"] += int64(len(kv.Key) + len(kv.Value))
		}
	}
	return sizes
}

func tables(t testing.TB, db *sql.DB) []string {
	t.Helper()
	rows, err := db.QueryContext(t.Context(), `SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'`)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	var names []string
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			t.Fatal(err)
		}
		names = append(names, name)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return names
}
