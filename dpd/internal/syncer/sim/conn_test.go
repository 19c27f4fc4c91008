package sim

import (
	"fmt"
	"net/netip"

	"github.com/holdfast-lb/holdfast/dpd/internal/conntrack"
	"github.com/holdfast-lb/holdfast/dpd/internal/flow"
)

// phase of a connection in truth, as its two ends see it.
type phase uint8

const (
	opening phase = iota
	established
	closing
	scripted // a scenario sends what closes it
	over
)

// conn is a connection between a client and a server, whose two sides' packets pass through nodes of their own.
type conn struct {
	w       *world
	id      int
	client  int
	orig    flow.Key
	reply   flow.Key // once a server knows it
	birth   flow.Birth
	bucket  flow.Bucket
	udp     bool
	phase   phase
	idle    bool
	manual  bool     // a scenario sends its packets
	path    [2]*node // by direction
	next    [2]uint32
	acked   [2]uint32
	last    int64 // last packet that came through
	since   int64 // when it was established
	waits   int64 // since when packets have not come through; 0: they do
	step    int   // of closing
	first   flow.Direction
	think   int64 // milliseconds that an end takes to go on closing
	retries int
}

// clientKey is the original tuple of client i; odd ones are UDP.
func clientKey(i int) (flow.Key, flow.Bucket) {
	proto := uint8(flow.ProtoTCP)
	if i%4 == 3 {
		proto = flow.ProtoUDP
	}
	port := uint16(40000 + i)
	if i%5 == 4 { // a client with IPv6, whose packets go on in IPv4
		a := netip.MustParseAddr("2001:db8::1").As16()
		a[14] = byte(i)
		k, err := flow.MakeKey(proto, netip.AddrPortFrom(netip.AddrFrom16(a), port), netip.MustParseAddrPort("[2001:db8:100::1]:80"))
		if err != nil {
			panic(err)
		}
		return k, flow.Bucket(i / 2 * 37)
	}
	k, err := flow.MakeKey(proto, netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(i)}), port), netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 51, 100, 1}), 80))
	if err != nil {
		panic(err)
	}
	return k, flow.Bucket(i / 2 * 37)
}

func (w *world) connOf(client int) *conn {
	for _, c := range w.conns {
		if c.client == client {
			return c
		}
	}
	return nil
}

// open lets a client without a connection open one.
func (w *world) open() {
	i := w.rng.IntN(w.opt.clients)
	a, b := w.anyRoute(), w.anyRoute()
	if w.connOf(i) != nil || a == nil {
		return
	}
	w.total.opened++
	c := &conn{w: w, id: w.total.opened, client: i, path: [2]*node{a, b}, next: [2]uint32{w.rng.Uint32(), w.rng.Uint32()}, last: w.now}
	c.orig, c.bucket = clientKey(i)
	c.udp = c.orig.Proto() == flow.ProtoUDP
	w.conns = append(w.conns, c)
	w.logf("conn %d: client %d opens via %d/%d", c.id, i, a.id, b.id)
	c.syn()
	w.after(50, c.pump)
}

func (c *conn) syn() {
	if c.udp {
		c.emit(flow.In, 0, 10)
		return
	}
	c.emit(flow.In, conntrack.SYN, 0)
}

// emit sends a packet from one end; dir is its direction.
func (c *conn) emit(dir flow.Direction, flags uint8, payload uint32) {
	n := c.path[dir]
	if n == nil || !n.alive {
		return
	}
	p := packet{c: c, dir: dir, seg: conntrack.Segment{Seq: c.next[dir], Ack: c.acked[dir], Payload: payload, Window: 1000, Flags: flags}}
	p.key = c.orig
	if dir == flow.Out {
		p.key = c.reply
	}
	ms := int64(1)
	if c.w.chance(c.w.opt.rough) {
		ms += c.w.rng.Int64N(40)
	}
	if c.w.chance(c.w.opt.rough) {
		return
	}
	c.w.after(ms, func() {
		if n.alive && c.phase != over {
			n.packet(p)
		}
	})
}

