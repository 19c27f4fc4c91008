package syncer

import "github.com/holdfast-lb/holdfast/dpd/internal/syncwire"

// tellAgain is after how long, in milliseconds, a shard is told everything once more, though it took it: a view that names
// the member may have reached the shard later than the word about it.
const tellAgain = 1_000

// knowledge is what one shard was told of a peer and took. What a shard must know of a peer is a state, not an event: a word that
// found the ring full is said again at each tick until there is room.
type knowledge struct {
	at          int64 // since when all of it counts; 0: nothing was said yet
	desync      bool  // something was lost, and the shard doesn't know
	silent, gap bool
	seq         uint64
	ended       Words
}

// tellShards says to every shard what it does not know yet.
func (p *peer) tellShards() {
	for i := range p.known {
		p.tell(i)
	}
}

// tell says to a shard what it does not know yet, in an order that matters: of a loss before what came all the same, so that
// it does not take what was lost for received.
func (p *peer) tell(shard int) {
	y, w := p.y, &p.known[shard]
	if y.full[shard] || p.over {
		return
	}
	if w.at == 0 || y.now-w.at >= tellAgain {
		*w = knowledge{desync: w.desync}
	}
	if w.desync {
		if !y.deliver(shard, &Delivery{Kind: DeliverDesync, From: p.node}) {
			return
		}
		w.desync = false
	}
	if w.at == 0 || w.silent != p.suspected || w.gap != p.missing {
		if !y.deliver(shard, &Delivery{Kind: DeliverSuspect, From: p.node, Yes: p.suspected, Gap: p.missing}) {
			return
		}
		w.silent, w.gap, w.at = p.suspected, p.missing, max(w.at, y.now)
	}
	if seq := p.seqs[shard]; seq > w.seq {
		if !y.deliver(shard, &Delivery{Kind: DeliverConfirmed, From: p.node, Seq: seq}) {
			return
		}
		w.seq = seq
	}
	if p.ended != w.ended {
		if !y.deliver(shard, &Delivery{Kind: DeliverWatermarks, From: p.node, Words: p.ended}) {
			return
		}
		w.ended = p.ended
	}
}

// lostAt notes that something between the peer and one shard was lost for good.
func (p *peer) lostAt(shard int) {
	p.known[shard].desync = true
	p.tell(shard)
}

// lostHere notes that something between the peer and every shard was lost for good, on this node's side or on the way from it.
func (p *peer) lostHere() {
	for i := range p.known {
		p.lostAt(i)
	}
}

// desync says to the peer, and to the shards, that something is missing for good, so that digests find it.
func (p *peer) desync() {
	p.lossy = p.probe.seq + 1
	p.lostHere()
}

// refused notes that what the peer will believe to be received was not applied: by the shard, by all if that is negative.
func (p *peer) refused(lane syncwire.Lane, shard int) {
	switch {
	case lane == syncwire.LaneControl:
	case shard < 0:
		p.desync()
	default:
		p.lossy = p.probe.seq + 1
		p.lostAt(shard)
	}
}
