package neigh

import (
	"net/netip"

	"github.com/holdfast-lb/holdfast/dpd/internal/checksum"
	"github.com/holdfast-lb/holdfast/dpd/internal/packet"
	"github.com/holdfast-lb/holdfast/dpd/internal/port"
)

const (
	ndHopLimit = 255
	ndOption   = 8 // bytes of a link-layer option
	ndFrame    = packet.EthernetSize + packet.TagSize + packet.IPv6Size + packet.NDSize + ndOption
)

// allNodes is ff02::1.
var allNodes = netip.AddrFrom16([16]byte{0xff, 2, 15: 1})

// discovery takes over a neighbour solicitation or advertisement (RFC 4861 7.1).
func (m *Machine) discovery(now uint32, in int, info *packet.Info, p port.Packet) {
	h := packet.ICMP(p.Data[info.L4:info.End])
	src, dst := fromWords(6, info.Addr[0], info.Addr[1]), fromWords(6, info.Addr[2], info.Addr[3])
	target := netip.AddrFrom16(h.Target())
	if info.TTL != ndHopLimit || info.Code != 0 || !unicast(target) ||
		checksum.PseudoIPv6(&info.Addr, packet.ProtoICMPv6, len(h)).Bytes(h).Checksum() != 0 {
		m.drop(p, BadMessage)
		return
	}
	if info.Type == packet.ICMPv6Solicit {
		m.solicited(now, in, p, h, src, dst, target)
		return
	}
	m.advertised(now, in, p, h, src, dst, target)
}

func (m *Machine) solicited(now uint32, in int, p port.Packet, h packet.ICMP, src, dst, target netip.Addr) {
	mac, has, valid := h.LinkOption(packet.NDSourceLink)
	probe := src.IsUnspecified() // duplicate address detection
	if !valid || probe && (has || dst != solicitedNode(target)) {
		m.drop(p, BadMessage)
		return
	}
	o, ok := m.answers(in, target)
	if !ok {
		m.drop(p, NotOurs)
		return
	}
	if m.Owns(src) {
		m.drop(p, Conflict)
		return
	}
	to := packet.Ethernet(p.Data).Src()
	flags := uint32(0)
	if o.override {
		flags |= packet.NDOverride
	}
	if probe {
		src, to = allNodes, groupMAC(allNodes)
	} else {
		flags |= packet.NDSolicited
		if has {
			m.heard(now, in, src, mac)
			to = mac
		}
	}
	m.free(p)
	if !usableMAC(to) && !probe {
		m.count(BadMessage)
		return
	}
	m.count(NDAnswered)
	m.sendND(in, to, target, src, packet.ICMPv6Advertise, flags, target, packet.NDTargetLink)
}

func (m *Machine) advertised(now uint32, in int, p port.Packet, h packet.ICMP, src, dst, target netip.Addr) {
	mac, has, valid := h.LinkOption(packet.NDTargetLink)
	asked := h.Rest()&packet.NDSolicited != 0
	switch o, own := m.owned.Lookup(target); {
	case !valid || src.IsUnspecified() || asked && dst.IsMulticast():
		m.drop(p, BadMessage)
		return
	case own && o.answer:
		if mac != m.ports[in].MAC {
			m.defend(now, in, target, o)
		}
		m.drop(p, Conflict)
		return
	}
	if !has {
		// The answer to a question to one station may leave the option out (RFC 4861 7.2.4).
		mac = packet.Ethernet(p.Data).Src()
	}
	if e := m.find(in, target); asked {
		m.confirm(now, e, mac)
	} else {
		m.claim(now, e, mac)
	}
	m.free(p)
}

// sendSolicit asks for an address: its group, or the station to.
func (m *Machine) sendSolicit(out int, target netip.Addr, to [6]byte) {
	src, ok := m.ports[out].source(target)
	if !ok {
		return
	}
	dst := target
	if to == ([6]byte{}) {
		dst = solicitedNode(target)
		to = groupMAC(dst)
	}
	m.sendND(out, to, src, dst, packet.ICMPv6Solicit, 0, target, packet.NDSourceLink)
}

// sendND sends a solicitation or advertisement with our MAC in its option.
func (m *Machine) sendND(out int, to [6]byte, src, dst netip.Addr, typ uint8, flags uint32, target netip.Addr, option uint8) {
	pt := &m.ports[out]
	p, ok := m.frame(ndFrame)
	if !ok {
		return
	}
	n := packet.PutEthernet(p.Data, to, pt.MAC, pt.VLAN, packet.EtherTypeIPv6)
	if n == packet.EthernetSize {
		m.pool.Resize(&p, 0, -packet.TagSize)
	}
	var addr [4]uint64
	addr[0], addr[1] = words(src)
	addr[2], addr[3] = words(dst)
	msg := p.Data[n+packet.IPv6Size:]
	packet.PutIPv6(p.Data[n:], packet.ProtoICMPv6, ndHopLimit, &addr, len(msg))
	packet.PutICMP(msg, typ, 0, flags)
	t := target.As16()
	copy(msg[8:], t[:])
	msg[packet.NDSize], msg[packet.NDSize+1] = option, 1
	copy(msg[packet.NDSize+2:], pt.MAC[:])
	packet.ICMP(msg).SetChecksum(checksum.PseudoIPv6(&addr, packet.ProtoICMPv6, len(msg)).Bytes(msg).Checksum())
	m.send(out, p)
}

// solicitedNode is the group of an address (RFC 4291 2.7.1).
func solicitedNode(a netip.Addr) netip.Addr {
	b := a.As16()
	return netip.AddrFrom16([16]byte{0xff, 2, 11: 1, 12: 0xff, 13: b[13], 14: b[14], 15: b[15]})
}

// groupMAC is the MAC of an IPv6 group (RFC 2464 7).
func groupMAC(g netip.Addr) [6]byte {
	b := g.As16()
	return [6]byte{0x33, 0x33, b[12], b[13], b[14], b[15]}
}
