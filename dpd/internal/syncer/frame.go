package syncer

import (
	"github.com/holdfast-lb/holdfast/dpd/internal/syncwire"
)

const staleAfter = 5_000 // milliseconds on the way

// ageing tells how long datagrams of a link were on their way, from the least difference of both clocks in the last 30
// to 60 s.
type ageing struct {
	least, before int64
	since         int64
	have, had     bool
}

// of is the age of a datagram, 0 for the fastest one.
func (a *ageing) of(now int64, sent uint64) int64 {
	d := now - int64(sent)
	if a.have && now-a.since >= 30_000 {
		a.before, a.had, a.have = a.least, true, false
	}
	if !a.have {
		a.least, a.since, a.have = d, now, true
	}
	a.least = min(a.least, d)
	if a.had && now-a.since < 30_000 {
		return d - min(a.least, a.before)
	}
	return d - a.least
}

// local is the time, in this node's milliseconds, at which a datagram that says sent would have come by the fastest way seen.
func (a *ageing) local(sent uint64) int64 {
	least := a.least
	if a.had {
		least = min(least, a.before)
	}
	return int64(sent) + least
}

// authentic handles an opened datagram of the believed salt. length is that of the whole datagram.
func (p *peer) authentic(h *syncwire.Header, tlvs []byte, length int) {
	y := p.y
	y.Count[SyncReceived]++
	p.stat.Received++
	ordered := h.Lane == syncwire.LaneLive && p.in[h.Lane].follows(y.now, h.Counter)
	if h.Lane != syncwire.LaneControl {
		p.in[h.Lane].got(y.now, h.Counter)
	}
	f, why := y.decoder.Decode(h, tlvs)
	if why != syncwire.OK {
		y.Count[SyncReason+SyncCounter(why)]++
		p.refused(h.Lane, -1)
		return
	}
	age := p.age.of(y.now, f.Sent)
	if age > staleAfter {
		y.Count[SyncStale]++
		p.refused(h.Lane, -1)
		return
	}
	p.heard = y.now
	y.Count[SyncSkipped] += uint64(f.Skipped)
	if f.Has(syncwire.KindFenced) {
		y.fencedBy(&f.Fenced)
	}
	if f.Has(syncwire.KindHello) || f.Has(syncwire.KindHelloAck) {
		p.greet(f, p.opener[syncwire.LaneControl], length)
	}
	if f.Has(syncwire.KindProbe) {
		p.probed(&f.Probe, f.Sent)
	}
	for i := range f.Gaps {
		p.gap(&f.Gaps[i])
	}
	p.told(f, age)
	if f.Has(syncwire.KindBulkBegin) {
		p.stock.begun(&f.BulkBegin)
	}
	y.d = Delivery{Kind: DeliverMessage, From: p.node}
	for i := range f.Messages {
		m := &f.Messages[i]
		if h.Lane == syncwire.LaneBulk && m.Kind != syncwire.KindDigestList {
			p.stock.in++
			if m.Kind == syncwire.KindSession {
				p.stock.sumIn += bulkSum(&m.Rec)
			}
		}
		y.d.Msg = *m
		if shard := y.shardOf(m.Rec.Bucket); !y.deliver(shard, &y.d) {
			p.refused(h.Lane, shard)
		}
	}
	if len(f.Digests) > 0 { // they are of what the messages made
		y.d = Delivery{Kind: DeliverDigest, From: p.node, Yes: ordered, Seq: f.View}
		for i := range f.Digests {
			y.d.Digest = f.Digests[i]
			if shard := y.shardOf(f.Digests[i].Bucket); !y.deliver(shard, &y.d) {
				p.lostAt(shard)
			}
		}
	}
	if len(f.Replies) > 0 {
		y.d = Delivery{Kind: DeliverDigestReply, From: p.node}
		for i := range f.Replies {
			y.d.Reply = f.Replies[i]
			if shard := y.shardOf(f.Replies[i].Bucket); !y.deliver(shard, &y.d) {
				p.lostAt(shard)
			}
		}
	}
	if f.Has(syncwire.KindBulkEnd) {
		p.stock.ended(&f.BulkEnd)
	}
	p.compare()
}
