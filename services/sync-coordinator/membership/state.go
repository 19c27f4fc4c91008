// Package membership decides who is a member of the cluster, under which incarnation, with which addresses and blocks.
//
// It is a pure machine: no clock, no goroutine, no random, no network. The service around it feeds events with the time
// in milliseconds, takes the outcome, writes the new State to the KV store by compare-and-set, and only then tells a
// data plane of it. What a stopped coordinator must know again is in State; what the data planes tell again by
// themselves (reports, the liveness of their connections) is in the Machine alone.
//
//	        Join                gate passed            routes seen
//	(none) ─────> joining ───────────────> ready ──────────────────> admitted ──Drain──> draining
//	   ▲             │                       │                          │                   │
//	   │             └───────────────────────┴── two witnesses, Leave, Remove, a new Join ──┘
//	   │                                        │
//	   └──────── Join, with a higher inc ─── removed
//
// A joiner or a ready node that makes no progress is put aside: removed, for a while that grows each time.
//
// Degraded is a flag of a member, not a state: it stays in the view but allocates nothing.
package membership

import (
	"net/netip"
	"slices"
)

// Bounds on what comes from outside.
const (
	// MaxNodes is the number of names that ever get an id.
	MaxNodes = 1024
	// MaxMembers is the number of nodes in one view: full replication does not go further.
	MaxMembers = 64
	// MaxBlocks is the number of laddr blocks of all pools.
	MaxBlocks = 256
	// MaxPools is the number of address pools, and of prefixes in one.
	MaxPools = 64
	// MaxBlockAddresses is the number of addresses that one block may have.
	MaxBlockAddresses = 256
	// MaxFormerBlocks is the number of blocks of one family that former lives of one node may keep from the others: with
	// so many, its next life is given one of these again.
	MaxFormerBlocks = 2
	// MaxNameLen is the length of a node name in bytes.
	MaxNameLen = 63
	// DefaultSyncPort is the UDP port of sync datagrams where a node asks for none.
	DefaultSyncPort = 7946
)

// Phase is where a node is in its life as a member.
type Phase string

// The phases of the drawing in the package comment.
const (
	Joining  Phase = "joining"
	Ready    Phase = "ready"
	Admitted Phase = "admitted"
	Draining Phase = "draining"
	Removed  Phase = "removed"
)

// Cause says why a node was removed, or why it is degraded.
type Cause string

// Causes of removal and of degradation.
const (
	CauseNone Cause = ""
	CauseDead Cause = "dead" // both witnesses: PROBE silence at a majority, and its gRPC lost
	CauseLeft Cause = "left" // it said so, or someone in its name
	// CauseAside: it made no progress towards its admission; Node.Reason says what was missing.
	CauseAside Cause = "aside"
	// CauseRestarted: its process began anew, and may not join again yet.
	CauseRestarted Cause = "restarted"
	CauseSilent    Cause = "silent" // degraded: PROBE silence at a majority
	CauseDeaf      Cause = "deaf"   // degraded: heard, but nothing reaches it
	CauseClock     Cause = "clock"  // degraded: too far off the median clock
)

// Node is one named node. Its id is given once per name and never given again.
type Node struct {
	ID             uint32     `json:"id"`
	Name           string     `json:"name"`
	Inc            uint64     `json:"inc"` // of its newest life; strictly rising
	Phase          Phase      `json:"phase"`
	Degraded       Cause      `json:"degraded,omitempty"`
	Cause          Cause      `json:"cause,omitempty"` // of its removal
	ByMachine      bool       `json:"by_machine,omitempty"`
	ControlAddress string     `json:"control_address"`
	Sip4           netip.Addr `json:"sip4"`
	Sip6           netip.Addr `json:"sip6"`
	SyncPort       uint16     `json:"sync_port"`
	// IPv4 and IPv6 are the families that it wants addresses and blocks of.
	IPv4 bool `json:"ipv4,omitempty"`
	IPv6 bool `json:"ipv6,omitempty"`
	// ProcessID is what its process called itself at the Join of this incarnation.
	ProcessID string `json:"process_id,omitempty"`
	// Facts for people, as it told them.
	Workers       uint32   `json:"workers,omitempty"`
	Version       string   `json:"version,omitempty"`
	DataAddresses []string `json:"data_addresses,omitempty"`
	// JoinedAt and ChangedAt are when this incarnation began and when its phase changed, unix milliseconds.
	JoinedAt  int64 `json:"joined_at"`
	ChangedAt int64 `json:"changed_at"`
	// Fenced is the highest incarnation of this node that no member may listen to; 0 is none.
	Fenced uint64 `json:"fenced,omitempty"`
	// Setbacks counts its newest lives in a row that ended before they were of use.
	Setbacks uint32 `json:"setbacks,omitempty"`
	// JoinAfter is when it may join again, unix milliseconds; 0 is at once.
	JoinAfter int64 `json:"join_after,omitempty"`
	// Reason says in words what a life lacked that was put aside.
	Reason string `json:"reason,omitempty"`
}

// Member says whether the node is in the view.
func (n *Node) Member() bool { return n.Phase != Removed }

// Serving says whether the node may own traffic, so that its loss counts and its word about others is heard.
func (n *Node) Serving() bool { return n.Phase == Admitted || n.Phase == Draining }

