package syncer

import (
	"github.com/holdfast-lb/holdfast/dpd/internal/syncseal"
	"github.com/holdfast-lb/holdfast/dpd/internal/syncwire"
)

// resendPerTick bounds the datagrams of a former salt that are sent again in a tick, of each lane.
const resendPerTick = 256

// past is what went out under the salt before the present one and is not known to have come.
type past struct {
	salt uint32
	lane [syncwire.NumLanes]pastLane
}

// pastLane is one lane of it: the datagrams of counters [next, last].
type pastLane struct {
	grams      []gram
	next, last uint64
}

func (q *past) left() bool {
	for i := range q.lane {
		if l := &q.lane[i]; l.next <= l.last && l.last > 0 {
			return true
		}
	}
	return false
}

// had notes that the peer has the counters of a lane up to c.
func (q *past) had(lane syncwire.Lane, c uint64) {
	l := &q.lane[lane]
	l.next = max(l.next, min(c, l.last)+1)
}

// newSalt gives the link a salt that it never had, before the counters of the present one are used up. The peer is greeted under it at
// once; until it believes it, it drops what comes under it and asks for that later. What was sent under the former salt and is not
// confirmed is sent again then, since the peer forgets the gaps of a salt together with it.
func (p *peer) newSalt() {
	y := p.y
	if p.past.left() { // the second one in a moment
		p.lostHere()
	}
	p.past = past{salt: p.salt}
	p.salt = p.at.salt(y, p.node)
	for i := range p.out {
		l := &p.out[i]
		if l.grams != nil && l.sealer.Sent() > 0 {
			p.past.lane[i] = pastLane{grams: l.grams, next: l.had + 1, last: l.sealer.Sent()}
			l.grams = make([]gram, sentGrams)
		}
		l.sealer = syncseal.NewSealer(&y.ring, p.linkOut(syncwire.Lane(i)))
		l.told, l.had = 0, 0
	}
	p.proven, p.hello, p.wait = false, y.now, helloMin
	y.Count[SyncNewSalt]++
}

// linkOut is the seal's name of a lane to the peer.
func (p *peer) linkOut(lane syncwire.Lane) syncseal.Link {
	self := p.y.cfg.Self
	return syncseal.Link{Inc: self.Inc, Sender: self.ID, Receiver: p.node.ID, Salt: p.salt, Lane: lane}
}

// resendPast has shards send again what the peer may not have got under the former salt, once it believes the present one.
func (p *peer) resendPast() {
	if !p.proven {
		return
	}
	for i := range p.past.lane {
		l, o := &p.past.lane[i], &p.out[i]
		for n := 0; n < resendPerTick && l.next <= l.last && l.last > 0; n++ {
			g := l.grams[l.next%sentGrams]
			if g.counter != l.next || o.next-g.first > sentRefs { // overwritten
				p.y.Count[SyncGapOverrun]++
				p.lostHere()
				*l = pastLane{}
				break
			}
			if !p.resend(o, g) {
				return // a ring is full: the next tick goes on here
			}
			l.next++
		}
		if l.next > l.last {
			*l = pastLane{}
		}
	}
}

// resend has shards send again what a datagram spoke of; false when a ring is full.
func (p *peer) resend(l *outLane, g gram) bool {
	for i := range uint64(g.n) {
		s := &l.refs[(g.first+i)%sentRefs]
		if s.ref.Birth != 0 && !p.y.deliver(int(s.shard), &Delivery{Kind: DeliverResend, From: p.node, Seq: s.seq, Ref: s.ref}) {
			return false
		}
	}
	return true
}
