package node

import (
	"context"
	"testing"

	"github.com/holdfast-lb/holdfast/dpd/internal/syncer"
	"github.com/holdfast-lb/holdfast/dpd/internal/syncloop"
	"github.com/holdfast-lb/holdfast/dpd/internal/syncwire"
)

// The sync thread was too busy when it was told this node's state and configuration, which are said once at each change.
func TestTheSyncThreadHearsLaterWhatItWasTooBusyFor(t *testing.T) {
	c := newCluster(t, 1, 1, 1)
	c.show()
	c.warm()
	link := func() (s syncer.PeerStatus) {
		c.apply(func(ctx context.Context) error {
			return c.nodes[1].loop.Do(ctx, func(l *syncloop.Loop) { s = l.Sync().Status(l.Now(), nil)[0] })
		})
		return s
	}
	n := c.nodes[0]
	c.watch(n)
	c.run(300)
	want := link()
	if want.State != syncwire.ProbeReady || want.ConfigDigest == 1 {
		t.Fatalf("%+v", want)
	}
	c.apply(func(ctx context.Context) error {
		return n.loop.Do(ctx, func(l *syncloop.Loop) {
			l.Sync().SetState(0)
			l.Sync().SetConfigDigest(1)
		})
	})
	c.run(300)
	if got := link(); got.State == want.State || got.ConfigDigest == want.ConfigDigest {
		t.Fatalf("%+v", got)
	}
	c.watch(n)
	c.run(1500)
	if got := link(); got.State != want.State || got.ConfigDigest != want.ConfigDigest {
		t.Errorf("state %d, configuration %x; want %d, %x", got.State, got.ConfigDigest, want.State, want.ConfigDigest)
	}
}
