package node

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/holdfast-lb/holdfast/dpd/internal/control"
	"github.com/holdfast-lb/holdfast/dpd/internal/flow"
	"github.com/holdfast-lb/holdfast/dpd/internal/localport"
	"github.com/holdfast-lb/holdfast/dpd/internal/neigh"
	"github.com/holdfast-lb/holdfast/dpd/internal/packet"
	"github.com/holdfast-lb/holdfast/dpd/internal/stat"
	"github.com/holdfast-lb/holdfast/dpd/internal/syncer"
	"github.com/holdfast-lb/holdfast/dpd/internal/syncloop"
	"github.com/holdfast-lb/holdfast/dpd/internal/syncwire"
	"github.com/holdfast-lb/holdfast/dpd/internal/worker"
)

var _ control.Plane = (*Node)(nil)

// Info describes the node.
func (n *Node) Info() control.Info {
	n.mu.Lock()
	defer n.mu.Unlock()
	i := control.Info{
		Name: n.cfg.Node.Name, Version: Version, DPDK: n.dev.Version(),
		SyncProtocol: fmt.Sprintf("%d.%d", syncwire.Major, syncwire.Minor), UptimeMS: uint64(time.Since(n.began).Milliseconds()),
		Workers: len(n.workers), Poll: string(n.cfg.Poll), ActiveKey: n.keys.Active, SIP: n.view.Self.SIP, SyncPort: n.view.Self.SyncPort,
		Capacity: uint64(n.cfg.Table.SessionsV4) + uint64(n.cfg.Table.SessionsV6), AnnounceHold: n.holding(),
	}
	for _, k := range n.keys.Keys {
		i.KeyIDs = append(i.KeyIDs, k.ID)
	}
	for p, d := range n.ports {
		info := d.Info()
		i.Ports = append(i.Ports, control.DataPort{
			Name: n.cfg.Ports[p].Name, Driver: info.Driver, MAC: info.MAC, MTU: n.cfg.Ports[p].MTU, RxQueues: info.RxQueues,
			TxQueues: info.TxQueues, LinkUp: d.LinkUp(), Addrs: n.cfg.Ports[p].Addresses,
		})
	}
	for _, d := range n.rules {
		for _, r := range d.rules {
			i.Rules = append(i.Rules, control.Rule{Rule: r.Rule.String(), Device: d.device, Hardware: r.Hardware, Reason: r.Reason})
		}
	}
	told := map[string]bool{}
	for _, r := range n.ann.Announced() {
		told[r.Prefix.String()] = true
	}
	for _, r := range n.announced {
		if told[r.Prefix.String()] {
			i.Routes = append(i.Routes, control.Route{Prefix: r.Prefix, Purpose: r.purpose, NextHop: n.hops[family(r.Prefix.Addr())]})
		}
	}
	return i
}

// Status is what the coordinator judges the node by.
func (n *Node) Status() control.Status {
	n.mu.Lock()
	defer n.mu.Unlock()
	s := control.Status{
		Self: n.life, State: n.state, View: n.view.View, Revision: n.config.Revision, KeyGeneration: n.keys.Generation,
		Bulk: n.seen.bulk, Conditions: n.conditions(), Backends: n.seen.backends, Owned: n.seen.owned, Held: n.seen.held,
		ClockOff:     n.timing.Off,
		DetectorLate: !n.seen.late.IsZero() && time.Since(n.seen.late) < lateCounts,
	}
	n.useStatus(&s)
	for _, p := range n.seen.peers {
		p.DigestEqual = n.digestEqual(&p)
		if at, ever := n.equalAt[p.Life]; ever {
			p.DigestEverEqual, p.DigestEqualAgeMS = true, uint32(min(time.Since(at).Milliseconds(), math.MaxUint32))
		}
		s.Peers = append(s.Peers, p)
	}
	for _, f := range n.view.Fenced {
		s.Fenced = append(s.Fenced, control.FencedAge{Life: f, AgeMS: uint64(time.Since(n.fencedAt[f]).Milliseconds())})
	}
	return s
}

