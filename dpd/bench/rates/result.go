package main

import (
	"fmt"
	"strings"

	"github.com/holdfast-lb/holdfast/dpd/bench/mesh"
	"github.com/holdfast-lb/holdfast/dpd/internal/stat"
	"github.com/holdfast-lb/holdfast/dpd/internal/syncer"
)

// counts are sums over the healthy nodes.
type counts struct {
	early     uint64 // ended sessions that were forgotten before their time
	refused   uint64 // new sessions for which there was no room, port or leave; records of peers without room
	evicted   uint64
	held      uint64 // packets that waited for a QUERY
	asked     uint64 // queries
	overflows uint64 // of rings between threads, and what they made of the links
	equal     uint64 // digests of a bucket
	unequal   uint64
	unsure    uint64
	listed    uint64
	missed    uint64 // frames that no device had room for: the run is void
	syncBytes uint64
}

func countsOf(s scenario, m *mesh.Mesh) (c counts) {
	for _, i := range s.healthy {
		n := m.Nodes[i]
		c.refused += n.Counter(stat.DropTableFull) + n.Counter(stat.DropNoPort) + n.Counter(stat.DropNoServer) +
			n.Counter(stat.DropNotAllocating) + n.Shards(syncer.CreateRefused) + n.Shards(syncer.InstallRefused)
		c.early += n.Shards(syncer.EndedGivenUp) + n.Shards(syncer.AgedGivenUp)
		c.evicted += n.Counter(stat.Evicted)
		c.held += n.Counter(stat.Held)
		c.asked += n.Shards(syncer.QuerySent)
		c.overflows += n.Counter(stat.SyncOutFull) + n.Counter(stat.DropSyncFull) + n.LoopCounter(stat.SyncShardFull) +
			n.Sync(syncer.SyncGapLost)
		c.equal += n.Shards(syncer.DigestEqual)
		c.unequal += n.Shards(syncer.DigestUnequal)
		c.unsure += n.Shards(syncer.DigestUnsure)
		c.listed += n.Shards(syncer.Listed)
		c.missed += n.Missed()
		c.syncBytes += n.LoopCounter(stat.SyncTxBytes)
	}
	return c
}

func (c counts) minus(o counts) counts {
	return counts{
		c.early - o.early, c.refused - o.refused, c.evicted - o.evicted, c.held - o.held, c.asked - o.asked, c.overflows - o.overflows,
		c.equal - o.equal, c.unequal - o.unequal, c.unsure - o.unsure, c.listed - o.listed, c.missed - o.missed,
		c.syncBytes - o.syncBytes,
	}
}

// result is what a run showed.
type result struct {
	before, during counts
	tally          mesh.Tally
	marked, end    state
	samples        int
	// Milliseconds that ended sessions wait for their collection, at most: by what shards say of
	// the oldest ones, and by how many there are.
	oldestClosed, oldestAged, held int64

	most      int   // of them on one node
	peak      []int // closed ones on each healthy node, at most
	repairing int   // samples in which a healthy node repaired towards another
	ends      []uint64
	// After the drain:
	left, differ   int
	stillRepairing bool
	nodes          int
}

func newResult(s scenario, m *mesh.Mesh) *result {
	return &result{before: countsOf(s, m), nodes: s.nodes, ends: []uint64{ended(m)}}
}

// ended is how many sessions have become tombstones at their owners.
func ended(m *mesh.Mesh) (sum uint64) {
	for _, n := range m.Nodes {
		sum += n.Shards(syncer.Closed) + n.Shards(syncer.Aged)
	}
	return sum
}

// take samples ages, holds and repairs.
func (r *result) take(s scenario, m *mesh.Mesh) {
	r.samples++
	r.ends = append(r.ends, ended(m))
	for len(r.peak) < len(m.Nodes) {
		r.peak = append(r.peak, 0)
	}
	for _, i := range s.healthy {
		closed, aged := m.Nodes[i].Tombs()
		r.most = max(r.most, closed+aged)
		r.peak[i] = max(r.peak[i], closed)
		c, a := m.Nodes[i].OldestTomb()
		r.oldestClosed, r.oldestAged = max(r.oldestClosed, c), max(r.oldestAged, a)
		r.held = max(r.held, r.age(uint64(closed+aged)))
	}
	r.repairing += map[bool]int{true: 1}[repairs(s, m)]
}

