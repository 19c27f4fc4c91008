package dpdtest

import (
	"encoding/binary"
	"errors"
	"net/netip"

	"github.com/holdfast-lb/holdfast/dpd/internal/packet"
)

// Ends of a Conn that are errors.
var (
	ErrReset   = errors.New("connection reset by peer")
	ErrTimeout = errors.New("no answer after all repetitions")
)

// How a Conn sends.
const (
	connMSS    = 1000     // bytes; less if the peer says so
	connFlight = 16 << 10 // bytes sent and not acknowledged, at most
	connRTO    = 200      // milliseconds before a repetition, doubled each time up to connRTOMax
	connRTOMax = 2000
	connTries  = 20
)

// Conn is one end of a TCP connection in its plainest form: it acknowledges every segment, takes only what is in
// order, and repeats everything that is not acknowledged after a time (go back N). Checksums are verified, resets
// believed only at the next sequence number. It is for the thread that steps its Host.
type Conn struct {
	Local, Remote netip.AddrPort
	// OnData takes what arrives in order; without it Received gathers it.
	OnData func(c *Conn, b []byte)

	host        *Host
	client      bool
	established bool
	peerFIN     bool
	closing     bool
	finSent     bool
	finAcked    bool
	err         error

	iss, una, nxt, top uint32 // first, lowest not acknowledged, next to send, highest ever sent
	rcv                uint32 // next expected
	mss                int
	out                []byte // from una on
	in                 []byte
	tries              int
	deadline           int64 // of the repetition timer; 0 while nothing is out
	repeats            int
}

// Listen accepts connections to a port of this host. The callback sees each when its SYN arrives.
func (h *Host) Listen(port uint16, accept func(*Conn)) { h.accept[port] = accept }

// Dial begins a connection.
func (h *Host) Dial(local, remote netip.AddrPort) *Conn {
	c := h.conn(local, remote)
	c.client = true
	c.syn()
	return c
}

func (h *Host) conn(local, remote netip.AddrPort) *Conn {
	h.isn += 0x01234567
	c := &Conn{Local: local, Remote: remote, host: h, iss: h.isn, una: h.isn, nxt: h.isn, top: h.isn, mss: connMSS}
	k := connKey{local, remote}
	if old := h.conns[k]; old != nil {
		for i := range h.order {
			if h.order[i] == old {
				h.order[i] = c
			}
		}
	} else {
		h.order = append(h.order, c)
	}
	h.conns[k] = c
	return c
}

// Established says whether the handshake is done.
func (c *Conn) Established() bool { return c.established }

// Done says whether both sides have closed and everything was acknowledged.
func (c *Conn) Done() bool { return c.finAcked && c.peerFIN }

// PeerClosed says whether the peer has closed its side.
func (c *Conn) PeerClosed() bool { return c.peerFIN }

// Err is why the connection broke, or nil.
func (c *Conn) Err() error { return c.err }

// Received is everything that has arrived in order, unless OnData takes it.
func (c *Conn) Received() []byte { return c.in }

// Unacked is the number of bytes written and not yet acknowledged.
func (c *Conn) Unacked() int { return len(c.out) }

// Repeats is how often the repetition timer fired.
func (c *Conn) Repeats() int { return c.repeats }

// Write queues data and sends what may be sent.
func (c *Conn) Write(b []byte) {
	if c.closing || c.err != nil {
		panic("dpdtest: write on a closed connection")
	}
	c.out = append(c.out, b...)
	c.pump()
}

// Close sends FIN after all data. The other direction stays open.
func (c *Conn) Close() {
	c.closing = true
	c.pump()
}

// Abort sends a reset and forgets the connection.
func (c *Conn) Abort() {
	c.segment(RST|ACK, c.nxt, nil)
	c.fail(ErrReset)
}

func (c *Conn) fail(err error) {
	c.err, c.deadline = err, 0
	if k := (connKey{c.Local, c.Remote}); c.host.conns[k] == c {
		delete(c.host.conns, k)
	}
}

func (c *Conn) segment(flags uint8, seq uint32, payload []byte) {
	f := TCP(c.Local, c.Remote).Flags(flags).Seq(seq).Payload(payload)
	if flags&ACK != 0 {
		f.Ack(c.rcv)
	}
	if flags&SYN != 0 {
		// Options set the header's length, and that shares no byte with the flags.
		f.MSS(connMSS + 460)
	}
	c.host.Send(f)
}

func (c *Conn) syn() {
	flags := uint8(SYN)
	if !c.client {
		flags |= ACK
	}
	c.segment(flags, c.iss, nil)
	c.nxt = c.iss + 1
	c.top = c.nxt
	c.arm()
}

func (c *Conn) arm() {
	c.deadline = c.host.now + int64(min(connRTO<<min(c.tries, 8), connRTOMax))
}

// pump sends data and FIN as far as the flight limit allows.
func (c *Conn) pump() {
	if !c.established || c.err != nil {
		return
	}
	sent := false
	for {
		off := int(c.nxt - c.una)
		if off >= len(c.out) || off >= connFlight {
			break
		}
		b := c.out[off:min(off+c.mss, len(c.out))]
		c.segment(PSH|ACK, c.nxt, b)
		c.nxt += uint32(len(b))
		sent = true
	}
	if c.closing && !c.finSent && int(c.nxt-c.una) == len(c.out) {
		c.segment(FIN|ACK, c.nxt, nil)
		c.nxt++
		c.finSent, sent = true, true
	}
	if int32(c.nxt-c.top) > 0 {
		c.top = c.nxt
	}
	if sent {
		c.arm()
	}
}