// Revisions tells what is in force.
func (n *Node) Revisions() (config, view, keys uint64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.config.Revision, n.view.View, n.keys.Generation
}

func (n *Node) lifeNow() flow.Node {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.life
}

// Sessions passes every record that want selects to each.
func (n *Node) Sessions(ctx context.Context, want func(*flow.Session) bool, each func(*flow.Session, int) bool) error {
	want = n.bound(want)
	for i, w := range n.workers {
		more := true
		if err := w.Scan(ctx, want, func(s *flow.Session) bool { more = each(s, i); return more }); err != nil {
			return fmt.Errorf("%w: worker %d", control.ErrBusy, i)
		}
		if !more {
			break
		}
	}
	return nil
}

// Session finds one record.
func (n *Node) Session(ctx context.Context, k flow.Key) (flow.Session, int, error) {
	for i, w := range n.workers {
		s, ok, err := w.Find(ctx, k)
		if err != nil {
			return flow.Session{}, 0, fmt.Errorf("%w: worker %d", control.ErrBusy, i)
		}
		if ok {
			bind(n.scheduleNow(), &s)
			return s, i, nil
		}
	}
	return flow.Session{}, 0, control.ErrNotFound
}

// Close closes the owned ones of the sessions that want selects.
func (n *Node) Close(ctx context.Context, want func(*flow.Session) bool) (sum uint64, err error) {
	want = n.bound(want)
	for i, w := range n.workers {
		c, err := w.CloseOwned(ctx, want)
		if sum += c; err != nil {
			return sum, fmt.Errorf("%w: worker %d", control.ErrBusy, i)
		}
	}
	return sum, nil
}

// Order is the cluster hash of a session.
func (n *Node) Order(s *flow.Session) uint64 {
	n.mu.Lock()
	key := n.keys.Digest
	n.mu.Unlock()
	if len(key) != 16 {
		key = make([]byte, 16)
	}
	return syncer.ClusterHash([16]byte(key), &s.Orig)
}

// StartBulk makes every shard send its stock to a member.
func (n *Node) StartBulk(to flow.Node) error {
	n.mu.Lock()
	known := false
	for _, m := range n.view.Members {
		known = known || m.Life == to && to != n.life
	}
	n.mu.Unlock()
	if !known {
		return fmt.Errorf("%w: id %d incarnation %d", control.ErrUnknownPeer, to.ID, to.Inc)
	}
	ctx, cancel := context.WithTimeout(context.Background(), applyTimeout)
	defer cancel()
	return n.each(ctx, func(w *worker.Worker) { w.Shard().StartBulk(w.Now(), to) })
}

// AskBulk makes every shard compare all it holds with every member at once and fetch what it lacks.
func (n *Node) AskBulk() error {
	n.mu.Lock()
	members := n.view.Members
	life := n.life
	n.mu.Unlock()
	if life == (flow.Node{}) {
		return control.ErrNotMember
	}
	ctx, cancel := context.WithTimeout(context.Background(), applyTimeout)
	defer cancel()
	return n.each(ctx, func(w *worker.Worker) {
		for _, m := range members {
			if m.Life != life {
				w.Shard().PeerDesync(w.Now(), m.Life)
			}
		}
	})
}

