package service

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	eventv1 "github.com/holdfast-lb/holdfast/proto/gen/holdfast/event/v1"
	healthv1 "github.com/holdfast-lb/holdfast/proto/gen/holdfast/health/v1"
	"github.com/holdfast-lb/holdfast/services/health/checker"
	"github.com/holdfast-lb/holdfast/services/health/verdict"
	"github.com/holdfast-lb/holdfast/services/kit/watch"
)

// verdictBucket is what the scheduler follows.
const verdictBucket = "health"

// maxErrorLen bounds the text that is kept of a failed check, in bytes.
const maxErrorLen = 256

// verdicts is what is known of every server. Changes of state go to the bucket, to NATS and to watchers; the rest stays
// in memory. Safe for concurrent use.
type verdicts struct {
	deps     Deps
	replicas int
	hub      watch.Hub[*healthv1.BackendHealth]

	// flushing keeps writes of one server's verdicts in order; taken before mu.
	flushing sync.Mutex

	mu    sync.Mutex
	kv    jetstream.KeyValue                 // nil until load
	all   map[string]*healthv1.BackendHealth // by server name; values are never changed; guarded by mu
	dirty map[string]bool                    // not in the bucket yet; guarded by mu
}

func newVerdicts(d Deps, cfg Config) *verdicts {
	return &verdicts{deps: d, replicas: cfg.Replicas, all: map[string]*healthv1.BackendHealth{}, dirty: map[string]bool{}}
}

var stateOf = map[verdict.State]healthv1.BackendState{
	verdict.Unknown: healthv1.BackendState_BACKEND_STATE_UNKNOWN,
	verdict.Up:      healthv1.BackendState_BACKEND_STATE_UP,
	verdict.Down:    healthv1.BackendState_BACKEND_STATE_DOWN,
}

// load reads what was known before a restart.
func (v *verdicts) load(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	kv, err := v.deps.JS.CreateOrUpdateKeyValue(ctx, jetstream.KeyValueConfig{
		Bucket: verdictBucket, Description: "holdfast verdicts on real servers", History: 1, Replicas: v.replicas,
	})
	if err != nil {
		return fmt.Errorf("open the bucket %q: %w", verdictBucket, err)
	}
	w, err := kv.Watch(ctx, "backend.>", jetstream.IgnoreDeletes())
	if err != nil {
		return fmt.Errorf("read the bucket %q: %w", verdictBucket, err)
	}
	defer func() { _ = w.Stop() }()
	all := map[string]*healthv1.BackendHealth{}
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case e := <-w.Updates():
			if e == nil { // that was all
				v.mu.Lock()
				v.kv, v.all = kv, all
				v.mu.Unlock()
				return nil
			}
			b := &healthv1.BackendHealth{}
			if err := proto.Unmarshal(e.Value(), b); err != nil || keyOf(b.GetRealServer()) != e.Key() {
				v.deps.Log.Warn("stored verdict not understood", "key", e.Key())
				continue
			}
			all[b.GetRealServer()] = b
		}
	}
}

// keyOf is "backend.<service>.<server>".
func keyOf(server string) string {
	service, id, _ := strings.Cut(strings.TrimPrefix(server, servicePrefix), "/realServers/")
	return "backend." + service + "." + id
}

// known is where the checks of a server go on from: its last state, with no streak.
func (v *verdicts) known(server string) verdict.Verdict {
	v.mu.Lock()
	defer v.mu.Unlock()
	for s, p := range stateOf {
		if b := v.all[server]; b.GetState() == p {
			return verdict.Verdict{State: s}
		}
	}
	return verdict.Verdict{}
}

// only keeps verdicts on these servers and drops all others, and those on servers that have moved or are not checked any
// more. It also brings the bucket what it lacks.
func (v *verdicts) only(ctx context.Context, targets []watched) error {
	wanted := make(map[string]bool, len(targets))
	v.mu.Lock()
	for _, t := range targets {
		wanted[t.Name] = true
		b := v.all[t.Name]
		same := b.GetAddress() == t.server.GetAddress() && b.GetPort() == t.server.GetPort()
		if b != nil && same && (!t.Off || b.GetState() == healthv1.BackendState_BACKEND_STATE_UNKNOWN) {
			continue
		}
		v.all[t.Name] = &healthv1.BackendHealth{
			RealServer: t.Name, Address: t.server.GetAddress(), Port: t.server.GetPort(),
			State: healthv1.BackendState_BACKEND_STATE_UNKNOWN, StateTime: timestamppb.New(time.Now()),
		}
		v.dirty[t.Name] = true
	}
	for name := range v.all {
		if !wanted[name] {
			delete(v.all, name)
			v.dirty[name] = true
		}
	}
	v.mu.Unlock()
	return v.flush(ctx)
}

