// Package neigh is the host that a data plane is on its own ports: it answers ARP, neighbour discovery and echo for the
// addresses that it owns, finds and watches its next hops, and tells the forwarding threads where packets go.
//
// Machine is pure: one thread drives it, gives it packets and the time in ticks of a millisecond (uint32, wrapping), and gets
// packets to send by a callback. What other threads need is an immutable Snapshot behind an atomic pointer, the
// Publisher; what the Snapshot can't route they hand back to the Machine's thread, for Resolve.
//
// Bindings are believed only if asked for: an answer to an open question of ours, or the sender of a request for an
// address of ours that is new to us. Whatever else claims a new binding, gratuitous ARP for example, makes the
// Machine ask again at once and believe the answer.
package neigh

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/holdfast-lb/holdfast/dpd/internal/port"
)

// Reasons why a configuration is refused.
var (
	ErrPort    = errors.New("bad port")
	ErrAddress = errors.New("bad address")
	ErrRoute   = errors.New("bad route")
	ErrTooMany = errors.New("too many")
)

// Bounds of a configuration.
const (
	maxPorts     = 64
	maxAddresses = 1 << 16
	maxRoutes    = 1 << 12
)

// Port is one device as the host sees it.
type Port struct {
	MAC  [6]byte
	MTU  int    // bytes of IP packet
	VLAN uint16 // 802.1Q id of all its frames; 0 for untagged
	// Addresses with the length of their networks, which are on-link.
	Addresses []netip.Prefix
	Routes    []Route
}

// Route is a static route over one port. Via is on-link there, or link-local.
type Route struct {
	To  netip.Prefix
	Via netip.Addr
}

// Owned is a service address, or a block of them, beside the addresses of ports: a sip, laddr or VIP. The host answers echo for
// each.
type Owned struct {
	Prefix netip.Prefix
	// Answer ARP and neighbour solicitations, and announce single addresses when they are added. Not for addresses that
	// a router reaches by a route.
	Answer bool
}

// Config of a Machine.
type Config struct {
	Ports []Port
	Pool  port.Pool
	// Send takes over a packet for the port with this index. It is called on the thread that drives the Machine.
	Send func(port int, p port.Packet)
	// MaxNeighbors bounds the neighbour table; 1024 if zero.
	MaxNeighbors int
	// MaxWaiting bounds the packets that wait for a neighbour, over all; 128 if zero. Three may wait for each.
	MaxWaiting int
	// ProbeMS is the interval of echo requests to each gateway in milliseconds; 0 sends none.
	ProbeMS uint32
	// Publisher receives the snapshots; a new one if nil.
	Publisher *Publisher
}

func (c *Config) check() error {
	if len(c.Ports) == 0 || len(c.Ports) > maxPorts {
		return fmt.Errorf("neigh: %d ports: %w", len(c.Ports), ErrPort)
	}
	var nets []netip.Prefix
	routes := 0
	for i := range c.Ports {
		p := &c.Ports[i]
		switch {
		case !usableMAC(p.MAC):
			return fmt.Errorf("neigh: port %d has MAC %x: %w", i, p.MAC, ErrPort)
		case p.MTU < 576 || p.MTU > 65535 || p.VLAN > 4094:
			return fmt.Errorf("neigh: port %d has MTU %d and VLAN %d: %w", i, p.MTU, p.VLAN, ErrPort)
		}
		for _, a := range p.Addresses {
			if !a.IsValid() || !unicast(a.Addr()) || a.Addr().Is4In6() {
				return fmt.Errorf("neigh: port %d has address %v: %w", i, a, ErrAddress)
			}
			for _, n := range nets {
				if n.Addr() == a.Addr() {
					return fmt.Errorf("neigh: address %v twice: %w", a, ErrAddress)
				}
			}
			nets = append(nets, a)
		}
		for _, r := range p.Routes {
			if !r.To.IsValid() || r.To.Addr().Is4() != r.Via.Is4() || !unicast(r.Via) || !p.onLink(r.Via) {
				return fmt.Errorf("neigh: port %d has route to %v via %v: %w", i, r.To, r.Via, ErrRoute)
			}
		}
		if routes += len(p.Routes); routes > maxRoutes {
			return fmt.Errorf("neigh: %d routes: %w", routes, ErrTooMany)
		}
	}
	return nil
}

// onLink says whether a is reached over the port without a gateway.
func (p *Port) onLink(a netip.Addr) bool {
	if a.Is6() && a.IsLinkLocalUnicast() {
		return true
	}
	for _, n := range p.Addresses {
		if n.Masked().Contains(a) && n.Addr() != a {
			return true
		}
	}
	return false
}

// source is the port's address to speak to a from: one of a's network, or the first of the family; for IPv6 the
// link-local address, which every port has, where neither exists.
func (p *Port) source(a netip.Addr) (netip.Addr, bool) {
	if a.Is6() && a.IsLinkLocalUnicast() {
		return linkLocal(p.MAC), true
	}
	var first netip.Addr
	for _, n := range p.Addresses {
		if n.Contains(a) {
			return n.Addr(), true
		}
		if !first.IsValid() && n.Addr().Is4() == a.Is4() {
			first = n.Addr()
		}
	}
	if !first.IsValid() && a.Is6() {
		first = linkLocal(p.MAC)
	}
	return first, first.IsValid()
}

// linkLocal is the address of modified EUI-64 (RFC 4291, appendix A).
func linkLocal(mac [6]byte) netip.Addr {
	return netip.AddrFrom16([16]byte{
		0xfe, 0x80, 0, 0, 0, 0, 0, 0,
		mac[0] ^ 2, mac[1], mac[2], 0xff, 0xfe, mac[3], mac[4], mac[5],
	})
}

// unicast says whether a can be one host's address.
func unicast(a netip.Addr) bool {
	return a.IsValid() && !a.IsUnspecified() && !a.IsMulticast() && !a.IsLoopback() && (!a.Is4() || a.As4()[0] < 224 && a.As4()[0] != 0)
}

// usableMAC says whether mac can be one station's.
func usableMAC(mac [6]byte) bool { return mac != [6]byte{} && mac[0]&1 == 0 }
