package syncer

import "github.com/holdfast-lb/holdfast/dpd/internal/syncwire"

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
		p.stat.Refused++
		p.refused(h.Lane, -1)
		return
	}
	if f.Has(syncwire.KindProbe) {
		p.proves(&f.Probe, f.Sent)
	}
	age := p.age.of(y.now, f.Sent)
	if age > staleAfter {
		y.Count[SyncStale]++
		p.stat.Refused++
		p.refused(h.Lane, -1)
		if f.Has(syncwire.KindProbe) {
			p.probe.note(f.Probe.Seq, y.now)
		}
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
	if len(f.Messages) > 0 {
		p.in[h.Lane].told = max(p.in[h.Lane].told, h.Counter)
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
		if m.Kind.HasRecord(m.Found) {
			p.stat.RecordsGot++
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
