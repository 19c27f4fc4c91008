// Package stat counts what a data plane thread does and refuses. A thread counts in plain memory of its own and
// publishes a copy every few milliseconds, so that counting costs one add and readers never touch the hot cache line.
package stat

import "sync/atomic"

// Counter names one count of a worker or of the sync thread.
type Counter uint16

// Traffic and work.
const (
	RxPackets Counter = iota
	RxBytes
	TxPackets
	TxBytes
	Turns      // turns of the poll loop
	EmptyTurns // turns that found nothing to do
	Pauses     // gaps of more than a second between two turns
	Panics     // contained: the thread went on
	Hits       // packets of a known session
	Opened     // sessions created here
	Handed     // packets passed to the worker that owns their bucket
	ToSync     // datagrams passed to the sync thread by software steering
	ToHost     // ARP, neighbour discovery, echo: passed to the host part
	ICMPErrors // ICMP errors translated
	Generated  // packets made here (RST, ICMP errors)
	Resets     // of these, RSTs to the sides of sessions that ended for idleness
	ResetsLost // sides that were not reset: too many sessions ended at once, or their sequence number is not known
	Unanswered // of packets that ask for an answer of ours, the ones that its rate limit left without
	Held       // packets that waited for a QUERY
	Released   // of those, the ones whose QUERY was answered
	Takeovers  // sessions taken over by this worker
	Evicted    // embryonic sessions given up since the table was full, or for their port
	Reopened   // sessions begun anew since the server of the old one is down or not configured

	// Drops, each with its reason.

	DropNoService     // to a VIP:port:protocol that is not configured
	DropNoServer      // the service has no server that may take a new session
	DropNoPort        // no local port left for the bucket and server
	DropTableFull     // the session table refuses
	DropNotAllocating // this node may not open sessions now
	DropNoSession     // TCP without SYN and without session, nobody knows it
	DropHoldFull      // no room to wait for a QUERY
	DropHoldTimeout   // the QUERY was not answered in time, and nothing else tells where the packet belongs
	DropNoRoute       // no route to the destination
	DropHandFull      // the owning worker's ring is full
	DropSyncFull      // the sync thread's ring is full
	DropHostFull      // the host part's ring is full
	DropTTL           // TTL or hop limit ran out
	DropTooBig        // larger than the MTU of its way out
	DropTxFull        // the device did not take it
	DropNoMemory      // no packet buffer
	DropNotForUs      // to another station's MAC address
	DropWrongVLAN     // to our MAC address, with the tag of another VLAN
	DropICMPUnknown   // an ICMP error about a packet that no session knows
	DropICMPLimited   // more ICMP errors to translate than the limit lets through
	DropICMPSession   // more ICMP errors about one session than its own limit lets through
	DropAckStorm      // an acknowledgement that only answers another one, and so on
	DropSynLimited    // SYNs that would each begin a session anew, more than the limit lets through
	DropFamily        // the session's other side is of another family or protocol
	DropUDP6Checksum  // UDP over IPv6 without a checksum
	DropICMPChecksum  // an ICMP error with a wrong checksum
	DropNotRoutable   // what never leaves its link
	DropRefused       // a class of packets that can't be translated
	DropStale         // waited in a receive queue while its worker stood still or its node was not admitted
	DropPanic         // what was being done with them, or with others of their burst, panicked

	// Session sync.

	SyncRx          // datagrams received
	SyncTx          // datagrams sent
	SyncRxBytes     // bytes of datagrams received
	SyncTxBytes     // bytes of datagrams sent
	SyncFault       // datagrams dropped on purpose by sync.fault_loss_percent
	SyncNoPeer      // sender is no member
	SyncShardFull   // a worker's ring of received records is full: repair follows
	SyncOutFull     // the ring towards the sync thread is full: repair follows
	SyncNoRoute     // no route or neighbour towards a peer
	SyncNoMemory    // no packet buffer for a datagram
	SyncNotUDP      // on the sync queue, but no sync datagram
	EventLost       // session events that the event ring had no room for
	MailboxRejected // control messages refused since the mailbox is full

	NumCounters
)

var names = [NumCounters]string{
	"rx_packets", "rx_bytes", "tx_packets", "tx_bytes", "turns", "empty_turns", "pauses", "panics", "hits", "opened", "handed_over", "to_sync",
	"to_host", "icmp_errors", "generated", "resets", "resets_lost", "unanswered", "held", "released", "takeovers", "evicted", "reopened",
	"drop_no_service", "drop_no_server", "drop_no_local_port", "drop_table_full", "drop_not_allocating", "drop_no_session",
	"drop_hold_full", "drop_hold_timeout", "drop_no_route", "drop_handover_full", "drop_sync_ring_full",
	"drop_host_ring_full", "drop_ttl", "drop_too_big", "drop_tx_full", "drop_no_memory", "drop_not_for_us",
	"drop_wrong_vlan", "drop_icmp_unknown", "drop_icmp_limited", "drop_icmp_session_limited", "drop_ack_storm", "drop_syn_limited",
	"drop_family_mismatch", "drop_udp6_zero_checksum", "drop_bad_icmp_checksum", "drop_not_routable", "drop_refused",
	"drop_stale", "drop_panic",
	"sync_rx", "sync_tx", "sync_rx_bytes", "sync_tx_bytes", "sync_fault", "sync_no_peer", "sync_shard_ring_full",
	"sync_out_ring_full", "sync_no_route", "sync_no_memory", "sync_not_udp", "event_lost", "mailbox_rejected",
}

// String is the name under which metrics and GetStats show the counter.
func (c Counter) String() string {
	if c < NumCounters {
		return names[c]
	}
	return "unknown"
}

// Shared is what a thread has published last. Any thread may read it.
type Shared struct {
	_ [64]byte // keeps the neighbours of this memory off its first cache line
	v []atomic.Uint64
}

// NewShared makes room for n counts.
func NewShared(n int) *Shared { return &Shared{v: make([]atomic.Uint64, n)} }

// Publish stores a thread's own counts. Only that thread calls it; len(local) is what NewShared was given.
func (s *Shared) Publish(local []uint64) {
	for i, x := range local {
		s.v[i].Store(x)
	}
}

// Load is the count i as published last.
func (s *Shared) Load(i int) uint64 { return s.v[i].Load() }

// Len is the number of counts.
func (s *Shared) Len() int { return len(s.v) }
