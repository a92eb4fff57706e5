package ledger

import (
	"context"
	"errors"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/halfkey/halfkey/internal/chain/solanarpc"
	"github.com/halfkey/halfkey/internal/fault"
	"github.com/halfkey/halfkey/internal/resource"
	ledgerv1 "github.com/halfkey/halfkey/proto/gen/halfkey/ledger/v1"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

const (
	// hashShared is how long one block hash is handed out: it costs calls to every endpoint, and a younger one is hardly better.
	hashShared = 5 * time.Second
	// hashAgeMax is how long after it was handed out a block hash may be pinned: half of its life is then left to sign and send, so that a
	// message is not pinned to die.
	hashAgeMax = 60 * time.Second
	// hashesKept bounds what was handed out: one each hashShared for 2 minutes, and some for clocks that jump.
	hashesKept = 32
	// hashTimeout bounds asking the endpoints, whoever waits for it.
	hashTimeout = 15 * time.Second
)

// hashes remembers the block hashes that were handed out, with all that proves later that a message with one is dead. They are kept in
// memory alone: after a restart a client takes a fresh one.
type hashes struct {
	flight singleflight.Group
	mu     sync.Mutex
	handed []handedHash // Oldest first.
}

type handedHash struct {
	solanarpc.BlockHash
	at time.Time
}

// newest is the hash that was handed out last, if it is still shared.
func (h *hashes) newest(now time.Time) (solanarpc.BlockHash, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.handed) == 0 {
		return solanarpc.BlockHash{}, false
	}
	last := h.handed[len(h.handed)-1]
	age := now.Sub(last.at)
	return last.BlockHash, age >= 0 && age <= hashShared
}

// keep notes that a hash is handed out. One that was handed out before keeps its first time.
func (h *hashes) keep(hash solanarpc.BlockHash, now time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, known := range h.handed {
		if known.BlockHash == hash && now.Sub(known.at) >= 0 && now.Sub(known.at) <= hashShared {
			return
		}
	}
	h.handed = append(h.handed, handedHash{hash, now})
	h.handed = h.handed[max(0, len(h.handed)-hashesKept):]
}

// find is a hash that was handed out, at most hashAgeMax ago.
func (h *hashes) find(hash [32]byte, now time.Time) (solanarpc.BlockHash, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, known := range h.handed {
		if age := now.Sub(known.at); known.Hash == hash && age >= 0 && age <= hashAgeMax {
			return known.BlockHash, true
		}
	}
	return solanarpc.BlockHash{}, false
}

// GetBlockHash hands out a recent block hash that every endpoint has and takes.
func (s *Service) GetBlockHash(ctx context.Context, req *ledgerv1.GetBlockHashRequest) (*ledgerv1.GetBlockHashResponse, error) {
	hash, err := s.blockHash(ctx, req)
	if err != nil {
		return nil, s.answer(ctx, "GetBlockHash", err)
	}
	return &ledgerv1.GetBlockHashResponse{BlockHash: hash.Hash[:], LastValidHeight: hash.LastValidHeight}, nil
}

func (s *Service) blockHash(ctx context.Context, req *ledgerv1.GetBlockHashRequest) (solanarpc.BlockHash, error) {
	if _, err := resource.ParseWallet(req.GetWallet()); err != nil {
		return solanarpc.BlockHash{}, err
	}
	if r := s.chain.takes(req.GetNetwork(), "network"); r != nil {
		return solanarpc.BlockHash{}, r
	}
	if _, _, err := s.pin(ctx, req.GetWallet()); err != nil {
		return solanarpc.BlockHash{}, err
	}
	if hash, ok := s.chain.hashes.newest(s.clock()); ok {
		return hash, nil
	}
	// Whoever gives up waiting does not end it for the others.
	asked := s.chain.hashes.flight.DoChan("", func() (any, error) {
		asking, cancel := context.WithTimeout(context.WithoutCancel(ctx), hashTimeout)
		defer cancel()
		hash, err := s.chain.client.BlockHash(asking)
		if err == nil {
			s.chain.hashes.keep(hash, s.clock())
		}
		return hash, err
	})
	select {
	case <-ctx.Done():
		return solanarpc.BlockHash{}, fault.Wrap(ctx.Err(), movedNo)
	case answer := <-asked:
		if answer.Err != nil {
			return solanarpc.BlockHash{}, unreachable(answer.Err)
		}
		hash, ok := answer.Val.(solanarpc.BlockHash)
		if !ok {
			return solanarpc.BlockHash{}, errors.New("the block hash is none")
		}
		return hash, nil
	}
}

// unreachable says that the chain could not be asked, or that its endpoints do not say the same.
func unreachable(cause error) error {
	return fault.Caused(cause, typev1.Reason_REASON_UNAVAILABLE, movedNo, "the chain's endpoints gave no answer that counts")
}
