// Package worker is the run-to-completion loop of one core: receive a burst, parse, steer, look up, act, send, then a
// bounded share of chores. A worker is one goroutine locked to one thread. It owns its session table, local ports, shard
// of the sync protocol and view of the schedule, and shares nothing: other threads reach it through rings and a
// bounded mailbox.
//
//	mailbox ─┐
//	rings  ──┤   ┌─ parse ─ steer ─┬─ look up ─┬─ hit: book, rewrite, send (plain packets the short way: see plain.go)
//	queues ──┴──>│                 │           └─ miss: schedule, ask the peers, or drop
//	             │                 ├─ another worker's bucket: its ring
//	             │                 ├─ sync datagram: the sync thread's ring
//	             └─ ARP, ND, echo ─┴─ host part (worker 0)
package worker

import (
	"encoding/binary"
	"sync/atomic"

	"github.com/holdfast-lb/holdfast/dpd/internal/conntrack"
	"github.com/holdfast-lb/holdfast/dpd/internal/contain"
	"github.com/holdfast-lb/holdfast/dpd/internal/flow"
	"github.com/holdfast-lb/holdfast/dpd/internal/localport"
	"github.com/holdfast-lb/holdfast/dpd/internal/neigh"
	"github.com/holdfast-lb/holdfast/dpd/internal/packet"
	"github.com/holdfast-lb/holdfast/dpd/internal/port"
	"github.com/holdfast-lb/holdfast/dpd/internal/ring"
	"github.com/holdfast-lb/holdfast/dpd/internal/sched"
	"github.com/holdfast-lb/holdfast/dpd/internal/stat"
	"github.com/holdfast-lb/holdfast/dpd/internal/steer"
	"github.com/holdfast-lb/holdfast/dpd/internal/syncer"
)

// Bounds of one turn.
const (
	mailPerTurn   = 4
	inboxPerTurn  = 256
	sweepLeast    = 64   // deadlines looked at in a millisecond, at least; see sweepShare
	sweepPerTurn  = 1024 // of these
	sweepBehind   = 64   // milliseconds that a late worker makes up for
	expirePerTurn = 32   // sessions that may end
	publishEvery  = 10   // milliseconds
	handedPerTurn = port.BatchMax
	answerPerMS   = 1 // ICMP errors of ours a millisecond
	answerBurst   = 50
	relayPerMS    = 10 // ICMP errors translated a millisecond, over all; see also errorMeter
	relayBurst    = 500
	shardBudget   = 64 // records that the shard may go through in a millisecond, see syncer.Shard.Tick
	// What it may do beyond that in a turn that found nothing else, see Worker.spare.
	spareSlots = 512 // records to go through
	spareSends = 128 // messages to make
	spareInbox = 64  // messages of peers that such a turn may have taken
)

// Handed is a packet on its way to another thread.
type Handed struct {
	Pkt  port.Packet
	Port uint8 // device that it came in by
	// Resolve: the packet is done and waits for the neighbour of its destination; else it came in for the host part.
	Resolve bool
}

// Queue is a device as one worker uses it.
type Queue struct {
	Port port.Port
	Rx   []int // queues that this worker receives on
	// Depth is the size of each receive ring, in packets.
	Depth int
	Tx    int
	MAC   uint64 // packet.MACWord of the device
	VLAN  uint16 // tag of all its frames; 0 for none
	// Speak4 and Speak6 are the device's addresses, which errors of ours come from; zero for none.
	Speak4 uint64
	Speak6 [2]uint64
}

// Links are the rings that join this worker to other threads. Each has this worker at one end only.
type Links struct {
	HandTo   []*ring.SPSC[Handed] // by worker; nil for this one
	HandFrom []*ring.SPSC[Handed] // by worker; nil for this one
	Sync     *ring.SPSC[port.Packet]
	Inbox    *ring.SPSC[syncer.Delivery]
	Outbox   *ring.SPSC[syncer.Action]
	Events   *ring.SPSC[flow.Event]
	Host     *ring.SPSC[Handed]   // to the host part; nil on the worker that carries it
	HostFrom []*ring.SPSC[Handed] // from the other threads, on the worker that carries the host part
}

