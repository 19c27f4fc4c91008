package syncer

import (
	"encoding/binary"

	"github.com/holdfast-lb/holdfast/dpd/internal/flow"
	"github.com/holdfast-lb/holdfast/dpd/internal/syncseal"
	"github.com/holdfast-lb/holdfast/dpd/internal/syncwire"
)

// peer is the link to one incarnation of another node.
//
//	HELLO(a) ──>             each side believes the other's salt once its own nonce came back under it;
//	<── HELLO_ACK(a, b)      before that, lanes other than control are dropped, and asked for later
//	HELLO_ACK(b) ──>
type peer struct {
	y    *Sync
	at   *remote
	node flow.Node
	over bool // a higher incarnation was heard
	born int64

	salt   uint32
	nonce  [16]byte
	drawn  int64 // when the nonce was made
	proven bool  // the peer believes our salt
	untold bool  // another configuration is in force than the last HELLO said that was answered
	out    [syncwire.NumLanes]outLane
	past   past // of the salt before
	mtu    pathMTU

	theirs  uint32 // the salt that is believed; 0: none
	opener  [syncwire.NumLanes]*syncseal.Opener
	in      [syncwire.NumLanes]inLane
	age     ageing
	hello   int64  // when to say HELLO again
	wait    int64  // between HELLOs
	asked   bool   // the peer may have begun anew: say HELLO once more, whatever is believed
	acks    tokens // HELLO_ACKs
	doubted tokens // the same, to HELLOs under a salt without a proof: what was said to a former life of this node opens, too
	answers tokens // GAPs
	repeats tokens // messages sent again for these

	heard     int64 // last authentic datagram of the believed salt
	suspected bool
	missing   bool        // datagrams of the live lane, which may come yet
	known     []knowledge // by shard
	ended     Words       // that the peer said
	probe     prober
	lossy     uint32 // PROBE from which on ProbeDesync is said; 0: it isn't
	stock     stock
	seqs      []uint64 // by shard: highest Seq received by the peer
	stat      PeerStatus
	uses      []heardUse // by block id
	turn      int        // the next of the uses to tell
}

func newPeer(y *Sync, n flow.Node) *peer {
	p := &peer{y: y, at: y.remote(n.ID), node: n, born: y.now, heard: y.now, seqs: make([]uint64, y.cfg.Shards),
		known: make([]knowledge, y.cfg.Shards), wait: helloMin,
		acks: bucket(y.now, 100, 20), doubted: bucket(y.now, 20, 10), answers: bucket(y.now, 1_000, 200), repeats: bucket(y.now, 200_000, sentRefs)}
	p.salt = p.at.salt(y, n)
	p.renonce()
	for l := range p.out {
		lane := syncwire.Lane(l)
		p.out[l] = newOutLane(&y.ring, p.linkOut(lane), lane != syncwire.LaneControl)
	}
	p.mtu.init(y.cfg.MTU)
	p.stock.init(y.cfg.Shards)
	return p
}

func (y *Sync) random32() uint32 {
	var b [4]byte
	y.cfg.Random(b[:])
	return binary.LittleEndian.Uint32(b[:])
}

// queue puts a shard's message into the open datagram of its lane.
func (p *peer) queue(shard int, a *Action) {
	if p.over {
		return
	}
	l := &p.out[a.Lane]
	if l.summed {
		p.flush(a.Lane) // what follows a digest must not stand in its datagram, where it would be applied first
	}
	for range 2 {
		l.begin(a.Lane, p.mtu.size, p.y.epoch, p.y.sent())
		switch l.builder.Message(&a.Msg) {
		case syncwire.Added:
			r := sentRef{ref: a.Ref, seq: a.Seq, shard: uint16(shard)} // of an ACK: the record that it is about
			if a.Msg.Kind == syncwire.KindQuery || a.Msg.Kind == syncwire.KindAnswer {
				r.ref = Ref{} // never sent again
			}
			l.note(r)
			if a.Msg.Kind.HasRecord(a.Msg.Found) {
				p.stat.RecordsSent++
			}
			return
		case syncwire.Invalid:
			p.y.Count[SyncInvalid]++
			return
		}
		p.flush(a.Lane)
	}
	p.y.Count[SyncInvalid]++
}

// queueDigest puts a digest behind all messages of the live lane so far. A peer that may not believe this side's salt would drop it.
func (p *peer) queueDigest(d *syncwire.DigestSums) {
	if p.over || !p.proven {
		return
	}
	p.add(syncwire.LaneLive, func(b *syncwire.Builder) syncwire.Outcome { return b.Digest(d) })
	p.out[syncwire.LaneLive].summed = true
}

// control appends to the control lane.
func (p *peer) control(add func(*syncwire.Builder) syncwire.Outcome) {
	p.add(syncwire.LaneControl, add)
}

