// Package sched chooses real servers for new flows.
//
// Compile turns a configuration into a Snapshot: immutable, shared by all workers, with virtual services found by address in
// constant time. Each worker has a State of its own: cursors and connection counts, which outlive the snapshot by server
// id. A server takes new flows while it is up and its weight isn't 0; otherwise its flows live on and it gets no more.
package sched

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/holdfast-lb/holdfast/dpd/internal/flow"
)

// Algorithm names how a service chooses.
type Algorithm uint8

const (
	// RR is round robin: all weights above 0 count alike.
	RR Algorithm = 1 + iota
	// WRR is weighted round robin, interleaved: in any run of as many picks as the weights add up to, each server has as many
	// as its weight, spread over the run.
	WRR
	// WLC is the least (connections+1)/weight of this worker.
	WLC
)

// ServerState says whether a server takes new flows.
type ServerState uint8

const (
	Up    ServerState = 1 + iota
	Down              // checks say that it is dead
	Drain             // the operator wants no new flows on it
)

// Bounds of a configuration.
const (
	MaxServices          = 1 << 16
	MaxServersPerService = 1<<16 - 1
	MaxServers           = 1 << 22
	MaxWeight            = 1<<16 - 1
	MaxTimeout           = 2592000 // seconds; 30 days
)

// Timeouts are seconds per state; 0 keeps the default.
type Timeouts [flow.NumStates]uint32

// ServerConfig is one real server of a service.
type ServerConfig struct {
	ID             uint32 // 1 or more, unique in the configuration, never used for another server
	Addr           netip.AddrPort
	Weight         uint32 // 0 to MaxWeight; 0 drains
	State          ServerState
	MaxConnections uint32 // of this node; 0 = no limit
}

// ServiceConfig is one virtual service.
type ServiceConfig struct {
	ID        uint32 // 1 or more, unique in the configuration, never used for another service
	VIP       netip.AddrPort
	Proto     uint8 // flow.ProtoTCP or flow.ProtoUDP
	Mode      flow.Mode
	Algorithm Algorithm
	Timeouts  Timeouts
	Reset     bool // established sessions that end for idleness are reset
	Servers   []ServerConfig
}

// Config is everything that a Snapshot is made of.
type Config struct {
	Revision uint64
	Services []ServiceConfig
}

// FieldError is one thing wrong with a configuration.
type FieldError struct {
	Field  string // services[3].servers[1].weight
	Reason string
}

// maxFieldErrors bounds how many are reported at once.
const maxFieldErrors = 100

// InvalidError lists what is wrong with a configuration, in its order.
type InvalidError struct {
	Fields []FieldError
	More   int // not listed
}

func (e *InvalidError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "sched: %d invalid fields", len(e.Fields)+e.More)
	for _, f := range e.Fields {
		fmt.Fprintf(&b, "; %s: %s", f.Field, f.Reason)
	}
	return b.String()
}

func (e *InvalidError) add(field, reason string, args ...any) {
	if len(e.Fields) == maxFieldErrors {
		e.More++
		return
	}
	e.Fields = append(e.Fields, FieldError{field, fmt.Sprintf(reason, args...)})
}

type vipKey struct {
	addr  [2]uint64
	port  uint16
	proto uint8
	six   bool
}

// checker walks a configuration once. Services that are those of the snapshot before were checked then; only what must be
// unique among all is looked at again.
type checker struct {
	InvalidError
	prev    *Snapshot
	ids     map[uint32]int
	vips    map[vipKey]int
	servers map[uint32]place
	addrs   map[netip.AddrPort]int // of the service at hand
}

// check reports every fault of c, or where each of its servers stands.
func (c *Config) check(prev *Snapshot) (map[uint32]place, error) {
	e := &checker{prev: prev}
	total := 0
	for i := range c.Services {
		total += len(c.Services[i].Servers)
	}
	switch {
	case len(c.Services) > MaxServices:
		e.add("services", "%d are more than %d", len(c.Services), MaxServices)
		return nil, &e.InvalidError
	case total > MaxServers:
		e.add("services", "%d servers are more than %d", total, MaxServers)
		return nil, &e.InvalidError
	}
	e.ids = make(map[uint32]int, len(c.Services))
	e.vips = make(map[vipKey]int, len(c.Services))
	e.servers = make(map[uint32]place, total)
	e.addrs = make(map[netip.AddrPort]int)
	for i := range c.Services {
		e.service(i, &c.Services[i])
	}
	if len(e.Fields) > 0 {
		return nil, &e.InvalidError
	}
	return e.servers, nil
}

