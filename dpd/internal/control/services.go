package control

import (
	"fmt"
	"net/netip"

	"github.com/holdfast-lb/holdfast/dpd/internal/flow"
	dpdv1 "github.com/holdfast-lb/holdfast/proto/gen/holdfast/dpd/v1"
)

// Bounds of a snapshot.
const (
	maxServices = 65535
	maxServers  = 65535 // of one service
	maxAll      = 4_000_000
	maxName     = 253
	maxTimeout  = 2_592_000 // seconds
	maxWeight   = 65535
)

// services checks a snapshot and converts it. Everything that is wrong is said at once.
func services(q *dpdv1.ApplyConfigRequest) (Config, error) {
	var v violations
	c := Config{Revision: q.GetRevision()}
	if c.Revision == 0 {
		v.add("revision", "must be 1 or more")
	}
	if n := len(q.GetServices()); n > maxServices {
		v.add("services", "%d services, at most %d", n, maxServices)
		return Config{}, v.err()
	}
	type endpoint struct {
		vip   netip.AddrPort
		proto uint8
	}
	ids, ends, servers, total := map[uint32]int{}, map[endpoint]int{}, map[uint32]string{}, 0
	for i, p := range q.GetServices() {
		at := fmt.Sprintf("services[%d]", i)
		s := Service{
			ID: p.GetId(), Name: p.GetName(), Algorithm: v.algorithm(at+".algorithm", p.GetAlgorithm()),
			Timeouts: v.timeouts(at+".timeouts", p.GetTimeouts()),
		}
		v.id(at+".id", s.ID, ids, i)
		v.name(at+".name", s.Name)
		s.VIP = netip.AddrPortFrom(v.addr(at+".vip", p.GetVip(), 0, false), v.port(at+".port", p.GetPort()))
		switch p.GetProtocol() {
		case dpdv1.Protocol_PROTOCOL_TCP:
			s.Proto = flow.ProtoTCP
		case dpdv1.Protocol_PROTOCOL_UDP:
			s.Proto = flow.ProtoUDP
		default:
			v.add(at+".protocol", "must be PROTOCOL_TCP or PROTOCOL_UDP")
		}
		if s.Mode = flow.Mode(p.GetMode()); s.Mode != flow.FullNAT {
			v.add(at+".mode", "%v is not supported by this version; only FORWARDING_MODE_FULLNAT is", p.GetMode())
		}
		s.Reset = v.expire(at+".expire", p.GetExpire(), s.Proto)
		e := endpoint{s.VIP, s.Proto}
		if j, ok := ends[e]; ok && s.VIP.IsValid() {
			v.add(at+".vip", "%v of this protocol is services[%d] too", s.VIP, j)
		}
		ends[e] = i
		if n := len(p.GetServers()); n > maxServers || total+n > maxAll {
			v.add(at+".servers", "%d servers, at most %d, and %d in all", n, maxServers, maxAll)
			continue
		}
		total += len(p.GetServers())
		s.Servers = v.servers(at, p.GetServers(), s.VIP.Addr(), servers)
		c.Services = append(c.Services, s)
	}
	return c, v.err()
}

func (v *violations) servers(at string, in []*dpdv1.Server, vip netip.Addr, ids map[uint32]string) (out []Server) {
	ends := map[netip.AddrPort]int{}
	for j, p := range in {
		at := fmt.Sprintf("%s.servers[%d]", at, j)
		s := Server{ID: p.GetId(), Name: p.GetName(), Weight: p.GetWeight(), MaxConnections: p.GetMaxConnections()}
		if other, ok := ids[s.ID]; ok || s.ID == 0 {
			v.add(at+".id", "%d is 0 or the id of %s too", s.ID, other)
		}
		ids[s.ID] = at
		v.name(at+".name", s.Name)
		a := v.addr(at+".address", p.GetAddress(), 0, false)
		if a.IsValid() && vip.IsValid() && a.Is4() != vip.Is4() {
			v.add(at+".address", "%v is of another address family than the VIP", a)
		}
		s.Addr = netip.AddrPortFrom(a, v.port(at+".port", p.GetPort()))
		if k, ok := ends[s.Addr]; ok && a.IsValid() {
			v.add(at+".address", "%v is servers[%d] too", s.Addr, k)
		}
		ends[s.Addr] = j
		if s.Weight > maxWeight {
			v.add(at+".weight", "%d is outside 0..%d", s.Weight, maxWeight)
		}
		switch p.GetState() {
		case dpdv1.ServerState_SERVER_STATE_UNSPECIFIED, dpdv1.ServerState_SERVER_STATE_UP:
			s.State = Up
		case dpdv1.ServerState_SERVER_STATE_DOWN:
			s.State = Down
		case dpdv1.ServerState_SERVER_STATE_DRAIN:
			s.State = Drain
		default:
			v.add(at+".state", "%v is no state", p.GetState())
		}
		out = append(out, s)
	}
	return out
}

