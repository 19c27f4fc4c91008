package service

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"google.golang.org/protobuf/proto"

	healthv1 "github.com/holdfast-lb/holdfast/proto/gen/holdfast/health/v1"
	"github.com/holdfast-lb/holdfast/services/kit/apierr"
)

const (
	checksBucket = "healthchecks"
	checksKey    = "all"
	storeTimeout = 3 * time.Second
	// maxChecks bounds the checks so that all of them are one value of the bucket; that makes every rule between them
	// hold under compare-and-set.
	maxChecks = 4096
	tries     = 5
)

// checkStore keeps all checks as one value, a ListHealthChecksResponse ordered by name. Safe for concurrent use.
type checkStore struct {
	js       jetstream.JetStream
	replicas int
	mu       sync.Mutex
	kv       jetstream.KeyValue // guarded by mu; nil until first used
}

func (s *checkStore) open(ctx context.Context) (jetstream.KeyValue, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.kv != nil {
		return s.kv, nil
	}
	kv, err := s.js.CreateOrUpdateKeyValue(ctx, jetstream.KeyValueConfig{
		Bucket: checksBucket, Description: "holdfast health checks", History: 1, Replicas: s.replicas,
	})
	if err != nil {
		return nil, fmt.Errorf("open the bucket %q: %w", checksBucket, err)
	}
	s.kv = kv
	return kv, nil
}

// read returns the checks and their revision; 0 when there never were any.
func (s *checkStore) read(ctx context.Context) (*healthv1.ListHealthChecksResponse, uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	all := &healthv1.ListHealthChecksResponse{}
	kv, err := s.open(ctx)
	if err != nil {
		return nil, 0, unavailable(err)
	}
	e, err := kv.Get(ctx, checksKey)
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return all, 0, nil
	}
	if err != nil {
		return nil, 0, unavailable(err)
	}
	if err := proto.Unmarshal(e.Value(), all); err != nil {
		return nil, 0, apierr.New(apierr.Internal, "the stored checks can't be read: %v", err)
	}
	return all, e.Revision(), nil
}

// change reads, lets fn change what was read, and writes it unless fn says not to or fails. fn runs again when another
// writer was faster.
func (s *checkStore) change(ctx context.Context, fn func(*healthv1.ListHealthChecksResponse) (write bool, err error)) error {
	for range tries {
		all, revision, err := s.read(ctx)
		if err != nil {
			return err
		}
		write, err := fn(all)
		if err != nil || !write {
			return err
		}
		err = s.write(ctx, all, revision)
		if err == nil || !errors.Is(err, jetstream.ErrKeyExists) {
			return err
		}
	}
	return apierr.New(apierr.Conflict, "another writer was faster %d times", tries)
}

func (s *checkStore) write(ctx context.Context, all *healthv1.ListHealthChecksResponse, revision uint64) error {
	data, err := proto.Marshal(all)
	if err != nil {
		return apierr.New(apierr.Internal, "encode the checks: %v", err)
	}
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	kv, err := s.open(ctx)
	if err != nil {
		return unavailable(err)
	}
	if revision == 0 {
		_, err = kv.Create(ctx, checksKey, data)
	} else {
		_, err = kv.Update(ctx, checksKey, data, revision)
	}
	var api *jetstream.APIError
	switch {
	case err == nil:
		return nil
	case errors.Is(err, jetstream.ErrKeyExists), errors.As(err, &api) && api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence:
		return jetstream.ErrKeyExists
	}
	return unavailable(err)
}

func unavailable(err error) error {
	return apierr.New(apierr.StoreUnavailable, "%v", err)
}