// arrive is a translated packet at its end.
func (c *conn) arrive(p packet, d flow.Direction, out flow.Key) {
	w := c.w
	if c.phase == over || w.chance(w.opt.rough) {
		return
	}
	if d != p.dir {
		w.violate("conn %d: packet of direction %d translated as %d", c.id, p.dir, d)
		return
	}
	if d == flow.In {
		at := out.Reverse()
		if c.phase == opening && (c.udp || p.seg.Flags&conntrack.SYN != 0) {
			w.serverSees(c, at, p.at)
		} else if at != c.reply {
			x, _, _ := p.at.find(c.bucket, &at)
			if c.udp && (x.Birth > c.birth || !w.heldAnywhere(c)) || p.seg.Flags&conntrack.SYN != 0 {
				w.serverSees(c, at, p.at)
			} else {
				// A node that was cut off from the news used the mapping of an earlier life. It must not last.
				w.total.astray++
				return
			}
		}
	} else if at := out.Reverse(); at != c.orig {
		w.violate("conn %d: server's packet went to %v", c.id, at)
		return
	}
	c.last = w.now
	c.progress(p)
}

// serverSees gives a connection its reply tuple, which no other one may have.
func (w *world) serverSees(c *conn, reply flow.Key, n *node) {
	for _, o := range w.conns {
		if o != c && o.reply == reply && o.phase == established && w.heldAnywhere(o) {
			w.violate("I5 conn %d got %s, which conn %d uses", c.id, short(c.orig, reply), o.id)
		}
	}
	c.reply = reply
	// A record of an earlier life with the same mapping is no copy of this one.
	x, _, _ := n.find(c.bucket, &reply)
	c.birth = x.Birth
}

// progress is what the ends do when a packet arrived.
func (c *conn) progress(p packet) {
	w := c.w
	end := p.seg.Seq + p.seg.Payload
	if p.seg.Flags&(conntrack.SYN|conntrack.FIN) != 0 {
		end++
	}
	other := p.dir ^ 1
	if int32(end-c.acked[other]) > 0 || c.acked[other] == 0 {
		c.acked[other] = end
	}
	if int32(end-c.next[p.dir]) > 0 {
		c.next[p.dir] = end
	}
	c.waits = 0
	if c.udp {
		switch {
		case c.phase == opening && p.dir == flow.In:
			c.emit(flow.Out, 0, 10)
		case c.phase == opening:
			c.establish()
		}
		return
	}
	switch c.phase {
	case opening:
		switch {
		case p.dir == flow.In && p.seg.Flags&conntrack.SYN != 0:
			c.emit(flow.Out, conntrack.SYN|conntrack.ACK, 0)
		case p.dir == flow.Out:
			c.emit(flow.In, conntrack.ACK, 0)
		case p.dir == flow.In && p.seg.Flags&conntrack.ACK != 0:
			c.establish()
		}
	case closing:
		from := c.first
		if c.step == 1 {
			from ^= 1
		}
		if p.dir == from && (c.step == 2 || p.seg.Flags&conntrack.FIN != 0) {
			c.step, c.retries = c.step+1, 0
			if c.think == 0 {
				c.close()
			} else {
				w.after(c.think, c.close)
			}
		}
	case established, scripted, over:
	}
}

func (c *conn) establish() {
	c.phase, c.since = established, c.w.now
	c.w.total.established++
	c.w.logf("conn %d: established %s", c.id, short(c.orig, c.reply))
}

func (c *conn) end(why string) {
	if c.phase == over {
		return
	}
	c.w.logf("conn %d: over, %s", c.id, why)
	c.phase = over
	for i, o := range c.w.conns {
		if o == c {
			c.w.conns = append(c.w.conns[:i], c.w.conns[i+1:]...)
			return
		}
	}
}

