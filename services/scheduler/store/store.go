// Package store keeps the desired state in one JetStream key-value bucket. A change is stored only if the bucket's stream
// has not moved since the state that it was decided on, so decisions of any number of replicas are in one order, and each
// holds although it looks at many records. The revision of a configuration is that order's number, so every replica
// compiles the same snapshot under the same revision, and none leads.
package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/holdfast-lb/holdfast/services/kit/apierr"
	"github.com/holdfast-lb/holdfast/services/scheduler/desired"
)

// Bucket is the bucket's name.
const Bucket = "services"

const (
	maxTries   = 10              // of one change, when other writers are faster
	catchUp    = 2 * time.Second // to hear of the write that was faster
	putTimeout = 5 * time.Second
	// openTimeout is short, since a bus that has just come back loses requests before JetStream is up in it.
	openTimeout = time.Second
	retryMin    = 100 * time.Millisecond // between tries to open the bucket
	retryMax    = 2 * time.Second
)

// Store is the desired state, followed and changed. Safe for concurrent use.
type Store struct {
	js       jetstream.JetStream
	replicas int
	log      *slog.Logger
	now      func() time.Time

	mu    sync.Mutex
	state *desired.State
	base  uint64
	// Invariant: state is the bucket at stream sequence seq, except for records that later sequences replace.
	seq       uint64
	configSeq uint64 // of the last record that snapshots depend on
	ready     bool
	moved     chan struct{} // closed when seq or ready moves, and replaced
}

// New makes a store that is not ready until Run has read the bucket. Replicas of the bucket: 1, or 3 with a NATS cluster.
func New(js jetstream.JetStream, replicas int, log *slog.Logger) *Store {
	return &Store{js: js, replicas: replicas, log: log, now: time.Now, state: desired.New(), moved: make(chan struct{})}
}

// Run follows the bucket until ctx ends. While NATS is away the state stays readable as it was.
func (s *Store) Run(ctx context.Context) error {
	wait := retryMin
	for {
		began := s.now()
		// After the end of ctx the error tells only of that, and the end is no failure.
		if err := s.follow(ctx); ctx.Err() == nil {
			if wait = min(2*wait, retryMax); s.now().Sub(began) > retryMax {
				wait = retryMin
			}
			s.log.Warn("the services bucket can't be followed; trying again", "error", err, "wait", wait)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait):
		}
	}
}

func (s *Store) follow(ctx context.Context) error {
	open, cancel := context.WithTimeout(ctx, openTimeout)
	defer cancel()
	kv, err := s.js.CreateOrUpdateKeyValue(open, jetstream.KeyValueConfig{Bucket: Bucket, History: 1, Replicas: max(1, s.replicas), Storage: jetstream.FileStorage})
	if err != nil {
		return fmt.Errorf("open bucket %s: %w", Bucket, err)
	}
	base, err := readBase(open, kv, s.now())
	if err != nil {
		return err
	}
	// A server that was started anew has forgotten the watch, and says so only after many seconds: a reconnection starts a new
	// one at once.
	conn := s.js.Conn()
	reconnected := conn.StatusChanged(nats.CONNECTED)
	defer conn.RemoveStatusListener(reconnected)
	w, err := kv.WatchAll(ctx)
	if err != nil {
		return fmt.Errorf("watch bucket %s: %w", Bucket, err)
	}
	// Stop asks the server to forget the watch and waits seconds for its answer when it is away; nobody needs the answer.
	defer func() { go func() { _ = w.Stop() }() }()
	s.mu.Lock()
	s.base = base
	s.mu.Unlock()
	for {
		select {
		case <-ctx.Done():
			return nil
		case e, ok := <-w.Updates():
			if !ok {
				return errors.New("the watch ended")
			}
			s.take(e)
		case <-reconnected:
			return errors.New("NATS was away")
		}
	}
}

// readBase reads the number that revisions are counted from, and stores it first if there is none. It comes from the clock,
// so that the revisions of a bucket that was lost and made anew are higher than those that nodes still run.
func readBase(ctx context.Context, kv jetstream.KeyValue, now time.Time) (uint64, error) {
	fresh := uint64(now.UnixMilli()) * 1000
	if _, err := kv.Create(ctx, baseKey, []byte(strconv.FormatUint(fresh, 10))); err == nil {
		return fresh, nil
	} else if !errors.Is(err, jetstream.ErrKeyExists) {
		return 0, fmt.Errorf("store the base of revisions: %w", err)
	}
	e, err := kv.Get(ctx, baseKey)
	if err != nil {
		return 0, fmt.Errorf("read the base of revisions: %w", err)
	}
	base, err := strconv.ParseUint(string(e.Value()), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("read the base of revisions: %w", err)
	}
	return base, nil
}

