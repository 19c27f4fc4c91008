// Package desired is the desired state of the cluster as plain values, and every decision on a change of it. It does no
// I/O: a decision takes the state and answers one change of one record, which the caller stores and then applies.
package desired

import (
	"net/netip"
	"time"
)

// Protocol is the IP protocol number of a virtual service.
type Protocol uint8

// The protocols that can be balanced.
const (
	TCP Protocol = 6
	UDP Protocol = 17
)

// Mode is a forwarding mode.
type Mode string

// FullNAT is the forwarding mode of this version.
const FullNAT Mode = "fullnat"

// Algorithm chooses a server.
type Algorithm string

// The algorithms.
const (
	RR  Algorithm = "rr"
	WRR Algorithm = "wrr"
	WLC Algorithm = "wlc"
)

// Expire is what the sides of an established session hear when it ends for idleness.
type Expire string

// The ways to expire. Records from before there was a choice have none, which is Silent.
const (
	Silent Expire = ""
	RST    Expire = "rst"
)

// Timeouts override the data planes' defaults, in seconds; 0 keeps the default.
type Timeouts struct {
	TCPSynRecv     uint32 `json:"tcp_syn_recv,omitempty"`
	TCPEstablished uint32 `json:"tcp_established,omitempty"`
	TCPFinWait     uint32 `json:"tcp_fin_wait,omitempty"`
	TCPCloseWait   uint32 `json:"tcp_close_wait,omitempty"`
	TCPTimeWait    uint32 `json:"tcp_time_wait,omitempty"`
	TCPClose       uint32 `json:"tcp_close,omitempty"`
	TCPLastAck     uint32 `json:"tcp_last_ack,omitempty"`
	UDP            uint32 `json:"udp,omitempty"`
}

// Endpoint is what no two services may share.
type Endpoint struct {
	VIP      netip.Addr `json:"vip"`
	Port     uint16     `json:"port"`
	Protocol Protocol   `json:"protocol"`
}

// ServiceSpec is what a user says of a service.
type ServiceSpec struct {
	Endpoint
	Mode      Mode      `json:"mode"`
	Algorithm Algorithm `json:"algorithm"`
	Timeouts  Timeouts  `json:"timeouts"`
	Expire    Expire    `json:"expire,omitempty"`
}

// Meta is what is kept beside each spec.
type Meta struct {
	// UID is the store's sequence at the creation, so it is never used again.
	UID uint32 `json:"uid"`
	// Version is the store's sequence at the last change by a user: the etag.
	Version   uint64    `json:"version"`
	Created   time.Time `json:"created"`
	Updated   time.Time `json:"updated"`
	RequestID string    `json:"request_id,omitempty"`
}

// Service is a stored virtual service with its servers: one record, so that a change of either is atomic. Records are
// never changed in place.
type Service struct {
	ID   string      `json:"id"`
	Spec ServiceSpec `json:"spec"`
	Meta Meta        `json:"meta"`
	// Servers are ordered by ID.
	Servers []Server `json:"servers,omitempty"`
}

// Admin is what the operator wants of a server.
type Admin string

// The admin states.
const (
	Enabled  Admin = "enabled"
	Draining Admin = "draining"
)

// Health is what the checks say of a server.
type Health string

// The verdicts. Unknown counts as up.
const (
	Unknown Health = ""
	Up      Health = "up"
	Down    Health = "down"
)

// ServerSpec is what a user says of a server.
type ServerSpec struct {
	Address        netip.Addr `json:"address"`
	Port           uint16     `json:"port"`
	Weight         uint16     `json:"weight"`
	MaxConnections uint32     `json:"max_connections,omitempty"`
	Admin          Admin      `json:"admin"`
}

// Server is a stored real server.
type Server struct {
	ID     string     `json:"id"`
	Spec   ServerSpec `json:"spec"`
	Meta   Meta       `json:"meta"`
	Health Health     `json:"health,omitempty"`
}

// Server finds a server by its id.
func (s *Service) Server(id string) (Server, bool) {
	i, ok := s.find(id)
	if !ok {
		return Server{}, false
	}
	return s.Servers[i], true
}