// close sends what the present step of closing needs: FIN, the other FIN, the last ACK.
func (c *conn) close() {
	switch c.step {
	case 0:
		c.emit(c.first, conntrack.FIN|conntrack.ACK, 0)
	case 1:
		c.emit(c.first^1, conntrack.FIN|conntrack.ACK, 0)
	case 2:
		c.emit(c.first, conntrack.ACK, 0)
	default:
		c.w.total.closed++
		c.end("closed")
	}
}

// pump is what the ends do by time.
func (c *conn) pump() {
	w := c.w
	if c.phase == over {
		return
	}
	switch c.phase {
	case opening:
		if c.retries++; c.retries > 12 {
			c.end("gave up opening")
			return
		}
		if c.retries%3 == 0 {
			c.syn()
		}
		w.after(300, c.pump)
		return
	case closing:
		if c.retries++; c.retries > 10 {
			c.end("gave up closing")
			return
		}
		c.close()
		w.after(300, c.pump)
		return
	case established, scripted, over:
	}
	if c.manual {
		w.after(500, c.pump)
		return
	}
	if c.idle {
		if w.now-c.last > int64(w.opt.est)*1000 {
			c.end("idle")
			return
		}
		w.after(500, c.pump)
		return
	}
	if c.waits == 0 {
		c.waits = w.now
	}
	dir := flow.Direction(w.rng.IntN(2))
	c.emit(dir, conntrack.ACK, uint32(1+w.rng.IntN(100)))
	w.after(20+w.rng.Int64N(200), c.pump)
}

func (w *world) anyConn(p phase) *conn {
	var list []*conn
	for _, c := range w.conns {
		if c.phase == p {
			list = append(list, c)
		}
	}
	if len(list) == 0 {
		return nil
	}
	return list[w.rng.IntN(len(list))]
}

// movePath sends one side of a connection through another node from now on.
func (w *world) movePath() {
	c, n := w.anyConn(established), w.anyRoute()
	if c == nil || n == nil {
		return
	}
	d := w.rng.IntN(2)
	w.logf("conn %d: side %d moves from %d to %d", c.id, d, c.path[d].id, n.id)
	c.path[d] = n
}

func (w *world) idleOne() {
	if c := w.anyConn(established); c != nil {
		c.idle = !c.idle
		c.waits = 0
		if c.idle {
			w.total.idled++
		}
		w.logf("conn %d: idle=%v", c.id, c.idle)
	}
}

// closeOne closes a connection from either end, or resets it.
func (w *world) closeOne() {
	c := w.anyConn(established)
	if c == nil {
		return
	}
	c.first = flow.Direction(w.rng.IntN(2))
	if c.udp {
		c.end("UDP ends")
		return
	}
	w.logf("conn %d: side %d closes", c.id, c.first)
	if w.chance(0.3) {
		c.emit(c.first, conntrack.RST|conntrack.ACK, 0)
		w.after(2, func() { c.end("reset") })
		c.phase = closing
		c.step = 3
		return
	}
	c.phase, c.step, c.retries = closing, 0, 0
	c.close()
}

func short(orig, reply flow.Key) string {
	return fmt.Sprintf("{c%d -> %v -> %v}", orig.SrcPort()-40000, reply.Dst(), reply.Src().Addr())
}

func version(b flow.Birth, term uint32, o flow.Node, ver uint32, f flow.Flags) string {
	s := fmt.Sprintf("b%d.%d t%d own %d.%d v%d", int64(b>>16)-epochMS, b&0xffff, term, o.ID, o.Inc, ver)
	for _, x := range [...]struct {
		f flow.Flags
		n string
	}{{flow.ReplyOnly, "RO"}, {flow.SoftTomb, "AGE"}, {flow.HardTomb, "CLOSE"}, {flow.Embryonic, "EMB"}} {
		if f&x.f != 0 {
			s += " " + x.n
		}
	}
	return s
}
