package mesh

import (
	"github.com/holdfast-lb/holdfast/dpd/internal/flow"
	"github.com/holdfast-lb/holdfast/dpd/internal/stat"
	"github.com/holdfast-lb/holdfast/dpd/internal/syncer"
)

// Counter is a count over all workers of a node, as they published it last: at most 10 ms ago.
func (n *Node) Counter(c stat.Counter) (sum uint64) {
	for _, w := range n.Workers {
		counts, _ := w.Counters()
		sum += counts.Load(int(c))
	}
	return sum
}

// LoopCounter is a count of the node's sync thread, as it published it last.
func (n *Node) LoopCounter(c stat.Counter) uint64 { return n.Loop.Counters().Load(int(c)) }

// Shards is a count over all shards of a node.
func (n *Node) Shards(c syncer.Counter) (sum uint64) {
	for _, w := range n.Workers {
		sum += w.Shard().Count[c]
	}
	return sum
}

// Sync is a count of the node's links; 0 before its first view.
func (n *Node) Sync(c syncer.SyncCounter) uint64 {
	if s := n.Loop.Sync(); s != nil {
		return s.Count[c]
	}
	return 0
}

// Records is how many records the node's tables hold.
func (n *Node) Records() (sum int) {
	for _, t := range n.Tables {
		sum += t.Len()
	}
	return sum
}

// Tombs is how many ended sessions the node has not collected yet, closed ones and aged ones.
func (n *Node) Tombs() (closed, aged int) {
	for _, w := range n.Workers {
		c, a := w.Shard().Tombs()
		closed, aged = closed+c, aged+a
	}
	return closed, aged
}

// OldestTomb is for how long, in milliseconds, the oldest of them wait.
func (n *Node) OldestTomb() (closed, aged int64) {
	for _, w := range n.Workers {
		c, a := w.Shard().OldestTomb()
		closed, aged = max(closed, c), max(aged, a)
	}
	return closed, aged
}

// EndedBytes is the memory of the closed ones.
func (n *Node) EndedBytes() (sum int) {
	for _, w := range n.Workers {
		sum += w.Shard().EndedBytes()
	}
	return sum
}

// Repairing says whether some shard of the node does not know its digests to be equal to those of
// node other.
func (n *Node) Repairing(other int) bool {
	for _, w := range n.Workers {
		if w.Shard().Repairing(life(other)) {
			return true
		}
	}
	return false
}

// Bytes is the memory that the node's tables have mapped.
func (n *Node) Bytes() (sum uint64) {
	for _, t := range n.Tables {
		sum += t.Stats().Bytes
	}
	return sum
}

// Missed is how many frames the node's device lost.
func (n *Node) Missed() uint64 { return n.dev.stats.RxMissed + n.dev.stats.AllocFails }

// Equal says whether two nodes hold the same sessions in the same versions, and how many differ.
func Equal(a, b *Node) (differ int) {
	x, y := a.versions(), b.versions()
	for k, v := range x {
		if y[k] != v {
			differ++
		}
	}
	for k := range y {
		if _, ok := x[k]; !ok {
			differ++
		}
	}
	return differ
}

type version struct {
	birth flow.Birth
	owner flow.Node
	term  uint32
	ver   uint32
}

// versions are the sessions that others must know, by reply tuple.
func (n *Node) versions() map[flow.Key]version {
	out := map[flow.Key]version{}
	var s flow.Session
	for _, t := range n.Tables {
		for c := uint32(0); ; {
			c = t.Scan(c, 1<<16, func(h flow.Handle) {
				if t.Load(h, &s); s.Birth != 0 && s.Ver > 1 && s.Flags&flow.Tomb == 0 {
					out[s.Reply] = version{s.Birth, s.Owner, s.Term, s.Ver}
				}
			})
			if c == 0 {
				break
			}
		}
	}
	return out
}
