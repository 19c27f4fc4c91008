package syncer

import (
	"math"

	"github.com/holdfast-lb/holdfast/dpd/internal/syncwire"
)

// prober is one link's exchange of PROBEs.
type prober struct {
	next   int64
	seq    uint32
	at     [64]int64 // when the last ones were sent, by seq
	theirs uint32
	theirT int64
	void   uint32 // this node stood still while PROBEs up to this one were on their way: they measure nothing
}

// sent says whether seq is one of the last PROBEs that this node sent on this link.
func (r *prober) sent(seq uint32) bool {
	return seq != 0 && seq <= r.seq && r.seq-seq < uint32(len(r.at))
}

// unheard is for how long, in milliseconds, nothing of what this node sends has come to the peer that says w: since the first
// PROBE after the one that it echoes. What this node did not send is no silence.
func (r *prober) unheard(w *syncwire.Probe, now int64) int64 {
	next := w.EchoSeq + 1
	switch {
	case w.EchoSeq == 0 || w.EchoSeq >= r.seq:
		return 0
	case r.sent(next):
		return now - r.at[next%64]
	}
	return int64(w.EchoHold) // more PROBEs ago than are remembered
}

// note takes the peer's newest PROBE, which the next one of this node echoes, so that the peer knows it for fresh. One that
// is refused as stale counts too: where both clocks stood still in turn, both sides refuse all, until one of them is echoed.
func (r *prober) note(seq uint32, now int64) bool {
	if seq <= r.theirs {
		return false
	}
	r.theirs, r.theirT = seq, now
	return true
}

func (p *peer) sendProbe() {
	y, r := p.y, &p.probe
	r.seq++
	r.at[r.seq%64] = y.now
	w := syncwire.Probe{
		Seq: r.seq, EchoSeq: r.theirs, State: y.state, Wall: uint64(y.now + y.ahead),
	}
	y.putWords(&w)
	if r.theirs != 0 {
		w.EchoHold = uint32(min(y.now-r.theirT, math.MaxUint32))
	}
	if p.lossy != 0 {
		w.State |= syncwire.ProbeDesync
	}
	for l := range w.Lane {
		w.Lane[l] = syncwire.LaneMark{Salt: p.theirs, Sent: p.out[l].sealer.Sent(), Contiguous: p.in[l].contiguous()}
	}
	p.flush(syncwire.LaneControl)
	size := p.mtu.probe(r.seq)
	l := &p.out[syncwire.LaneControl]
	l.begin(syncwire.LaneControl, max(size, p.mtu.size), y.epoch, y.sent())
	l.builder.Probe(&w)
	if size != 0 {
		l.builder.Pad()
	}
	p.flush(syncwire.LaneControl)
}

// putWords tells what tombstones wait for, once every shard has.
func (y *Sync) putWords(w *syncwire.Probe) {
	all := Words{y.now, y.now, y.now}
	for _, s := range y.words {
		if s == (Words{}) {
			return
		}
		all = Words{min(all.Closed, s.Closed), min(all.Aged, s.Aged), min(all.Floor, s.Floor)}
	}
	age := func(at int64) uint32 { return uint32(min(max(y.now-at, 0)+1, math.MaxUint32)) }
	w.Closed, w.Aged, w.Floor = age(all.Closed), age(all.Aged), age(all.Floor)
}

// wordSlack is taken off a peer's word about its tombstones, for the way that the word took and the drift of both clocks: one that
// came by a fast way seems older than the peer's own word of it.
const wordSlack = 1_000

func (p *peer) probed(w *syncwire.Probe, sent uint64) {
	y, r := p.y, &p.probe
	if !r.note(w.Seq, y.now) {
		return
	}
	p.stat.State = w.State
	p.stat.Unheard = r.unheard(w, y.now)
	if r.sent(w.EchoSeq) {
		if w.EchoSeq > r.void {
			p.stat.RTT = max(y.now-r.at[w.EchoSeq%64]-int64(w.EchoHold), 0)
			p.stat.Offset = int64(w.Wall) + p.stat.RTT/2 - (y.now + y.ahead)
			p.stat.Timed = true
		}
		p.mtu.echoed(w.EchoSeq)
		if p.lossy != 0 && w.EchoSeq >= p.lossy {
			p.lossy = 0
		}
		if y.frozen != 0 && (r.at[w.EchoSeq%64] >= y.frozen || y.off(ThawByAnyEcho)) {
			y.frozen = 0
		}
	}
	if w.State&syncwire.ProbeDesync != 0 {
		p.lostHere()
	}
	believed := w.Lane[syncwire.LaneLive].Salt
	p.proven = believed == p.salt
	for l := syncwire.LaneLive; l < syncwire.NumLanes; l++ {
		p.in[l].missing(y.now, w.Lane[l].Sent)
		switch believed {
		case p.salt:
			p.out[l].had = max(p.out[l].had, min(w.Lane[l].Contiguous, p.out[l].sealer.Sent()))
		case p.past.salt:
			p.past.had(l, w.Lane[l].Contiguous)
		}
	}
	p.stock.surveyed = p.stock.surveyed || p.stock.isEnded
	// A message after one that is still to be sent again would confirm that one, too.
	if p.proven && !p.past.left() {
		p.confirmed(w.Lane[syncwire.LaneLive].Contiguous)
	}
	if w.Closed != 0 {
		at := func(ago uint32) int64 { return p.age.local(int64(sent)-int64(ago)+1) - wordSlack }
		p.ended = Words{max(p.ended.Closed, at(w.Closed)), max(p.ended.Aged, at(w.Aged)), max(p.ended.Floor, at(w.Floor))}
	}
	p.tellShards()
}

// confirmed notes what the peer has of the live lane.
func (p *peer) confirmed(c uint64) {
	l := &p.out[syncwire.LaneLive]
	c = min(c, l.sealer.Sent())
	if c <= l.told {
		return
	}
	if g, ok := l.sent(c); ok && g.n > 0 {
		lag := max(int64(p.y.sent())-g.at, 1)
		if p.stat.Lag == 0 {
			p.stat.Lag = lag
		}
		p.stat.Lag += (lag - p.stat.Lag) / 8
	}
	from := l.told + 1
	if c-from >= sentGrams {
		from = c - sentGrams + 1
	}
	for ; from <= c; from++ {
		g, ok := l.sent(from)
		if !ok {
			continue
		}
		for i := range uint64(g.n) {
			s := &l.refs[(g.first+i)%sentRefs]
			if s.seq > p.seqs[s.shard] {
				p.seqs[s.shard] = s.seq
			}
		}
	}
	l.told = c
}
