package sim

import (
	"errors"
	"net/netip"

	"github.com/holdfast-lb/holdfast/dpd/internal/conntrack"
	"github.com/holdfast-lb/holdfast/dpd/internal/expiry"
	"github.com/holdfast-lb/holdfast/dpd/internal/flow"
	"github.com/holdfast-lb/holdfast/dpd/internal/syncer"
	"github.com/holdfast-lb/holdfast/dpd/internal/worker"
)

// packet is one packet on its way: its tuple, and the connection that it belongs to in truth.
type packet struct {
	c     *conn
	key   flow.Key
	dir   flow.Direction // in truth
	seg   conntrack.Segment
	tried bool // it waited once
	at    *node
}

// packet handles one packet as a worker does: look up, touch, ask the Shard where it must be asked, translate.
func (n *node) packet(p packet) {
	s := n.shards[n.shardOf(p.c.bucket)]
	if n.paused || s.stuck {
		return
	}
	n.watch(func() {
		now := n.now()
		s.table.Advance(expiry.Tick(uint32(now)))
		s.handle(now, p)
		n.drain()
	})
}

func (s *shard) handle(now int64, p packet) {
	tcp := p.key.Proto() == flow.ProtoTCP
	syn := tcp && p.seg.Flags&(conntrack.SYN|conntrack.ACK) == conntrack.SYN && p.dir == flow.In
	h, d, ok := s.table.Find(&p.key)
	if !ok {
		s.miss(now, p, syn)
		return
	}
	o := s.table.Touch(h, d, &p.seg, expiry.Tick(uint32(now)))
	if syn && o&(conntrack.SynOnExisting|conntrack.HitSoftTomb) != 0 {
		switch s.Syn(now, h, p.seg.Seq, true) {
		case syncer.SynNew:
			s.open(now, p)
			return
		case syncer.SynDrop:
			return
		case syncer.SynReborn:
			o = s.table.Touch(h, d, &p.seg, expiry.Tick(uint32(now)))
		case syncer.SynServe:
		}
	}
	s.tell(now, h, d, &p, o)
	var out flow.Key
	s.table.Outgoing(h, d, &out)
	p.at = s.n
	p.c.arrive(p, d, out)
}

// tell gives the Shard what a packet showed.
func (s *shard) tell(now int64, h flow.Handle, d flow.Direction, p *packet, o conntrack.Outcome) {
	const ask = conntrack.Foreign | conntrack.HitSoftTomb | conntrack.HitReplyOnly | conntrack.FirstLocalPacket
	if o&ask != 0 {
		seg := &p.seg
		if p.key.Proto() != flow.ProtoTCP {
			seg = nil
		}
		s.Packet(now, h, worker.Facts(seg, d, o))
	}
	worker.Announce(s.Shard, s.table, now, h, d, o)
}

func (s *shard) miss(now int64, p packet, syn bool) {
	tcp := p.key.Proto() == flow.ProtoTCP
	if syn {
		s.open(now, p)
		return
	}
	if p.tried {
		if !tcp && p.dir == flow.In {
			s.open(now, p)
		}
		return
	}
	ask := s.Miss
	if p.dir == flow.Out {
		ask = s.MissReply
	}
	switch ask(now, &p.key, p.c.bucket) {
	case syncer.MissWait:
		p.tried = true
		if len(s.waiting) < worker.HoldMax {
			s.waiting = append(s.waiting, waiting{p, now + int64(worker.HoldFor(&p.key))})
		}
	case syncer.MissSchedule:
		if p.dir == flow.In {
			s.open(now, p)
		}
	case syncer.MissDrop:
	}
}

// wake lets packets go that waited for a tuple.
func (s *shard) wake(a *syncer.Action) {
	var going []packet
	keep := s.waiting[:0]
	for _, v := range s.waiting {
		if k := v.p.key; k == flow.Key(a.Msg.Rec.Orig) || k == flow.Key(a.Msg.Rec.Reply) {
			going = append(going, v.p)
			continue
		}
		keep = append(keep, v)
	}
	s.waiting = keep
	for _, p := range going {
		s.handle(s.n.now(), p)
	}
}

func (s *shard) expireWaiting() {
	var going []packet
	keep := s.waiting[:0]
	for _, v := range s.waiting {
		if v.until > s.n.now() {
			keep = append(keep, v)
		} else if v.p.key.Proto() != flow.ProtoTCP {
			going = append(going, v.p)
		}
	}
	s.waiting = keep
	for _, p := range going {
		s.handle(s.n.now(), p)
	}
}

var servers = [2]netip.Addr{netip.AddrFrom4([4]byte{10, 1, 0, 1}), netip.AddrFrom4([4]byte{10, 1, 0, 2})}

// open schedules a new session for a client's packet.
func (s *shard) open(now int64, p packet) {
	n := s.n
	if !n.admitted || p.dir != flow.In || n.sync.Frozen() || n.clocks.guard.Off {
		return
	}
	x := flow.Session{Orig: p.key, Service: 1, Server: 1, Mode: flow.FullNAT, Bucket: p.c.bucket, State: flow.UDPNone, Flags: flow.Embryonic}
	if p.key.Proto() == flow.ProtoTCP {
		x.State = flow.TCPNone
	}
	h := s.create(now, &x, servers[n.w.rng.IntN(2)])
	if h == 0 {
		n.w.total.refused++
		return
	}
	n.w.logf("node %d: opens %s", n.id, short(p.key, x.Reply))
	o := s.table.Touch(h, flow.In, &p.seg, expiry.Tick(uint32(now)))
	s.tell(now, h, flow.In, &p, o)
	var out flow.Key
	s.table.Outgoing(h, flow.In, &out)
	p.at = n
	p.c.arrive(p, flow.In, out)
}

// create takes a port and stores the session, as a worker does; 0: it can't.
func (s *shard) create(now int64, x *flow.Session, server netip.Addr) flow.Handle {
	for range portsPerBucket {
		var ok bool
		if x.Reply, ok = s.ports.Take(x.Bucket, endpoint(x.Orig.Proto(), server)); !ok {
			return 0
		}
		h, err := s.Create(now, x)
		if err == nil {
			return h
		}
		s.n.w.logf("node %d: create %s: %v", s.n.id, short(x.Orig, x.Reply), err)
		if !errors.Is(err, flow.ErrReplyTaken) {
			s.ports.Release(x.Reply)
			return 0
		}
		// A record that came before the lease has it, and releases it.
	}
	return 0
}
