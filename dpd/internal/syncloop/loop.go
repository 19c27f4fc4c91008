// Package syncloop is the sync thread of a data plane: it moves sync datagrams between the NIC's sync queue and the
// protocol machine (syncer.Sync), and records between that machine and the workers' rings. It decides nothing about
// sessions. One goroutine locked to one thread; the sync queue and the send queue are its own.
//
//	NIC sync queue ─┐                             ┌─ ring ──> worker 0
//	workers' rings ─┴─> open, order, route ───────┴─ ring ──> worker n
//	NIC send queue <── seal, pack <── rings <── workers
package syncloop

import (
	"context"
	"errors"
	"net/netip"
	"sync/atomic"

	"github.com/holdfast-lb/holdfast/dpd/internal/contain"
	"github.com/holdfast-lb/holdfast/dpd/internal/flow"
	"github.com/holdfast-lb/holdfast/dpd/internal/neigh"
	"github.com/holdfast-lb/holdfast/dpd/internal/packet"
	"github.com/holdfast-lb/holdfast/dpd/internal/port"
	"github.com/holdfast-lb/holdfast/dpd/internal/ring"
	"github.com/holdfast-lb/holdfast/dpd/internal/stat"
	"github.com/holdfast-lb/holdfast/dpd/internal/syncer"
	"github.com/holdfast-lb/holdfast/dpd/internal/worker"
)

// Bounds of one turn.
const (
	outboxPerTurn = 512 // actions of each worker
	softPerTurn   = port.BurstMax
	mailPerTurn   = 4
	tickEvery     = 5  // milliseconds
	publishEvery  = 10 // milliseconds
)

// Config of a Loop.
type Config struct {
	Queues []worker.Queue // Rx is empty where the device does not steer, see SetRx
	Pool   port.Pool
	Routes *neigh.Publisher
	// Soft are the sync datagrams that workers received, by worker; Outbox and Inbox join the shards, by worker.
	Soft   []*ring.SPSC[port.Packet]
	Outbox []*ring.SPSC[syncer.Action]
	Inbox  []*ring.SPSC[syncer.Delivery]
	Host   *ring.SPSC[worker.Handed] // to the host part
	Poll   worker.Poll
	Clock  func() (tick uint32, wall int64)
	// Loss, from 0 to 1, is the share of datagrams that are dropped at sending on purpose; Random draws for it from 0 to 1.
	Loss   float64
	Random func() float64
	// Panicked is told of panics that the loop has contained, on its thread, each place once a minute. May be nil.
	Panicked func(contain.Panic)
}

// Addresses are where this node is reached. Immutable.
type Addresses struct {
	Self [2]netip.Addr // sip: IPv4, IPv6
	Port uint16
}

// Loop is the sync thread's whole state.
type Loop struct {
	cfg   Config
	sync  *syncer.Sync
	addrs Addresses
	rx    port.Batch
	next  int // the next of rx to open
	room  room
	tx    []port.Batch
	drop  port.Batch
	info  packet.Info
	in    syncer.Action

	work    turn
	opening bool        // a datagram is being handled: number next of rx
	made    port.Packet // being written; its Ref is 0 if none is
	leaving *port.Batch // given to a device or the pool right now; nil: none
	panics  contain.Log

	now    uint32
	wall   int64
	tick   uint32
	told   uint32
	mail   chan func(*Loop)
	count  [stat.NumCounters]uint64
	shared *stat.Shared
	beat   atomic.Uint32
	idle   worker.Idle
}

// New makes a loop without a machine: until SetSync it frees what it receives.
func New(c Config) *Loop {
	l := &Loop{
		cfg: c, tx: make([]port.Batch, len(c.Queues)), mail: make(chan func(*Loop), 64),
		shared: stat.NewShared(int(stat.NumCounters)), idle: worker.Idle{Policy: c.Poll},
		panics: contain.Log{Report: c.Panicked},
	}
	l.now, l.wall = c.Clock()
	return l
}

// ErrPanicked says that a function given to Do panicked: a part of it may have been done.
var ErrPanicked = errors.New("syncloop: the function panicked")