// add appends what is never sent again.
func (p *peer) add(lane syncwire.Lane, add func(*syncwire.Builder) syncwire.Outcome) {
	l := &p.out[lane]
	for range 2 {
		l.begin(lane, p.mtu.size, p.y.epoch, p.y.sent())
		if add(l.builder) != syncwire.Full {
			return
		}
		p.flush(lane)
	}
}

func (p *peer) flush(lane syncwire.Lane) {
	l := &p.out[lane]
	if !l.open {
		return
	}
	if l.sealer.Sent() >= p.y.saltEnd {
		p.newSalt()
	}
	b := l.seal()
	if b == nil {
		p.y.Count[SyncNoKey]++
		if lane != syncwire.LaneControl {
			p.lostHere()
		}
		return
	}
	p.y.Count[SyncSent]++
	p.y.Count[SyncBytes] += uint64(len(b))
	p.stat.Sent++
	p.y.out.Send(p.node, p.y.to(p.at), b)
}

const (
	silence   = 300 // milliseconds
	helloMin  = 20
	helloMax  = 1_000
	probeTime = 100
)

func (p *peer) tick() {
	if p.over {
		return
	}
	now := p.y.now
	if (!p.proven || p.theirs == 0 || p.untold || p.asked) && now >= p.hello {
		p.hello = now + p.wait
		p.wait = min(p.wait*2, helloMax)
		p.asked = false
		p.vouchedSalt()
		p.say(nil, false)
	}
	silent := now-p.heard > silence
	if silent && !p.suspected {
		p.y.Count[SyncSuspicions]++
	}
	p.suspected = silent
	if p.theirs != 0 {
		p.askGaps()
		p.missing = p.in[syncwire.LaneLive].open(now)
	}
	p.resendPast()
	p.tellShards()
	if now >= p.probe.next {
		p.probe.next = now + probeTime
		p.sendProbe()
		p.stock.repeat(p)
		p.forgetUses()
	}
}

// askGaps asks for what is missing in the lanes that are sent again.
func (p *peer) askGaps() {
	for l := syncwire.LaneLive; l < syncwire.NumLanes; l++ {
		g := syncwire.Gap{Salt: p.theirs, Lane: l}
		p.in[l].ask(p.y.now, &g)
		if g.N > 0 && !p.y.off(NoGap) {
			p.y.Count[SyncGapAsked] += uint64(g.N)
			p.stat.Gaps += uint64(g.N)
			p.control(func(b *syncwire.Builder) syncwire.Outcome { return b.Gap(&g) })
		}
		if p.in[l].lost {
			p.in[l].lost = false
			p.y.Count[SyncGapLost]++
			p.desync()
		}
	}
}

// gap answers a GAP: what the lost datagrams spoke of is sent again as it is now, and the peer is told, by a GAP that names
// our own salt, that it need not wait for those counters.
func (p *peer) gap(g *syncwire.Gap) {
	if g.Salt == p.theirs && g.Salt != p.salt {
		for _, r := range g.Range[:g.N] {
			p.in[g.Lane].fill(r.From, r.To)
		}
		p.in[g.Lane].filled = p.y.now
		return
	}
	if g.Salt != p.salt || g.Lane == syncwire.LaneControl {
		return
	}
	if !p.answers.take(p.y.now) {
		p.y.Count[SyncReplies]++
		return
	}
	l := &p.out[g.Lane]
	overrun := false
	for _, r := range g.Range[:g.N] {
		if p.repeats.level < 1000 && !p.repeats.take(p.y.now) {
			p.y.Count[SyncReplies]++
			p.desync() // digests find the rest
			return
		}
		to := min(r.To, l.sealer.Sent())
		if to >= r.From && to-r.From >= sentGrams {
			overrun = true
			r.From = to - sentGrams + 1
		}
		for c := r.From; c <= to && c != 0; c++ {
			w, ok := l.sent(c)
			if !ok {
				overrun = true
				p.y.Count[SyncGapOverrun]++
				continue
			}
			p.y.Count[SyncGapAnswered]++
			for i := range uint64(w.n) {
				s := &l.refs[(w.first+i)%sentRefs]
				if s.ref.Birth == 0 {
					continue
				}
				if !p.repeats.take(p.y.now) {
					p.y.Count[SyncReplies]++
					p.desync()
					return
				}
				if !p.y.deliver(int(s.shard), &Delivery{Kind: DeliverResend, From: p.node, Seq: s.seq, Ref: s.ref}) {
					p.lostAt(int(s.shard))
				}
			}
		}
	}
	if overrun {
		p.desync()
	}
	p.control(func(b *syncwire.Builder) syncwire.Outcome { return b.Gap(g) })
}
