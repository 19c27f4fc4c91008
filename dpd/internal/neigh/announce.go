package neigh

import (
	"net/netip"

	"github.com/holdfast-lb/holdfast/dpd/internal/packet"
)

// Announcements of a new address: this many, this far apart, at most so many in one Tick, and so many pending.
const (
	announceTimes   = 3
	announceMS      = 1000
	announcePerTick = 16
	maxAnnouncing   = 1024
)

// announcement is an address of ours that neighbours are told about unasked: gratuitous ARP, unsolicited NA.
type announcement struct {
	port    int
	addr    netip.Addr
	left    uint8
	started bool // due is valid
	due     uint32
}

func (m *Machine) announce(port int, a netip.Addr) {
	if len(m.announcements) >= maxAnnouncing {
		m.count(Limited)
		return
	}
	m.announcements = append(m.announcements, announcement{port: port, addr: a, left: announceTimes})
}

// announceService announces on the ports whose network the address is of.
func (m *Machine) announceService(a netip.Addr) {
	for i := range m.ports {
		if m.ports[i].onLink(a) {
			m.announce(i, a)
		}
	}
}

// announceSome sends the announcements that are due. What is no longer answered for is forgotten.
func (m *Machine) announceSome(now uint32) {
	if len(m.announcements) == 0 {
		return
	}
	sent, keep := 0, m.announcements[:0]
	for _, a := range m.announcements {
		if _, ok := m.answers(a.port, a.addr); !ok {
			continue
		}
		if sent < announcePerTick && (!a.started || due(now, a.due)) {
			sent++
			a.left--
			a.due, a.started = now+announceMS, true
			m.sendAnnouncement(a.port, a.addr)
		}
		if a.left > 0 {
			keep = append(keep, a)
		}
	}
	clear(m.announcements[len(keep):])
	m.announcements = keep
}

// sendAnnouncement replaces what the neighbours hold for a: it was added here, so it is meant to be here.
func (m *Machine) sendAnnouncement(out int, a netip.Addr) {
	if a.Is4() {
		m.sendARP(out, [6]byte{}, a, a)
		return
	}
	m.sendReport(out, []netip.Addr{solicitedNode(a)}, mldJoin)
	m.sendND(out, groupMAC(allNodes), linkLocal(m.ports[out].MAC), allNodes, packet.ICMPv6Advertise, packet.NDOverride, a, packet.NDTargetLink)
}
