package node

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"net/netip"
	"slices"
	"time"

	crand "crypto/rand"

	"github.com/holdfast-lb/holdfast/dpd/internal/config"
	"github.com/holdfast-lb/holdfast/dpd/internal/control"
	"github.com/holdfast-lb/holdfast/dpd/internal/flow"
	"github.com/holdfast-lb/holdfast/dpd/internal/sched"
	"github.com/holdfast-lb/holdfast/dpd/internal/steer"
	"github.com/holdfast-lb/holdfast/dpd/internal/syncer"
	"github.com/holdfast-lb/holdfast/dpd/internal/syncloop"
	"github.com/holdfast-lb/holdfast/dpd/internal/syncseal"
	"github.com/holdfast-lb/holdfast/dpd/internal/worker"
)

const (
	// applyTimeout bounds how long threads may take to hear of a change.
	applyTimeout = 5 * time.Second
	// attendTimeout bounds how long they may take to show that they listen.
	attendTimeout = 2 * time.Second
)

// attend fails unless every packet thread answers in time. Each change from outside begins with it, so that a thread that
// is stuck, or not running yet, is found before anything has changed. It does not hold n.mu.
func (n *Node) attend(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, attendTimeout)
	defer cancel()
	if err := n.loop.Do(ctx, func(*syncloop.Loop) {}); err != nil {
		return fmt.Errorf("%w: the sync thread: %w", control.ErrBusy, err)
	}
	if err := n.each(ctx, func(*worker.Worker) {}); err != nil {
		return fmt.Errorf("%w: %w", control.ErrBusy, err)
	}
	return nil
}

