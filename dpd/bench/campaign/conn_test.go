package campaign

import "fmt"

// conn is a TCP connection as its client sees it: it sends one request at a time, each of size bytes, waits for its
// response, and repeats what is not answered. Its number is in its address and in its sequence numbers, so that a packet
// says whose it is wherever it turns up.
type conn struct {
	w                  *world
	id                 uint32
	state              state
	rounds             int // requests to make
	done               int // responses here
	tries              int
	due                uint32  // number of the last timer
	door               *node   // by which it sends
	back               *node   // by which its server does; nil: the holder of the block
	tried              []tuple // where its SYNs came
	via                tuple   // as the handshake had it
	theirs             uint32  // the server's first sequence number
	serverEnds, closed bool
	// guarded: it must not break, since the nodes of holders have it.
	guarded bool
	holders []life
}

// life is one process.
type life struct {
	n       *node
	process int
}

type state uint8

const (
	opening state = iota
	established
	closing
	over
)

// tuple is a connection as its server sees it.
type tuple struct {
	local, server         uint32
	localPort, serverPort uint16
}

// accepted is a connection at its server.
type accepted struct {
	c         *conn
	first     uint32
	received  int // requests
	finTries  int
	clientFin bool
}

const (
	size    = 100 // bytes of each request and response
	idBits  = 12
	most    = 30 // requests, so that sequence numbers stay below those of the next number
	again   = 200
	givesUp = 12
)

func (c *conn) String() string {
	return fmt.Sprintf("conn %d state %d done %d of %d via %x:%d-%x:%d door %v back %v tries %d guarded %v", c.id, c.state, c.done, c.rounds,
		c.via.local, c.via.localPort, c.via.server, c.via.serverPort, c.door, c.back, c.tries, c.guarded)
}

func (n *node) String() string {
	if n == nil {
		return "-"
	}
	return fmt.Sprint(n.i)
}

// traffic lets connections begin until peace.
func (w *world) traffic() {
	var next func()
	next = func() {
		if w.peace {
			return
		}
		if len(w.open) < 3*w.opt.room {
			w.dial()
		}
		w.after(1+w.below(20_000/int64(w.opt.rate)), next)
	}
	next()
}

func (w *world) dial() {
	door := w.route()
	if door == nil {
		return
	}
	c := &conn{w: w, id: uint32(len(w.conns) + 1), rounds: 1 + int(w.below(most)), door: door, serverEnds: w.chance(0.5)}
	if w.chance(0.5) {
		c.back = w.route()
	}
	w.conns = append(w.conns, c)
	w.open = append(w.open, c)
	w.total.begun++
	c.send()
}

// route is a node that takes packets of clients.
func (w *world) route() *node {
	at := int(w.below(int64(len(w.nodes))))
	for i := range w.nodes {
		if n := w.nodes[(at+i)%len(w.nodes)]; n.mesh != nil && n.serving {
			return n
		}
	}
	return nil
}

// reroute moves what runs through a node that announces nothing any more, or all of it.
func (c *conn) reroute(any bool) {
	if n := c.door; any || n.mesh == nil || !n.serving || n.stopped {
		if r := c.w.route(); r != nil {
			c.door = r
		}
	}
	if n := c.back; n != nil && (any || n.mesh == nil || !n.serving || n.stopped) {
		c.back = c.w.route()
	}
}

// send sends what is due now and repeats it until it is answered.
func (c *conn) send() {
	w := c.w
	if c.state == over {
		return
	}
	if c.tries++; c.tries > givesUp {
		if c.guarded && !c.excused() {
			w.violate("connection %d, which was safe, gets no answer: %s", c.id, c)
		}
		c.end("gives up")
		return
	}
	if c.tries > 2 {
		c.reroute(false)
	}
	switch c.state {
	case opening:
		c.out(flagSYN, 0, 0, 0)
	case established:
		c.out(flagACK|flagPSH, 1+c.done*size, 1+c.done*size, size)
	case closing:
		c.out(flagFIN|flagACK, 1+c.rounds*size, c.ack(), 0)
	}
	c.timer(again << min(c.tries, 4))
}

func (c *conn) ack() int {
	if c.closed {
		return 2 + c.rounds*size
	}
	return 1 + c.rounds*size
}

