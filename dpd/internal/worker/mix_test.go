package worker_test

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"

	"github.com/holdfast-lb/holdfast/dpd/dpdtest"
	"github.com/holdfast-lb/holdfast/dpd/internal/packet"
)

// mix makes traffic of some clients, whose packets meet in the same bursts: what opens a session, what follows at once, plain data of
// both sides, what ends a session, and what is none of all that. The high bits of a client's numbers say whose they are.
type mix struct {
	rnd     *rand.Rand
	tag     uint16
	clients [96]mixClient
	hot     int    // the clients of the moment are from here on
	odd     int    // one packet in so many is none of plain data
	last    []byte // the frame before
	lastDev int
}

type mixClient struct {
	open, answered bool // it sent a SYN; its server answered
	seq, peer      uint32
	life           uint32
	server, local  netip.AddrPort // as the last packet to a server said
	out            [2][]byte      // what last left by each device
}

const mixShift = 25 // bits of a sequence number below those of its client

func mixAddr(c int) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{11, 0, byte(c >> 8), byte(c)}), uint16(1024+c))
}

// see looks at a frame that left.
func (m *mix) see(dev int, frame []byte) {
	var info packet.Info
	if packet.Parse(frame, &info) != packet.OK || info.Class != packet.ClassTCP {
		return
	}
	seq, ip := info.Seq, frame[info.L3:]
	if dev == 0 {
		seq = info.Ack
	}
	c := &m.clients[int(seq>>mixShift)%len(m.clients)]
	c.out[dev] = frame
	if dev == 1 {
		c.server = netip.AddrPortFrom(netip.AddrFrom4([4]byte(ip[16:20])), info.DstPort())
		c.local = netip.AddrPortFrom(netip.AddrFrom4([4]byte(ip[12:16])), info.SrcPort())
	}
}

// burst begins another burst: other clients, another share of odd packets.
func (m *mix) burst() {
	if m.rnd.IntN(4) == 0 {
		m.hot = m.rnd.IntN(len(m.clients))
	}
	m.odd = []int{2, 8, 8, 30, 1 << 30}[m.rnd.IntN(5)]
}

// next is a frame and the device that it comes in by.
func (m *mix) next() (dev int, frame []byte) {
	i := (m.hot + m.rnd.IntN(12)) % len(m.clients)
	c := &m.clients[i]
	if m.rnd.IntN(8) == 0 && m.last != nil {
		return m.lastDev, m.last
	}
	dev = 0
	if c.answered || c.open && c.local.IsValid() {
		dev = m.rnd.IntN(2)
	}
	f := m.usual(i, dev)
	if m.rnd.IntN(m.odd) == 0 {
		dev, f = m.unusual(i, dev, f)
	}
	dst := rigMAC[dev]
	if m.rnd.IntN(4*m.odd) == 0 {
		dst[m.rnd.IntN(6)] ^= 1 << m.rnd.IntN(8) // another station, or a group
	}
	f.Eth(dst, rigNext)
	tag := m.tag * uint16(dev)
	if m.rnd.IntN(4*m.odd) == 0 {
		tag = []uint16{0, m.tag, 9}[m.rnd.IntN(3)]
	}
	if tag != 0 {
		f.VLAN(tag)
	}
	frame = f.Bytes()
	if m.rnd.IntN(4*m.odd) == 0 {
		n := len(frame)
		if dev == 1 { // what lies behind depends on the local port, which each run draws anew
			n = packet.EthernetSize + packet.IPv4Size
		}
		frame[m.rnd.IntN(n)] ^= 1 << m.rnd.IntN(8)
	} else if m.rnd.IntN(8*m.odd) == 0 {
		frame = frame[:14+m.rnd.IntN(len(frame)-13)]
	}
	m.last, m.lastDev = frame, dev
	return dev, frame
}