// age is how old the oldest of so many tombstones is at least, since no more sessions ended later.
// It does not go by what the shards say.
func (r *result) age(held uint64) int64 {
	now := len(r.ends) - 1
	i := now
	for i > 0 && r.ends[now]-r.ends[i] < held {
		i--
	}
	return int64(now-i) * sample
}

func repairs(s scenario, m *mesh.Mesh) bool {
	for _, i := range s.healthy {
		for _, j := range s.healthy {
			if i != j && m.Nodes[i].Repairing(j) {
				return true
			}
		}
	}
	return false
}

func (r *result) finish(s scenario, m *mesh.Mesh) {
	r.during, r.tally, r.end = countsOf(s, m).minus(r.before), m.Traffic.Count, stateOf(s, m)
}

func (r *result) after(s scenario, m *mesh.Mesh) {
	for _, i := range s.healthy {
		closed, aged := m.Nodes[i].Tombs()
		r.left += closed + aged
	}
	first := m.Nodes[s.healthy[0]]
	for _, i := range s.healthy[1:] {
		r.differ += mesh.Equal(first, m.Nodes[i])
	}
	r.stillRepairing = repairs(s, m)
}

// now is a line about a run under way.
func (r *result) now(s scenario, m *mesh.Mesh) string {
	var b strings.Builder
	for _, i := range s.healthy {
		n := m.Nodes[i]
		closed, aged := n.Tombs()
		fmt.Fprintf(&b, "[%d records, %d closed, %d aged] ", n.Records(), closed, aged)
	}
	c := countsOf(s, m).minus(r.before)
	fmt.Fprintf(&b, "%s, repairing %d of %d samples, oldest %.1f and %.1f s, broken %d", c, r.repairing, r.samples,
		seconds(r.oldestClosed), seconds(r.oldestAged), m.Traffic.Count.Broken)
	return b.String()
}

// String is part of a run's line of figures.
func (c counts) String() string {
	return fmt.Sprintf("refused %d, evicted %d, early %d | held %d, queries %d | overflows %d | digests equal %d, unequal %d, unsure %d, listed %d",
		c.refused, c.evicted, c.early, c.held, c.asked, c.overflows, c.equal, c.unequal, c.unsure, c.listed)
}

// String is the run's line of figures.
func (r *result) String() string {
	t := &r.tally
	mb := func(b uint64) float64 { return float64(b) / 1e6 }
	share := func(n, of int) float64 { return 100 * float64(n) / float64(max(of, 1)) }
	perLife := float64(r.during.syncBytes) / float64(max(t.Ended, 1)*uint64(max(r.nodes-1, 1)))
	return fmt.Sprintf("lives %d of %d, broken %d, sent again %d | late %d, first datagrams %d | ", t.Ended, t.Begun, t.Broken, t.Again,
		t.Late, t.LateUDP) +
		fmt.Sprintf("live heap %.1f then %.1f MB, records %d then %d | ", mb(r.marked.heap), mb(r.end.heap), r.marked.records, r.end.records) +
		fmt.Sprintf("ended %d at most, the oldest closed %.1f s, aged %.1f s; %.1f s by their number; %.1f B each; %d left | ",
			r.most, seconds(r.oldestClosed), seconds(r.oldestAged), seconds(r.held), r.bytesOfEnded(), r.left) +
		fmt.Sprintf("%s | repairing %.1f %% | in the end %d differ | ", r.during, share(r.repairing, r.samples), r.differ) +
		fmt.Sprintf("%.0f sync bytes a life and peer", perLife)
}

func seconds(ms int64) float64 { return float64(ms) / 1000 }

// closed is how many closed ones there were: the peaks of all healthy nodes.
func (r *result) closed() (sum int) {
	for _, n := range r.peak {
		sum += n
	}
	return sum
}

// bytesOfEnded is the memory of one closed session when there were most.
func (r *result) bytesOfEnded() float64 { return float64(r.end.ended) / float64(max(r.closed(), 1)) }
