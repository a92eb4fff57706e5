package canary

import (
	"bytes"
	"sync"
)

// Said collects what a program or a server says, while it runs: it may be written and read at once. Its zero value is empty.
type Said struct {
	mu    sync.Mutex
	bytes bytes.Buffer
}

// Write implements io.Writer.
func (s *Said) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.bytes.Write(b)
}

// String is all of it so far.
func (s *Said) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.bytes.String()
}