// ApplyConfig replaces the services.
func (n *Node) ApplyConfig(ctx context.Context, c control.Config) (bool, error) {
	if err := n.attend(ctx); err != nil {
		return false, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	switch {
	case c.Revision < n.config.Revision:
		return false, fmt.Errorf("%w: %d, in force is %d", control.ErrStaleRevision, c.Revision, n.config.Revision)
	case c.Revision == n.config.Revision:
		return false, nil
	}
	s, err := sched.Compile(schedule(&c), n.schedule)
	if err != nil {
		return false, err
	}
	before, beforeSchedule := n.config, n.schedule
	n.config, n.schedule = c, s
	if err := n.spread(ctx); err != nil {
		n.config, n.schedule = before, beforeSchedule
		return false, n.restore(err)
	}
	if err := n.tellDigest(ctx); err != nil {
		n.log.Warn("peers were not told which configuration is in force; the next look at the links does it", "err", err)
	}
	n.announceNow()
	n.log.Info("configuration in force", "revision", c.Revision, "services", len(c.Services))
	n.notify()
	return true, nil
}

// restore brings what is kept here back to every thread after a change failed half-way. err is why it failed.
func (n *Node) restore(err error) error {
	if e := n.spread(context.Background()); e != nil {
		n.log.Error("threads may not agree on what is in force; the next change mends it", "err", e)
		return errors.Join(err, e)
	}
	return err
}

func schedule(c *control.Config) *sched.Config {
	out := &sched.Config{Revision: c.Revision}
	for i := range c.Services {
		s := &c.Services[i]
		t := sched.ServiceConfig{
			ID: s.ID, VIP: s.VIP, Proto: s.Proto, Mode: s.Mode, Algorithm: sched.Algorithm(s.Algorithm), Timeouts: sched.Timeouts(s.Timeouts),
			Reset: s.Reset,
		}
		for _, r := range s.Servers {
			t.Servers = append(t.Servers, sched.ServerConfig{
				ID: r.ID, Addr: r.Addr, Weight: r.Weight, State: sched.ServerState(r.State), MaxConnections: r.MaxConnections,
			})
		}
		out.Services = append(out.Services, t)
	}
	return out
}

// ApplyKeys replaces the cluster's keys.
func (n *Node) ApplyKeys(ctx context.Context, k control.Keys) (bool, error) {
	if err := n.attend(ctx); err != nil {
		return false, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	switch {
	case k.Generation < n.keys.Generation:
		return false, fmt.Errorf("%w: %d, in force is %d", control.ErrStaleKeys, k.Generation, n.keys.Generation)
	case k.Generation == n.keys.Generation:
		return false, nil
	}
	if err := n.spreadsBy(k.RSS); err != nil {
		return false, err
	}
	if err := n.useKeys(ctx, k); err != nil {
		return false, err
	}
	n.log.Info("keys in force", "generation", k.Generation, "active", k.Active)
	n.notify()
	return true, nil
}

// spreadsBy refuses an RSS key other than the one in force. Under another one a client's packets would arrive at a worker
// that knows nothing of its sessions; the proto says that the key is constant for a cluster's life. While this node is
// nobody and was given no keys, no session can be here.
func (n *Node) spreadsBy(rss []byte) error {
	if n.keys.Generation == 0 && n.life == (flow.Node{}) {
		return nil
	}
	if have := n.hasher.Key(); !slices.Equal(have[:], rss) {
		return control.ErrRSSKey
	}
	return nil
}

// useKeys puts keys in force. After an error the former ones are kept here, so that the same call is tried again.
func (n *Node) useKeys(ctx context.Context, k control.Keys) error {
	before, beforeHasher := n.keys, n.hasher
	err := n.tellKeys(ctx, k)
	if err != nil {
		n.keys, n.hasher = before, beforeHasher
		return n.restore(err)
	}
	return nil
}

func (n *Node) tellKeys(ctx context.Context, k control.Keys) error {
	first := n.keys.Generation == 0
	digest := first || !slices.Equal(k.Digest, n.keys.Digest)
	if first { // and the same ever after: spreadsBy
		n.hasher = steer.NewHasher(steer.Key(k.RSS))
	}
	n.keys = k
	if digest {
		if err := n.each(ctx, func(w *worker.Worker) { w.Shard().SetDigestKey([16]byte(k.Digest)) }); err != nil {
			return err
		}
	}
	if err := n.spread(ctx); err != nil {
		return err
	}
	return n.keysToSync(ctx)
}

// keysToSync gives the sync machine the keys, once both are there.
func (n *Node) keysToSync(ctx context.Context) error {
	if n.keys.Generation == 0 {
		return nil
	}
	var list []syncseal.Key
	for _, k := range n.keys.Keys {
		list = append(list, syncseal.Key{ID: k.ID, Secret: [32]byte(k.Secret)})
	}
	var err error
	if e := n.loop.Do(ctx, func(l *syncloop.Loop) {
		if s := l.Sync(); s != nil {
			err = s.SetKeys(n.keys.Active, list...)
		}
	}); e != nil {
		return e
	}
	return err
}

// ApplyMembership replaces the view.
func (n *Node) ApplyMembership(ctx context.Context, m control.Membership) (bool, error) {
	_, begun := n.clock()
	changed, err := n.applyMembership(ctx, m)
	if err == nil {
		n.vouched.Store(begun)
	}
	return changed, err
}

func (n *Node) applyMembership(ctx context.Context, m control.Membership) (bool, error) {
	if err := n.attend(ctx); err != nil {
		return false, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	switch {
	case n.life == (flow.Node{}):
		return false, control.ErrNotMember
	case m.Self.Life != n.life:
		return false, fmt.Errorf("%w: id %d incarnation %d, this is id %d incarnation %d", control.ErrWrongLife,
			m.Self.Life.ID, m.Self.Life.Inc, n.life.ID, n.life.Inc)
	case m.Over():
		// Peers say so too, if they are reached. One that the coordinator put aside may have reached none.
		if n.state == control.StateFenced {
			return false, nil
		}
		n.fence(ctx)
		n.notify()
		return true, nil
	case m.View < n.view.View:
		return false, fmt.Errorf("%w: %d, in force is %d", control.ErrStaleView, m.View, n.view.View)
	case m.View == n.view.View:
		return false, nil
	}
	if err := n.useView(ctx, m); err != nil {
		return false, err
	}
	return true, nil
}

// useView puts a view in force on every thread. After an error the former one is kept here, so that the same view is
// taken when it comes again; threads that have it already take it twice.
func (n *Node) useView(ctx context.Context, m control.Membership) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), applyTimeout)
	defer cancel()
	if !serving(n.state) && (m.Self.State == control.Admitted || m.Self.State == control.Degraded) {
		if err := n.each(ctx, (*worker.Worker).FlushRx); err != nil {
			return err
		}
	}
	before, life := n.view, n.life
	n.view, n.life = m, m.Self.Life
	if err := n.tellView(ctx, &m); err != nil {
		n.view, n.life = before, life
		return err
	}
	fencedAt, now := make(map[flow.Node]time.Time, len(m.Fenced)), time.Now()
	for _, f := range m.Fenced {
		if fencedAt[f] = now; !n.fencedAt[f].IsZero() {
			fencedAt[f] = n.fencedAt[f]
		}
	}
	n.fencedAt = fencedAt
	if n.life != life {
		// What was seen, asked and told under the former life says nothing about this one.
		n.seen = observation{late: n.seen.late}
		n.repairing, n.equalAt, n.drain = nil, nil, time.Time{}
		n.proving.start(false)
		n.tellPeers()
	}
	if !n.step() {
		n.announceNow()
	}
	n.log.Info("view in force", "view", m.View, "members", len(m.Members), "self", stateNames[n.state])
	n.notify()
	return nil
}

