package ledger

import (
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync/atomic"
	"time"

	sqlitedriver "modernc.org/sqlite"
	sqlitelib "modernc.org/sqlite/lib"
)

const (
	// reserveBytes is the disk that the ledger keeps from everything but freezes. A freeze alone in its transaction appends some ten
	// pages of 4 KiB to SQLite's log, so it is room for 200 of them one by one, and for many more that arrive together, before
	// SQLite has moved a single page of its log into the file.
	reserveBytes = 8 << 20
	// reserveEvery spaces out attempts to have the reserve again.
	reserveEvery = time.Second
)

// reserve is a file beside the database that holds nothing, in blocks of the disk that are its own. When a freeze meets a full disk
// it is emptied and the freeze is stored in its place; until it could be made again, nothing but freezes is stored, so that nothing
// else gets at that room. Only the combiner's writer changes it after it was opened.
type reserve struct {
	path   string
	size   int64
	logger *slog.Logger

	whole atomic.Bool
	tried time.Time // When it could last not be made.
}

// held is the size of the file now, 0 where it is not there.
func (r *reserve) held() int64 {
	info, err := os.Stat(r.path)
	if err != nil {
		return 0
	}
	return info.Size()
}

// isWhole reports whether a freeze that meets a full disk would find all of the room: that nobody has deleted the file, too.
func (r *reserve) isWhole() bool { return r.whole.Load() && r.held() == r.size }

// newReserve makes room by giving up the reserve that an earlier process has left, because opening a database needs some.
func newReserve(path string, size int64, logger *slog.Logger) (*reserve, error) {
	r := &reserve{path: path, size: size, logger: logger}
	if err := r.empty(); err != nil {
		return nil, err
	}
	return r, nil
}

var errDiskFull = errors.New("the ledger's disk is full, and what room it keeps is for freezes")

// restore reports whether the reserve is whole, and tries to make it so now and then.
func (r *reserve) restore() bool {
	if r == nil || r.whole.Load() {
		return true
	}
	if !r.tried.IsZero() && time.Since(r.tried) < reserveEvery {
		return false
	}
	err := r.fill()
	if err == nil {
		r.whole.Store(true)
		if !r.tried.IsZero() {
			r.logger.Info("the disk has room again: everything is recorded")
		}
		return true
	}
	if r.tried.IsZero() {
		r.logger.Error("the disk is full: nothing but freezes is recorded until there is room", "reserve", r.path, "error", err)
	}
	r.tried = time.Now()
	return false
}

// spend gives the reserve's room away, and reports whether there was any.
func (r *reserve) spend() bool {
	if r == nil || !r.whole.Load() {
		return false
	}
	r.whole.Store(false)
	r.tried = time.Now()
	if err := r.empty(); err != nil {
		r.logger.Error("the reserve for freezes could not be given up", "reserve", r.path, "error", err)
		return false
	}
	r.logger.Error("the disk is full: freezes are recorded in the reserve, and nothing else is until there is room", "reserve", r.path)
	return true
}

// fill gives the file its blocks. Without all of them it has none.
func (r *reserve) fill() error {
	f, err := os.OpenFile(r.path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	if err = allocate(f, r.size); err == nil {
		err = f.Sync()
	}
	if err != nil {
		return errors.Join(err, f.Truncate(0), f.Close())
	}
	return f.Close()
}

// empty gives the blocks back. A file system that frees them only with its own next transaction is made to do so.
func (r *reserve) empty() error {
	f, err := os.OpenFile(r.path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("reserve: %w", err)
	}
	info, err := f.Stat()
	if err == nil && info.Size() > 0 {
		if err = f.Truncate(0); err == nil {
			err = f.Sync()
		}
	}
	return errors.Join(err, f.Close())
}

// sqliteFull reports whether there was no room, or none within a quota, for what was to be written.
func sqliteFull(err error) bool {
	var e *sqlitedriver.Error
	if !errors.As(err, &e) {
		return false
	}
	switch e.Code() {
	case sqlitelib.SQLITE_IOERR_WRITE, sqlitelib.SQLITE_IOERR_SHMSIZE:
		return true
	}
	return e.Code()&0xff == sqlitelib.SQLITE_FULL
}

// writeBlocks writes what does not compress: a file system that compresses would keep no room for zeros.
func writeBlocks(f *os.File, size int64) error {
	block := make([]byte, 64<<10)
	for at := int64(0); at < size; at += int64(len(block)) {
		rand.Read(block)
		if _, err := f.WriteAt(block[:min(int64(len(block)), size-at)], at); err != nil {
			return err
		}
	}
	return nil
}