func (c *Conn) timer() {
	if c.deadline == 0 || c.host.now < c.deadline || c.err != nil {
		return
	}
	if c.tries++; c.tries > connTries {
		c.fail(ErrTimeout)
		return
	}
	c.repeats++
	if !c.established {
		c.syn()
		return
	}
	c.nxt = c.una
	if !c.finAcked {
		c.finSent = false
	}
	c.deadline = 0
	c.pump()
}

// tcp is a segment for this host.
func (h *Host) tcp(info *packet.Info, frame []byte, from, to netip.AddrPort, payload []byte) {
	c := h.conns[connKey{to, from}]
	fresh := info.Flags&(SYN|ACK|RST) == SYN
	if accept := h.accept[to.Port()]; fresh && accept != nil && (c == nil || c.Done() || c.rcv != info.Seq+1) {
		c = h.conn(to, from)
		c.rcv = info.Seq + 1
		c.option(info, frame)
		accept(c)
		c.syn()
		return
	}
	if c == nil {
		if info.Flags&RST == 0 {
			h.Strays++
			if !h.Silent {
				h.reset(info, from, to)
			}
		}
		return
	}
	c.input(info, frame, payload)
}

// reset answers a segment for no connection, as RFC 9293 3.5.2 says.
func (h *Host) reset(info *packet.Info, from, to netip.AddrPort) {
	f := TCP(to, from).Flags(RST).Seq(info.Ack)
	if info.Flags&ACK == 0 {
		n := uint32(info.PayloadLen) + uint32(info.Flags>>1&1) + uint32(info.Flags&1)
		f.Flags(RST | ACK).Seq(0).Ack(info.Seq + n)
	}
	h.Send(f)
}

// option reads the peer's MSS.
func (c *Conn) option(info *packet.Info, frame []byte) {
	opt := frame[int(info.L4)+packet.TCPSize : info.Payload]
	for len(opt) > 1 && opt[0] != 0 {
		switch {
		case opt[0] == 1:
			opt = opt[1:]
			continue
		case opt[1] < 2 || int(opt[1]) > len(opt):
			return
		case opt[0] == 2 && opt[1] == 4:
			c.mss = min(c.mss, max(int(binary.BigEndian.Uint16(opt[2:])), 64))
		}
		opt = opt[opt[1]:]
	}
}

func (c *Conn) input(info *packet.Info, frame, payload []byte) {
	if info.Flags&RST != 0 {
		if c.rcv == info.Seq || c.client && !c.established && info.Ack == c.iss+1 {
			c.fail(ErrReset)
		}
		return
	}
	switch {
	case info.Flags&SYN != 0 && c.client && !c.established:
		if info.Flags&ACK == 0 || info.Ack != c.iss+1 {
			return
		}
		c.rcv = info.Seq + 1
		c.option(info, frame)
		c.open(info.Ack)
		c.segment(ACK, c.nxt, nil)
	case info.Flags&SYN != 0:
		if c.established {
			c.segment(ACK, c.nxt, nil) // our last acknowledgement was lost
		} else {
			c.syn()
		}
		return
	case !c.established:
		if info.Flags&ACK == 0 || info.Ack != c.iss+1 {
			return
		}
		c.open(info.Ack)
	}
	c.acknowledged(info.Ack)
	if len(payload) > 0 || info.Flags&FIN != 0 {
		c.take(info, payload)
		c.segment(ACK, c.nxt, nil)
	}
	c.pump()
}

func (c *Conn) open(ack uint32) {
	c.established = true
	c.una, c.nxt, c.top = ack, ack, ack
	c.tries, c.deadline = 0, 0
}

func (c *Conn) acknowledged(ack uint32) {
	n := ack - c.una
	if n == 0 || int32(n) < 0 || int32(ack-c.top) > 0 {
		return
	}
	k := min(int(n), len(c.out))
	c.out = c.out[k:]
	if int(n) > k {
		c.finSent, c.finAcked = true, true
	}
	c.una = ack
	if int32(c.nxt-ack) < 0 {
		c.nxt = ack
	}
	c.tries, c.deadline = 0, 0
	if c.nxt != c.una {
		c.arm()
	}
}

// take accepts the segment's data and FIN if they are in order, also when its head is known already.
func (c *Conn) take(info *packet.Info, payload []byte) {
	known := c.rcv - info.Seq
	if int32(known) < 0 || int(known) > len(payload) || c.peerFIN {
		return
	}
	payload = payload[known:]
	c.rcv += uint32(len(payload))
	if c.OnData == nil {
		c.in = append(c.in, payload...)
	} else if len(payload) > 0 {
		c.OnData(c, payload)
	}
	if info.Flags&FIN != 0 {
		c.rcv++
		c.peerFIN = true
	}
}

// Loop moves the time of a switch on by ms milliseconds, one at a time, and calls each step after the deliveries of
// every millisecond.
func Loop(s *Switch, ms int64, steps ...func(now int64)) {
	for end := s.Now() + ms; s.Now() < end; {
		now := s.Now() + 1
		s.Advance(now)
		for _, f := range steps {
			f(now)
		}
	}
}