// Block is a set of local addresses of one family that one node at a time may allocate ports from.
type Block struct {
	ID        uint32       `json:"id"` // never used again
	Pool      string       `json:"pool"`
	Addresses []netip.Addr `json:"addresses"`
	// Holder and HolderInc name the life that holds the lease; Holder 0 means that the block is free.
	Holder    uint32 `json:"holder,omitempty"`
	HolderInc uint64 `json:"holder_inc,omitempty"`
	// Epoch rises with each change of the holder.
	Epoch uint64 `json:"epoch,omitempty"`
	// Clean: nobody had a record or a tombstone of it when it was leased, or since.
	Clean bool `json:"clean,omitempty"`
	// Allocatable: the holder may take ports from it.
	Allocatable bool `json:"allocatable,omitempty"`
	// Used: the holder was allowed to allocate from it at some time.
	Used bool `json:"used,omitempty"`
	// LastHolder is preferred when the block is leased again; 0 is none.
	LastHolder uint32 `json:"last_holder,omitempty"`
	// Retired: its pool is gone. The lease that stands goes on; the block is dropped when it is free.
	Retired bool `json:"retired,omitempty"`
}

// Is6 says of which family the block's addresses are.
func (b *Block) Is6() bool { return len(b.Addresses) > 0 && b.Addresses[0].Is6() }

// PoolKind says what a pool's addresses are for.
type PoolKind string

// The kinds of pools.
const (
	PoolSip   PoolKind = "sip"
	PoolLaddr PoolKind = "laddr"
)

// Pool is a set of addresses of one family that the coordinator hands out. Every address is used, the first and the
// last of a prefix too.
type Pool struct {
	Name     string         `json:"name"`
	Kind     PoolKind       `json:"kind"`
	Prefixes []netip.Prefix `json:"prefixes"`
	// BlockSize is the number of addresses in one block (laddr only), 1..MaxBlockAddresses.
	BlockSize int `json:"block_size,omitempty"`
}

// Key is one cluster key.
type Key struct {
	ID     uint32 `json:"id"`
	Secret []byte `json:"secret"`
}

// Keyring is what the data planes seal datagrams and hash tuples with. At most two keys live at a time.
type Keyring struct {
	Generation uint64 `json:"generation"`
	Keys       []Key  `json:"keys"`
	Active     uint32 `json:"active"`
	// Since is when the newest key was made, unix milliseconds; 0 is not known.
	Since int64 `json:"since,omitempty"`
	// RSS and Digest are shared by all nodes for the life of the cluster.
	RSS    []byte `json:"rss"`
	Digest []byte `json:"digest"`
}

// State is all that must outlive the coordinator. A State is a value: who changes one works on a Clone.
type State struct {
	// View is the membership epoch. It is written before any data plane hears it.
	View uint64 `json:"view"`
	// Baseline is the size of the view before the first removal by machine that is not undone yet; 0 when there is none.
	Baseline int     `json:"baseline,omitempty"`
	Nodes    []Node  `json:"nodes"`
	Blocks   []Block `json:"blocks"`
	// LastBlock is the highest block id that was ever given.
	LastBlock uint32  `json:"last_block,omitempty"`
	Pools     []Pool  `json:"pools"`
	Keys      Keyring `json:"keys"`
}

// Clone is a copy that shares no memory.
func (s *State) Clone() State {
	c := *s
	c.Nodes = slices.Clone(s.Nodes)
	for i := range c.Nodes {
		c.Nodes[i].DataAddresses = slices.Clone(c.Nodes[i].DataAddresses)
	}
	c.Blocks = slices.Clone(s.Blocks)
	for i := range c.Blocks {
		c.Blocks[i].Addresses = slices.Clone(c.Blocks[i].Addresses)
	}
	c.Pools = slices.Clone(s.Pools)
	for i := range c.Pools {
		c.Pools[i].Prefixes = slices.Clone(c.Pools[i].Prefixes)
	}
	c.Keys = s.Keys.clone()
	return c
}

func (k *Keyring) clone() Keyring {
	c := *k
	c.Keys = slices.Clone(k.Keys)
	for i := range c.Keys {
		c.Keys[i].Secret = slices.Clone(c.Keys[i].Secret)
	}
	c.RSS, c.Digest = slices.Clone(k.RSS), slices.Clone(k.Digest)
	return c
}

// Node is the node with that id, or nil. The pointer is into s.
func (s *State) Node(id uint32) *Node {
	for i := range s.Nodes {
		if s.Nodes[i].ID == id {
			return &s.Nodes[i]
		}
	}
	return nil
}

// Named is the node with that name, or nil. The pointer is into s.
func (s *State) Named(name string) *Node {
	for i := range s.Nodes {
		if s.Nodes[i].Name == name {
			return &s.Nodes[i]
		}
	}
	return nil
}

// Members counts the nodes of the view.
func (s *State) Members() int {
	n := 0
	for i := range s.Nodes {
		if s.Nodes[i].Member() {
			n++
		}
	}
	return n
}

// Holds is the block of one family that this life of a node holds, or nil. The pointer is into s.
func (s *State) Holds(id uint32, inc uint64, is6 bool) *Block {
	for i := range s.Blocks {
		if b := &s.Blocks[i]; b.Holder == id && b.HolderInc == inc && b.Is6() == is6 {
			return b
		}
	}
	return nil
}

// holderDead says whether the block is leased to a life that is over.
func (s *State) holderDead(b *Block) bool {
	if b.Holder == 0 {
		return false
	}
	n := s.Node(b.Holder)
	return n == nil || !n.Member() || n.Inc != b.HolderInc
}
