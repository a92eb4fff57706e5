package ledger

import (
	"context"
	"crypto"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/pressly/goose/v3"
	sqlitedriver "modernc.org/sqlite"
	sqlitelib "modernc.org/sqlite/lib"

	"github.com/halfkey/halfkey/internal/evidence"
)

//go:embed migrations
var migrations embed.FS

const (
	// busyMillis is how long a connection waits for another: only a checkpoint or a backup tool can be in the way.
	busyMillis = 5000
	// readersMin is the least number of reading connections.
	readersMin = 4
)

// openSQLite opens or makes the database file. It takes the lock beside it, brings the schema up to date, and refuses a file
// of another installation, and one that has accepted a higher file of chain's.
func openSQLite(
	path string, chain []*evidence.Installation, key crypto.Signer, clock func() time.Time, logger *slog.Logger,
) (_ *store, err error) {
	path, err = filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	unlock, err := lockFile(path + ".lock")
	if err != nil {
		return nil, err
	}
	var closers []func() error
	closeAll := func() error {
		var errs []error
		for n := len(closers) - 1; n >= 0; n-- {
			errs = append(errs, closers[n]())
		}
		return errors.Join(append(errs, unlock())...)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, closeAll())
		}
	}()
	spare, err := newReserve(path+".reserve", reserveBytes, logger)
	if err != nil {
		return nil, err
	}
	// The file holds what people paid for: nobody else on the machine reads it.
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := f.Close(); err != nil {
		return nil, err
	}
	ctx := context.Background()
	db, err := sql.Open("sqlite", dsn(path,
		"journal_mode(WAL)", "synchronous(FULL)", "foreign_keys(1)", fmt.Sprintf("busy_timeout(%d)", busyMillis), "fullfsync(1)"))
	if err != nil {
		return nil, err
	}
	closers = append(closers, db.Close)
	db.SetMaxOpenConns(1)
	i := chain[len(chain)-1]
	if err := migrate(ctx, db, i.ID()); err != nil {
		return nil, err
	}
	if err := accept(ctx, db, chain); err != nil {
		return nil, err
	}
	writer, err := db.Conn(ctx)
	if err != nil {
		return nil, err
	}
	// The last connection that closes would do the same, but not if it is one for reading, which a call that was cut off may still hold.
	closers = append(closers, writer.Close, func() error { moveLog(writer); return nil })
	reader, err := sql.Open("sqlite", dsn(path, "query_only(1)", fmt.Sprintf("busy_timeout(%d)", busyMillis)))
	if err != nil {
		return nil, err
	}
	closers = append(closers, reader.Close)
	reader.SetMaxOpenConns(max(readersMin, runtime.GOMAXPROCS(0)))
	reader.SetMaxIdleConns(max(readersMin, runtime.GOMAXPROCS(0)))
	s := &store{
		dialect: sqlite, installation: i, key: key, clock: clock, constraint: sqliteConstraint, reserve: spare, close: closeAll,
		writer: writer, reader: reader,
	}
	// An engine's connection ends when its last statement does, and the last connection moves the log into the file.
	closers = append(closers, s.unprepare)
	if err := s.prepare(ctx); err != nil {
		return nil, err
	}
	spare.restore() // On a full disk it cannot be, and the ledger starts all the same: to take freezes.
	return s, nil
}

// moveLog moves what is in the write-ahead log into the file and empties the log, so that a copy of a stopped ledger's file is
// whole. What cannot be moved, on a full disk or while another program reads, stays in the log and is read from there.
func moveLog(writer *sql.Conn) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*busyMillis*time.Millisecond)
	defer cancel()
	_, _ = writer.ExecContext(ctx, "PRAGMA wal_checkpoint(TRUNCATE)")
}

func dsn(path string, pragmas ...string) string {
	q := url.Values{"_pragma": pragmas}
	u := url.URL{Scheme: "file", Opaque: (&url.URL{Path: filepath.ToSlash(path)}).EscapedPath(), RawQuery: q.Encode()}
	return u.String()
}

// migrate brings the schema up to date and binds the file to its installation.
func migrate(ctx context.Context, db *sql.DB, installation string) error {
	dir, err := fs.Sub(migrations, "migrations/sqlite")
	if err != nil {
		return err
	}
	provider, err := goose.NewProvider(goose.DialectSQLite3, db, dir)
	if err != nil {
		return err
	}
	if _, err := provider.Up(ctx); err != nil {
		return fmt.Errorf("migrate: %w", err)
	}
	if _, err := db.ExecContext(ctx, `INSERT INTO ledger (one, installation) VALUES (1, ?) ON CONFLICT DO NOTHING`, installation); err != nil {
		return err
	}
	var holds string
	if err := db.QueryRowContext(ctx, `SELECT installation FROM ledger`).Scan(&holds); err != nil {
		return err
	}
	if holds != installation {
		return fmt.Errorf("the database is the ledger of installation %q", holds)
	}
	return nil
}

// accept keeps the highest installation file that a ledger on this file was given, and refuses a chain that ends before it: a ledger
// that was rolled back would record payments on what retired keys sign.
func accept(ctx context.Context, db *sql.DB, chain []*evidence.Installation) error {
	var held string
	if err := db.QueryRowContext(ctx, `SELECT accepted FROM ledger`).Scan(&held); err != nil {
		return err
	}
	next, err := evidence.Advance(held, chain)
	if err != nil || next == held {
		return err
	}
	result, err := db.ExecContext(ctx, `UPDATE ledger SET accepted = ? WHERE accepted = ?`, next, held)
	if err != nil {
		return err
	}
	if n, err := result.RowsAffected(); err != nil || n != 1 {
		return errors.Join(errors.New("another ledger has accepted an installation file at the same time"), err)
	}
	return nil
}

// sqliteConstraint reports whether an error lies in one row and not in the file or the machine.
func sqliteConstraint(err error) bool {
	var e *sqlitedriver.Error
	return errors.As(err, &e) && (e.Code()&0xff == sqlitelib.SQLITE_CONSTRAINT || e.Code()&0xff == sqlitelib.SQLITE_MISMATCH)
}