func (c *conn) timer(ms int64) {
	c.due++
	due := c.due
	c.w.after(ms, func() {
		if c.due == due {
			c.send()
		}
	})
}

// goOn sends the next thing after some time.
func (c *conn) goOn() {
	w := c.w
	c.tries = 0
	if c.done == c.rounds && c.state == established {
		if c.serverEnds && !c.closed {
			c.due++ // the server's FIN is due
			s := w.server[c.via]
			if s != nil && s.c == c {
				s.close(w, c.via)
			}
			c.timer(20_000)
			return
		}
		c.state = closing
	}
	ms := 1 + w.below(3_000)
	if w.chance(0.05) {
		ms += w.below(12_000)
	}
	if w.peace {
		ms = 1 + w.below(200)
	}
	c.timer(ms)
}

func (c *conn) out(flags byte, seq, ack, payload int) {
	w := c.w
	f := frame(11<<24|c.id, vip, c.port(), 80, flags, c.id<<idBits+uint32(seq), c.theirs+uint32(ack), payload)
	n := c.door
	w.travel(&w.opt.clients, f, func(b []byte) { n.receive(int(c.id), b) })
}

func (c *conn) port() uint16 { return uint16(1024 + c.id&0x3fff) }

func (n *node) receive(queue int, b []byte) {
	if n.mesh != nil && n.serving {
		n.mesh.Receive(queue%len(n.mesh.Workers), b)
	}
}

func (c *conn) end(why string) {
	w := c.w
	c.state = over
	c.due++
	w.total.ended++
	if c.guarded {
		w.total.guarded++
	}
	if why != "" {
		w.total.refused++
		w.logf("connection %d %s", c.id, why)
	}
	for i, o := range w.open {
		if o == c {
			w.open[i] = w.open[len(w.open)-1]
			w.open = w.open[:len(w.open)-1]
			break
		}
	}
}

// atClient takes a packet that came to a client.
func (w *world) atClient(p *segment) {
	id := p.dst & 0xffffff
	if int(id) > len(w.conns) || id == 0 || p.src != vip || p.srcPort != 80 || p.dstPort != w.conns[id-1].port() {
		w.violate("a packet to nobody: %+v", p)
		return
	}
	c := w.conns[id-1]
	if p.flags&flagRST == 0 && p.ack>>idBits != id {
		if c.state == over {
			w.total.strays++
			return
		}
		w.violate("connection %d gets bytes of connection %d: %+v", id, p.ack>>idBits, p)
		return
	}
	switch {
	case c.state == over:
		if p.flags&flagFIN != 0 { // its last ACK was lost
			c.out(flagACK, 2+c.rounds*size, 2+c.rounds*size, 0)
		}
		return
	case p.flags&flagRST != 0:
		if c.guarded && !c.excused() {
			w.violate("connection %d, which was safe, is reset: %s", id, c)
		}
		c.end("is reset")
		return
	case p.flags&flagSYN != 0:
		if c.state == opening {
			c.state, c.theirs = established, p.seq
			for _, t := range c.tried { // SYNs by several nodes may have come to several servers
				if first(t, id) == p.seq {
					c.via = t
				}
			}
			c.out(flagACK, 1, 1, 0)
			c.goOn()
		}
		return
	case c.state == opening:
		return
	}
	off := int(p.seq - c.theirs)
	if off < 0 || off > most*size+2 {
		if c.guarded && !c.excused() {
			w.violate("connection %d gets bytes of another server: %+v, %s", id, p, c)
		}
		w.total.strays++
		return
	}
	switch {
	case p.flags&flagFIN != 0:
		if off != 1+c.rounds*size || c.done < c.rounds {
			return
		}
		c.closed = true
		if c.state == closing && int(p.ack-id<<idBits) == 2+c.rounds*size {
			c.out(flagACK, 2+c.rounds*size, 2+c.rounds*size, 0)
			c.end("")
			return
		}
		if c.state == established {
			c.state, c.tries = closing, 0
			c.send()
		}
	case p.payload > 0:
		if c.state == established && off == 1+c.done*size {
			c.done++
			c.goOn()
		}
	case c.state == closing && c.closed && int(p.ack-id<<idBits) == 2+c.rounds*size:
		c.end("")
	}
}

