package neigh

import (
	"encoding/binary"
	"net/netip"

	"github.com/holdfast-lb/holdfast/dpd/internal/checksum"
	"github.com/holdfast-lb/holdfast/dpd/internal/packet"
)

// Multicast listener reports (MLDv2, RFC 3810). Switches that snoop forward solicitations only to members of the
// solicited-node groups. Reports are repeated unasked, in less than a querier's 125 s, so no query has to be understood.
const (
	reportMS       = 60_000
	groupsInReport = 48
	mldType        = 143
	mldIs          = 2 // MODE_IS_EXCLUDE
	mldJoin        = 4 // CHANGE_TO_EXCLUDE_MODE
	mldRecord      = 20
	hopByHopSize   = 8
)

// membership is a solicited-node group on one port.
type membership struct {
	port  int
	group netip.Addr
}

var allMLDRouters = netip.AddrFrom16([16]byte{0xff, 2, 15: 0x16})

// collectGroups lists the groups of every single IPv6 address that is answered for.
func (m *Machine) collectGroups() {
	m.groups, m.groupCursor = m.groups[:0], 0
	seen := map[membership]bool{}
	add := func(port int, a netip.Addr) {
		g := membership{port, solicitedNode(a)}
		if a.Is6() && !seen[g] {
			seen[g] = true
			m.groups = append(m.groups, g)
		}
	}
	for i := range m.ports {
		add(i, linkLocal(m.ports[i].MAC))
		for _, a := range m.ports[i].Addresses {
			if a.Addr().Is6() {
				add(i, a.Addr())
			}
		}
		for _, o := range m.service {
			if a := o.Prefix.Addr(); a.Is6() && o.Answer && o.Prefix.IsSingleIP() && m.ports[i].onLink(a) {
				add(i, a)
			}
		}
	}
}

// reportGroups sends one report of the current round, and begins a round when it is time.
func (m *Machine) reportGroups(now uint32) {
	if !due(now, m.nextReport) {
		return
	}
	var list [groupsInReport]netip.Addr
	n, out := 0, -1
	for m.groupCursor < len(m.groups) && n < len(list) {
		g := &m.groups[m.groupCursor]
		if out >= 0 && g.port != out {
			break
		}
		out = g.port
		list[n] = g.group
		n++
		m.groupCursor++
	}
	if n > 0 {
		m.sendReport(out, list[:n], mldIs)
	}
	if m.groupCursor >= len(m.groups) {
		m.groupCursor, m.nextReport = 0, now+reportMS
	}
}

func (m *Machine) sendReport(out int, groups []netip.Addr, kind uint8) {
	pt := &m.ports[out]
	size := packet.ICMPSize + mldRecord*len(groups)
	l3 := packet.EthernetSize
	if pt.VLAN != 0 {
		l3 += packet.TagSize
	}
	p, ok := m.frame(l3 + packet.IPv6Size + hopByHopSize + size)
	if !ok {
		return
	}
	packet.PutEthernet(p.Data, groupMAC(allMLDRouters), pt.MAC, pt.VLAN, packet.EtherTypeIPv6)
	var addr [4]uint64
	addr[0], addr[1] = words(linkLocal(pt.MAC))
	addr[2], addr[3] = words(allMLDRouters)
	packet.PutIPv6(p.Data[l3:], 0, 1, &addr, hopByHopSize+size)
	// Hop-by-hop options: router alert for MLD (RFC 2711), then padding.
	copy(p.Data[l3+packet.IPv6Size:], []byte{packet.ProtoICMPv6, 0, 5, 2, 0, 0, 1, 0})
	msg := p.Data[l3+packet.IPv6Size+hopByHopSize:]
	packet.PutICMP(msg, mldType, 0, uint32(len(groups)))
	for i, g := range groups {
		b := msg[packet.ICMPSize+i*mldRecord:]
		binary.BigEndian.PutUint32(b, uint32(kind)<<24)
		a := g.As16()
		copy(b[4:], a[:])
	}
	packet.ICMP(msg).SetChecksum(checksum.PseudoIPv6(&addr, packet.ProtoICMPv6, len(msg)).Bytes(msg).Checksum())
	m.send(out, p)
}
