package syncloop

import (
	"encoding/binary"
	"net/netip"

	"github.com/holdfast-lb/holdfast/dpd/internal/checksum"
	"github.com/holdfast-lb/holdfast/dpd/internal/flow"
	"github.com/holdfast-lb/holdfast/dpd/internal/neigh"
	"github.com/holdfast-lb/holdfast/dpd/internal/packet"
	"github.com/holdfast-lb/holdfast/dpd/internal/port"
	"github.com/holdfast-lb/holdfast/dpd/internal/stat"
	"github.com/holdfast-lb/holdfast/dpd/internal/worker"
)

const hops = 64

// Send puts a datagram into a frame and queues it; it is the machine's Outlet. Don't-fragment is set, so that a path
// narrower than the datagram shows as loss of the large ones, which the machine's MTU search notices.
func (l *Loop) Send(_ flow.Node, at netip.AddrPort, datagram []byte) {
	dst := at.Addr()
	if !at.IsValid() {
		l.count[stat.SyncNoPeer]++
		return
	}
	src := l.addrs.Self[1]
	if dst.Is4() {
		src = l.addrs.Self[0]
	}
	if !src.IsValid() {
		l.count[stat.SyncNoPeer]++
		return
	}
	if l.cfg.Loss > 0 && l.cfg.Random() < l.cfg.Loss {
		l.count[stat.SyncFault]++
		return
	}
	var hop *neigh.Hop
	if s := l.cfg.Routes.Load(); s != nil {
		hop = s.Route(dst)
	}
	l3 := packet.EthernetSize
	if hop != nil {
		l3 = hop.L3
	}
	ip := packet.IPv6Size
	if dst.Is4() {
		ip = packet.IPv4Size
	}
	p, ok := l.cfg.Pool.Alloc(l3 + ip + packet.UDPSize + len(datagram))
	if !ok {
		l.count[stat.SyncNoMemory]++
		return
	}
	l.made = p
	putDatagram(p.Data, l3, src, at, l.addrs.Port, datagram)
	l.count[stat.SyncTx]++
	l.count[stat.SyncTxBytes] += uint64(len(datagram))
	linked := hop != nil && hop.SetLink(l.cfg.Pool, &p, l3)
	l.made = port.Packet{}
	if !linked {
		l.resolve(p)
		return
	}
	b := &l.tx[hop.Port]
	if !b.Push(p) {
		l.flush()
		b.Push(p)
	}
}

// resolve passes a frame without next hop to the host part.
func (l *Loop) resolve(p port.Packet) {
	l.count[stat.SyncNoRoute]++
	if !l.cfg.Host.Put(&worker.Handed{Pkt: p, Resolve: true}) {
		l.drop.Push(p)
		l.cfg.Pool.Free(&l.drop)
		l.count[stat.DropHostFull]++
	}
}

// putDatagram writes IP, UDP and payload behind l3 bytes of link header, which it fills with an EtherType only, so that
// the host part can read the frame.
func putDatagram(b []byte, l3 int, src netip.Addr, to netip.AddrPort, from uint16, payload []byte) {
	clear(b[:l3])
	k, err := flow.MakeKey(flow.ProtoUDP, netip.AddrPortFrom(src, from), to)
	if err != nil {
		return // of two families: Send chose the source by the destination, so it can't be
	}
	size := packet.UDPSize + len(payload)
	var sum checksum.Sum
	u := b[l3+packet.IPv6Size:]
	if k.Family() == flow.IPv4 {
		u = b[l3+packet.IPv4Size:]
		packet.PutIPv4(b[l3:], flow.ProtoUDP, hops, k.Addr[0], size)
		packet.Ethernet(b).SetType(packet.EtherTypeIPv4)
		sum = checksum.PseudoIPv4(k.Addr[0], flow.ProtoUDP, size)
	} else {
		packet.PutIPv6(b[l3:], flow.ProtoUDP, hops, &k.Addr, size)
		packet.Ethernet(b).SetType(packet.EtherTypeIPv6)
		sum = checksum.PseudoIPv6(&k.Addr, flow.ProtoUDP, size)
	}
	if l3 > packet.EthernetSize { // a tagged link: the tag's own type is what SetLink writes; this is the inner one
		binary.BigEndian.PutUint16(b[12:], packet.EtherTypeVLAN)
		binary.BigEndian.PutUint16(b[l3-2:], etherType(k.Family()))
	}
	packet.PutUDP(u, uint32(from)<<16|uint32(to.Port()), len(payload))
	copy(u[packet.UDPSize:], payload)
	c := sum.Bytes(u[:size]).Checksum()
	if c == 0 {
		c = 0xffff // 0 means "no checksum" (RFC 768)
	}
	packet.UDP(u).SetChecksum(c)
}

func etherType(family uint8) uint16 {
	if family == flow.IPv4 {
		return packet.EtherTypeIPv4
	}
	return packet.EtherTypeIPv6
}