// atServer takes a packet that came to a server.
func (w *world) atServer(p *segment) {
	t := tuple{p.src, p.dst, p.srcPort, p.dstPort}
	id := p.seq >> idBits
	if id == 0 || int(id) > len(w.conns) {
		w.violate("a packet of nobody: %+v", p)
		return
	}
	c := w.conns[id-1]
	s := w.server[t]
	if s != nil && s.c != c {
		switch {
		case c.state == over && p.flags&flagSYN == 0:
			w.total.strays++ // it came late; its server's address is another one's now
			return
		case s.c.state != over && s.c.via == t:
			w.violate("a packet of connection %d comes where connection %d is: %+v", id, s.c.id, p)
			return
		}
	}
	if p.flags&flagRST != 0 && c.via != t {
		w.total.strays++ // a server that was offered the connection first, and half opened it, is told that it is over
		return
	}
	if c.guarded && c.state != over && c.via != t && !c.excused() {
		w.violate("connection %d, which was safe, comes to another server or from another local address: %+v, %s", id, p, c)
		return
	}
	if p.flags&flagSYN != 0 {
		if s == nil || s.c != c {
			s = &accepted{c: c, first: first(t, id)}
			w.server[t] = s
		}
		c.tried = append(c.tried, t)
		s.out(w, t, flagSYN|flagACK, 0, 1, 0)
		return
	}
	if s == nil || s.c != c || p.ack-s.first > most*size+2 {
		w.total.strays++
		return
	}
	off := int(p.seq - id<<idBits)
	switch {
	case p.flags&flagFIN != 0:
		if off != 1+c.rounds*size {
			return
		}
		s.clientFin = true
		if int(p.ack-s.first) == 2+c.rounds*size { // it answers the server's
			s.out(w, t, flagACK, 2+c.rounds*size, 2+c.rounds*size, 0)
			return
		}
		s.out(w, t, flagFIN|flagACK, 1+c.rounds*size, 2+c.rounds*size, 0)
	case p.payload > 0:
		k := (off - 1) / size
		s.received = max(s.received, k+1)
		s.out(w, t, flagACK|flagPSH, 1+k*size, 1+(k+1)*size, size)
	}
}

// close is the server's FIN, repeated until the client's came.
func (s *accepted) close(w *world, t tuple) {
	if s.clientFin || s.finTries >= givesUp || w.server[t] != s {
		return
	}
	s.finTries++
	s.out(w, t, flagFIN|flagACK, 1+s.c.rounds*size, 1+s.c.rounds*size, 0)
	w.after(again<<min(s.finTries, 4), func() { s.close(w, t) })
}

func (s *accepted) out(w *world, t tuple, flags byte, seq, ack, payload int) {
	f := frame(t.server, t.local, t.serverPort, t.localPort, flags, s.first+uint32(seq), s.c.id<<idBits+uint32(ack), payload)
	n := s.c.back
	if n == nil || n.mesh == nil || !n.serving {
		n = w.holder(t.local)
	}
	if n != nil {
		w.travel(&w.opt.clients, f, func(b []byte) { n.receive(int(s.c.id), b) })
	}
}

// holder is the node to which routers send what is for a local address.
func (w *world) holder(local uint32) *node {
	for _, b := range w.coord.stored.Blocks {
		for _, a := range b.Addresses {
			if x := a.As4(); uint32(x[0])<<24|uint32(x[1])<<16|uint32(x[2])<<8|uint32(x[3]) == local {
				for _, n := range w.nodes {
					if n.life.ID == b.Holder && n.life.Inc == b.HolderInc && n.mesh != nil && n.serving && !n.stopped {
						return n
					}
				}
			}
		}
	}
	return w.route()
}

// first is a server's first sequence number.
func first(t tuple, id uint32) uint32 {
	h := uint64(t.local)*0x9e3779b97f4a7c15 ^ uint64(t.server)*0xc2b2ae3d27d4eb4f ^ uint64(t.localPort)<<40 ^ uint64(id)<<13
	return uint32(h*0x9e3779b97f4a7c15>>32) &^ 0xfff
}
