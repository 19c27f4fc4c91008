package node

import (
	"context"
	"slices"
	"time"

	"github.com/holdfast-lb/holdfast/dpd/internal/announce"
	"github.com/holdfast-lb/holdfast/dpd/internal/config"
	"github.com/holdfast-lb/holdfast/dpd/internal/control"
)

// guarding samples the node for the guard that decides whether its routes may stand.
type guarding struct {
	guard *announce.Guard
	on    bool
}

func (n *Node) newGuard() *guarding {
	return &guarding{
		guard: announce.NewGuard(announce.GuardConfig{}), on: n.cfg.BGP.Guard && n.cfg.Announce == config.AnnounceBGP,
	}
}

// watchRoutes samples until ctx ends. It waits for nobody, since routes must go just when other threads are stuck.
func (n *Node) watchRoutes(ctx context.Context) {
	g := n.newGuard()
	if !g.on {
		return
	}
	t := time.NewTicker(watchEvery)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			g.look(n)
		}
	}
}

// look takes one sample and holds the routes back, or lets them stand.
func (g *guarding) look(n *Node) {
	tick, now := n.clock()
	s := announce.Sample{LinkUp: true, EchoAgeMs: n.routes.EchoAge(tick)}
	for _, p := range n.ports {
		s.LinkUp = s.LinkUp && p.LinkUp()
	}
	for _, w := range n.workers {
		beat, _ := w.Beat()
		s.HeartbeatAgeMs = max(s.HeartbeatAgeMs, int64(int32(tick-beat)))
	}
	s.HeartbeatAgeMs = max(s.HeartbeatAgeMs, int64(int32(tick-n.loop.Beat())))
	v := g.guard.Step(now, s)
	hold := ""
	if v != announce.Good {
		hold = v.String()
	}
	if hold == n.holding() {
		return
	}
	n.held.Store(&hold)
	if err := n.ann.Hold(hold != "", hold); err != nil {
		n.log.Error("routes can't be held or released", "err", err)
	}
	n.rerouted()
}

// holding is why the guard holds the routes back; "" when it doesn't. Any thread.
func (n *Node) holding() string {
	if h := n.held.Load(); h != nil {
		return *h
	}
	return ""
}

// routing is the state that the routes follow: a joiner that lacks nothing else announces its local addresses, so that
// the routes to them can be proved.
func (n *Node) routing() control.State {
	if n.state == control.StateJoining && n.proving.on {
		return control.StateReady
	}
	return n.state
}

// announceNow brings the routes to what the state asks for. n.mu is held.
func (n *Node) announceNow() {
	list := routes(n.routing(), &n.view, vipsOf(&n.config), n.cfg.BGP.Prepend, [2]bool{n.hops[0].IsValid(), n.hops[1].IsValid()})
	same := slices.Equal(n.announced, list)
	n.announced, n.told = list, time.Now()
	if !same {
		n.rerouted()
	}
	if err := n.ann.Set(plain(list)); err != nil {
		n.log.Error("routes can't be announced; trying again", "err", err)
	}
}