// observe takes in a result.
func (v *verdicts) observe(ctx context.Context, r checker.Result) {
	v.mu.Lock()
	old := v.all[r.Target.Name]
	if old == nil {
		v.mu.Unlock()
		return // the server went meanwhile
	}
	b := proto.CloneOf(old)
	b.CheckTime = timestamppb.New(r.At)
	b.Streak = r.Verdict.Streak
	b.LastError = ""
	if r.Err != nil {
		b.LastError = r.Err.Error()
		b.LastError = strings.ToValidUTF8(b.LastError[:min(len(b.LastError), maxErrorLen)], "")
	}
	if r.Changed {
		b.State, b.StateTime = stateOf[r.Verdict.State], timestamppb.New(time.Now())
		v.dirty[r.Target.Name] = true
	}
	v.all[r.Target.Name] = b
	v.mu.Unlock()
	if !r.Changed {
		return
	}
	v.deps.Log.Info("verdict", "server", b.GetRealServer(), "state", b.GetState(), "error", b.GetLastError())
	// The bucket first: whoever hears the event finds it there.
	if err := v.flush(ctx); err != nil && ctx.Err() == nil {
		v.deps.Log.Warn("verdict not stored yet", "error", err)
	}
	v.publish(b)
	v.hub.Publish(b)
}

// flush brings the bucket what it lacks; what fails stays to be brought.
func (v *verdicts) flush(ctx context.Context) error {
	v.flushing.Lock()
	defer v.flushing.Unlock()
	v.mu.Lock()
	kv := v.kv
	due := make(map[string]*healthv1.BackendHealth, len(v.dirty))
	for name := range v.dirty {
		due[name] = v.all[name]
	}
	clear(v.dirty)
	v.mu.Unlock()
	if len(due) > 0 && kv == nil {
		return errors.New("health: the bucket is not open")
	}
	var first error
	for name, b := range due {
		if err := v.put(ctx, kv, name, b); err != nil {
			v.mu.Lock()
			v.dirty[name] = true
			v.mu.Unlock()
			if first == nil {
				first = err
			}
		}
	}
	return first
}

func (v *verdicts) put(ctx context.Context, kv jetstream.KeyValue, name string, b *healthv1.BackendHealth) error {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	if b == nil {
		if err := kv.Delete(ctx, keyOf(name)); err != nil {
			return fmt.Errorf("delete the verdict on %s: %w", name, err)
		}
		return nil
	}
	data, err := proto.Marshal(b)
	if err != nil {
		return fmt.Errorf("encode the verdict on %s: %w", name, err)
	}
	if _, err := kv.Put(ctx, keyOf(name), data); err != nil {
		return fmt.Errorf("store the verdict on %s: %w", name, err)
	}
	return nil
}

// publish tells NATS of a state.
func (v *verdicts) publish(b *healthv1.BackendHealth) {
	kind, word := eventv1.BackendEventKind_BACKEND_EVENT_KIND_UP, "up"
	if b.GetState() == healthv1.BackendState_BACKEND_STATE_DOWN {
		kind, word = eventv1.BackendEventKind_BACKEND_EVENT_KIND_DOWN, "down"
	}
	service, _, _ := strings.Cut(b.GetRealServer(), "/realServers/")
	data, err := proto.Marshal(&eventv1.BackendEvent{
		Kind: kind, Time: b.GetStateTime(), VirtualService: service, RealServer: b.GetRealServer(), Detail: b.GetLastError(),
	})
	if err == nil {
		msg := nats.NewMsg("holdfast.v1.backend." + strings.TrimPrefix(service, servicePrefix) + "." + word)
		msg.Data = data
		msg.Header.Set("Content-Type", "application/x-protobuf")
		msg.Header.Set("Holdfast-Schema", "holdfast.event.v1.BackendEvent")
		msg.Header.Set(nats.MsgIdHdr, fmt.Sprintf("%s-%s-%d", keyOf(b.GetRealServer()), word, b.GetStateTime().AsTime().UnixNano()))
		err = v.deps.NATS.PublishMsg(msg)
	}
	if err != nil {
		v.deps.Log.Warn("event not published", "server", b.GetRealServer(), "error", err)
	}
}

// list is every verdict on the servers of one service, or of all, by name.
func (v *verdicts) list(service string) []*healthv1.BackendHealth {
	v.mu.Lock()
	defer v.mu.Unlock()
	var out []*healthv1.BackendHealth
	for name, b := range v.all {
		if service == "" || strings.HasPrefix(name, service+"/") {
			out = append(out, b)
		}
	}
	slices.SortFunc(out, func(a, b *healthv1.BackendHealth) int { return strings.Compare(a.GetRealServer(), b.GetRealServer()) })
	return out
}
