package syncer

import (
	"net/netip"

	"github.com/holdfast-lb/holdfast/dpd/internal/flow"
	"github.com/holdfast-lb/holdfast/dpd/internal/syncseal"
	"github.com/holdfast-lb/holdfast/dpd/internal/syncwire"
)

func (p *peer) body() syncwire.Hello {
	return syncwire.Hello{
		Nonce: p.nonce, ConfigDigest: p.y.cfg.ConfigDigest,
		MinMajor: syncwire.Major, MaxMajor: syncwire.Major, Minor: syncwire.Minor, MTU: uint16(p.y.cfg.MTU),
	}
}

// say sends HELLO, or with echo HELLO_ACK, which asks for a proof too as long as the peer's salt is not believed here, or both
// would answer each other until a PROBE. It goes alone, so that the answer is as long as the question.
func (p *peer) say(echo *[16]byte, believed bool) {
	p.flush(syncwire.LaneControl)
	if p.y.now-p.drawn >= nonceLife && !believed {
		p.renonce()
	}
	h := p.body()
	if echo != nil {
		h.Echo = *echo
		if believed {
			h.Nonce = [16]byte{}
		}
	}
	p.control(func(b *syncwire.Builder) syncwire.Outcome { return b.Hello(&h, echo != nil) })
	p.flush(syncwire.LaneControl)
}

// greet handles HELLO and HELLO_ACK, which o opened, in a datagram of that length. A salt is believed by an answer to the
// nonce that is out and by nothing else, and until then no word under it is kept: it may be a replay.
func (p *peer) greet(f *syncwire.Frame, o *syncseal.Opener, length int) {
	salt := o.Link().Salt
	if f.Has(syncwire.KindHello) && p.speaks(&f.Hello) {
		if salt == p.theirs {
			p.learn(&f.Hello)
		}
		acks := &p.doubted
		if salt == p.theirs || p.y.vouches(p.node, salt) {
			acks = &p.acks
		}
		if p.y.mayAnswer(length, syncwire.HelloLen, acks) {
			p.say(&f.Hello.Nonce, salt == p.theirs)
		}
	}
	if f.Has(syncwire.KindHelloAck) && p.speaks(&f.HelloAck) {
		h := &f.HelloAck
		fresh := h.Echo == p.nonce
		if fresh {
			p.untold = false
		}
		if fresh && salt != p.theirs {
			drawn := p.drawn
			p.believe(o)
			p.age.proved(p.y.now, f.Sent, drawn)
		}
		if salt != p.theirs {
			return
		}
		p.learn(h)
		if h.Nonce != [16]byte{} && !p.proven && p.y.mayAnswer(length, syncwire.HelloLen, &p.acks) {
			p.say(&h.Nonce, true)
		}
	}
}

// speaks says whether the sender of a greeting speaks this major version.
func (p *peer) speaks(h *syncwire.Hello) bool {
	if h.MinMajor > syncwire.Major || h.MaxMajor < syncwire.Major {
		p.y.Count[SyncForeignMajor]++
		return false
	}
	return true
}

// learn takes what a greeting says of its sender.
func (p *peer) learn(h *syncwire.Hello) {
	p.mtu.limit(int(h.MTU))
	p.stat.ConfigDigest = h.ConfigDigest
}

// mayAnswer says whether a datagram of a length may be answered by one of another now: never by a longer one, nor too often.
func (y *Sync) mayAnswer(asked, answer int, t *tokens) bool {
	switch {
	case asked < answer:
		y.Count[SyncTooShort]++
	case !t.take(y.now):
		y.Count[SyncReplies]++
	default:
		return true
	}
	return false
}

// SetConfigDigest tells peers that another configuration is in force; differing ones interoperate.
func (y *Sync) SetConfigDigest(d uint64) {
	if y.cfg.ConfigDigest == d {
		return
	}
	y.cfg.ConfigDigest = d
	for _, p := range y.peers {
		p.untold, p.hello, p.wait = true, y.now, helloMin
		p.renonce() // no answer to an earlier HELLO is one to this
	}
}

// believe takes a salt whose freshness was proved by what o opened. What came under it before is asked for again.
func (p *peer) believe(o *syncseal.Opener) {
	p.y.Count[SyncHello]++
	began := p.theirs != 0
	p.theirs = o.Link().Salt
	for l := range p.opener {
		if lane := syncwire.Lane(l); lane == syncwire.LaneControl {
			p.opener[l] = o
		} else {
			p.opener[l] = syncseal.NewOpener(&p.y.ring, p.link(p.theirs, lane))
		}
		p.in[l] = inLane{}
		if began {
			p.in[l].filled = p.y.now // what was missing of the former salt comes soon
		}
	}
	p.age = ageing{}
	p.heard = p.y.now
	p.wait = helloMin
	p.probe.theirs = 0
	p.stock.surveyed = false
	p.renonce() // an echo proves one salt
}

// nonceLife is for how long, in milliseconds, one nonce is said. Its echo proves no more than that a datagram is younger than
// the nonce, and the link's clock base begins with that.
const nonceLife = 2_000

// renonce makes a nonce that nobody can have seen before.
func (p *peer) renonce() {
	p.y.cfg.Random(p.nonce[:])
	p.drawn = p.y.now
}

