// Package verdict follows the health service's verdicts and puts them into the desired state.
package verdict

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"google.golang.org/protobuf/proto"

	healthv1 "github.com/holdfast-lb/holdfast/proto/gen/holdfast/health/v1"
	"github.com/holdfast-lb/holdfast/services/scheduler/desired"
)

// Bucket is the health service's bucket. Its keys "backend.<virtual service>.<real server>" hold health.v1.BackendHealth.
const Bucket = "health"

const (
	gather  = 10 * time.Millisecond // verdicts that come together become one change per service
	reopen  = 500 * time.Millisecond
	timeout = time.Second
)

// State is the desired state.
type State interface {
	Change(ctx context.Context, decide func(*desired.State, desired.At) (desired.Change, error)) (desired.Change, error)
	Moved() <-chan struct{}
}

// Follower keeps the verdicts that it has seen, since a server may be made after its verdict. Run is its only user.
type Follower struct {
	JS    jetstream.JetStream
	State State
	Log   *slog.Logger

	seen map[string]map[string]desired.Verdict // by service and server
}

// Run follows until ctx ends. Without a bucket, which the health service makes, every server counts as up.
func (f *Follower) Run(ctx context.Context) error {
	f.seen = map[string]map[string]desired.Verdict{}
	for {
		// After the end of ctx the error tells only of that, and the end is no failure.
		if err := f.follow(ctx); ctx.Err() == nil && !errors.Is(err, jetstream.ErrBucketNotFound) {
			f.Log.Warn("health verdicts can't be followed; trying again", "error", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(reopen):
		}
	}
}

func (f *Follower) follow(ctx context.Context) error {
	open, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	kv, err := f.JS.KeyValue(open, Bucket)
	if err != nil {
		return fmt.Errorf("open bucket %s: %w", Bucket, err)
	}
	conn := f.JS.Conn()
	reconnected := conn.StatusChanged(nats.CONNECTED)
	defer conn.RemoveStatusListener(reconnected)
	w, err := kv.Watch(ctx, "backend.>")
	if err != nil {
		return fmt.Errorf("watch bucket %s: %w", Bucket, err)
	}
	// Stop waits for the server's answer, which nobody needs.
	defer func() { go func() { _ = w.Stop() }() }()
	var due <-chan time.Time // set while there may be verdicts that are not in the state
	soon := func() {
		if due == nil {
			due = time.After(gather)
		}
	}
	moved := f.State.Moved()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-reconnected:
			return errors.New("NATS was away")
		case e, ok := <-w.Updates():
			if !ok {
				return errors.New("the watch ended")
			}
			f.take(e)
			soon()
		case <-moved:
			moved = f.State.Moved()
			soon()
		case <-due:
			due = nil
			if err := f.judge(ctx); err != nil {
				f.Log.Warn("verdicts can't be stored; trying again", "error", err)
				due = time.After(reopen)
			}
		}
	}
}

// take keeps a verdict. A deletion takes it back: the server counts as up until it is judged anew.
func (f *Follower) take(e jetstream.KeyValueEntry) {
	if e == nil {
		return
	}
	parts := strings.Split(e.Key(), ".")
	if len(parts) != 3 {
		f.Log.Warn("a key of the health bucket is not understood", "key", e.Key())
		return
	}
	v := desired.Verdict{Service: parts[1], Server: parts[2]}
	if e.Operation() == jetstream.KeyValuePut {
		var b healthv1.BackendHealth
		if err := proto.Unmarshal(e.Value(), &b); err != nil {
			f.Log.Warn("a verdict can't be read", "key", e.Key(), "error", err)
			return
		}
		addr, err := netip.ParseAddr(b.GetAddress())
		if err != nil || b.GetPort() > 65535 {
			f.Log.Warn("a verdict can't be read", "key", e.Key(), "address", b.GetAddress(), "port", b.GetPort())
			return
		}
		v.Address, v.Port = addr, uint16(b.GetPort())
		switch b.GetState() {
		case healthv1.BackendState_BACKEND_STATE_UP:
			v.Health = desired.Up
		case healthv1.BackendState_BACKEND_STATE_DOWN:
			v.Health = desired.Down
		}
	}
	if f.seen[v.Service] == nil {
		f.seen[v.Service] = map[string]desired.Verdict{}
	}
	f.seen[v.Service][v.Server] = v
}

// judge puts every verdict into the state that is not in it.
func (f *Follower) judge(ctx context.Context) error {
	for service := range f.seen {
		if _, err := f.State.Change(ctx, func(s *desired.State, _ desired.At) (desired.Change, error) {
			return s.Judge(service, f.of(service)), nil
		}); err != nil {
			return err
		}
	}
	return nil
}

func (f *Follower) of(service string) []desired.Verdict {
	out := make([]desired.Verdict, 0, len(f.seen[service]))
	for _, v := range f.seen[service] {
		out = append(out, v)
	}
	return out
}
