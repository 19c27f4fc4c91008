package node

import (
	"net/netip"

	"github.com/holdfast-lb/holdfast/dpd/internal/apiform"
	"github.com/holdfast-lb/holdfast/dpd/internal/config"
	"github.com/holdfast-lb/holdfast/dpd/internal/control"
	"github.com/holdfast-lb/holdfast/dpd/internal/flow"
	syncv1 "github.com/holdfast-lb/holdfast/proto/gen/holdfast/sync/v1"
)

// staticMembership is the view of a node that has no control plane: itself alone, admitted.
func staticMembership(s *config.Static, port int) control.Membership {
	self := control.Member{
		Life: flow.Node{ID: s.NodeID}, Name: "static", SIP: [2]netip.Addr{s.SyncV4, s.SyncV6}, SyncPort: uint16(port), State: control.Admitted,
	}
	m := control.Membership{Self: self, Members: []control.Member{self}}
	for _, b := range s.Blocks {
		m.Blocks = append(m.Blocks, control.Block{ID: b.ID, Addrs: b.Addresses, Holder: flow.Node{ID: b.Holder}, Allocatable: true})
	}
	return m
}

// staticConfig is the services of the file, as revision 1.
func staticConfig(s *config.Static) control.Config {
	c := control.Config{Revision: 1}
	algorithms := map[config.Algorithm]control.Algorithm{
		config.AlgorithmRR: control.RoundRobin, config.AlgorithmWRR: control.WeightedRoundRobin, config.AlgorithmWLC: control.WeightedLeastConnections,
	}
	for _, v := range s.Services {
		t := control.Service{
			ID: v.ID, Name: v.Name, VIP: netip.AddrPortFrom(v.VIP, uint16(v.Port)), Proto: flow.ProtoTCP, Mode: flow.FullNAT,
			Algorithm: algorithms[v.Algorithm],
		}
		if v.Protocol == config.ProtocolUDP {
			t.Proto = flow.ProtoUDP
		}
		for _, r := range v.Servers {
			t.Servers = append(t.Servers, control.Server{
				ID: r.ID, Name: r.Name, Addr: netip.AddrPortFrom(r.Address, uint16(r.Port)), Weight: uint32(r.Weight), State: control.Up,
			})
		}
		c.Services = append(c.Services, t)
	}
	return c
}

func leaveRequest(l flow.Node) *syncv1.LeaveRequest {
	return &syncv1.LeaveRequest{Life: apiform.Life(l)}
}
