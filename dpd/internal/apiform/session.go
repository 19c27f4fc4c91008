// Package apiform turns core values into messages of the API. It is the one place that knows both forms of a session.
package apiform

import (
	"net/netip"

	"github.com/holdfast-lb/holdfast/dpd/internal/flow"
	dpdv1 "github.com/holdfast-lb/holdfast/proto/gen/holdfast/dpd/v1"
)

// Protocol is the API's name of an IP protocol number.
func Protocol(n uint8) dpdv1.Protocol {
	switch n {
	case flow.ProtoTCP:
		return dpdv1.Protocol_PROTOCOL_TCP
	case flow.ProtoUDP:
		return dpdv1.Protocol_PROTOCOL_UDP
	case flow.ProtoICMP:
		return dpdv1.Protocol_PROTOCOL_ICMP
	case flow.ProtoICMPv6:
		return dpdv1.Protocol_PROTOCOL_ICMPV6
	}
	return dpdv1.Protocol_PROTOCOL_UNSPECIFIED
}

// Tuple is the message of a key.
func Tuple(k *flow.Key) *dpdv1.Tuple {
	end := func(a netip.AddrPort) *dpdv1.Endpoint {
		return &dpdv1.Endpoint{Address: a.Addr().String(), Port: uint32(a.Port())}
	}
	return &dpdv1.Tuple{Protocol: Protocol(k.Proto()), Source: end(k.Src()), Destination: end(k.Dst())}
}

var flagNames = [...]struct {
	flag flow.Flags
	name dpdv1.SessionFlag
}{
	{flow.Unbound, dpdv1.SessionFlag_SESSION_FLAG_UNBOUND},
	{flow.ReplyOnly, dpdv1.SessionFlag_SESSION_FLAG_REPLY_ONLY},
	{flow.SoftTomb, dpdv1.SessionFlag_SESSION_FLAG_SOFT_TOMBSTONE},
	{flow.HardTomb, dpdv1.SessionFlag_SESSION_FLAG_HARD_TOMBSTONE},
	{flow.Synced, dpdv1.SessionFlag_SESSION_FLAG_SYNCED},
	{flow.Embryonic, dpdv1.SessionFlag_SESSION_FLAG_EMBRYONIC},
	{flow.Confirmed, dpdv1.SessionFlag_SESSION_FLAG_CONFIRMED},
}

// Session is the message of a session that worker holds.
func Session(s *flow.Session, worker int) *dpdv1.Session {
	p := &dpdv1.Session{
		Original: Tuple(&s.Orig), Reply: Tuple(&s.Reply), Birth: uint64(s.Birth), Owner: Life(s.Owner),
		Term: s.Term, Version: s.Ver, ServiceId: s.Service, ServerId: s.Server,
		State: dpdv1.SessionState(s.State) + 1, Mode: dpdv1.ForwardingMode(s.Mode),
		IdleMs: s.Idle, TimeoutSeconds: s.Timeout, Bucket: uint32(s.Bucket), Worker: uint32(worker), TcpBits: uint32(s.Bits),
	}
	for _, f := range flagNames {
		if s.Flags&f.flag != 0 {
			p.Flags = append(p.Flags, f.name)
		}
	}
	return p
}

// Life is the message of a node's life.
func Life(n flow.Node) *dpdv1.NodeLife { return &dpdv1.NodeLife{Id: n.ID, Incarnation: n.Inc} }

// NodeOf is the life that a message names; unset fields are zero.
func NodeOf(l *dpdv1.NodeLife) flow.Node { return flow.Node{ID: l.GetId(), Inc: l.GetIncarnation()} }
