// Package config reads dpd's configuration file: YAML into Config, with every unknown key and every bad value
// reported at once, each with its line.
//
// The tags of the structs below are the documentation of each key, its range and its default; REFERENCE.md is printed
// from them. Config is plain Go: the packages of the data plane have types of their own, and node converts.
package config

import "net/netip"

// Config is the whole file. Default gives every key its default; Load reads a file over it.
type Config struct {
	Node     Node      `key:"node" doc:"who this data plane is"`
	Control  Control   `key:"control" doc:"the gRPC server that the services dial, and the coordinator that this node joins"`
	NATS     NATS      `key:"nats" doc:"the bus for session events; without a url none are published"`
	Metrics  Metrics   `key:"metrics" doc:"Prometheus metrics over HTTP"`
	EAL      EAL       `key:"eal" doc:"DPDK's environment"`
	Ports    []Port    `key:"ports" min:"1" max:"16" doc:"data ports; the first one is the uplink whose addresses are the next hops of announced routes"`
	Workers  int       `key:"workers" min:"1" max:"64" doc:"forwarding workers, each one locked thread with its own table"`
	Poll     Poll      `key:"poll" doc:"what a worker does without packets: busy polls on (a dedicated core), adaptive sleeps a little (a shared one)"`
	Sync     Sync      `key:"sync" doc:"the copies of sessions that nodes send each other"`
	Announce Announce  `key:"announce" doc:"how VIPs, laddrs and the sync address become reachable: bgp, or none (routes are somebody else's)"`
	BGP      BGP       `key:"bgp" doc:"the BGP speaker; needed with announce: bgp"`
	Table    Table     `key:"table" doc:"size of the session tables, for all workers together"`
	Timeouts Timeouts  `key:"timeouts" doc:"idle time after which a session in each state ends, in seconds; a service may override its own"`
	Static   *Static   `key:"static" doc:"a configuration without control plane (view 0); used instead of control.coordinators"`
	Log      LogConfig `key:"log" doc:"what goes to standard error"`
}

// Node names the process.
type Node struct {
	Name    string `key:"name" required:"yes" form:"name" doc:"unique among the nodes; letters, digits, '-'"`
	DataDir string `key:"data_dir" required:"yes" doc:"folder for the incarnation and the checkpoint; made when it is missing"`
}

// Control is the gRPC side. Addresses are of the kernel's management interface, never of a data port.
type Control struct {
	Listen       netip.AddrPort `key:"listen" doc:"address and port of the gRPC server; port 0 lets the kernel choose"`
	Advertise    netip.AddrPort `key:"advertise" doc:"the address that services dial, told at Join; control.listen if empty"`
	Coordinators []string       `key:"coordinators" max:"16" form:"hostport" doc:"sync coordinators, tried in turn"`
	TLS          TLS            `key:"tls" doc:"mutual TLS 1.3 of the gRPC server and of the connection to the coordinator"`
}

// TLS names PEM files. All three or none.
type TLS struct {
	Cert string `key:"cert" doc:"PEM file of this node's certificate"`
	Key  string `key:"key" doc:"PEM file of its private key"`
	CA   string `key:"ca" doc:"PEM file of the authority that both sides must be signed by"`
}

// Enabled says that certificates are configured.
func (t TLS) Enabled() bool { return t.Cert != "" }

// NATS is the event bus.
type NATS struct {
	URL string `key:"url" doc:"nats://host:port or tls://host:port; several separated by commas"`
	TLS TLS    `key:"tls" doc:"client certificate for the bus"`
}

// Metrics is the HTTP listener of Prometheus.
type Metrics struct {
	Listen netip.AddrPort `key:"listen" doc:"address and port of /metrics; none if empty"`
}

