package conntrack

import (
	"errors"
	"fmt"

	"github.com/holdfast-lb/holdfast/dpd/internal/expiry"
	"github.com/holdfast-lb/holdfast/dpd/internal/flow"
)

var (
	// ErrInvalid says that the session's tuples, state or mode can't be stored.
	ErrInvalid = errors.New("conntrack: invalid session")
	// ErrTuples refuses an update that would change a tuple.
	ErrTuples = errors.New("conntrack: update of other tuples")
	// ErrGone says that the handle names no record.
	ErrGone = errors.New("conntrack: no such record")
)

// MaxCapacity is the greatest number of sessions of one table, both families together.
const MaxCapacity = 1<<30 - 1

// Config sizes a table. All memory is taken by New.
type Config struct {
	CapacityV4    int // sessions with IPv4 on both sides
	CapacityV6    int // sessions with IPv6 on at least one side
	CapacityExtra int // sessions that may have an Extra; 0 = none
	// Load is the share of index slots in use when the table is full, 0.3 to 0.95; 0 = 0.75. Above it more entries miss
	// their home bucket, which costs a look-up another cache line: 4 % of them at 0.75, 7 % at 0.85.
	Load float64
	// Timeouts of services without override; nil = DefaultTimeouts.
	Timeouts *Timeouts
	// OnFull is asked to remove an aged session of a part that is full, IPv6's with six, and says whether it did. It is called
	// within Insert, and may call what Insert itself may be called beside: Load and Remove. May be nil.
	OnFull func(six bool) bool
	// OnEvict is told of an embryonic session just before it is removed to make room in the table, or for its port; it must not
	// call the table. May be nil.
	OnEvict func(flow.Handle, *flow.Session)
	// OnUncount is told the server of each session that SetCounted marked, when it becomes a tombstone or goes; it must not
	// call the table. May be nil.
	OnUncount func(server uint32)
	// Random fills the secret of the hash; nil: from the system. A simulation gives one, so that it can be replayed.
	Random func([]byte)
}

// Table is the session table of one worker. It belongs to one goroutine.
//
// Invariant: the index holds the reply tuple of every record that has one, and the original tuple
// of every record that is live (neither a tombstone nor reply-only), and of each other one that
// found nobody of its rank or a higher one there when it was last written, and to whom none such
// has come since.
type Table struct {
	rec      []record // by handle; record 0 is never used
	cold     []cold
	deadline []uint32 // by handle; 0 = free
	ix       index
	secret   secret
	now      expiry.Tick
	first6   uint32 // first handle of the IPv6 part; handles below are IPv4
	self     uint16 // index of the own node in owners
	ordinary ordinary
	plain    ordinary

	owners    owners
	defaults  Timeouts
	override  map[uint32]*Timeouts
	part      [2]part // IPv4, IPv6
	paths     paths
	extra     extras
	scratch   flow.Session
	onFull    func(six bool) bool
	onEvict   func(flow.Handle, *flow.Session)
	onUncount func(server uint32)
	sweep     expiry.Sweeper
	stats     Stats
	arena     arena
	burst     burst
}

// part is a range of handles with its free list.
type part struct {
	first, end uint32 // handles [first, end)
	fresh      uint32 // lowest handle never used
	free       uint32 // head of the free list, linked through record.side
	used       int
	embryonic  [protocols]embryos
}

