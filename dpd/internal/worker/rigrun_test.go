package worker_test

import (
	"bytes"
	"errors"
	"net/netip"

	"github.com/holdfast-lb/holdfast/dpd/dpdtest"
	"github.com/holdfast-lb/holdfast/dpd/internal/flow"
	"github.com/holdfast-lb/holdfast/dpd/internal/packet"
	"github.com/holdfast-lb/holdfast/dpd/internal/stat"
	"github.com/holdfast-lb/holdfast/dpd/internal/syncer"
)

// arrive is a frame that comes in by a queue of a device.
func (r *rig) arrive(dev, queue int, frame []byte) {
	r.queue = queue
	r.dev[dev].Deliver(frame)
}

// learn lets the host part learn a neighbour, which asks for its address.
func (r *rig) learn(dev int, a netip.Addr) {
	f := dpdtest.ARP(packet.ARPRequest, rigNext, a, [6]byte{}, rigNets[dev].Addr())
	if dev == 1 && r.tag != 0 {
		f.VLAN(r.tag)
	}
	r.arrive(dev, 0, f.Bytes())
	r.turn(0)
}

// turn lets each worker turn once, ms after the last time.
func (r *rig) turn(ms uint32) {
	r.tick += ms
	for i, w := range r.workers {
		w.Turn()
		var a syncer.Action
		for r.outbox[i].Take(&a) {
			continue
		}
	}
}

// adopt gives the worker that it belongs to an established session of a node that is gone, which the first packet takes over. It
// returns its local address.
func (r *rig) adopt(client, server netip.AddrPort) netip.AddrPort {
	s := flow.Session{
		Birth: 1, Owner: flow.Node{ID: 9, Inc: 1}, Term: 1, Ver: 2, Service: 1, Server: 1, Mode: flow.FullNAT,
		State: flow.TCPEstablished, Flags: flow.Synced, Timeout: 900,
	}
	var err, err2 error
	s.Orig, err = flow.MakeKey(flow.ProtoTCP, client, rigVIP)
	s.Bucket = flow.Bucket(r.interp.Bucket(s.Orig.Addr, s.Orig.Meta))
	local := netip.AddrPortFrom(rigLaddr, 0x9000|uint16(s.Bucket))
	s.Reply, err2 = flow.MakeKey(flow.ProtoTCP, server, local)
	w := r.interp.SteerKey(&s.Orig).Worker
	r.workers[w].Ports().Mark(s.Reply)
	_, err3 := r.tables[w].Insert(&s)
	if err := errors.Join(err, err2, err3); err != nil {
		r.t.Fatal(err)
	}
	return local
}

// counts are all counters of a worker but for its turns, and why it refused packets. The clock goes on until they are published.
func (r *rig) counts(w int) (out []uint64) {
	r.turn(10)
	counts, parse := r.workers[w].Counters()
	for i := range stat.NumCounters {
		out = append(out, counts.Load(int(i)))
	}
	out[stat.Turns], out[stat.EmptyTurns] = 0, 0
	for i := range packet.NumReasons {
		out = append(out, parse.Load(int(i)))
	}
	return out
}

// sessions are the records of a worker, but for the local port, which each run draws anew.
func (r *rig) sessions(w int) (out []flow.Session) {
	for cursor := uint32(0); ; {
		cursor = r.tables[w].Scan(cursor, 1<<16, func(h flow.Handle) {
			var s flow.Session
			r.tables[w].Load(h, &s)
			s.Reply.Meta &= 0xffff<<48 | 0xffffffff
			out = append(out, s)
		})
		if cursor == 0 {
			return out
		}
	}
}

// unported is a frame with the local port cleared, and what depends on it.
func unported(frame []byte) []byte {
	var info packet.Info
	if packet.Parse(frame, &info) != packet.OK {
		return frame
	}
	out := bytes.Clone(frame)
	a, l := out[info.L3:], rigLaddr.As4()
	switch {
	case info.Class == packet.ClassError && info.Quote.L4 > 0 && bytes.Equal(out[info.Quote.L3+16:][:4], l[:]):
		clear(out[info.L4+2:][:2])
		clear(out[info.Quote.L4+2:][:2])
		clear(out[info.Quote.L4+8:]) // the rest of what is quoted: a checksum lies somewhere
	case (info.Class == packet.ClassTCP || info.Class == packet.ClassUDP) && bytes.Equal(a[12:16], l[:]):
		clear(out[info.L4:][:2])
		if info.Class == packet.ClassTCP {
			clear(out[info.L4+packet.TCPChecksumOff:][:2])
		} else {
			clear(out[info.L4+packet.UDPChecksumOff:][:2])
		}
	}
	return out
}

// fromHost says whether the host part made a frame that left.
func fromHost(frame []byte) bool {
	var info packet.Info
	why := packet.Parse(frame, &info)
	return why != packet.OK || info.Class != packet.ClassTCP && info.Class != packet.ClassUDP && info.Class != packet.ClassError
}