// EAL is what DPDK is started with.
type EAL struct {
	Cores      []int    `key:"cores" max:"65" lo:"0" hi:"1023" doc:"processors: the first for the main and sync threads, the others for workers in turn; a single one is shared by all"`
	InMemory   bool     `key:"in_memory" doc:"leave no files behind and share nothing with other DPDK processes (--in-memory)"`
	NoHuge     bool     `key:"no_huge" doc:"ordinary pages instead of huge pages (--no-huge); needs memory_mb"`
	MemoryMB   int      `key:"memory_mb" min:"0" max:"1048576" unit:"MiB" doc:"memory for packets (-m); 0 leaves it to DPDK"`
	FilePrefix string   `key:"file_prefix" form:"name" doc:"prefix of DPDK's run-time files; of its own for each process on a host; the node's name if empty"`
	VDevs      []string `key:"vdevs" max:"16" doc:"virtual devices in DPDK's own words, e.g. net_af_packet0,iface=data0,qpairs=2"`
	PCI        []string `key:"pci" max:"16" form:"pci" doc:"PCI addresses of the devices to probe; none means no PCI at all"`
	Packets    int      `key:"packets" min:"1024" max:"16777215" doc:"packet buffers in the pool, of 2 KiB and headers each"`
}

// Port is one data port. dpd answers ARP, neighbour discovery and echo for its addresses.
type Port struct {
	Name        string         `key:"name" required:"yes" form:"name" doc:"the port's name in status and metrics"`
	Device      string         `key:"device" required:"yes" doc:"DPDK's device name: the vdev's name or the PCI address"`
	Addresses   []netip.Prefix `key:"addresses" min:"1" max:"16" doc:"its addresses with the length of their network, e.g. 192.0.2.10/24"`
	Routes      []Route        `key:"routes" max:"256" doc:"static routes; 0.0.0.0/0 and ::/0 are the default gateways"`
	MTU         int            `key:"mtu" min:"1280" max:"9216" unit:"bytes" doc:"largest IP packet"`
	VLAN        int            `key:"vlan" min:"0" max:"4094" doc:"802.1Q tag of all its packets; 0 for none"`
	Promiscuous bool           `key:"promiscuous" doc:"receive what is sent to other MAC addresses too"`
	RxDesc      int            `key:"rx_descriptors" min:"32" max:"8192" doc:"receive ring of each queue"`
	TxDesc      int            `key:"tx_descriptors" min:"32" max:"8192" doc:"transmit ring of each queue"`
}

// Route is a static route of one port.
type Route struct {
	To  netip.Prefix `key:"to" required:"yes" doc:"destination network"`
	Via netip.Addr   `key:"via" required:"yes" doc:"next hop, an address in one of the port's networks"`
}

// Poll is the idle policy of workers.
type Poll string

// The idle policies.
const (
	PollBusy     Poll = "busy"
	PollAdaptive Poll = "adaptive"
)

func (Poll) values() []string { return []string{string(PollBusy), string(PollAdaptive)} }

// Announce is the way that addresses become reachable.
type Announce string

// The ways of announcing.
const (
	AnnounceBGP  Announce = "bgp"
	AnnounceNone Announce = "none"
)

func (Announce) values() []string { return []string{string(AnnounceBGP), string(AnnounceNone)} }

// Sync is the copying of sessions. Peers and keys come from the coordinator.
type Sync struct {
	Enabled          bool    `key:"enabled" doc:"off: sessions stay on the node where they began and die with it"`
	Port             int     `key:"port" min:"1" max:"65535" doc:"UDP port of sync datagrams; the coordinator's word, where there is one, goes before it"`
	MTU              int     `key:"mtu" min:"1280" max:"9000" unit:"bytes" doc:"largest IP packet of sync to try, at most the largest MTU of the ports; each peer gets what its path carries of this, 8000, 1500, 1400 and 1280"`
	FaultLossPercent float64 `key:"fault_loss_percent" min:"0" max:"100" unit:"%" doc:"sync datagrams that are thrown away on purpose at sending; for the lab"`
}

