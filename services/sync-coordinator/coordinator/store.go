package coordinator

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/holdfast-lb/holdfast/services/kit/seal"
	"github.com/holdfast-lb/holdfast/services/sync-coordinator/membership"
)

// Names in the bucket. The cluster keys in it are sealed, see record; what else is in it anyone may read.
const (
	bucket        = "membership"
	keyState      = "state"
	keyLeader     = "leader"
	keyOperations = "operations"
)

// store is the bucket and the revision of the state that this term wrote or read last.
type store struct {
	js       jetstream.JetStream
	kv       jetstream.KeyValue
	keys     *seal.Keys
	sealed   *atomic.Bool // the state was sealed once in this process's life: it is never read in clear again
	timeout  time.Duration
	revision uint64
}

func openStore(ctx context.Context, nc *nats.Conn, cfg Config, keys *seal.Keys, sealed *atomic.Bool) (*store, error) {
	ctx, cancel := context.WithTimeout(ctx, cfg.StoreTimeout)
	defer cancel()
	js, err := jetstream.New(nc)
	if err != nil {
		return nil, fmt.Errorf("open JetStream: %w", err)
	}
	kv, err := js.CreateOrUpdateKeyValue(ctx, jetstream.KeyValueConfig{
		Bucket:         bucket,
		Description:    "holdfast membership: identities, leases, keys, view",
		History:        1,
		Replicas:       cfg.Replicas,
		LimitMarkerTTL: time.Minute, // lets a key have a life of its own, for the lease
	})
	if err != nil {
		return nil, fmt.Errorf("open the bucket %q: %w", bucket, err)
	}
	return &store{js: js, kv: kv, keys: keys, sealed: sealed, timeout: cfg.StoreTimeout}, nil
}

// load reads the state; none at all is the zero State.
func (s *store) load(ctx context.Context) (membership.State, laid, error) {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	e, err := s.kv.Get(ctx, keyState)
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		s.revision = 0
		return membership.State{}, laidNowhere, nil
	}
	if err != nil {
		return membership.State{}, laidNowhere, fmt.Errorf("read the state: %w", err)
	}
	st, how, err := decode(e.Value(), s.keys)
	if err == nil && how == laidClear && s.sealed.Load() {
		// No version stores it so after it was sealed: someone else wrote it, with keys that he knows.
		err = fmt.Errorf("%w: its keys lie in clear, and were sealed before", errUnreadable)
	}
	if err != nil {
		return membership.State{}, laidNowhere, fmt.Errorf("read the state of revision %d: %w", e.Revision(), err)
	}
	if how != laidClear {
		s.sealed.Store(true)
	}
	s.revision = e.Revision()
	return st, how, nil
}

// save writes the state if nobody else wrote since this term read or wrote it.
func (s *store) save(ctx context.Context, st *membership.State) error {
	data, err := encode(st, s.keys)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	if s.revision == 0 {
		s.revision, err = s.kv.Create(ctx, keyState, data)
	} else {
		s.revision, err = s.kv.Update(ctx, keyState, data, s.revision)
	}
	if err != nil {
		return fmt.Errorf("write the state: %w", err)
	}
	s.sealed.Store(true)
	return nil
}

func (s *store) loadOperations(ctx context.Context) ([]operation, error) {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	e, err := s.kv.Get(ctx, keyOperations)
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the operations: %w", err)
	}
	var ops []operation
	if err := json.Unmarshal(e.Value(), &ops); err != nil {
		return nil, fmt.Errorf("read the operations: %w", err)
	}
	return ops, nil
}

func (s *store) saveOperations(ctx context.Context, ops []operation) error {
	data, err := json.Marshal(ops)
	if err != nil {
		return fmt.Errorf("encode the operations: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	if _, err := s.kv.Put(ctx, keyOperations, data); err != nil {
		return fmt.Errorf("write the operations: %w", err)
	}
	return nil
}

// lease is the right to lead: a key that dies by itself when it is not renewed.
//
// It only keeps replicas from working against each other. Safety is the compare-and-set of the state: a leader whose
// lease ran out unnoticed fails at its next write.
type lease struct {
	s        *store
	instance string
	ttl      time.Duration
	revision uint64
}

func newLease(s *store, instance string, ttl time.Duration) *lease {
	return &lease{s: s, instance: instance, ttl: ttl}
}

// gain returns when the lease is held.
func (l *lease) gain(ctx context.Context) error {
	for {
		err := l.try(ctx)
		if err == nil {
			return nil
		}
		if !errors.Is(err, jetstream.ErrKeyExists) {
			return fmt.Errorf("ask for the lease: %w", err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(l.ttl / 8):
		}
	}
}

func (l *lease) try(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, l.s.timeout)
	defer cancel()
	rev, err := l.s.kv.Create(ctx, keyLeader, []byte(l.instance), jetstream.KeyTTL(l.ttl))
	if err == nil {
		l.revision = rev
	}
	return err
}

// keep renews the lease until ctx ends, then returns nil; it returns an error when the lease is lost.
func (l *lease) keep(ctx context.Context) error {
	every := time.NewTicker(l.ttl / 4)
	defer every.Stop()
	last := time.Now()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-every.C:
		}
		rev, err := l.renew(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case err == nil:
			l.revision, last = rev, time.Now()
		case time.Since(last) >= l.ttl || !errors.Is(err, context.DeadlineExceeded):
			return err
		}
	}
}

// renew writes the key with a new life of its own. The client's Update would write it without one.
func (l *lease) renew(ctx context.Context) (uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, l.ttl/2)
	defer cancel()
	ack, err := l.s.js.Publish(ctx, "$KV."+bucket+"."+keyLeader, []byte(l.instance),
		jetstream.WithMsgTTL(l.ttl), jetstream.WithExpectLastSequencePerSubject(l.revision))
	if err != nil {
		return 0, fmt.Errorf("renew: %w", err)
	}
	return ack.Sequence, nil
}

// release gives the lease up so that the next leader need not wait for its end.
func (l *lease) release() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	// A failure costs the next leader the lease's rest.
	_ = l.s.kv.Delete(ctx, keyLeader, jetstream.LastRevision(l.revision))
}