func (p *peer) link(salt uint32, lane syncwire.Lane) syncseal.Link {
	return syncseal.Link{Inc: p.node.Inc, Sender: p.node.ID, Receiver: p.y.cfg.Self.ID, Salt: salt, Lane: lane}
}

// Datagram takes a received UDP payload that came from an address; its bytes are overwritten.
func (y *Sync) Datagram(now int64, from netip.AddrPort, b []byte) {
	y.time(now)
	r := y.sources[from]
	if r == nil {
		y.Count[SyncSource]++
		return
	}
	var h syncwire.Header
	if why := h.Read(b); why != syncwire.OK {
		y.Count[SyncReason+SyncCounter(why)]++
		return
	}
	p := find(y.peers, h.Sender)
	switch {
	case h.Sender == y.cfg.Self.ID:
		y.Count[SyncSelf]++
	case h.Sender != r.id:
		y.Count[SyncSource]++
	case h.Salt == 0:
		y.Count[SyncNotBelieved]++
	case p == nil && !y.knows(h.Sender):
		y.Count[SyncNotMember]++
	case p == nil || p.over || h.Inc != p.node.Inc:
		y.stranger(r, p, &h, b)
	case p.theirs == 0 || h.Salt != p.theirs:
		p.unproven(&h, b)
	default:
		tlvs, v := p.opener[h.Lane].Open(&h, b)
		y.Count[SyncVerdict+SyncCounter(v)]++
		if v != syncseal.Opened {
			p.stat.Refused++
			return
		}
		p.authentic(&h, tlvs, len(b))
	}
}

func (y *Sync) knows(id uint32) bool {
	for _, f := range y.fenced {
		if f.ID == id {
			return true
		}
	}
	return false
}

// unproven looks at a datagram under a salt that is not believed: only a greeting counts.
func (p *peer) unproven(h *syncwire.Header, b []byte) {
	y := p.y
	if h.Lane != syncwire.LaneControl {
		y.Count[SyncNotBelieved]++
		return
	}
	o, tlvs := p.at.open(y, false, h, b)
	if o == nil {
		p.stat.Refused++
		return
	}
	f, why := y.decoder.Decode(h, tlvs)
	if why != syncwire.OK {
		y.Count[SyncReason+SyncCounter(why)]++
		p.stat.Refused++
		return
	}
	if f.Has(syncwire.KindFenced) && f.Fenced.Echo == p.nonce {
		y.fencedBy(&f.Fenced)
	}
	if f.Has(syncwire.KindHello) || f.Has(syncwire.KindHelloAck) {
		p.greet(f, o, len(b))
		return
	}
	// Perhaps the peer began anew, perhaps this is a replay. Its answer to a HELLO tells.
	y.Count[SyncNotBelieved]++
	p.asked = true
	p.hello = min(p.hello, y.now+probeTime)
}

// stranger looks at a datagram of an incarnation that is not the view's: a higher one fences the view's, a lower one is
// told that it is over.
func (y *Sync) stranger(r *remote, p *peer, h *syncwire.Header, b []byte) {
	node := flow.Node{Inc: h.Inc, ID: h.Sender}
	later := p != nil && h.Inc > p.node.Inc || p == nil && !y.below(node)
	o, tlvs := r.open(y, !later, h, b)
	if o == nil {
		return
	}
	f, why := y.decoder.Decode(h, tlvs)
	if why != syncwire.OK {
		y.Count[SyncReason+SyncCounter(why)]++
		return
	}
	if later {
		y.Count[SyncNewInc]++
		if f.Has(syncwire.KindHello) && !y.off(NoFence) {
			y.fence(node)
		}
		// Members that began anew meanwhile may be the only ones that this node hears. What they say of it counts when it
		// answers a HELLO.
		if f.Has(syncwire.KindFenced) && p != nil {
			if f.Fenced.Echo == p.nonce {
				y.fencedBy(&f.Fenced)
			}
			p.begunAnew()
		}
		return
	}
	y.Count[SyncOldInc]++
	proven, replies := y.vouches(node, h.Salt), &r.replies
	if !proven {
		replies = &r.doubted
	}
	if f.Has(syncwire.KindFenced) || !y.mayAnswer(len(b), syncwire.FencedLen, replies) {
		return
	}
	w := syncwire.Fenced{Inc: h.Inc, ByInc: y.replacedBy(p, node), View: y.epoch}
	if f.Has(syncwire.KindHello) {
		w.Echo = f.Hello.Nonce
	}
	r.sayFenced(y, node, proven, &w)
}

// begunAnew says HELLO, once a second, to a peer whose life in the view is over: the one that followed knows more.
func (p *peer) begunAnew() {
	if now := p.y.now; now >= p.hello {
		p.hello = now + helloMax
		p.vouchedSalt()
		p.say(nil, false)
	}
}

// replacedBy is the incarnation that ended another one; 0: it was removed from the view.
func (y *Sync) replacedBy(p *peer, n flow.Node) uint64 {
	if p != nil && p.node.Inc > n.Inc {
		return p.node.Inc
	}
	for _, f := range y.fenced {
		if f.ID == n.ID && !f.removed {
			return f.Inc
		}
	}
	return 0
}

// fencedBy is a member's word that this incarnation is over.
func (y *Sync) fencedBy(f *syncwire.Fenced) {
	if f.Inc == y.cfg.Self.Inc && !y.off(NoFence) {
		y.isFenced = true
	}
}