// Do runs f on the loop's thread, between two turns, and waits for it. After an error f has not run and never will, or has
// panicked. Any thread but the loop's.
func (l *Loop) Do(ctx context.Context, f func(*Loop)) error {
	var taken atomic.Bool // by the loop, or by the caller who gives up
	done, ended := make(chan struct{}), false
	select {
	case l.mail <- func(l *Loop) {
		defer close(done)
		if taken.CompareAndSwap(false, true) {
			f(l)
			ended = true
		}
	}:
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case <-done:
	case <-ctx.Done():
		if taken.CompareAndSwap(false, true) {
			return ctx.Err()
		}
		<-done // it runs, and what runs here is short
	}
	if !ended {
		return ErrPanicked
	}
	return nil
}

// Sync is the machine, for functions given to Do; nil before SetSync.
func (l *Loop) Sync() *syncer.Sync { return l.sync }

// Now is the time of the turn in unix milliseconds, for functions given to Do.
func (l *Loop) Now() int64 { return l.wall }

// SetSync gives the loop its machine; the loop is the machine's Outlet. For functions given to Do.
func (l *Loop) SetSync(s *syncer.Sync) { l.sync = s }

// SetAddresses replaces where this node is reached. For functions given to Do.
func (l *Loop) SetAddresses(a Addresses) { l.addrs = a }

// SetRx replaces the receive queues of device dev. For functions given to Do, after the former user of a queue gave it up.
func (l *Loop) SetRx(dev int, queues []int) { l.cfg.Queues[dev].Rx = queues }

// requests runs what Do brought. It comes after the machine's Tick, so that who asks after a stand-still hears of it.
func (l *Loop) requests() (busy bool) {
	for range mailPerTurn {
		select {
		case f := <-l.mail:
			f(l)
			busy = true
		default:
			return busy
		}
	}
	return busy
}

func (l *Loop) datagram(data []byte) {
	if packet.Parse(data, &l.info) != packet.OK || l.info.Class != packet.ClassUDP || l.info.DstPort() != l.addrs.Port {
		l.count[stat.SyncNotUDP]++
		return
	}
	k := flow.Key{Addr: l.info.Addr, Meta: l.info.Meta}
	if to := k.Dst().Addr(); to != l.addrs.Self[0] && to != l.addrs.Self[1] {
		l.count[stat.SyncNotUDP]++
		return
	}
	b := data[l.info.Payload : int(l.info.Payload)+int(l.info.PayloadLen)]
	l.count[stat.SyncRx]++
	l.count[stat.SyncRxBytes] += uint64(len(b))
	if l.sync != nil {
		l.sync.Datagram(l.wall, k.Src(), b)
	}
}

// Deliver hands a delivery to a worker's ring; it is the machine's Outlet.
func (l *Loop) Deliver(shard int, d *syncer.Delivery) bool {
	if l.cfg.Inbox[shard].Put(d) {
		return true
	}
	l.count[stat.SyncShardFull]++
	return false
}

// flush hands the frames made in this turn to the devices.
func (l *Loop) flush() {
	for q := range l.tx {
		b := &l.tx[q]
		if b.N == 0 {
			continue
		}
		n := b.N
		l.leaving = b
		sent := l.cfg.Queues[q].Port.Tx(l.cfg.Queues[q].Tx, b)
		l.leaving = nil
		l.count[stat.TxPackets] += uint64(sent)
		l.count[stat.DropTxFull] += uint64(n - sent)
	}
}

// Counters reads what the loop published last. Any thread.
func (l *Loop) Counters() *stat.Shared { return l.shared }

// Beat is the tick of the last turn. Any thread.
func (l *Loop) Beat() uint32 { return l.beat.Load() }

// Run turns until ctx ends. The caller has locked the goroutine to its thread.
func (l *Loop) Run(ctx context.Context) {
	for n := 0; ; n++ {
		if n&63 == 0 && ctx.Err() != nil {
			return
		}
		l.idle.Turn(l.Turn())
	}
}

// Empty frees the datagrams that nobody will open any more. After Run of this loop and of all workers.
func (l *Loop) Empty() {
	l.cfg.Pool.Free(&l.rx)
	for _, r := range l.cfg.Soft {
		var p port.Packet
		for r.Take(&p) {
			l.drop.Push(p)
			l.cfg.Pool.Free(&l.drop)
		}
	}
}

// SetClock replaces the clock of a loop that does not run yet.
func (l *Loop) SetClock(clock func() (tick uint32, wall int64)) {
	l.cfg.Clock = clock
	l.now, l.wall = clock()
}

// SetLoss replaces the share of datagrams that are dropped at sending on purpose, and what draws for it.
func (l *Loop) SetLoss(share float64, random func() float64) {
	l.cfg.Loss, l.cfg.Random = share, random
}