// tellView gives a view to every thread. The sync machine hears it first: a peer that is new to it would be answered as a
// stranger.
func (n *Node) tellView(ctx context.Context, m *control.Membership) error {
	v := syncer.View{Epoch: m.View, Self: m.Self.Life}
	addrs := syncloop.Addresses{Self: m.Self.SIP, Port: m.Self.SyncPort}
	for _, p := range m.Members {
		v.Members = append(v.Members, syncer.Member{
			Node: p.Life, Admitted: p.State == control.Admitted || p.State == control.Degraded, Degraded: p.State == control.Degraded,
			Draining: p.State == control.Draining, Sync: syncAddrs(&p),
		})
	}
	if !n.cfg.Sync.Enabled {
		v.Members = slices.DeleteFunc(v.Members, func(p syncer.Member) bool { return p.Node != m.Self.Life })
	}
	var blocks []syncer.Block
	for _, b := range m.Blocks {
		if x, ok := syncer.MakeBlock(b.ID, b.Addrs); ok {
			blocks = append(blocks, x)
		}
	}
	if err := n.viewToSync(ctx, &v, blocks, addrs); err != nil {
		return err
	}
	if err := n.each(ctx, func(w *worker.Worker) {
		_ = w.Table().SetSelf(v.Self) // fails only when 65534 lives are known at once; the shard's records then count as foreign
		w.Shard().SetView(w.Now(), &v)
	}); err != nil {
		return err
	}
	return n.spread(ctx)
}

// syncAddrs are where a member's sync datagrams come from: its sync address of each family that it has.
func syncAddrs(m *control.Member) (out [2]netip.AddrPort) {
	for f, a := range m.SIP {
		if a.IsValid() {
			out[f] = netip.AddrPortFrom(a.Unmap(), m.SyncPort)
		}
	}
	return out
}

func (n *Node) viewToSync(ctx context.Context, v *syncer.View, blocks []syncer.Block, a syncloop.Addresses) error {
	var err error
	fresh := false
	if e := n.loop.Do(ctx, func(l *syncloop.Loop) {
		if l.Sync() == nil {
			var s *syncer.Sync
			s, err = syncer.NewSync(l.Now(), syncer.SyncConfig{
				Self: v.Self, Shards: len(n.workers), ShardOf: func(b flow.Bucket) int { return n.buckets.Worker(uint8(b)) },
				MTU: syncPayload(&n.cfg), ConfigDigest: configDigest(&n.config), Random: random,
			}, l)
			if err != nil {
				return
			}
			l.SetSync(s)
			fresh = true
		}
		if !l.Sync().SetView(l.Now(), v) {
			err = fmt.Errorf("%w: %d, the sync thread has a later one", control.ErrStaleView, v.Epoch)
			return
		}
		l.Sync().SetBlocks(blocks)
		l.SetAddresses(a)
	}); e != nil {
		return e
	}
	if err == nil && fresh {
		err = n.keysToSync(ctx)
	}
	return err
}

// ipUDP is the larger of the headers around a sync datagram: sync.mtu counts IP packets, the machine UDP payloads.
const ipUDP = 48

// syncPayload is the greatest sync datagram: what sync.mtu and the widest port let through.
func syncPayload(c *config.Config) int { return min(c.Sync.MTU, maxMTU(c)) - ipUDP }

func random(b []byte) {
	if _, err := crand.Read(b); err != nil {
		panic(err) // crypto/rand never fails on Linux; without it nothing could be sealed
	}
}

// tellDigest lets peers know which configuration is in force. Without a sync machine the first HELLO will say it.
func (n *Node) tellDigest(ctx context.Context) error {
	d := configDigest(&n.config)
	return n.loop.Do(ctx, func(l *syncloop.Loop) {
		if s := l.Sync(); s != nil {
			s.SetConfigDigest(d)
		}
	})
}

// configDigest names a configuration to peers; different ones interoperate.
func configDigest(c *control.Config) uint64 {
	h := fnv.New64a()
	var b [8]byte
	binary.LittleEndian.PutUint64(b[:], c.Revision)
	h.Write(b[:])
	return h.Sum64()
}