// BGP is the speaker. It opens sessions itself and listens on no port.
type BGP struct {
	ASN       uint32     `key:"asn" max:"4294967294" doc:"this node's autonomous system, one for all nodes of the cluster"`
	RouterID  netip.Addr `key:"router_id" form:"ipv4" doc:"unique IPv4 identifier; the first IPv4 address of the first port if empty"`
	Peers     []BGPPeer  `key:"peers" max:"16" doc:"routers"`
	NextHopV4 netip.Addr `key:"next_hop_v4" form:"ipv4" doc:"next hop of IPv4 routes; the first IPv4 address of the first port if empty"`
	NextHopV6 netip.Addr `key:"next_hop_v6" form:"ipv6" doc:"next hop of IPv6 routes; the first IPv6 address of the first port if empty"`
	Prepend   int        `key:"prepend" min:"1" max:"10" doc:"how often the AS is prepended to backup routes of laddrs that another node holds"`
	HoldTime  int        `key:"hold_seconds" min:"3" max:"3600" unit:"s" doc:"hold time; a dead process is noticed at once, this is for a silent path"`
	Guard     bool       `key:"guard" doc:"withdraw all routes when the link is down, a worker is late by more than 200 ms, or echoes to the next hop stay away; and join only when an echo has come back by the own routes. false is for next hops that answer no echoes"`
}

// BGPPeer is one router.
type BGPPeer struct {
	Address netip.Addr `key:"address" required:"yes" doc:"the router's address, reached over the management interface"`
	ASN     uint32     `key:"asn" required:"yes" min:"1" max:"4294967294" doc:"the router's autonomous system"`
}

// Table is the size of the session tables.
type Table struct {
	SessionsV4 int `key:"sessions_v4" min:"1024" max:"134217728" doc:"IPv4 sessions, at most 128 bytes each, set aside at start"`
	SessionsV6 int `key:"sessions_v6" min:"1024" max:"134217728" doc:"IPv6 sessions, at most 176 bytes each, set aside at start"`
	Ended      int `key:"ended" min:"1024" max:"268435456" doc:"closed sessions that are remembered until no node can bring them back, at least 10 s; 32 bytes each, taken as they are needed. When there are more the oldest are forgotten early, which is counted"`
}

// Timeouts are idle times by state, in seconds.
type Timeouts struct {
	TCPNone        int `key:"tcp_none" min:"1" max:"86400" unit:"s" doc:"TCP, no state yet"`
	TCPEstablished int `key:"tcp_established" min:"1" max:"2592000" unit:"s" doc:"TCP ESTABLISHED"`
	TCPSynSent     int `key:"tcp_syn_sent" min:"1" max:"86400" unit:"s" doc:"TCP SYN_SENT"`
	TCPSynRecv     int `key:"tcp_syn_recv" min:"1" max:"86400" unit:"s" doc:"TCP SYN_RECV"`
	TCPFinWait     int `key:"tcp_fin_wait" min:"1" max:"86400" unit:"s" doc:"TCP FIN_WAIT"`
	TCPTimeWait    int `key:"tcp_time_wait" min:"1" max:"86400" unit:"s" doc:"TCP TIME_WAIT"`
	TCPClose       int `key:"tcp_close" min:"1" max:"86400" unit:"s" doc:"TCP CLOSE"`
	TCPCloseWait   int `key:"tcp_close_wait" min:"1" max:"86400" unit:"s" doc:"TCP CLOSE_WAIT: the server has not closed its half yet"`
	TCPLastAck     int `key:"tcp_last_ack" min:"1" max:"86400" unit:"s" doc:"TCP LAST_ACK"`
	TCPSynAck      int `key:"tcp_synack" min:"1" max:"86400" unit:"s" doc:"TCP SYNACK: a SYN cookie is out"`
	UDP            int `key:"udp" min:"1" max:"86400" unit:"s" doc:"UDP; 30 s at most until the server has answered"`
	ICMP           int `key:"icmp" min:"1" max:"86400" unit:"s" doc:"ICMP echo"`
}

// LogConfig is what goes to standard error.
type LogConfig struct {
	Level  string `key:"level" oneof:"debug info warn error" doc:"the least level that is written"`
	Format string `key:"format" oneof:"text json" doc:"text for people, json for collectors"`
}
