package sched

import (
	"encoding/binary"
	"net/netip"

	"github.com/holdfast-lb/holdfast/dpd/internal/flow"
)

// Server is one real server of a snapshot: 48 bytes, free of pointers.
type Server struct {
	Addr           [2]uint64 // IPv4 in the low half of Addr[0]; IPv6 big-endian
	ID             uint32
	Weight         uint32
	MaxConnections uint32
	slot           uint32 // of State.conns; the same id keeps its slot from snapshot to snapshot
	serial         uint32 // of its coming, so that a slot's next holder is told from the last
	Port           uint16
	Proto          uint8
	Family         uint8 // flow.IPv4 or flow.IPv6
	State          ServerState
}

// AddrPort is the server's address. Cold path.
func (s *Server) AddrPort() netip.AddrPort {
	k := flow.Key{Addr: [4]uint64{s.Addr[0] << 32}, Meta: uint64(s.Port)<<48 | uint64(s.Family)}
	if s.Family == flow.IPv6 {
		k.Addr[0], k.Addr[1] = s.Addr[0], s.Addr[1]
	}
	return k.Src()
}

// Takes says whether the server takes new flows, its connection limit apart.
func (s *Server) Takes() bool { return s.State == Up && s.Weight > 0 }

// Service is one virtual service of a snapshot.
type Service struct {
	ID        uint32
	VIP       netip.AddrPort
	Proto     uint8
	Mode      flow.Mode
	Algorithm Algorithm
	Timeouts  Timeouts
	Reset     bool     // established sessions that end for idleness are reset
	Servers   []Server // those that take no new flows too

	takes  []uint32 // indexes of Servers that take new flows
	slot   uint32   // of State.cursors
	config ServiceConfig
}

// place is where a server stands.
type place struct{ service, server int32 }

// Snapshot is a compiled configuration. It never changes, so any number of threads may read it.
type Snapshot struct {
	Revision uint64
	services []*Service
	byVIP    map[vipKey]*Service
	byID     map[uint32]*Service
	server   map[uint32]place
	slots    uint32 // of servers: all are below
	cursors  uint32 // of services: all are below
	serial   uint32 // of the latest server that came
}

// Compile checks c and builds its snapshot. prev is the snapshot before it, or nil: what didn't change is taken over from
// it, and servers keep their place in the workers' counts. The error is an *InvalidError.
func Compile(c *Config, prev *Snapshot) (*Snapshot, error) {
	if prev == nil {
		prev = &Snapshot{}
	}
	servers, err := c.check(prev)
	if err != nil {
		return nil, err
	}
	s := &Snapshot{
		Revision: c.Revision,
		services: make([]*Service, 0, len(c.Services)),
		byVIP:    make(map[vipKey]*Service, len(c.Services)),
		byID:     make(map[uint32]*Service, len(c.Services)),
		server:   servers,
	}
	s.serial = prev.serial
	serverSlot, serviceSlot := prev.freeSlots(c)
	for i := range c.Services {
		in := &c.Services[i]
		svc := prev.unchanged(in)
		if svc == nil {
			svc = s.compileService(in, prev, serverSlot, serviceSlot)
		}
		s.services = append(s.services, svc)
		s.byVIP[vipOf(in)] = svc
		s.byID[svc.ID] = svc
		s.cursors = max(s.cursors, svc.slot+1)
		for j := range svc.Servers {
			s.slots = max(s.slots, svc.Servers[j].slot+1)
		}
	}
	return s, nil
}

// unchanged is the service of s that was compiled from just this configuration, or nil.
func (s *Snapshot) unchanged(in *ServiceConfig) *Service {
	if old := s.byID[in.ID]; old != nil && same(&old.config, in) {
		return old
	}
	return nil
}

func (s *Snapshot) compileService(in *ServiceConfig, prev *Snapshot, serverSlot, serviceSlot func() uint32) *Service {
	svc := &Service{
		ID: in.ID, VIP: in.VIP, Proto: in.Proto, Mode: in.Mode, Algorithm: in.Algorithm, Timeouts: in.Timeouts, Reset: in.Reset,
		Servers: make([]Server, len(in.Servers)), config: *in,
	}
	svc.config.Servers = append([]ServerConfig(nil), in.Servers...) // the caller's may change
	if old := prev.byID[in.ID]; old != nil {
		svc.slot = old.slot
	} else {
		svc.slot = serviceSlot()
	}
	for j := range in.Servers {
		r := &in.Servers[j]
		addr, six := words(r.Addr.Addr())
		d := Server{ID: r.ID, Addr: addr, Weight: r.Weight, MaxConnections: r.MaxConnections, Port: r.Addr.Port(), Proto: in.Proto,
			Family: flow.IPv4, State: r.State}
		if six {
			d.Family = flow.IPv6
		}
		if was := prev.Server(r.ID); was != nil {
			d.slot, d.serial = was.slot, was.serial
		} else {
			s.serial++
			d.slot, d.serial = serverSlot(), s.serial
		}
		svc.Servers[j] = d
		if d.Takes() {
			svc.takes = append(svc.takes, uint32(j))
		}
	}
	return svc
}

// freeSlots yields slots that no server, and no service, of c has in s: first those given up, then new ones.
func (s *Snapshot) freeSlots(c *Config) (server, service func() uint32) {
	keptServers, keptServices := make([]bool, s.slots), make([]bool, s.cursors)
	for i := range c.Services {
		if old := s.byID[c.Services[i].ID]; old != nil {
			keptServices[old.slot] = true
		}
		if old := s.unchanged(&c.Services[i]); old != nil {
			for j := range old.Servers {
				keptServers[old.Servers[j].slot] = true
			}
			continue
		}
		for j := range c.Services[i].Servers {
			if old := s.Server(c.Services[i].Servers[j].ID); old != nil {
				keptServers[old.slot] = true
			}
		}
	}
	return lowestFree(keptServers), lowestFree(keptServices)
}

func lowestFree(kept []bool) func() uint32 {
	next := 0
	return func() uint32 {
		for next < len(kept) && kept[next] {
			next++
		}
		next++
		return uint32(next - 1)
	}
}

func words(a netip.Addr) (w [2]uint64, six bool) {
	if a = a.Unmap(); a.Is4() {
		b := a.As4()
		return [2]uint64{uint64(binary.BigEndian.Uint32(b[:]))}, false
	}
	b := a.As16()
	return [2]uint64{binary.BigEndian.Uint64(b[:8]), binary.BigEndian.Uint64(b[8:])}, true
}

func vipOf(s *ServiceConfig) vipKey {
	w, six := words(s.VIP.Addr())
	return vipKey{addr: w, port: s.VIP.Port(), proto: s.Proto, six: six}
}

// Lookup is the service that packets with tuple k are for, or nil.
func (s *Snapshot) Lookup(k *flow.Key) *Service {
	v := vipKey{port: k.DstPort(), proto: k.Proto(), six: k.Family() == flow.IPv6}
	if v.six {
		v.addr = [2]uint64{k.Addr[2], k.Addr[3]}
	} else {
		v.addr[0] = k.Addr[0] & 0xffffffff
	}
	return s.byVIP[v]
}

// Services are those of the snapshot in the order of its configuration; don't change them.
func (s *Snapshot) Services() []*Service { return s.services }

// Service is the service of an id, or nil.
func (s *Snapshot) Service(id uint32) *Service { return s.byID[id] }

// Server is the server of an id, or nil.
func (s *Snapshot) Server(id uint32) *Server {
	p, ok := s.server[id]
	if !ok {
		return nil
	}
	return &s.services[p.service].Servers[p.server]
}
