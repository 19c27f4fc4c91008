package sim

import (
	"bytes"
	"encoding/binary"
	"net/netip"

	"github.com/holdfast-lb/holdfast/dpd/internal/syncwire"
)

// taped is a datagram that passed, for someone who listens.
type taped struct {
	from, to uint32
	b        []byte
}

// tapeLen is how many datagrams who listens keeps. Those of former lives and links stay among them: a new one takes the place of a
// random one.
const tapeLen = 400

// tap listens.
func (w *world) tap(from, to uint32, b []byte) {
	if !w.opt.hostile {
		return
	}
	t := taped{from, to, b}
	if len(w.tape) < tapeLen {
		w.tape = append(w.tape, t)
	} else {
		w.tape[w.foe.IntN(tapeLen)] = t
	}
}

// annoy throws datagrams at nodes from outside until the time of trouble is over. Who throws them has no key.
func (w *world) annoy(until int64) {
	if w.now >= until {
		return
	}
	w.after(1+w.foe.Int64N(40), func() { w.annoy(until) })
	n := w.nodes[w.foe.IntN(len(w.nodes))]
	if !n.alive || len(w.tape) == 0 {
		return
	}
	t := w.tape[w.foe.IntN(len(w.tape))]
	b := append([]byte(nil), t.b...)
	switch w.foe.IntN(6) {
	case 0: // as it was, again, to whoever it was for or to another
	case 1: // back to who made it
		n = w.nodes[t.from-1]
	case 2: // a header alone, with a tag of nothing
		b = b[:syncwire.HeaderLen+syncwire.TagLen]
	case 3: // a header of values at their edges
		w.spoil(b)
	case 4: // spoilt somewhere
		b[w.foe.IntN(len(b))] ^= 1 << w.foe.IntN(8)
	default: // nothing of it is right
		for i := range b {
			b[i] = byte(w.foe.Uint32())
		}
	}
	w.total.hostile++
	if n.alive && !n.paused {
		from := sip(t.from) // nobody keeps him from lying about that
		if w.foe.IntN(4) == 0 {
			from = netip.AddrPortFrom(sip(99).Addr(), uint16(w.foe.Uint32()))
		}
		n.strange(from, b, n.id == t.to && bytes.Equal(b, t.b))
	}
}

// spoil sets fields of a header: of a member, in its present life, under a salt that is none, or another, or the same, and so on.
func (w *world) spoil(b []byte) {
	m := w.nodes[w.foe.IntN(len(w.nodes))]
	edges := func() uint64 {
		return [...]uint64{0, 1, m.inc, m.inc - 1, m.inc + 1, 1 << 31, 1<<32 - 1, 1<<63 - 1, 1<<64 - 1, w.foe.Uint64()}[w.foe.IntN(10)]
	}
	for range 1 + w.foe.IntN(3) {
		switch w.foe.IntN(5) {
		case 0:
			b[4] = byte(w.foe.IntN(4)) // lane
		case 1:
			binary.LittleEndian.PutUint32(b[8:], m.id)
			binary.LittleEndian.PutUint64(b[16:], m.inc)
		case 2:
			binary.LittleEndian.PutUint32(b[12:], uint32(edges())) // salt
		case 3:
			binary.LittleEndian.PutUint64(b[16:], edges()) // incarnation
		default:
			binary.LittleEndian.PutUint64(b[24:], edges()) // counter
		}
	}
}

// strange is a datagram that no member sent now. A copy is as good as the first, if that was lost; nothing else may be delivered.
func (n *node) strange(from netip.AddrPort, b []byte, copied bool) {
	if n.stuck {
		return
	}
	n.watch(func() {
		before := 0
		for _, s := range n.shards {
			before += len(s.inbox)
		}
		n.sync.Datagram(n.now(), from, b)
		after := 0
		for _, s := range n.shards {
			after += len(s.inbox)
		}
		if after != before && !copied {
			n.w.violate("I7 node %d: a stranger's datagram made %d deliveries", n.id, after-before)
		}
		n.drain()
	})
}
