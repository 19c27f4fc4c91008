// Package snapshot compiles the desired state into what data planes apply.
package snapshot

import (
	"slices"

	dpdv1 "github.com/holdfast-lb/holdfast/proto/gen/holdfast/dpd/v1"
	"github.com/holdfast-lb/holdfast/services/scheduler/desired"
)

// Snapshot is one revision of the configuration. Immutable.
type Snapshot struct {
	Request *dpdv1.ApplyConfigRequest
	Servers int
}

// Compiler compiles, and keeps what didn't change since it last did: a change of one service costs one service. Not safe
// for concurrent use.
type Compiler struct {
	done map[*desired.Service]*dpdv1.Service
}

// Compile makes the snapshot of a revision. Services and servers come in the order of their uids, so that equal states
// give equal bytes.
func (c *Compiler) Compile(revision uint64, services []*desired.Service) Snapshot {
	done := make(map[*desired.Service]*dpdv1.Service, len(services))
	out := Snapshot{Request: &dpdv1.ApplyConfigRequest{Revision: revision, Services: make([]*dpdv1.Service, 0, len(services))}}
	for _, s := range services {
		p := c.done[s]
		if p == nil {
			p = compile(s)
		}
		done[s] = p
		out.Request.Services = append(out.Request.Services, p)
		out.Servers += len(p.GetServers())
	}
	slices.SortFunc(out.Request.Services, func(a, b *dpdv1.Service) int { return int(int64(a.GetId()) - int64(b.GetId())) })
	c.done = done
	return out
}

var (
	protocols  = map[desired.Protocol]dpdv1.Protocol{desired.TCP: dpdv1.Protocol_PROTOCOL_TCP, desired.UDP: dpdv1.Protocol_PROTOCOL_UDP}
	modes      = map[desired.Mode]dpdv1.ForwardingMode{desired.FullNAT: dpdv1.ForwardingMode_FORWARDING_MODE_FULLNAT}
	algorithms = map[desired.Algorithm]dpdv1.Algorithm{
		desired.RR: dpdv1.Algorithm_ALGORITHM_RR, desired.WRR: dpdv1.Algorithm_ALGORITHM_WRR, desired.WLC: dpdv1.Algorithm_ALGORITHM_WLC,
	}
	expiries = map[desired.Expire]dpdv1.ExpireAction{
		desired.Silent: dpdv1.ExpireAction_EXPIRE_ACTION_SILENT, desired.RST: dpdv1.ExpireAction_EXPIRE_ACTION_RST,
	}
)

func compile(s *desired.Service) *dpdv1.Service {
	t := s.Spec.Timeouts
	out := &dpdv1.Service{
		Id:        s.Meta.UID,
		Name:      s.ID,
		Vip:       s.Spec.VIP.String(),
		Port:      uint32(s.Spec.Port),
		Protocol:  protocols[s.Spec.Protocol],
		Mode:      modes[s.Spec.Mode],
		Algorithm: algorithms[s.Spec.Algorithm],
		Expire:    expiries[s.Spec.Expire],
		Timeouts: &dpdv1.Timeouts{
			TcpSynRecvSeconds: t.TCPSynRecv, TcpEstablishedSeconds: t.TCPEstablished, TcpFinWaitSeconds: t.TCPFinWait,
			TcpCloseWaitSeconds: t.TCPCloseWait, TcpTimeWaitSeconds: t.TCPTimeWait, TcpCloseSeconds: t.TCPClose,
			TcpLastAckSeconds: t.TCPLastAck, UdpSeconds: t.UDP,
		},
		Servers: make([]*dpdv1.Server, 0, len(s.Servers)),
	}
	for _, x := range s.Servers {
		out.Servers = append(out.Servers, &dpdv1.Server{
			Id:             x.Meta.UID,
			Name:           x.ID,
			Address:        x.Spec.Address.String(),
			Port:           uint32(x.Spec.Port),
			Weight:         uint32(x.Spec.Weight),
			State:          state(&x),
			MaxConnections: x.Spec.MaxConnections,
		})
	}
	slices.SortFunc(out.Servers, func(a, b *dpdv1.Server) int { return int(int64(a.GetId()) - int64(b.GetId())) })
	return out
}

// state puts the operator's word above the checks': a draining server that is dead drains all the same.
func state(x *desired.Server) dpdv1.ServerState {
	switch {
	case x.Spec.Admin == desired.Draining:
		return dpdv1.ServerState_SERVER_STATE_DRAIN
	case x.Health == desired.Down:
		return dpdv1.ServerState_SERVER_STATE_DOWN
	}
	return dpdv1.ServerState_SERVER_STATE_UP
}
