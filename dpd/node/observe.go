package node

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/holdfast-lb/holdfast/dpd/internal/control"
	"github.com/holdfast-lb/holdfast/dpd/internal/flow"
	"github.com/holdfast-lb/holdfast/dpd/internal/syncer"
	"github.com/holdfast-lb/holdfast/dpd/internal/worker"
)

// leftOutMS is how long a joining node waits for a member that says nothing: as long as the sync machine waits for stock.
// Shorter silence is no sign of death, since the routes to a new node's sync address are just being learned.
const leftOutMS = 10_000

// add takes one link's status.
func (o *observation) add(p *syncer.PeerStatus) {
	if len(o.peers) == 0 {
		o.hello = true
	}
	o.hello = o.hello && (p.Linked || p.ProbeAge >= leftOutMS)
	if p.Linked && !p.Suspected && p.Timed {
		o.offsets = append(o.offsets, p.Offset)
	}
	o.peers = append(o.peers, control.Peer{
		Life: p.Node, Established: p.Linked, Suspected: p.Suspected, Desync: p.Desync, MTU: uint32(p.MTU),
		ProbeAgeMS: uint32(max(p.ProbeAge, 0)), RTTMicros: rttMicros(p), ClockOffsetMS: int32(p.Offset),
		Sent: p.Sent, Received: p.Received, Gaps: p.Gaps, UnheardMS: uint32(max(p.Unheard, 0)),
		LagMS: uint32(max(p.Lag, 0)), Refused: p.Refused, RecordsSent: p.RecordsSent, RecordsReceived: p.RecordsGot,
	})
	if p.BulkBegun {
		o.bulk = append(o.bulk, control.Bulk{From: p.Node, Begun: true, Ended: p.BulkEnded, Expected: p.BulkExpected, Received: p.BulkReceived})
	}
}

// rttMicros is not 0 once it was measured: that is how the coordinator knows that the clock offset was, too.
func rttMicros(p *syncer.PeerStatus) uint32 {
	if !p.Timed {
		return 0
	}
	return max(uint32(max(p.RTT, 0))*1000, 1)
}

// sameLinks says whether nothing changed that a coordinator decides by.
func sameLinks(a, b *observation) bool {
	return a.stock == b.stock && a.complete == b.complete && a.hello == b.hello && a.hold == b.hold &&
		slices.EqualFunc(a.peers, b.peers, func(x, y control.Peer) bool {
			return x.Life == y.Life && x.Established == y.Established && x.Suspected == y.Suspected && x.Desync == y.Desync
		})
}

// count reads what costs a pass over a worker's numbers: once a second.
func (n *Node) count(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, watchTimeout)
	defer cancel()
	var owned, held uint64
	signals := map[uint32]*control.Backend{}
	repairing := map[flow.Node]bool{}
	n.mu.Lock()
	peers := slices.Clone(n.view.Members)
	n.mu.Unlock()
	err := n.each(ctx, func(w *worker.Worker) {
		all, own := w.Shard().Mapped()
		held, owned = held+all, owned+own
		w.Signals(func(server uint32, alive, dead uint64) {
			b := signals[server]
			if b == nil {
				b = &control.Backend{Server: server}
				signals[server] = b
			}
			b.Alive, b.Dead = b.Alive+alive, b.Dead+dead
		})
		for _, p := range peers {
			if w.Shard().Repairing(p.Life) {
				repairing[p.Life] = true
			}
		}
	})
	if err != nil {
		return
	}
	n.countUse(ctx)
	n.mu.Lock()
	defer n.mu.Unlock()
	n.seen.owned, n.seen.held = owned, held
	n.seen.backends = n.seen.backends[:0:0]
	for _, b := range signals {
		n.seen.backends = append(n.seen.backends, *b)
	}
	slices.SortFunc(n.seen.backends, func(a, b control.Backend) int { return cmp.Compare(a.Server, b.Server) })
	n.repairing = repairing
	now, equal := time.Now(), make(map[flow.Node]time.Time, len(n.seen.peers))
	for _, p := range n.seen.peers {
		if n.digestEqual(&p) {
			equal[p.Life] = now
		} else if at, ok := n.equalAt[p.Life]; ok {
			equal[p.Life] = at
		}
	}
	n.equalAt = equal
}

// digestEqual says whether the digests that were exchanged with a peer last were equal, as far as is known. Called under mu.
func (n *Node) digestEqual(p *control.Peer) bool {
	return p.Established && !n.repairing[p.Life] && !p.Desync
}