func (e *checker) service(i int, s *ServiceConfig) {
	at := func(name string) string { return fmt.Sprintf("services[%d].%s", i, name) }
	known := e.prev.unchanged(s) != nil
	if first, dup := e.ids[s.ID]; s.ID == 0 {
		e.add(at("id"), "must be 1 or more")
	} else if dup {
		e.add(at("id"), "%d is that of services[%d] too", s.ID, first)
	}
	e.ids[s.ID] = i
	if reason := badAddr(s.VIP); reason != "" {
		e.add(at("vip"), "%s", reason)
	} else {
		k := vipOf(s)
		if first, dup := e.vips[k]; dup {
			e.add(at("vip"), "%v is that of services[%d] with the same protocol too", s.VIP, first)
		}
		e.vips[k] = i
	}
	if s.Proto != flow.ProtoTCP && s.Proto != flow.ProtoUDP {
		e.add(at("protocol"), "%d is neither TCP nor UDP", s.Proto)
	}
	if s.Mode < flow.FullNAT || s.Mode > flow.Tunnel {
		e.add(at("mode"), "unknown: %d", s.Mode)
	}
	if s.Algorithm < RR || s.Algorithm > WLC {
		e.add(at("algorithm"), "unknown: %d", s.Algorithm)
	}
	for state, sec := range s.Timeouts {
		if sec > MaxTimeout {
			e.add(at("timeouts"), "%d seconds of state %d are more than %d", sec, state, MaxTimeout)
		}
	}
	if len(s.Servers) > MaxServersPerService {
		e.add(at("servers"), "%d are more than %d", len(s.Servers), MaxServersPerService)
		return
	}
	clear(e.addrs)
	for j := range s.Servers {
		if first, dup := e.servers[s.Servers[j].ID]; dup {
			e.add(fmt.Sprintf("services[%d].servers[%d].id", i, j), "%d is that of services[%d].servers[%d] too", s.Servers[j].ID, first.service, first.server)
		}
		e.servers[s.Servers[j].ID] = place{int32(i), int32(j)}
		if !known {
			e.server(i, j, s)
		}
	}
}

func (e *checker) server(i, j int, s *ServiceConfig) {
	r := &s.Servers[j]
	at := func(name string) string { return fmt.Sprintf("services[%d].servers[%d].%s", i, j, name) }
	if r.ID == 0 {
		e.add(at("id"), "must be 1 or more")
	}
	if reason := badAddr(r.Addr); reason != "" {
		e.add(at("address"), "%s", reason)
	} else {
		if r.Addr.Addr().Unmap().Is4() != s.VIP.Addr().Unmap().Is4() && s.VIP.IsValid() {
			e.add(at("address"), "%v is of another family than the VIP %v", r.Addr, s.VIP)
		}
		if first, dup := e.addrs[r.Addr]; dup {
			e.add(at("address"), "%v is that of servers[%d] too", r.Addr, first)
		}
		e.addrs[r.Addr] = j
	}
	if r.Weight > MaxWeight {
		e.add(at("weight"), "%d is more than %d", r.Weight, MaxWeight)
	}
	if r.State < Up || r.State > Drain {
		e.add(at("state"), "unknown: %d", r.State)
	}
}

func badAddr(a netip.AddrPort) string {
	ip := a.Addr().Unmap()
	switch {
	case !ip.IsValid():
		return "missing"
	case ip.IsUnspecified(), ip.IsMulticast(), ip.IsLoopback(), ip == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		return fmt.Sprintf("%v is no unicast address", ip)
	case ip.Zone() != "":
		return fmt.Sprintf("%v has a zone", ip)
	case a.Port() == 0:
		return "port 0"
	}
	return ""
}

// same says whether two service configurations are equal.
func same(a, b *ServiceConfig) bool {
	return a.ID == b.ID && a.VIP == b.VIP && a.Proto == b.Proto && a.Mode == b.Mode && a.Algorithm == b.Algorithm && a.Timeouts == b.Timeouts && a.Reset == b.Reset &&
		slices.Equal(a.Servers, b.Servers)
}