// take puts what the watch saw into the state; nil says that the bucket has been read whole.
func (s *Store) take(e jetstream.KeyValueEntry) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e == nil {
		s.ready = true
		s.signal()
		return
	}
	if e.Revision() <= s.seq {
		return
	}
	c, err := decode(e.Key(), e.Value(), e.Operation() != jetstream.KeyValuePut)
	switch {
	case err == nil:
		s.apply(c, e.Revision())
	case errors.Is(err, errForeignKey):
		s.seq = e.Revision()
	default:
		s.seq = e.Revision()
		s.log.Error("a stored record can't be read; it is left as it was", "error", err)
	}
	s.signal()
}

// apply puts a stored change into the state. mu is held.
func (s *Store) apply(c desired.Change, seq uint64) {
	s.state.Apply(c)
	s.seq = seq
	if c.Kind == desired.KindService {
		s.configSeq = seq
	}
}

// signal wakes those who wait for a move. mu is held.
func (s *Store) signal() {
	close(s.moved)
	s.moved = make(chan struct{})
}

// Read calls f with the state; records that it finds may be kept, the state itself not.
func (s *Store) Read(f func(*desired.State) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.ready {
		return errNotReady()
	}
	return f(s.state)
}

// Config returns the services and the revision of the configuration that they make.
func (s *Store) Config() (revision uint64, services []*desired.Service, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.ready {
		return 0, nil, false
	}
	return s.base + s.configSeq, s.state.Services(), true
}

// Moved returns a channel that is closed when the state moves after this call.
func (s *Store) Moved() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.moved
}

// Change stores what decide decides. Decide may be called several times, each time on a newer state; it must not keep the
// state.
func (s *Store) Change(ctx context.Context, decide func(*desired.State, desired.At) (desired.Change, error)) (desired.Change, error) {
	for range maxTries {
		c, moved, err := s.try(ctx, decide)
		if moved == nil {
			return c, err
		}
		timeout := time.NewTimer(catchUp)
		select {
		case <-moved:
			timeout.Stop()
		case <-timeout.C:
			return desired.Change{}, apierr.New(apierr.StoreUnavailable, "another writer was faster, and its change did not arrive within %v", catchUp)
		case <-ctx.Done():
			timeout.Stop()
			return desired.Change{}, ctx.Err()
		}
	}
	return desired.Change{}, apierr.New(apierr.Conflict, "other writers were faster %d times", maxTries)
}

// Preview decides without storing.
func (s *Store) Preview(decide func(*desired.State, desired.At) (desired.Change, error)) (desired.Change, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.ready {
		return desired.Change{}, errNotReady()
	}
	return decide(s.state, s.at())
}

// try decides and stores once. A channel says that another writer was faster; it is closed when the state has moved.
func (s *Store) try(ctx context.Context, decide func(*desired.State, desired.At) (desired.Change, error)) (desired.Change, <-chan struct{}, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.ready {
		return desired.Change{}, nil, errNotReady()
	}
	c, err := decide(s.state, s.at())
	if err != nil || c.Nothing {
		return c, nil, err
	}
	msg := nats.NewMsg("$KV." + Bucket + "." + key(c))
	if c.Service == nil && c.Pool == nil {
		msg.Header.Set("KV-Operation", "DEL")
	} else if msg.Data, err = encode(c); err != nil {
		return desired.Change{}, nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, putTimeout)
	defer cancel()
	ack, err := s.js.PublishMsg(ctx, msg, jetstream.WithExpectLastSequence(s.seq))
	if err != nil {
		var api *jetstream.APIError
		if errors.As(err, &api) && (api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence || api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequenceConstant) {
			return desired.Change{}, s.moved, nil
		}
		s.log.Warn("a change can't be stored", "key", key(c), "error", err)
		return desired.Change{}, nil, apierr.New(apierr.StoreUnavailable, "the change may or may not have been stored: %v", err)
	}
	s.apply(c, ack.Sequence)
	s.signal()
	return c, nil, nil
}

// at is the place of the next change. mu is held.
func (s *Store) at() desired.At { return desired.At{Seq: s.seq + 1, Now: s.now().UTC()} }

func errNotReady() error {
	return apierr.New(apierr.StoreUnavailable, "the key-value store has not been read yet")
}