// Config of a worker.
type Config struct {
	Index  int
	Map    *steer.Map // buckets to workers
	Queues []Queue
	Pool   port.Pool
	Table  *conntrack.Table
	Ports  *localport.Pool
	Shard  *syncer.Shard
	Host   *neigh.Machine // on worker 0 alone
	Routes *neigh.Publisher
	Links  Links
	Poll   Poll
	// Clock gives ticks of a millisecond and node time, unix milliseconds that never go back. Called once a turn.
	Clock func() (tick uint32, wall int64)
	// MailboxSize bounds requests in waiting.
	MailboxSize int
	// Panicked is told of panics that the worker has contained, on its thread, each place once a minute. May be nil.
	Panicked func(contain.Panic)
}

// View is what a worker knows of the configuration: immutable, replaced as a whole by the mailbox.
type View struct {
	Steer    *steer.Interpreter
	Schedule *sched.Snapshot
	// Allocate: this node may open sessions.
	Allocate bool
	// Ask: misses are put to the peers.
	Ask bool
}

// Worker is one forwarding thread's whole state.
type Worker struct {
	cfg   Config
	view  View
	sched *sched.State
	table *conntrack.Table
	shard *syncer.Shard
	ports *localport.Pool

	now   uint32
	wall  int64 // node time
	ahead int64 // of wall time, see SetWall

	rx   port.Batch
	tx   []port.Batch
	drop port.Batch
	wait hold
	back port.Batch // packets that leave the hold
	// backFrom is the device of each.
	backFrom [port.BatchMax]uint8
	// again is what back was while those packets go on.
	again port.Batch

	// One burst, by position.
	pkt  *[port.BatchMax]port.Packet // of the batch at hand
	from [port.BatchMax]uint8
	// door is that of each device, by its number; none where frames are tagged.
	door [256]packet.Door
	// gates are the same, nil where frames are tagged or the processor has no use for them; gate is that of the burst at hand, nil if it came in
	// by several devices.
	gates [256]*packet.Gate
	gate  *packet.Gate
	// said is what plain packets say; these have no key and no info unless act needs them.
	said [port.BatchMax]conntrack.Plain
	info [port.BatchMax]packet.Info
	key  [port.BatchMax]flow.Key
	ref  [port.BatchMax]conntrack.Ref
	n    int
	// What the packets of the burst are traced by when something panics, see salvage.
	done      int         // all before this one have left the burst
	admitting bool        // done counts packets of the batch, else of the burst
	gone      uintptr     // Ref of the packet that the host part got last
	leaving   *port.Batch // given to a device or the pool right now; nil: none
	made      port.Packet // being written here; its Ref is 0 if none is
	acting    bool        // the shard's actions are being carried out
	work      turn
	panics    contain.Log

	to   flow.Key // of the packet at hand
	seg  conntrack.Segment
	born flow.Session // the session that open makes
	// giveUp is the table's GiveUp, bound once.
	giveUp func(reply *flow.Key) bool
	alone  bool // the node has one worker

	routes   routeCache
	due      [expirePerTurn]flow.Handle
	mail     chan Request
	count    [stat.NumCounters]uint64
	parse    [packet.NumReasons]uint64
	shared   *stat.Shared
	parsed   *stat.Shared
	answers  tokens // ICMP errors of our own
	relayed  tokens // ICMP errors translated
	errors   errorMeter
	publish  uint32
	lastTick uint32
	sweep    int    // deadlines still to look at now
	share    int    // deadlines to look at in each millisecond
	gap      uint32 // greatest distance of two turns since the last publication, milliseconds
	missing  goneServers
	freeze   uint32 // opens nothing until this tick; 0: not frozen
	signals  map[uint32]*signal
	beat     heartbeat
	idle     Idle
	inbound  syncer.Delivery
	owed     []syncer.Action // ends of bulks that wait for room in the outbox
	evt      flow.Event
	resumed  atomic.Int64 // when the last long pause ended, in unix milliseconds; 0: nobody need confirm this life
	rejected atomic.Uint64
	// released: the burst under way has waited for a QUERY; it does not wait again.
	released bool
	resets   resets
	// overdue: and nobody answered it.
	overdue bool
}

