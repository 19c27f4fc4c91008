package worker

import (
	"context"
	"errors"
	"sync/atomic"

	"github.com/holdfast-lb/holdfast/dpd/internal/flow"
	"github.com/holdfast-lb/holdfast/dpd/internal/stat"
)

// ErrBusy says that the mailbox is full, or the worker did not take the request in time.
var ErrBusy = errors.New("worker: mailbox full")

// ErrPanicked says that a request panicked: a part of it may have been done.
var ErrPanicked = errors.New("worker: the request panicked")

// Request is run by the worker's thread between two bursts. It must be short: whoever has much to do sends many.
type Request func(*Worker)

// Post puts a request into the mailbox without waiting; false when it is full. Any thread.
func (w *Worker) Post(r Request) bool {
	select {
	case w.mail <- r:
		return true
	default:
		w.rejected.Add(1)
		return false
	}
}

// Do runs a request on the worker's thread and waits for its end. After an error the request has not run and never
// will, or has panicked. Any thread but the worker's.
func (w *Worker) Do(ctx context.Context, r Request) error {
	var c claim
	done, ended := make(chan struct{}), false
	select {
	case w.mail <- func(w *Worker) {
		defer close(done)
		if c.take() {
			r(w)
			ended = true
		}
	}:
	case <-ctx.Done():
		w.rejected.Add(1)
		return errors.Join(ErrBusy, ctx.Err())
	}
	select {
	case <-done:
	case <-ctx.Done():
		if c.take() {
			w.rejected.Add(1)
			return errors.Join(ErrBusy, ctx.Err())
		}
		<-done // it runs, and requests are short
	}
	if !ended {
		return ErrPanicked
	}
	return nil
}

// claim is the right to settle a request, which either its thread or whoever waits for it gets.
type claim struct{ taken atomic.Bool }

func (c *claim) take() bool { return c.taken.CompareAndSwap(false, true) }

// mailbox runs what waits, a few a turn.
func (w *Worker) mailbox() (busy bool) {
	for range mailPerTurn {
		select {
		case r := <-w.mail:
			r(w)
			busy = true
		default:
			return busy
		}
	}
	return busy
}

// scanPerRequest is how many slots of the table one request looks at: some tens of microseconds.
const scanPerRequest = 512

// Scan copies the records that want selects, in portions that never hold the worker up for long, and passes them to each
// on the caller's goroutine until each returns false. want runs on the worker's thread.
func (w *Worker) Scan(ctx context.Context, want func(*flow.Session) bool, each func(*flow.Session) bool) error {
	buf := make([]flow.Session, 0, scanPerRequest)
	var cursor uint32
	for {
		if err := w.Do(ctx, func(w *Worker) {
			buf = buf[:0]
			cursor = w.table.Scan(cursor, scanPerRequest, func(h flow.Handle) {
				buf = buf[:len(buf)+1]
				s := &buf[len(buf)-1]
				if w.table.Load(h, s); s.Birth == 0 || !want(s) {
					buf = buf[:len(buf)-1]
				}
			})
		}); err != nil {
			return err
		}
		for i := range buf {
			if !each(&buf[i]) {
				return nil
			}
		}
		if cursor == 0 {
			return nil
		}
	}
}

// Find copies one record by the tuple of either direction.
func (w *Worker) Find(ctx context.Context, k flow.Key) (s flow.Session, ok bool, err error) {
	err = w.Do(ctx, func(w *Worker) {
		var h flow.Handle
		if h, _, ok = w.table.Find(&k); ok {
			w.table.Load(h, &s)
		}
	})
	return s, ok, err
}

// CloseOwned closes what this node owns of the sessions that want selects and tells the peers.
func (w *Worker) CloseOwned(ctx context.Context, want func(*flow.Session) bool) (n uint64, err error) {
	var cursor uint32
	for {
		if err := w.Do(ctx, func(w *Worker) {
			var s flow.Session
			cursor = w.table.Scan(cursor, scanPerRequest, func(h flow.Handle) {
				if !w.table.Owned(h) {
					return
				}
				if w.table.Load(h, &s); s.Birth != 0 && s.Flags&flow.Tomb == 0 && want(&s) {
					w.shard.Delete(w.wall, h)
					n++
				}
			})
		}); err != nil {
			return n, err
		}
		if cursor == 0 {
			return n, nil
		}
	}
}

// Counters reads what the worker published last. Any thread.
func (w *Worker) Counters() (counts, parse *stat.Shared) { return w.shared, w.parsed }
