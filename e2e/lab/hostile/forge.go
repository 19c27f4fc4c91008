package main

import (
	"encoding/binary"
	"net/netip"

	"github.com/holdfast-lb/holdfast/e2e/lab/topo"
)

func (g *generator) randomBytes() datagram {
	from, to := g.pair()
	d := g.as(from, to, g.random(g.r.IntN(1400)))
	if g.r.IntN(2) == 0 {
		return g.strange(d)
	}
	return d
}

func (g *generator) randomHeader() datagram {
	from, to := g.pair()
	b := g.random(g.length())
	copy(b, "hf\x01")
	if g.r.IntN(2) == 0 {
		b[4] = byte(g.r.IntN(3)) // a lane that there is
	}
	d := g.as(from, to, b)
	if g.r.IntN(4) == 0 {
		return g.strange(d)
	}
	return d
}

func (g *generator) saltZero() datagram {
	from, to := g.pair()
	h := g.header(from)
	h.salt, h.counter, h.keyID = 0, 1, 1
	b := g.random(emptyLen)
	h.put(b)
	return g.as(from, to, b)
}

func (g *generator) saltRandom() datagram {
	from, to := g.pair()
	return g.forged(from, to, g.header(from))
}

// saltTrue takes salt, key and lane from a captured header of the link, and a counter that is still
// to come.
func (g *generator) saltTrue() datagram {
	d := g.some()
	h, ok := readHeader(d.payload)
	if !ok {
		return d
	}
	b := g.random(g.length())
	h.lane = byte(g.r.IntN(3))
	h.counter += uint64(g.r.IntN(10_000))
	h.put(b)
	d.payload = b
	return d
}

func (g *generator) incOther() datagram {
	from, to := g.pair()
	h := g.header(from)
	h.lane = 0
	switch g.r.IntN(4) {
	case 0:
		h.inc += 1 + uint64(g.r.IntN(1000))
	case 1:
		h.inc -= 1 + uint64(g.r.IntN(1000))
	case 2:
		h.inc = ^uint64(0) >> g.r.IntN(64)
	default:
		h.inc = g.r.Uint64()
	}
	return g.forged(from, to, h)
}

func (g *generator) strangerHeader() datagram { return g.strange(g.saltRandom()) }

func replayOf(era int) func(*generator) datagram {
	return func(g *generator) datagram { return g.captured(era) }
}

func (g *generator) replayHellos() datagram {
	if x, ok := g.book.greeting(g.r.IntN(numEras), g.r.Uint64()); ok {
		return g.sent(x)
	}
	return g.captured(present)
}

func (g *generator) strangerReplay() datagram { return g.strange(g.some()) }

// reflected goes back to the one who sent it, or on to a third node, in the name of the sender or
// of the receiver.
func (g *generator) reflected() datagram {
	d := g.some()
	v6 := d.dst.Addr().Is6()
	family := 0
	if v6 {
		family = 1
	}
	if g.r.IntN(2) == 0 {
		to := g.book.owner(d.src)
		if to < 0 {
			return d
		}
		return datagram{node: to, src: d.dst, dst: d.src, payload: d.payload}
	}
	to := g.r.IntN(len(g.members))
	return datagram{node: to, src: d.src, dst: g.members[to].sips[family], payload: d.payload}
}

func (g *generator) truncated() datagram {
	d := g.some()
	if g.r.IntN(3) == 0 {
		d.payload = append(d.payload, g.noise[:1+g.r.IntN(64)]...)
	} else {
		d.payload = d.payload[:g.r.IntN(len(d.payload)+1)]
	}
	return d
}

func (g *generator) bitFlipped() datagram {
	d := g.some()
	if len(d.payload) > 0 {
		d.payload[g.r.IntN(len(d.payload))] ^= 1 << g.r.IntN(8)
	}
	return d
}

func (g *generator) headerChanged() datagram {
	d := g.some()
	b := d.payload
	if len(b) < headerLen {
		return d
	}
	switch g.r.IntN(6) {
	case 0:
		b[4] = byte(g.r.IntN(4))
	case 1:
		binary.LittleEndian.PutUint64(b[24:], g.r.Uint64()>>g.r.IntN(64))
	case 2:
		binary.LittleEndian.PutUint32(b[12:], g.r.Uint32())
	case 3:
		binary.LittleEndian.PutUint64(b[16:], binary.LittleEndian.Uint64(b[16:])+uint64(g.r.IntN(2000))-1000)
	case 4:
		binary.LittleEndian.PutUint16(b[6:], uint16(g.r.IntN(8)))
	default:
		binary.LittleEndian.PutUint32(b[8:], g.members[g.r.IntN(len(g.members))].id)
	}
	return d
}

// sizes are what a greeting and its answer are long, give or take one, and what no path carries
// whole.
func (g *generator) sizes() datagram {
	from, to := g.pair()
	h := g.header(from)
	h.lane = 0
	n := [...]int{
		helloLen, helloLen - 1, fencedLen, fencedLen - 1, emptyLen, emptyLen - 1, 1400 - 28, 1472, 1473, 3000,
	}[g.r.IntN(10)]
	if g.r.IntN(32) == 0 {
		n = maxPayload + g.r.IntN(2)
	}
	b := g.random(n)
	h.put(b)
	return g.as(from, to, b)
}

func (g *generator) ports() datagram {
	d := g.some()
	any := func(a netip.AddrPort) netip.AddrPort {
		p := [...]uint16{0, 7, 53, a.Port() - 1, a.Port() + 1, uint16(g.r.Uint32())}
		return netip.AddrPortFrom(a.Addr(), p[g.r.IntN(len(p))])
	}
	if g.r.IntN(2) == 0 {
		d.src = any(d.src)
	} else {
		d.dst = any(d.dst)
	}
	return d
}

// wrongSip is for another node than the one that gets it: for a member, or for an address of the
// pool that is nobody's.
func (g *generator) wrongSip() datagram {
	d := g.some()
	if g.r.IntN(2) == 0 {
		d.node = g.r.IntN(len(g.members))
		return d
	}
	a := topo.SipPool4.Addr()
	if d.dst.Addr().Is6() {
		a = topo.SipPool6.Addr()
	}
	for range 20 + g.r.IntN(8) {
		a = a.Next()
	}
	d.dst = netip.AddrPortFrom(a, d.dst.Port())
	return d
}

func (g *generator) closedPort() datagram {
	d := g.saltRandom()
	d.dst = netip.AddrPortFrom(d.dst.Addr(), d.dst.Port()+1)
	return d
}