// usual is what comes next of client i, from its own side or its server's.
func (m *mix) usual(i, dev int) *dpdtest.Frame {
	c := &m.clients[i]
	n := uint32(m.rnd.IntN(3) * m.rnd.IntN(200))
	if dev == 1 {
		f := dpdtest.TCP(c.server, c.local)
		if !c.answered {
			c.answered = true
			c.peer++
			return f.Seq(c.peer - 1).Ack(c.seq).Flags(packet.SYN | packet.ACK)
		}
		c.peer += n
		return f.Seq(c.peer - n).Ack(c.seq).Payload(make([]byte, n))
	}
	f := dpdtest.TCP(mixAddr(i), rigVIP)
	if !c.open {
		c.life++
		*c = mixClient{open: true, seq: uint32(i)<<mixShift | c.life%64<<18, peer: m.rnd.Uint32(), life: c.life, out: c.out}
		c.seq++
		return f.Seq(c.seq - 1).Flags(packet.SYN)
	}
	c.seq += n
	return f.Seq(c.seq - n).Ack(c.peer).Payload(make([]byte, n)).Flags(packet.ACK | uint8(m.rnd.IntN(2))*packet.PSH)
}

// unusual is something else of the client, or of nobody; f is what would be usual.
func (m *mix) unusual(i, dev int, f *dpdtest.Frame) (int, *dpdtest.Frame) {
	c, stranger := &m.clients[i], netip.AddrPortFrom(netip.AddrFrom4([4]byte{11, 1, byte(m.rnd.IntN(4)), byte(m.rnd.IntN(256))}), 4000)
	side, peer, seq, ack := mixAddr(i), rigVIP, c.seq, c.peer
	if dev == 1 {
		side, peer, seq, ack = c.server, c.local, c.peer, c.seq
	}
	end := func(flags uint8) (int, *dpdtest.Frame) {
		c.open = m.rnd.IntN(3) > 0 // else a SYN comes next
		return dev, dpdtest.TCP(side, peer).Seq(seq).Ack(ack).Flags(flags)
	}
	switch m.rnd.IntN(19) {
	case 0, 1:
		c.open = false
		return 0, m.usual(i, 0) // a SYN of a new life, whatever there is
	case 2:
		return 0, dpdtest.TCP(mixAddr(i), rigVIP).Seq(uint32(i)<<mixShift | c.life%64<<18).Flags(packet.SYN)
	case 3:
		return end(packet.FIN | packet.ACK)
	case 4:
		return end(packet.RST)
	case 5:
		return 0, dpdtest.TCP(stranger, rigVIP).Flags(packet.SYN)
	case 6:
		return 0, dpdtest.TCP(stranger, rigVIP)
	case 7:
		return 1, dpdtest.TCP(rigServer(m.rnd.IntN(rigServers)), netip.AddrPortFrom(rigLaddr, uint16(m.rnd.IntN(1024)))) // no session has these
	case 8:
		return 0, dpdtest.UDP(mixAddr(i), rigVIP).Text("datagram")
	case 9:
		if c.out[dev] != nil { // what left by this device did not get through
			return dev, dpdtest.ICMPError(rigNets[dev].Addr().Next(), 3, 4, 1400, c.out[dev], []int{28, 60}[m.rnd.IntN(2)])
		}
		return dev, f
	case 10:
		return dev, dpdtest.ARP(packet.ARPRequest, rigNext, rigNets[dev].Addr().Next(), [6]byte{}, rigNets[dev].Addr())
	case 11:
		return dev, dpdtest.Echo(rigNets[dev].Addr().Next(), rigNets[dev].Addr(), 1, 1)
	case 12:
		return dev, f.TTL(uint8(m.rnd.IntN(3)))
	case 13:
		return dev, f.Options(1, 1, 1, 1)
	case 14:
		return dev, f.Pad(64 + m.rnd.IntN(100))
	case 15:
		return dev, f.Payload(make([]byte, 1440+m.rnd.IntN(40))) // some are too long for where they go
	case 16:
		return dev, f.Frag(0x2000)
	case 17:
		if dev == 0 { // what it comes to behind a local port depends on that
			f.NoChecksum()
		}
		return dev, f
	default:
		return dev, f.Seq(m.rnd.Uint32()).Ack(binary.BigEndian.Uint32([]byte{byte(m.rnd.Uint32()), 1, 2, 3}))
	}
}
