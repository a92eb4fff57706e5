package rpc

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
	"time"
)

const (
	// lookEvery is how long a new certificate may lie unused. Looking reads three small files.
	lookEvery = time.Second
	// pemBytesMax bounds each of them: a bundle of a hundred authorities fits.
	pemBytesMax = 256 << 10
)

// Material is what credentials are made of, each in PEM.
type Material struct {
	// Certificate is the certificate with its intermediates.
	Certificate []byte
	// Key is its private key.
	Key []byte
	// Authorities are those that sign the services of the installation.
	Authorities []byte
}

// String leaves the key out.
func (Material) String() string { return "rpc.Material" }

// GoString leaves the key out.
func (m Material) GoString() string { return m.String() }

func (m Material) equal(other Material) bool {
	return bytes.Equal(m.Certificate, other.Certificate) && bytes.Equal(m.Key, other.Key) && bytes.Equal(m.Authorities, other.Authorities)
}

// Source is where a program's certificates come from while it runs.
type Source interface {
	// Read returns what is there now.
	Read() (Material, error)
	// Close ends the source.
	Close() error
}

// Files is the source that LoadCredentials reads, by path.
type Files struct {
	// Certificate is the certificate with its intermediates, PEM.
	Certificate string
	// Key is its private key, PEM.
	Key string
	// Authorities are those that sign the services of the installation, PEM.
	Authorities string
}

// Read reads the three files.
func (f Files) Read() (m Material, err error) {
	for _, file := range []struct {
		path string
		into *[]byte
	}{{f.Certificate, &m.Certificate}, {f.Key, &m.Key}, {f.Authorities, &m.Authorities}} {
		if *file.into, err = readBounded(file.path); err != nil {
			return Material{}, fmt.Errorf("rpc: credentials: %w", err)
		}
	}
	return m, nil
}

// Close does nothing: the files are open only while they are read.
func (Files) Close() error { return nil }

func readBounded(path string) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }() // It was only read.
	content, err := io.ReadAll(io.LimitReader(file, pemBytesMax+1))
	if err == nil && len(content) > pemBytesMax {
		err = fmt.Errorf("%s is longer than %d bytes", path, pemBytesMax)
	}
	return content, err
}

// LoadCredentials is WatchCredentials from files.
func LoadCredentials(installation string, files Files, logger *slog.Logger) (*Credentials, error) {
	return WatchCredentials(installation, files, logger)
}

// WatchCredentials makes credentials of a source that is looked at every second, so that certificates and authorities
// rotate without a restart, until Close, which closes the source too. What is new is taken when it was the same at two
// looks: files that are being written, or links that are being swapped, are left alone until they are done. While what is
// there does not fit together the last that did stands, and the logger, nil meaning slog.Default, is told once. Where it
// does not fit at first there are no credentials, and the source is closed.
func WatchCredentials(installation string, source Source, logger *slog.Logger) (*Credentials, error) {
	if logger == nil {
		logger = slog.Default()
	}
	first, err := source.Read()
	if err != nil {
		return nil, errors.Join(err, source.Close())
	}
	c, err := NewCredentials(installation, first)
	if err != nil {
		return nil, errors.Join(err, source.Close())
	}
	ctx, cancel := context.WithCancel(context.Background())
	var looking sync.WaitGroup
	looking.Go(func() { c.look(ctx, source, look{found: first}, logger) })
	c.close = sync.OnceValue(func() error {
		cancel()
		looking.Wait()
		return source.Close()
	})
	return c, nil
}

// look is what was found at one look.
type look struct {
	found Material
	err   string
}

// look takes new material from a source until the context ends.
func (c *Credentials) look(ctx context.Context, source Source, last look, logger *slog.Logger) {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	judged := last
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		found, err := source.Read()
		this := look{found: found}
		if err != nil {
			this.err = err.Error()
		}
		settled := this.same(last)
		last = this
		if !settled || this.same(judged) {
			continue
		}
		judged = this
		if err == nil {
			err = c.take(found)
		}
		if err != nil {
			logger.Warn("new certificates are not usable, the last ones stand", "error", err)
			continue
		}
		leaf := c.current().certificate.Leaf
		logger.Info("certificates were replaced", "serial", leaf.SerialNumber.String(), "not_after", leaf.NotAfter)
	}
}

func (l look) same(other look) bool { return l.err == other.err && l.found.equal(other.found) }

// take puts material in force if it fits together.
func (c *Credentials) take(found Material) error {
	m, err := parse(found)
	if err != nil {
		return err
	}
	c.now.Store(m)
	return nil
}
