package neigh

import "net/netip"

// defendMS is how far apart an address is defended (RFC 5227 2.4, DEFEND_INTERVAL). More would be a fight that no side wins.
const defendMS = 10_000

// defend announces an address of this host that somebody else uses, so that neighbours do not stay with the other station (RFC 5227 2.4
// (b)). Service addresses are not defended: several nodes may have one at a time, and who takes one over says so itself.
func (m *Machine) defend(now uint32, in int, a netip.Addr, o owned) {
	if !o.override || o.port >= 0 && o.port != in {
		return
	}
	if last, ok := m.defended[a]; ok && !due(now, last+defendMS) {
		return
	}
	if m.defended == nil {
		m.defended = map[netip.Addr]uint32{}
	}
	m.defended[a] = now
	m.count(Defended)
	m.sendAnnouncement(in, a)
}