// New builds an empty table. Close gives the memory back.
func New(c Config) (*Table, error) {
	if c.CapacityV4 < 0 || c.CapacityV6 < 0 || c.CapacityExtra < 0 || c.CapacityV4 > MaxCapacity-c.CapacityV6 || c.CapacityV4+c.CapacityV6 == 0 {
		return nil, fmt.Errorf("conntrack: capacities %d (IPv4), %d (IPv6), %d (extra): want at least one session and at most %d",
			c.CapacityV4, c.CapacityV6, c.CapacityExtra, MaxCapacity)
	}
	if c.Load == 0 {
		c.Load = 0.75
	}
	if !(c.Load >= 0.3 && c.Load <= 0.95) {
		return nil, fmt.Errorf("conntrack: index load %v: want 0.3 to 0.95", c.Load)
	}
	t := &Table{secret: newSecret(c.Random), owners: newOwners(), defaults: DefaultTimeouts(), override: make(map[uint32]*Timeouts), onFull: c.OnFull, onEvict: c.OnEvict, onUncount: c.OnUncount}
	if c.Timeouts != nil {
		t.defaults = *c.Timeouts
	}
	t.first6 = uint32(c.CapacityV4) + 1
	end := t.first6 + uint32(c.CapacityV6)
	t.part[0] = part{first: 1, end: t.first6, fresh: 1}
	t.part[1] = part{first: t.first6, end: end, fresh: t.first6}
	for i, capacity := range [...]int{c.CapacityV4, c.CapacityV6} {
		for j := range t.part[i].embryonic {
			t.part[i].embryonic[j].most = embryonicMost(j, capacity)
		}
	}
	buckets := max(int(float64(2*(c.CapacityV4+c.CapacityV6))/(slots*c.Load))+1, 16)
	t.ordinary, t.plain = ordinaryTCP(0), plainTCP(0)
	if err := t.allocate(int(end), c.CapacityV6, buckets, c.CapacityExtra); err != nil {
		return nil, errors.Join(err, t.arena.close())
	}
	t.ix.n = uint64(buckets)
	t.paths.byKey = make(map[pathKey]uint32)
	t.ix.path = make([]hop, 0, searchMax+slots)
	return t, nil
}

func (t *Table) allocate(records, wide, buckets, extra int) (err error) {
	if t.rec, err = region[record](&t.arena, records); err != nil {
		return err
	}
	if t.cold, err = region[cold](&t.arena, records); err != nil {
		return err
	}
	if t.deadline, err = region[uint32](&t.arena, records); err != nil {
		return err
	}
	if t.ix.bucket, err = region[bucket](&t.arena, buckets); err != nil {
		return err
	}
	for i := range t.part {
		for j := range t.part[i].embryonic {
			l := &t.part[i].embryonic[j]
			if l.ring, err = sparse[embryo](&t.arena, 2*l.most); err != nil {
				return err
			}
		}
	}
	if t.paths.all, err = sparse[path](&t.arena, wide+1); err != nil {
		return err
	}
	t.extra.slab, err = region[Extra](&t.arena, extra+1)
	return err
}

// Close gives the memory back. The table must not be used after.
func (t *Table) Close() error {
	t.rec, t.cold, t.deadline, t.ix.bucket, t.paths.all, t.extra.slab = nil, nil, nil, nil, nil, nil
	return t.arena.close()
}

// SetSelf says which node's sessions are not Foreign. Call it again when the node takes a new incarnation.
func (t *Table) SetSelf(n flow.Node) error {
	i, err := t.owners.take(n)
	if err != nil {
		return err
	}
	if t.self != 0 {
		t.owners.drop(t.self)
	}
	t.self = i
	t.ordinary, t.plain = ordinaryTCP(i), plainTCP(i)
	return nil
}

// Advance brings the time for the calls that have no now argument. Once a turn of the worker.
func (t *Table) Advance(now expiry.Tick) { t.now = now }

// Len is the number of records, tombstones included.
func (t *Table) Len() int { return t.part[0].used + t.part[1].used }

// Capacity is the number of sessions that the table holds at most.
func (t *Table) Capacity() int { return len(t.rec) - 1 }

// Live says whether h names a record.
func (t *Table) Live(h flow.Handle) bool {
	return h != 0 && int(h) < len(t.deadline) && t.deadline[h] != 0
}

// Find looks up one tuple. For bursts use LookupBatch.
func (t *Table) Find(k *flow.Key) (flow.Handle, flow.Direction, bool) {
	r := t.find(k, t.secret.hash(k))
	return r.Handle(), r.Dir(), r != 0
}

// Flags are the flags of h; they, State and Owned are read without loading the whole session.
func (t *Table) Flags(h flow.Handle) flow.Flags { return t.at(h).flags }

// State is the protocol state of h.
func (t *Table) State(h flow.Handle) flow.State { return t.at(h).state }

// Server is the id of the real server of h.
func (t *Table) Server(h flow.Handle) uint32 { return t.cold[h].server }

// Owned says whether this node owns h.
func (t *Table) Owned(h flow.Handle) bool { return t.at(h).owner == t.self }

func (t *Table) partOf(h flow.Handle) *part {
	if uint32(h) < t.first6 {
		return &t.part[0]
	}
	return &t.part[1]
}
