package ledger

import (
	"database/sql"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"github.com/pressly/goose/v3"

	"github.com/halfkey/halfkey/internal/evidence/evidencetest"
)

// A ledger from before lists could be read by owner is brought up to date: its payments get their owners, and lists find them.
func TestMigrateOwners(t *testing.T) {
	w := evidencetest.New(t)
	path := filepath.Join(t.TempDir(), "ledger.db")
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	dir, err := fs.Sub(migrations, "migrations/sqlite")
	if err != nil {
		t.Fatal(err)
	}
	provider, err := goose.NewProvider(goose.DialectSQLite3, db, dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := provider.UpTo(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	key := func(n byte) []byte { return append([]byte{n}, make([]byte, 31)...) }
	for i, name := range []string{"wallets/a", "wallets/b"} {
		_, err := db.Exec(`INSERT INTO wallet (name, handle, group_key, owner, registration, record, head_number, head_digest)
			VALUES (?, ?, ?, ?, x'', x'', 0, ?)`,
			name, name[8:], key(byte(i)), "owners/"+name[8:], key(9))
		if err != nil {
			t.Fatal(err)
		}
	}
	put := func(id, wallet, payee string, state int, quarter, settled, incoming, due any) {
		t.Helper()
		_, err := db.Exec(`INSERT INTO payment (id, wallet, state, intent, message, rail, asset, unit, units, recipient, payee, deadline_millis,
			expiry_millis, quarter, light, judged_entry, dead_entries, settled_entry, incoming_entry, created_entry, created_millis,
			updated_millis, due_millis) VALUES (?, ?, ?, x'', x'', 1, 'a', 'USD', 1, ?, ?, 1, 1, ?, 1, 1, '[]', ?, ?, 1, 1, 1, ?)`,
			id, wallet, state, key(1), payee, quarter, settled, incoming, due)
		if err != nil {
			t.Fatal(err)
		}
	}
	put("settled", "wallets/a", "wallets/b", 4, 1, 2, 1, nil)
	put("redeemed", "wallets/b", redemption, 3, 1, nil, nil, 1)
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	s, err := openSQLite(path, w.Installations, w.Ledger, nil, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	for _, tt := range []struct {
		f    filter
		want string
	}{
		{filter{parent: "owners/a", owner: true}, "settled"},
		{filter{parent: "owners/b", owner: true}, "redeemed"},
		{filter{parent: "owners/b", owner: true, incoming: true}, "settled"},
		{filter{parent: "wallets/b", incoming: true}, "settled"},
	} {
		err := s.look(t.Context(), func(v *view) error {
			page, next, err := v.page(t.Context(), tt.f, place{millis: 100}, 10)
			if err == nil && (len(page) != 1 || page[0].id != tt.want || next != nil) {
				t.Errorf("%+v: got %v, %v", tt.f, page, next)
			}
			return err
		})
		if err != nil {
			t.Error(err)
		}
	}
}

// TestWholeFile stops a ledger while another program holds its file open: what the file has is all of it, for whoever copies it.
func TestWholeFile(t *testing.T) {
	f := start(t)
	other, err := sql.Open("sqlite", dsn(f.path, "query_only(1)"))
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	wallets := func(db *sql.DB) (n int) {
		t.Helper()
		if err := db.QueryRowContext(t.Context(), "SELECT count(*) FROM wallet").Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	f.houses()
	want := wallets(other)
	f.close()
	b, err := os.ReadFile(f.path)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "copy.db")
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	copied, err := sql.Open("sqlite", dsn(path))
	if err != nil {
		t.Fatal(err)
	}
	defer copied.Close()
	if got := wallets(copied); got != want || want == 0 {
		t.Errorf("the file has %d of %d wallets", got, want)
	}
}