// signal is what sessions say about one server.
type signal struct{ alive, dead uint64 }

// New makes a worker. It takes over the table, pool and shard.
func New(c Config) *Worker {
	w := &Worker{
		cfg: c, table: c.Table, shard: c.Shard, ports: c.Ports,
		tx: make([]port.Batch, len(c.Queues)), mail: make(chan Request, max(c.MailboxSize, 16)),
		shared: stat.NewShared(int(stat.NumCounters)), parsed: stat.NewShared(int(packet.NumReasons)),
		sched: sched.NewState(c.Index, c.Map.Workers()), signals: map[uint32]*signal{},
		answers: tokens{rate: answerPerMS, burst: answerBurst, level: answerBurst},
		relayed: tokens{rate: relayPerMS, burst: relayBurst, level: relayBurst},
		idle:    Idle{Policy: c.Poll},
		panics:  contain.Log{Report: c.Panicked},
	}
	w.view.Schedule = w.sched.Snapshot()
	w.giveUp = w.table.GiveUp
	w.alone = c.Map.Workers() == 1
	w.routes.snap = noRoutes
	for i := range c.Queues {
		if c.Queues[i].VLAN == 0 {
			w.door[i] = packet.DoorOf(c.Queues[i].MAC)
			if wide {
				w.gates[i] = packet.GateOf(c.Queues[i].MAC)
			}
		}
	}
	w.share = sweepShare(c.Table.Capacity())
	w.now, w.wall = c.Clock()
	w.lastTick = w.now
	return w
}

// arrive counts and processes a burst of one device.
func (w *Worker) arrive(b *port.Batch, in uint8) {
	w.count[stat.RxPackets] += uint64(b.N)
	bytes := 0
	for i := range b.Pkt[:b.N] {
		bytes += len(b.Pkt[i].Data)
	}
	w.count[stat.RxBytes] += uint64(bytes)
	for i := 0; i < b.N; i += 8 { // eight at once
		binary.NativeEndian.PutUint64(w.from[i:], uint64(in)*0x0101010101010101)
	}
	w.gate = w.gates[in]
	w.burst(b, true)
	w.gate = nil
}

// free drops one owned packet for a reason.
func (w *Worker) free(p port.Packet, why stat.Counter) {
	w.count[why]++
	w.discard(p)
}

// discard gives a packet back that was counted elsewhere.
func (w *Worker) discard(p port.Packet) {
	if !w.drop.Push(p) {
		w.freeDropped()
		w.drop.Push(p)
	}
}

func (w *Worker) freeDropped() {
	w.leaving = &w.drop
	w.cfg.Pool.Free(&w.drop)
	w.leaving = nil
}

// flush sends what the turn made and frees what it dropped.
func (w *Worker) flush() {
	for q := range w.tx {
		if w.tx[q].N > 0 {
			w.transmit(q)
		}
	}
	if w.drop.N > 0 {
		w.freeDropped()
	}
}

func (w *Worker) transmit(q int) {
	b := &w.tx[q]
	n, bytes := b.N, 0
	for i := range b.Pkt[:n] {
		bytes += len(b.Pkt[i].Data)
	}
	w.count[stat.TxBytes] += uint64(bytes)
	w.leaving = b
	sent := w.cfg.Queues[q].Port.Tx(w.cfg.Queues[q].Tx, b)
	w.leaving = nil
	w.count[stat.TxPackets] += uint64(sent)
	w.count[stat.DropTxFull] += uint64(n - sent)
}
