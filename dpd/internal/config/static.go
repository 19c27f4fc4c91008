package config

import "net/netip"

// Static is what the control plane would say, for a run of one node without one; view is 0.
type Static struct {
	NodeID   uint32          `key:"node_id" min:"1" max:"65535" required:"yes" doc:"this node's id"`
	SyncV4   netip.Addr      `key:"sync_v4" form:"ipv4" doc:"this node's IPv4 sync address"`
	SyncV6   netip.Addr      `key:"sync_v6" form:"ipv6" doc:"this node's IPv6 sync address"`
	Peers    []StaticPeer    `key:"peers" max:"64" doc:"not supported by this version: other members need a coordinator"`
	Blocks   []StaticBlock   `key:"laddr_blocks" max:"1024" doc:"local addresses and who allocates from them"`
	Services []StaticService `key:"services" max:"10000" doc:"virtual services"`
}

// StaticPeer is another member. It is read so that the refusal can say why; see checker.static.
type StaticPeer struct {
	Name   string     `key:"name" form:"name" doc:"its name in status"`
	NodeID uint32     `key:"node_id" min:"1" max:"65535" required:"yes" doc:"its id"`
	SyncV4 netip.Addr `key:"sync_v4" form:"ipv4" doc:"its IPv4 sync address"`
	SyncV6 netip.Addr `key:"sync_v6" form:"ipv6" doc:"its IPv6 sync address"`
}

// StaticBlock is a block of local addresses.
type StaticBlock struct {
	ID        uint32       `key:"id" min:"1" max:"65535" required:"yes" doc:"block id, the same on every node"`
	Addresses []netip.Addr `key:"addresses" min:"1" max:"256" doc:"its addresses, of either family"`
	Holder    uint32       `key:"holder" min:"1" max:"65535" required:"yes" doc:"id of the node that allocates from it: node_id"`
}

// Algorithm chooses a real server for a new session.
type Algorithm string

// The algorithms.
const (
	AlgorithmRR  Algorithm = "rr"
	AlgorithmWRR Algorithm = "wrr"
	AlgorithmWLC Algorithm = "wlc"
)

func (Algorithm) values() []string {
	return []string{string(AlgorithmRR), string(AlgorithmWRR), string(AlgorithmWLC)}
}

// Protocol is the transport of a service.
type Protocol string

// The protocols.
const (
	ProtocolTCP Protocol = "tcp"
	ProtocolUDP Protocol = "udp"
)

func (Protocol) values() []string { return []string{string(ProtocolTCP), string(ProtocolUDP)} }

// StaticService is a FullNAT service.
type StaticService struct {
	ID        uint32         `key:"id" min:"1" max:"4294967295" required:"yes" doc:"service id, the same on every node, never used again for another"`
	Name      string         `key:"name" form:"name" required:"yes" doc:"its name in events and metrics"`
	VIP       netip.Addr     `key:"vip" required:"yes" doc:"the address that clients use"`
	Port      int            `key:"port" min:"1" max:"65535" required:"yes" doc:"the port that clients use"`
	Protocol  Protocol       `key:"protocol" doc:"tcp or udp; tcp if empty"`
	Algorithm Algorithm      `key:"algorithm" doc:"how a server is chosen; rr if empty"`
	Servers   []StaticServer `key:"servers" max:"1000" doc:"real servers"`
}

// StaticServer is a real server of one service.
type StaticServer struct {
	ID      uint32     `key:"id" min:"1" max:"4294967295" required:"yes" doc:"server id, the same on every node, never used again for another"`
	Name    string     `key:"name" form:"name" doc:"its name in events and metrics"`
	Address netip.Addr `key:"address" required:"yes" doc:"the server's address, of the VIP's family"`
	Port    int        `key:"port" min:"1" max:"65535" required:"yes" doc:"the server's port"`
	Weight  int        `key:"weight" min:"0" max:"65535" doc:"share of new sessions; 0 takes none; 1 if not given"`
}
