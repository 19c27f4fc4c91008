package control

import (
	"net/netip"

	"github.com/holdfast-lb/holdfast/dpd/internal/flow"
)

// State of the node as it sees itself.
type State uint8

const (
	StateStarting State = 1 + iota
	StateJoining
	StateReady
	StateAdmitted
	StateDraining
	StateDrained
	StateFenced
	StateDegraded
)

// ConditionType names one thing that must hold before admission.
type ConditionType uint8

const (
	ConditionKeys ConditionType = 1 + iota
	ConditionMembership
	ConditionConfig
	ConditionHello
	ConditionStock
	ConditionAllocation
	ConditionRoutes
)

// Condition is one thing that must hold before admission.
type Condition struct {
	Type   ConditionType
	Met    bool
	Detail string // what is missing; empty when met
}

// Peer is the state of the link to one peer.
type Peer struct {
	Life             flow.Node
	Established      bool
	Suspected        bool
	Desync           bool
	DigestEqual      bool
	UnheardMS        uint32 // for how long its PROBEs have shown that nothing sent to it arrives; 0: it arrives, or not known
	DigestEverEqual  bool
	DigestEqualAgeMS uint32 // meaningful with DigestEverEqual
	ProbeAgeMS       uint32
	RTTMicros        uint32
	MTU              uint32
	LagMS            uint32
	ClockOffsetMS    int32
	Sent             uint64
	Received         uint64
	Gaps             uint64
	Refused          uint64
	RecordsSent      uint64
	RecordsReceived  uint64
}

// Bulk is the stock that one member sends to this node.
type Bulk struct {
	From     flow.Node
	Begun    bool
	Ended    bool
	Expected uint64
	Received uint64
}

// BlockUse says how much of a block's sessions this node holds.
type BlockUse struct {
	ID         uint32
	Records    uint64
	Tombstones uint64
	AgeMS      uint64 // since the count began
}

// RelayedUse is what a member told this node of a block whose holder is gone.
type RelayedUse struct {
	Member     flow.Node
	ID         uint32
	Holder     flow.Node // the life that held the block
	Records    uint64
	Tombstones uint64
	FencedMS   uint64 // from the member's fencing of the holder to its count; 0: it had not fenced it
	AgeMS      uint64 // since it was told
}

// FencedAge says for how long this node has refused a life.
type FencedAge struct {
	Life  flow.Node
	AgeMS uint64
}

// Backend is what sessions say about a server.
type Backend struct {
	Server      uint32
	Alive, Dead uint64
}

// Status is everything that a coordinator judges the node by.
type Status struct {
	Self          flow.Node
	State         State
	View          uint64
	Revision      uint64
	KeyGeneration uint64
	Peers         []Peer
	Bulk          []Bulk
	Conditions    []Condition
	Blocks        []BlockUse
	Relayed       []RelayedUse
	Fenced        []FencedAge
	DetectorLate  bool
	ClockOff      bool
	Backends      []Backend
	Owned, Held   uint64 // live sessions
}

// DataPort describes one data port.
type DataPort struct {
	Name, Driver       string
	MAC                [6]byte
	MTU                int
	RxQueues, TxQueues int
	LinkUp             bool
	Addrs              []netip.Prefix
}

// Rule is a steering rule and where it is in force.
type Rule struct {
	Rule     string
	Device   string
	Hardware bool
	Reason   string // why the device does not; empty when it does
}

// Route is one announced route.
type Route struct {
	Prefix  netip.Prefix
	Purpose string // vip, laddr, laddr-backup, sip
	NextHop netip.Addr
}

// Info describes the node.
type Info struct {
	Name, Version, DPDK, SyncProtocol string
	UptimeMS                          uint64
	Workers                           int
	Poll                              string
	KeyIDs                            []uint16
	ActiveKey                         uint16
	Ports                             []DataPort
	Rules                             []Rule
	Routes                            []Route
	SIP                               [2]netip.Addr
	SyncPort                          uint16
	Capacity                          uint64
	AnnounceHold                      string
}

// Counter is one named number.
type Counter struct {
	Name  string
	Value uint64
}

// WorkerStats are the counters of one worker.
type WorkerStats struct {
	Counters []Counter
	Drops    []Counter
}

// Stats is every counter: the node's and, by index, each worker's.
type Stats struct {
	Node    []Counter
	Workers []WorkerStats
}
