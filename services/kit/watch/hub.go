// Package watch spreads values to the readers of server streams. A reader that doesn't keep up is cut off: it never slows
// the writer or other readers, and it is told, so that it starts again from a whole state.
package watch

import (
	"context"
	"sync"

	"github.com/holdfast-lb/holdfast/services/kit/apierr"
)

// Depth is the number of values that a reader may be behind.
const Depth = 64

// Hub hands every published value to every reader. The zero value is ready. Safe for concurrent use.
type Hub[T any] struct {
	mu      sync.Mutex
	readers map[*reader[T]]struct{}
	closed  bool
}

type reader[T any] struct {
	ch   chan T
	slow bool // guarded by Hub.mu; set before ch is closed
}

// Publish hands v to all readers and cuts off those that are Depth values behind.
func (h *Hub[T]) Publish(v T) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for r := range h.readers {
		select {
		case r.ch <- v:
		default:
			r.slow = true
			delete(h.readers, r)
			close(r.ch)
		}
	}
}

// Close ends all readers with SHUTTING_DOWN, those to come too.
func (h *Hub[T]) Close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed = true
	for r := range h.readers {
		delete(h.readers, r)
		close(r.ch)
	}
}

// Serve runs one reader: it subscribes, sends bookmark() and then every value published since, until send fails, ctx
// ends, the reader is cut off (RESOURCE_EXHAUSTED) or the hub closes (UNAVAILABLE). bookmark is called after the
// subscription, so nothing is lost between the two; a value may be seen both in it and after it.
func (h *Hub[T]) Serve(ctx context.Context, bookmark func() error, send func(T) error) error {
	r := &reader[T]{ch: make(chan T, Depth)}
	h.mu.Lock()
	if h.closed {
		h.mu.Unlock()
		return apierr.New(apierr.ShuttingDown, "the process is stopping")
	}
	if h.readers == nil {
		h.readers = map[*reader[T]]struct{}{}
	}
	h.readers[r] = struct{}{}
	h.mu.Unlock()
	defer func() {
		h.mu.Lock()
		delete(h.readers, r)
		h.mu.Unlock()
	}()
	if err := bookmark(); err != nil {
		return err
	}
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case v, ok := <-r.ch:
			if !ok {
				h.mu.Lock()
				slow := r.slow
				h.mu.Unlock()
				if slow {
					return apierr.New(apierr.SlowReader, "more than %d messages behind", Depth)
				}
				return apierr.New(apierr.ShuttingDown, "the process is stopping")
			}
			if err := send(v); err != nil {
				return err
			}
		}
	}
}

// Readers is the number of readers now.
func (h *Hub[T]) Readers() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.readers)
}
