package mesh

import (
	"encoding/binary"

	"github.com/holdfast-lb/holdfast/dpd/internal/packet"
	"github.com/holdfast-lb/holdfast/dpd/internal/syncer"
)

// Offsets in an untagged frame of IPv4 without options.
const (
	atProto = packet.EthernetSize + 9
	atSum   = packet.EthernetSize + 10
	atSrc   = packet.EthernetSize + 12
	atDst   = packet.EthernetSize + 16
	atPorts = packet.EthernetSize + packet.IPv4Size
	atSeq   = atPorts + 4
	atAck   = atPorts + 8
	atFlags = atPorts + 13
	atUDP   = atPorts + packet.UDPSize
)

// route takes what a node sent. The frame is lent.
func (m *Mesh) route(n *Node, f []byte) {
	if len(f) >= packet.EthernetSize+packet.ARPSize && packet.Ethernet(f).Type() == packet.EtherTypeARP {
		n.answer(packet.ARP(f[packet.EthernetSize:]))
		return
	}
	if len(f) < atUDP+4 || packet.Ethernet(f).Type() != packet.EtherTypeIPv4 {
		return
	}
	dst := binary.BigEndian.Uint32(f[atDst:])
	if dst&netMask == sipNet {
		m.datagram(n, int(dst&0xff)-1, f)
		return
	}
	switch {
	case m.Traffic != nil:
		m.Traffic.arrived(f, dst)
	case m.Arrived != nil:
		m.Arrived(n, f)
	}
}

// datagram brings a sync datagram to its node, at the queue of the sync thread.
func (m *Mesh) datagram(from *Node, to int, f []byte) {
	if to < 0 || to >= len(m.Nodes) || m.Drop != nil && m.Drop(from.index, to) {
		return
	}
	if m.Carry == nil || !m.Carry(from.index, to, f) {
		m.Datagram(to, f)
	}
}

// Datagram puts a sync datagram into the receive queue of a node's sync thread.
func (m *Mesh) Datagram(to int, f []byte) {
	if n := m.Nodes[to]; n != nil {
		n.Receive(m.cfg.Workers, f)
	}
}

// Receive puts a frame into a receive queue; false: there is no room.
func (n *Node) Receive(queue int, f []byte) bool {
	b := n.dev.room(queue, len(f))
	if b == nil {
		return false
	}
	copy(b, f)
	copy(b, n.dev.mac[:])
	return true
}

// answer is the gateway's to an ARP request.
func (n *Node) answer(q packet.ARP) {
	if q.Op() != packet.ARPRequest {
		return
	}
	b := n.dev.room(0, 60)
	if b == nil {
		return
	}
	clear(b)
	copy(b, n.dev.mac[:])
	copy(b[6:], gatewayMAC[:])
	packet.Ethernet(b).SetType(packet.EtherTypeARP)
	packet.PutARP(b[packet.EthernetSize:], packet.ARPReply, gatewayMAC, q.TargetIP(), q.SenderMAC(), q.SenderIP())
}

// fillOutbox takes all room of worker 0's outbox, with actions that the sync thread ignores.
func (n *Node) fillOutbox() {
	if n.RefuseOutbox {
		for n.outbox[0].Put(&syncer.Action{}) {
			continue
		}
	}
}

// fillInbox takes all room of worker 0's inbox, with deliveries that the shard ignores.
func (n *Node) fillInbox() {
	if n.RefuseInbox {
		for n.inbox[0].Put(&syncer.Delivery{}) {
			continue
		}
	}
}
