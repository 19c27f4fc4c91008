package neigh

import (
	"net/netip"

	"github.com/holdfast-lb/holdfast/dpd/internal/packet"
	"github.com/holdfast-lb/holdfast/dpd/internal/port"
)

var broadcast = [6]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}

// arp takes over an ARP packet (RFC 826, RFC 5227). The answer is written over the request.
func (m *Machine) arp(now uint32, in int, info *packet.Info, p port.Packet) {
	a := packet.ARP(p.Data[info.L3:])
	sender, target := netip.AddrFrom4(a.SenderIP()), netip.AddrFrom4(a.TargetIP())
	mac := a.SenderMAC()
	if mac == m.ports[in].MAC {
		m.drop(p, Unasked) // our own, looped back
		return
	}
	if o, ok := m.owned.Lookup(sender); ok && o.answer {
		m.defend(now, in, sender, o)
		m.drop(p, Conflict)
		return
	}
	switch {
	case sender == target:
		m.claim(now, m.find(in, sender), mac)
	case a.Op() == packet.ARPReply:
		m.confirm(now, m.find(in, sender), mac)
	case a.Op() == packet.ARPRequest:
		if _, ok := m.answers(in, target); !ok {
			m.drop(p, NotOurs)
			return
		}
		if !usableMAC(mac) {
			m.drop(p, BadMessage)
			return
		}
		m.heard(now, in, sender, mac)
		eth := packet.Ethernet(p.Data)
		eth.SetDst(mac)
		eth.SetSrc(m.ports[in].MAC)
		packet.PutARP(a, packet.ARPReply, m.ports[in].MAC, target.As4(), mac, sender.As4())
		m.count(ARPAnswered)
		m.send(in, p)
		return
	default:
		m.drop(p, BadMessage)
		return
	}
	m.free(p)
}

// sendARPRequest asks for an address: everyone, or the station to.
func (m *Machine) sendARPRequest(out int, target netip.Addr, to [6]byte) {
	pt := &m.ports[out]
	src, ok := pt.source(target)
	if !ok {
		return
	}
	m.sendARP(out, to, src, target)
}

// sendARP sends a request; with source and target the same it is an announcement (RFC 5227).
func (m *Machine) sendARP(out int, to [6]byte, src, target netip.Addr) {
	pt := &m.ports[out]
	p, ok := m.frame(packet.EthernetSize + packet.TagSize + packet.ARPSize)
	if !ok {
		return
	}
	eth := to
	if eth == ([6]byte{}) {
		eth = broadcast
	}
	n := packet.PutEthernet(p.Data, eth, pt.MAC, pt.VLAN, packet.EtherTypeARP)
	packet.PutARP(p.Data[n:], packet.ARPRequest, pt.MAC, src.As4(), to, target.As4())
	m.send(out, p)
}
