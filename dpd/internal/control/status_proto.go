package control

import (
	"fmt"
	"net"

	"github.com/holdfast-lb/holdfast/dpd/internal/apiform"
	dpdv1 "github.com/holdfast-lb/holdfast/proto/gen/holdfast/dpd/v1"
)

func statusProto(s *Status) *dpdv1.SyncStatus {
	p := &dpdv1.SyncStatus{
		Self: apiform.Life(s.Self), State: dpdv1.NodeState(s.State), View: s.View, ConfigRevision: s.Revision,
		KeyGeneration: s.KeyGeneration, DetectorLate: s.DetectorLate, ClockOff: s.ClockOff, SessionsOwned: s.Owned, SessionsHeld: s.Held,
	}
	for _, q := range s.Peers {
		r := &dpdv1.PeerSync{
			Peer: apiform.Life(q.Life), Established: q.Established, Suspected: q.Suspected, ProbeAgeMs: q.ProbeAgeMS, RttUs: q.RTTMicros,
			Desync: q.Desync, DigestEqual: q.DigestEqual, UnheardMs: q.UnheardMS, Mtu: q.MTU, Sent: q.Sent, Received: q.Received, Gaps: q.Gaps,
			Refused: q.Refused, RecordsSent: q.RecordsSent, RecordsReceived: q.RecordsReceived,
			ClockOffsetMs: q.ClockOffsetMS, LagMs: q.LagMS,
		}
		if q.DigestEverEqual {
			r.DigestEqualAgeMs = &q.DigestEqualAgeMS
		}
		p.Peers = append(p.Peers, r)
	}
	for _, b := range s.Bulk {
		p.Bulk = append(p.Bulk, &dpdv1.BulkProgress{From: apiform.Life(b.From), Begun: b.Begun, Expected: b.Expected, Received: b.Received, Ended: b.Ended})
	}
	for _, c := range s.Conditions {
		p.ReadyConditions = append(p.ReadyConditions, &dpdv1.ReadyCondition{Type: dpdv1.ReadyConditionType(c.Type), Met: c.Met, Detail: c.Detail})
	}
	for _, b := range s.Blocks {
		p.BlockUsage = append(p.BlockUsage, &dpdv1.BlockUsage{BlockId: b.ID, Records: b.Records, Tombstones: b.Tombstones, AgeMs: b.AgeMS})
	}
	for _, b := range s.Relayed {
		p.RelayedBlockUsage = append(p.RelayedBlockUsage, &dpdv1.RelayedBlockUsage{
			Member: apiform.Life(b.Member), BlockId: b.ID, Holder: apiform.Life(b.Holder), Records: b.Records, Tombstones: b.Tombstones,
			FencedMs: b.FencedMS, AgeMs: b.AgeMS,
		})
	}
	for _, f := range s.Fenced {
		p.Fenced = append(p.Fenced, &dpdv1.FencedAge{Life: apiform.Life(f.Life), AgeMs: f.AgeMS})
	}
	for _, b := range s.Backends {
		p.BackendSignals = append(p.BackendSignals, &dpdv1.BackendSignal{ServerId: b.Server, Alive: b.Alive, Dead: b.Dead})
	}
	return p
}

func infoProto(i *Info, s *Status) *dpdv1.GetInfoResponse {
	text := func(a fmt.Stringer, ok bool) string {
		if !ok {
			return ""
		}
		return a.String()
	}
	p := &dpdv1.GetInfoResponse{
		Name: i.Name, Version: i.Version, DpdkVersion: i.DPDK, SyncProtocolVersion: i.SyncProtocol, UptimeMs: i.UptimeMS,
		Workers: uint32(i.Workers), Poll: i.Poll, Sync: statusProto(s), ActiveKeyId: uint32(i.ActiveKey),
		SipV4: text(i.SIP[0], i.SIP[0].IsValid()), SipV6: text(i.SIP[1], i.SIP[1].IsValid()),
		SyncPort: uint32(i.SyncPort), SessionCapacity: i.Capacity, AnnounceHoldReason: i.AnnounceHold,
	}
	for _, k := range i.KeyIDs {
		p.KeyIds = append(p.KeyIds, uint32(k))
	}
	for _, d := range i.Ports {
		q := &dpdv1.DataPort{
			Name: d.Name, Driver: d.Driver, Mac: net.HardwareAddr(d.MAC[:]).String(), Mtu: uint32(d.MTU),
			RxQueues: uint32(d.RxQueues), TxQueues: uint32(d.TxQueues), LinkUp: d.LinkUp,
		}
		for _, a := range d.Addrs {
			q.Addresses = append(q.Addresses, a.String())
		}
		p.Ports = append(p.Ports, q)
	}
	for _, r := range i.Rules {
		p.SteeringRules = append(p.SteeringRules, &dpdv1.SteeringRule{Rule: r.Rule, Device: r.Device, Hardware: r.Hardware, Reason: r.Reason})
	}
	for _, r := range i.Routes {
		p.Routes = append(p.Routes, &dpdv1.Route{Prefix: r.Prefix.String(), Purpose: r.Purpose, NextHop: r.NextHop.String()})
	}
	return p
}

func statsProto(s *Stats) *dpdv1.GetStatsResponse {
	list := func(in []Counter) (out []*dpdv1.Counter) {
		for _, c := range in {
			out = append(out, &dpdv1.Counter{Name: c.Name, Value: c.Value})
		}
		return out
	}
	p := &dpdv1.GetStatsResponse{Counters: list(s.Node)}
	for i, w := range s.Workers {
		p.Workers = append(p.Workers, &dpdv1.WorkerStats{Worker: uint32(i), Counters: list(w.Counters), Drops: list(w.Drops)})
	}
	return p
}
