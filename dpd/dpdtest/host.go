package dpdtest

import (
	"encoding/binary"
	"net/netip"
	"sync"

	"github.com/holdfast-lb/holdfast/dpd/internal/checksum"
	"github.com/holdfast-lb/holdfast/dpd/internal/packet"
)

// Host is a station with addresses: it answers ARP, neighbour solicitations and echo, and carries TCP and UDP
// endpoints. Deliver, on any thread, only keeps frames; Step, on the test's thread, works on them. All else is for the test's
// thread too.
type Host struct {
	MAC   [6]byte
	Addrs []netip.Addr
	// Via gives the MAC that a packet of ours goes to: the router's choice. info describes the packet, link header aside.
	Via func(info *packet.Info) [6]byte
	// OnUDP takes a datagram; what it returns, unless nil, is the answer.
	OnUDP func(src, dst netip.AddrPort, payload []byte) []byte
	// OnError takes an ICMP error for this host.
	OnError func(info *packet.Info, frame []byte)

	// BadChecksums counts packets whose transport checksum was wrong, Strays TCP segments for no connection, which are
	// answered with a reset unless Silent.
	BadChecksums int
	Strays       int
	Silent       bool

	send   func([]byte)
	now    int64
	conns  map[connKey]*Conn
	order  []*Conn // steps go in this order, so that a run repeats
	accept map[uint16]func(*Conn)
	isn    uint32

	mu    sync.Mutex
	inbox [][]byte
}

type connKey struct{ local, remote netip.AddrPort }

// NewHost plugs a host into the switch. via is where all its packets go unless Via is set.
func NewHost(s *Switch, mac, via [6]byte, addrs ...netip.Addr) *Host {
	h := &Host{MAC: mac, Addrs: addrs, conns: map[connKey]*Conn{}, accept: map[uint16]func(*Conn){}, isn: uint32(packet.MACWord(mac)) * 2654435761}
	h.Via = func(*packet.Info) [6]byte { return via }
	_, h.send = s.Attach(h)
	return h
}

// Deliver keeps a frame for Step.
func (h *Host) Deliver(frame []byte) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.inbox = append(h.inbox, append([]byte(nil), frame...))
}

// Step handles what was delivered and runs the timers. now is in milliseconds.
func (h *Host) Step(now int64) {
	h.now = now
	h.mu.Lock()
	in := h.inbox
	h.inbox = nil
	h.mu.Unlock()
	for _, f := range in {
		h.input(f)
	}
	for _, c := range h.order {
		c.timer()
	}
}

// Send sends a packet: the builder's, with the link header of this host.
func (h *Host) Send(f *Frame) {
	b := f.Bytes()
	var info packet.Info
	if packet.Parse(b, &info) != packet.OK {
		panic("dpdtest: a host sends a bad packet")
	}
	packet.Ethernet(b).SetSrc(h.MAC)
	packet.Ethernet(b).SetDst(h.Via(&info))
	h.send(b)
}

// SendFrame sends a whole frame as it is, however bad.
func (h *Host) SendFrame(frame []byte) { h.send(frame) }

// SendUDP sends a datagram.
func (h *Host) SendUDP(src, dst netip.AddrPort, payload []byte) {
	h.Send(UDP(src, dst).Payload(payload))
}

func (h *Host) owns(a netip.Addr) bool {
	for _, o := range h.Addrs {
		if o == a {
			return true
		}
	}
	return false
}

func (h *Host) input(b []byte) {
	var info packet.Info
	if packet.Parse(b, &info) != packet.OK || !info.ForMAC(packet.MACWord(h.MAC)) {
		return
	}
	if info.Class == packet.ClassARP {
		h.arp(packet.ARP(b[info.L3:]))
		return
	}
	src, dst := addrs(&info)
	if info.Class == packet.ClassND {
		m := packet.ICMP(b[info.L4:info.End])
		if target := netip.AddrFrom16(m.Target()); info.Type == packet.ICMPv6Solicit && h.owns(target) {
			h.send(NA(h.MAC, target, src, target, packet.NDSolicited|packet.NDOverride).Eth(packet.Ethernet(b).Src(), h.MAC).Bytes())
		}
		return
	}
	if !h.owns(dst) {
		return
	}
	if !checksumHolds(b, &info) {
		h.BadChecksums++
		return
	}
	from, to := netip.AddrPortFrom(src, info.SrcPort()), netip.AddrPortFrom(dst, info.DstPort())
	payload := b[info.Payload:][:info.PayloadLen]
	switch info.Class {
	case packet.ClassEcho:
		if info.Type == packet.ICMPEcho || info.Type == packet.ICMPv6Echo {
			h.send(EchoReply(dst, src, info.SrcPort(), uint16(packet.ICMP(b[info.L4:]).Rest())).Payload(payload).Eth(packet.Ethernet(b).Src(), h.MAC).Bytes())
		}
	case packet.ClassUDP:
		if h.OnUDP != nil {
			if answer := h.OnUDP(from, to, payload); answer != nil {
				h.SendUDP(to, from, answer)
			}
		}
	case packet.ClassError:
		if h.OnError != nil {
			h.OnError(&info, b)
		}
	case packet.ClassTCP:
		h.tcp(&info, b, from, to, payload)
	}
}

func (h *Host) arp(a packet.ARP) {
	target := netip.AddrFrom4(a.TargetIP())
	if a.Op() == packet.ARPRequest && h.owns(target) && a.SenderIP() != a.TargetIP() {
		h.send(ARP(packet.ARPReply, h.MAC, target, a.SenderMAC(), netip.AddrFrom4(a.SenderIP())).Bytes())
	}
}

// addrs are the addresses of a parsed packet.
func addrs(info *packet.Info) (src, dst netip.Addr) {
	if info.Family() == 4 {
		var b [8]byte
		binary.BigEndian.PutUint64(b[:], info.Addr[0])
		return netip.AddrFrom4([4]byte(b[:])), netip.AddrFrom4([4]byte(b[4:]))
	}
	var b [32]byte
	for i, w := range info.Addr {
		binary.BigEndian.PutUint64(b[8*i:], w)
	}
	return netip.AddrFrom16([16]byte(b[:])), netip.AddrFrom16([16]byte(b[16:]))
}

// checksumHolds verifies the transport checksum in full.
func checksumHolds(b []byte, info *packet.Info) bool {
	t := b[info.L4:info.End]
	if info.Class == packet.ClassUDP {
		t = t[:packet.UDPSize+int(info.PayloadLen)]
		if info.Family() == 4 && packet.UDP(t).Checksum() == 0 {
			return true
		}
	}
	var s checksum.Sum
	switch {
	case info.Family() == 6:
		s = checksum.PseudoIPv6(&info.Addr, info.Proto(), len(t))
	case info.Proto() != packet.ProtoICMP:
		s = checksum.PseudoIPv4(info.Addr[0], info.Proto(), len(t))
	}
	return s.Bytes(t).Checksum() == 0
}