// Drain stops opening sessions and withdraws the VIPs at once, everything else after the quiet time. Peers translate what
// comes to them meanwhile, and take the sessions over when the view drops this node.
func (n *Node) Drain(quietMS uint32) error {
	if err := n.attend(context.Background()); err != nil {
		return err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.life == (flow.Node{}) {
		return control.ErrNotMember
	}
	if !n.drain.IsZero() {
		return nil
	}
	before := n.state
	n.drain = time.Now().Add(time.Duration(quietMS) * time.Millisecond)
	n.state = control.StateDraining
	ctx, cancel := context.WithTimeout(context.Background(), applyTimeout)
	defer cancel()
	if err := n.allow(ctx); err != nil {
		n.drain, n.state = time.Time{}, before
		return errors.Join(err, n.allow(ctx))
	}
	n.announceNow()
	n.tellPeers()
	n.notify()
	return nil
}

// Stats reads every counter.
func (n *Node) Stats() control.Stats {
	var s control.Stats
	l := n.loop.Counters()
	for c := range stat.NumCounters {
		if v := l.Load(int(c)); v > 0 {
			s.Node = append(s.Node, control.Counter{Name: "sync_thread_" + c.String(), Value: v})
		}
	}
	for c := range neigh.NumCounts {
		s.Node = append(s.Node, control.Counter{Name: "host_" + c.String(), Value: n.routes.Count(c)})
	}
	if n.pub != nil {
		s.Node = append(s.Node, control.Counter{Name: "events_sent", Value: n.pub.Sent.Load()}, control.Counter{Name: "events_failed", Value: n.pub.Failed.Load()})
	}
	for i, p := range n.ports {
		t, name := p.Stats(), n.cfg.Ports[i].Name
		for _, c := range []control.Counter{
			{Name: "rx_packets", Value: t.RxPackets}, {Name: "rx_bytes", Value: t.RxBytes}, {Name: "tx_packets", Value: t.TxPackets},
			{Name: "tx_bytes", Value: t.TxBytes}, {Name: "rx_missed", Value: t.RxMissed}, {Name: "rx_errors", Value: t.RxErrors},
			{Name: "rx_segmented", Value: t.RxSegmented}, {Name: "rx_runt", Value: t.RxRunt}, {Name: "tx_dropped", Value: t.TxDropped},
			{Name: "alloc_fails", Value: t.AllocFails},
		} {
			s.Node = append(s.Node, control.Counter{Name: name + "_" + c.Name, Value: c.Value})
		}
	}
	n.syncStats(&s)
	for _, w := range n.workers {
		counts, parse := w.Counters()
		var ws control.WorkerStats
		for c := range stat.NumCounters {
			x := control.Counter{Name: c.String(), Value: counts.Load(int(c))}
			if c >= stat.DropNoService && c < stat.SyncRx {
				ws.Drops = append(ws.Drops, x)
			} else {
				ws.Counters = append(ws.Counters, x)
			}
		}
		for r := packet.OK + 1; r < packet.NumReasons; r++ {
			ws.Drops = append(ws.Drops, control.Counter{Name: "drop_" + r.String(), Value: parse.Load(int(r))})
		}
		n.shardStats(w, &ws)
		s.Workers = append(s.Workers, ws)
	}
	return s
}

// statsTimeout bounds how long a thread may take to answer a reader of counters.
const statsTimeout = 100 * time.Millisecond

func (n *Node) syncStats(s *control.Stats) {
	ctx, cancel := context.WithTimeout(context.Background(), statsTimeout)
	defer cancel()
	var c syncer.SyncCounters
	if n.loop.Do(ctx, func(l *syncloop.Loop) {
		if y := l.Sync(); y != nil {
			c = y.Count
		}
	}) != nil {
		return
	}
	for i := range c {
		s.Node = append(s.Node, control.Counter{Name: "sync_" + syncer.SyncCounter(i).String(), Value: c[i]})
	}
}

func (n *Node) shardStats(w *worker.Worker, s *control.WorkerStats) {
	ctx, cancel := context.WithTimeout(context.Background(), statsTimeout)
	defer cancel()
	var c syncer.Counters
	var records int
	var ports localport.Stats
	if w.Do(ctx, func(w *worker.Worker) { c, records, ports = w.Shard().Count, w.Table().Len(), w.Ports().Stats() }) != nil {
		return
	}
	s.Counters = append(s.Counters,
		control.Counter{Name: "records", Value: uint64(records)},
		control.Counter{Name: "local_ports_in_use", Value: uint64(ports.InUse)},
		control.Counter{Name: "local_ports_exhausted", Value: ports.Exhausted},
	)
	for i := range c {
		s.Counters = append(s.Counters, control.Counter{Name: "shard_" + syncer.Counter(i).String(), Value: c[i]})
	}
}

func (n *Node) eventsLost() (sum uint64) {
	for _, w := range n.workers {
		c, _ := w.Counters()
		sum += c.Load(int(stat.EventLost))
	}
	return sum
}
