package neigh

import (
	"net/netip"

	"github.com/holdfast-lb/holdfast/dpd/internal/checksum"
	"github.com/holdfast-lb/holdfast/dpd/internal/packet"
	"github.com/holdfast-lb/holdfast/dpd/internal/port"
)

const (
	replyTTL = 64
	// echoID tells our probes' answers from others'.
	echoID = 0x4846
	// echoLate is how many probes an answer may be behind the last.
	echoLate = 16
)

// gateway is a next hop of static routes. Its entry is asked for from the start and never forgotten.
type gateway struct {
	port  int
	addr  netip.Addr
	entry *neighbor
}

func (m *Machine) addGateway(port int, a netip.Addr) {
	for i := range m.gateways {
		if m.gateways[i].port == port && m.gateways[i].addr == a {
			return
		}
	}
	m.gateways = append(m.gateways, gateway{port: port, addr: a})
}

// echo takes over an echo request for an address of ours, or a reply.
func (m *Machine) echo(now uint32, in int, info *packet.Info, p port.Packet) {
	var src, dst netip.Addr
	if info.Family() == 4 {
		src, dst = fromWords(4, 0, info.Addr[0]>>32), fromWords(4, 0, info.Addr[0]&0xffffffff)
	} else {
		src, dst = fromWords(6, info.Addr[0], info.Addr[1]), fromWords(6, info.Addr[2], info.Addr[3])
	}
	h := packet.ICMP(p.Data[info.L4:info.End])
	var pseudo checksum.Sum
	if info.Family() == 6 {
		pseudo = checksum.PseudoIPv6(&info.Addr, packet.ProtoICMPv6, len(h))
	}
	switch {
	case !m.Owns(dst) || !info.Unicast():
		m.drop(p, NotOurs)
	case info.Code != 0 || m.Owns(src) || pseudo.Bytes(h).Checksum() != 0:
		m.drop(p, BadMessage)
	case info.Type == packet.ICMPEchoReply || info.Type == packet.ICMPv6EchoReply:
		m.echoReply(now, in, h, src, dst)
		m.free(p)
	case m.echoes >= echoPerSecond:
		m.drop(p, Limited)
	default:
		m.echoes++
		m.answerEcho(in, info, p, h)
	}
}

// answerEcho turns the request into its answer in place: it goes back to the station that it came from.
func (m *Machine) answerEcho(in int, info *packet.Info, p port.Packet, h packet.ICMP) {
	eth := packet.Ethernet(p.Data)
	eth.SetDst(eth.Src())
	eth.SetSrc(m.ports[in].MAC)
	reply := uint8(packet.ICMPEchoReply)
	if info.Family() == 4 {
		ip := packet.IPv4(p.Data[info.L3:])
		// The exchange of the addresses leaves the sum as it is.
		ip.SetChecksum(checksum.Update16(ip.Checksum(), uint16(info.TTL)<<8, replyTTL<<8))
		ip.SetTTL(replyTTL)
		ip.SetAddr(info.Addr[0]<<32 | info.Addr[0]>>32)
	} else {
		reply = packet.ICMPv6EchoReply
		ip := packet.IPv6(p.Data[info.L3:])
		ip.SetHopLimit(replyTTL)
		ip.SetAddr(&[4]uint64{info.Addr[2], info.Addr[3], info.Addr[0], info.Addr[1]})
	}
	h.SetChecksum(checksum.Update16(h.Checksum(), uint16(info.Type)<<8, uint16(reply)<<8))
	h[0] = reply
	m.count(EchoAnswered)
	m.send(in, p)
}

// echoReply takes the answer to a probe: packets move both ways between us and the gateway.
func (m *Machine) echoReply(now uint32, in int, h packet.ICMP, src, dst netip.Addr) {
	rest := h.Rest()
	if rest>>16 == proofID {
		m.proved(uint16(rest), src, dst)
		return
	}
	for i := range m.gateways {
		g := &m.gateways[i]
		if g.port != in || g.addr != src || rest>>16 != echoID || m.echoSeq-uint16(rest) >= echoLate {
			continue
		}
		m.count(ProbeHeard)
		m.pub.echo.Store(now)
		if e := g.entry; e != nil && e.state == Reachable {
			e.since, e.due = now, now+reachableMS
		}
		return
	}
	m.count(Unasked)
}

// probeGateways keeps every gateway asked for, and sends each known one an echo request when it is time.
func (m *Machine) probeGateways(now uint32) {
	if len(m.gateways) == 0 || !due(now, m.nextProbe) {
		return
	}
	m.nextProbe = now + max(m.probeMS, 100)
	m.echoSeq++
	for i := range m.gateways {
		g := &m.gateways[i]
		if g.entry == nil {
			if g.entry = m.find(g.port, g.addr); g.entry == nil {
				g.entry = m.create(now, g.port, g.addr)
			}
		}
		if m.probeMS > 0 && g.entry != nil && g.entry.hop != nil {
			if src, ok := m.ports[g.port].source(g.addr); ok {
				m.sendEcho(g.entry.hop, src, uint32(echoID)<<16|uint32(m.echoSeq))
			}
		}
	}
}

// sendEcho asks a next hop for an echo to src; rest is identifier and sequence number.
func (m *Machine) sendEcho(h *Hop, src netip.Addr, rest uint32) {
	size := packet.IPv4Size
	if h.Next.Is6() {
		size = packet.IPv6Size
	}
	n := h.L3 + size + packet.ICMPSize
	p, ok := m.frame(n)
	if !ok {
		return
	}
	msg := p.Data[h.L3+size:][:packet.ICMPSize]
	if h.Next.Is4() {
		_, from := words(src)
		_, to := words(h.Next)
		packet.PutIPv4(p.Data[h.L3:], packet.ProtoICMP, replyTTL, from<<32|to, len(msg))
		packet.PutICMP(msg, packet.ICMPEcho, 0, rest)
		packet.ICMP(msg).SetChecksum(checksum.Of(msg))
	} else {
		var addr [4]uint64
		addr[0], addr[1] = words(src)
		addr[2], addr[3] = words(h.Next)
		packet.PutIPv6(p.Data[h.L3:], packet.ProtoICMPv6, replyTTL, &addr, len(msg))
		packet.PutICMP(msg, packet.ICMPv6Echo, 0, rest)
		packet.ICMP(msg).SetChecksum(checksum.PseudoIPv6(&addr, packet.ProtoICMPv6, len(msg)).Bytes(msg).Checksum())
	}
	h.SetLink(m.pool, &p, h.L3)
	m.send(h.Port, p)
}