func (v *violations) id(field string, id uint32, seen map[uint32]int, i int) {
	if id == 0 {
		v.add(field, "must be 1 or more")
		return
	}
	if j, ok := seen[id]; ok {
		v.add(field, "%d is the id of services[%d] too", id, j)
	}
	seen[id] = i
}

func (v *violations) name(field, s string) {
	if len(s) > maxName {
		v.add(field, "has %d bytes, at most %d", len(s), maxName)
	}
}

func (v *violations) algorithm(field string, a dpdv1.Algorithm) Algorithm {
	switch a {
	case dpdv1.Algorithm_ALGORITHM_UNSPECIFIED, dpdv1.Algorithm_ALGORITHM_RR:
		return RoundRobin
	case dpdv1.Algorithm_ALGORITHM_WRR:
		return WeightedRoundRobin
	case dpdv1.Algorithm_ALGORITHM_WLC:
		return WeightedLeastConnections
	}
	v.add(field, "%v is no algorithm of this version", a)
	return 0
}

// expire says whether the sides are reset.
func (v *violations) expire(field string, e dpdv1.ExpireAction, proto uint8) bool {
	switch e {
	case dpdv1.ExpireAction_EXPIRE_ACTION_UNSPECIFIED, dpdv1.ExpireAction_EXPIRE_ACTION_SILENT:
		return false
	case dpdv1.ExpireAction_EXPIRE_ACTION_RST:
		if proto != flow.ProtoTCP {
			v.add(field, "EXPIRE_ACTION_RST is for PROTOCOL_TCP alone")
		}
		return true
	}
	v.add(field, "%v is no action of this version", e)
	return false
}

func (v *violations) timeouts(field string, t *dpdv1.Timeouts) (out [flow.NumStates]uint32) {
	for _, x := range []struct {
		name  string
		value uint32
		state []flow.State
	}{
		{"tcp_syn_recv_seconds", t.GetTcpSynRecvSeconds(), []flow.State{flow.TCPSynRecv}},
		{"tcp_established_seconds", t.GetTcpEstablishedSeconds(), []flow.State{flow.TCPEstablished}},
		{"tcp_fin_wait_seconds", t.GetTcpFinWaitSeconds(), []flow.State{flow.TCPFinWait}},
		{"tcp_close_wait_seconds", t.GetTcpCloseWaitSeconds(), []flow.State{flow.TCPCloseWait}},
		{"tcp_time_wait_seconds", t.GetTcpTimeWaitSeconds(), []flow.State{flow.TCPTimeWait}},
		{"tcp_close_seconds", t.GetTcpCloseSeconds(), []flow.State{flow.TCPClose}},
		{"tcp_last_ack_seconds", t.GetTcpLastAckSeconds(), []flow.State{flow.TCPLastAck}},
		{"udp_seconds", t.GetUdpSeconds(), []flow.State{flow.UDPNone, flow.UDPOneWay, flow.UDPNormal}},
		{"icmp_seconds", t.GetIcmpSeconds(), []flow.State{flow.ICMPNormal}},
	} {
		if x.value > maxTimeout {
			v.add(field+"."+x.name, "%d is outside 0..%d", x.value, maxTimeout)
			continue
		}
		for _, s := range x.state {
			out[s] = x.value
		}
	}
	return out
}
