package conntrack

import (
	"math/bits"

	"github.com/holdfast-lb/holdfast/dpd/internal/expiry"
	"github.com/holdfast-lb/holdfast/dpd/internal/flow"
)

// Plain is a plain packet (see packet.PlainFrame) as the table wants it: its tuple, and what it says of its connection.
type Plain struct {
	Addr         uint64 // source<<32 | destination
	Ports        uint32 // source<<16 | destination
	Seq, Ack     uint32
	Payload      uint32
	Window, Size uint16 // Size: of the IP packet; 0 for one that is not plain
	_            uint32 // to 32 bytes
}

// Key is the tuple.
func (p *Plain) Key() flow.Key {
	return flow.Key{Addr: [4]uint64{p.Addr}, Meta: uint64(p.Ports)<<32 | flow.ProtoTCP<<8 | flow.IPv4}
}

// Follow books plain packets, in order, on the records that the look-up named for them, and sets the tuple of each to the one that it
// leaves with. It stops at the first whose record does not have the tuple or needs thought: nothing was booked of that one, and
// Touch is to be asked. It returns how many it booked. As what it books on is alive, the index has both of its tuples, and would find it now,
// whatever changed since the look-up.
func (t *Table) Follow(refs []Ref, p []Plain, now expiry.Tick) int {
	if refs = refs[:len(p)]; len(p) == 0 {
		return 0
	}
	return follow(t.rec, &refs[0], &p[0], len(p), t.plain.mask, t.plain.want, now)
}

// followGo is Follow in Go: what other machines run, and what the assembly is tested against.
func followGo(rec []record, refs []Ref, p []Plain, mask, want uint64, now expiry.Tick) int {
	for i := range p {
		p, ref := &p[i], refs[i]
		r, d := &rec[ref.Handle()], ref&1
		end := p.Seq + p.Payload
		// The word says that it is TCP over IPv4 on both sides.
		if (r.addr[d]^p.Addr)|uint64(r.ports[d]^p.Ports)|(r.word()&mask^want) != 0 || p.Size == 0 ||
			p.Payload == 0 && (end^r.next[d])|(p.Ack^r.ack[d])|uint32(p.Window^r.window[d]) == 0 { // says nothing new: see repeated
			return i
		}
		r.seen = now
		r.advance(d, end, p.Ack, p.Window)
		o := d ^ 1
		p.Addr, p.Ports = bits.RotateLeft64(r.addr[o], 32), bits.RotateLeft32(r.ports[o], 16)
	}
	return len(p)
}
