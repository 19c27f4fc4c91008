// Package control is dpd's gRPC server. Requests are checked here, become plain values and go to the Plane; generated
// types stop at this door. Nothing of a request that fails is applied.
package control

import (
	"context"
	"errors"
	"net/netip"
	"slices"

	"github.com/holdfast-lb/holdfast/dpd/internal/flow"
)

// Refusals of a Plane. The server turns each into a gRPC status with a stable reason.
var (
	ErrStaleRevision = errors.New("the revision is older than the one in force")
	ErrStaleView     = errors.New("the view is lower than the one in force")
	ErrStaleKeys     = errors.New("the key generation is lower than the one in force")
	// ErrRSSKey: the key says at which worker a client's packets arrive, and so in which table its sessions are.
	ErrRSSKey      = errors.New("keys.rss_key differs from the key by which this node spreads packets and sessions over its workers; a restart of the node takes another")
	ErrWrongLife   = errors.New("the assignment is for another life of this node")
	ErrNotMember   = errors.New("the node has no place in the cluster yet")
	ErrUnknownPeer = errors.New("no such member in the view in force")
	ErrNotFound    = errors.New("no such session")
	ErrBusy        = errors.New("a worker does not take the request now")
)

// Config is a snapshot of services under its revision.
type Config struct {
	Revision uint64
	Services []Service
}

// Algorithm chooses the real server of a new session.
type Algorithm uint8

const (
	RoundRobin Algorithm = 1 + iota
	WeightedRoundRobin
	WeightedLeastConnections
)

// ServerState says which packets a server gets.
type ServerState uint8

const (
	Up ServerState = 1 + iota
	Down
	Drain
)

// Service is one virtual service.
type Service struct {
	ID        uint32
	Name      string
	VIP       netip.AddrPort
	Proto     uint8
	Mode      flow.Mode
	Algorithm Algorithm
	Timeouts  [flow.NumStates]uint32 // seconds; 0 keeps the node's
	Reset     bool                   // the sides of an established session that ends for idleness are reset; TCP alone
	Servers   []Server
}

// Server is one real server of a service.
type Server struct {
	ID             uint32
	Name           string
	Addr           netip.AddrPort
	Weight         uint32
	State          ServerState
	MaxConnections uint32 // 0: no limit
}

// Plane is the data plane behind the server. Each Apply is atomic: it changes everything or, with an error, nothing; it
// reports whether anything changed. All methods may be called at the same time.
type Plane interface {
	Info() Info
	Status() Status
	Stats() Stats
	ApplyConfig(context.Context, Config) (changed bool, err error)
	ApplyMembership(context.Context, Membership) (changed bool, err error)
	ApplyKeys(context.Context, Keys) (changed bool, err error)
	// Revisions tells what is in force: configuration revision, view, key generation.
	Revisions() (config, view, keys uint64)
	// Sessions calls each with every record that want selects, in no order, until each returns false. Records arrive
	// in bounded portions; worker is the worker that holds the record.
	Sessions(ctx context.Context, want func(*flow.Session) bool, each func(s *flow.Session, worker int) bool) error
	// Session finds one record by the tuple of either direction; ErrNotFound.
	Session(ctx context.Context, k flow.Key) (s flow.Session, worker int, err error)
	// Close closes sessions that this node owns, those that want selects, and tells the peers.
	Close(ctx context.Context, want func(*flow.Session) bool) (n uint64, err error)
	// Order is the cluster hash of a session: the order of listings.
	Order(*flow.Session) uint64
	StartBulk(to flow.Node) error
	AskBulk() error
	Drain(quietMS uint32) error
}

// MemberState is where a node stands in the view.
type MemberState uint8

const (
	Joining MemberState = 1 + iota
	Admitted
	Draining
	Degraded
)

// Member is one node of the view.
type Member struct {
	Life     flow.Node
	Name     string
	SIP      [2]netip.Addr // IPv4, IPv6; zero for none
	SyncPort uint16
	State    MemberState
}

// Block is a block of local addresses.
type Block struct {
	ID          uint32
	Addrs       []netip.Addr
	Holder      flow.Node // zero while free
	Former      flow.Node // the dead life whose sessions the block waits for; zero for none
	Epoch       uint64
	Allocatable bool
}

// Membership is one view as this node is to see it.
type Membership struct {
	View    uint64
	Self    Member
	Members []Member // this node among them, unless its life is over
	Blocks  []Block
	Fenced  []flow.Node
	// StockAccepted: members that gave this node nothing are left out by the coordinator; it may go on with what it has.
	StockAccepted bool
}

// Over says whether the view is the word that the receiving life is out for good.
func (m *Membership) Over() bool {
	return !slices.ContainsFunc(m.Members, func(p Member) bool { return p.Life == m.Self.Life }) &&
		slices.ContainsFunc(m.Fenced, func(f flow.Node) bool { return f.ID == m.Self.Life.ID && f.Inc >= m.Self.Life.Inc })
}

// Key is one sync key.
type Key struct {
	ID     uint16
	Secret []byte
}

// Keys is everything secret that the cluster shares.
type Keys struct {
	Generation uint64
	Keys       []Key
	Active     uint16
	RSS        []byte // 40 bytes
	Digest     []byte // 16 bytes
}
