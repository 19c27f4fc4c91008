// Package checker checks many servers, each at its own pace, and tells of every result.
package checker

import (
	"context"
	"maps"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/holdfast-lb/holdfast/services/health/verdict"
)

// Target is one server to check and how.
type Target struct {
	// Name is the server's resource name; it identifies the target.
	Name    string
	Address string // host:port
	// Interval between the beginnings of two checks, shifted by up to a tenth either way, and the longest time for one.
	Interval, Timeout time.Duration
	Rule              verdict.Rule
	// Off: the server is not checked; its verdict is unknown.
	Off bool
}

// Result is one check's outcome. Err is nil when it was good.
type Result struct {
	Target  Target
	Verdict verdict.Verdict
	Changed bool // the verdict's state
	At      time.Time
	Err     error
}

// Probe checks an address once, within ctx.
type Probe func(ctx context.Context, address string) error

// maxAtOnce bounds the checks under way, and so the sockets.
const maxAtOnce = 512

// Checker runs the checks. Safe for concurrent use.
type Checker struct {
	probe  Probe
	tell   func(Result)
	slots  chan struct{}
	mu     sync.Mutex
	runs   map[string]*run // by target name; guarded by mu
	closed bool
	wg     sync.WaitGroup
}

type run struct {
	target Target
	cancel context.CancelFunc
}

// New makes a checker without targets. tell is called for each result, in order for one target, at the same time for
// several.
func New(p Probe, tell func(Result)) *Checker {
	return &Checker{probe: p, tell: tell, slots: make(chan struct{}, maxAtOnce), runs: map[string]*run{}}
}

// Set replaces the targets. One that is the same as before goes on undisturbed; one that changed begins anew from
// start(name), the verdict that is known of it.
func (c *Checker) Set(targets []Target, start func(name string) verdict.Verdict) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return
	}
	wanted := make(map[string]Target, len(targets))
	for _, t := range targets {
		wanted[t.Name] = t
	}
	for name, r := range maps.Clone(c.runs) {
		if t, ok := wanted[name]; !ok || t != r.target {
			r.cancel()
			delete(c.runs, name)
		}
	}
	for name, t := range wanted {
		if c.runs[name] != nil || t.Off {
			continue
		}
		ctx, cancel := context.WithCancel(context.Background())
		c.runs[name] = &run{target: t, cancel: cancel}
		v := start(name)
		c.wg.Go(func() { c.loop(ctx, t, v) })
	}
}

// Close ends all checks and waits for them.
func (c *Checker) Close() {
	c.mu.Lock()
	c.closed = true
	for name, r := range c.runs {
		r.cancel()
		delete(c.runs, name)
	}
	c.mu.Unlock()
	c.wg.Wait()
}

func (c *Checker) loop(ctx context.Context, t Target, v verdict.Verdict) {
	// The first check comes at a random time of the first interval, at most a second, so that many targets that come at
	// once are not checked at once.
	wait := rand.N(min(t.Interval, time.Second))
	timer := time.NewTimer(wait)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		begun := time.Now()
		err := c.once(ctx, t)
		if ctx.Err() != nil {
			return // the target is gone, or the process: no verdict of its own
		}
		changed := v.Observe(err == nil, t.Rule)
		c.tell(Result{Target: t, Verdict: v, Changed: changed, At: begun, Err: err})
		timer.Reset(max(0, jitter(t.Interval)-time.Since(begun)))
	}
}

func (c *Checker) once(ctx context.Context, t Target) error {
	select {
	case c.slots <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-c.slots }()
	ctx, cancel := context.WithTimeout(ctx, t.Timeout)
	defer cancel()
	return c.probe(ctx, t.Address)
}

// jitter is d shifted by up to a tenth either way.
func jitter(d time.Duration) time.Duration {
	return d - d/10 + rand.N(d/5+1)
}
