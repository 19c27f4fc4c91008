package mesh

import (
	"net/netip"

	"github.com/holdfast-lb/holdfast/dpd/internal/flow"
	"github.com/holdfast-lb/holdfast/dpd/internal/syncer"
	"github.com/holdfast-lb/holdfast/dpd/internal/syncloop"
	"github.com/holdfast-lb/holdfast/dpd/internal/syncseal"
	"github.com/holdfast-lb/holdfast/dpd/internal/worker"
)

// What follows lets nodes die, begin anew and stand still, and lets a coordinator outside the mesh
// tell them things. Nothing here waits for a thread: a thread that stands still hears of it later.

// Addresses of a mesh that a coordinator hands out.
const (
	SyncPort  = syncPort
	ServerNet = serverNet
	LaddrNet  = laddrNet
	NetMask   = netMask
)

// Sip is the sync address of node i.
func Sip(i int) netip.Addr { return sip(i) }

// Laddr is local address l of block i. A mesh has room for 4 blocks of each node.
func Laddr(i, l int) netip.Addr { return laddr(i, l) }

func (c *Config) blocks() int {
	if c.Bare {
		return 4 * c.Nodes
	}
	return c.Nodes
}

// Start begins a process on node i, which knows nothing and is nobody until Take.
func (m *Mesh) Start(i int) (*Node, error) {
	n, err := m.newNode(i)
	if err != nil {
		return nil, err
	}
	m.Nodes[i] = n
	n.life = flow.Node{}
	return n, m.configure(n)
}

// Kill ends the process on node i.
func (m *Mesh) Kill(i int) error {
	n := m.Nodes[i]
	m.Nodes[i] = nil
	return n.close()
}

// Do has worker i run f after its next turn.
func (n *Node) Do(i int, f func(*worker.Worker)) {
	n.toDo[i] = append(n.toDo[i], func() { f(n.Workers[i]) })
}

// DoSync has the sync thread run f after its next turn.
func (n *Node) DoSync(f func(*syncloop.Loop)) {
	i := len(n.Workers)
	n.toDo[i] = append(n.toDo[i], func() { f(n.Loop) })
}

// Stop lets every thread stand still, or go on.
func (n *Node) Stop(yes bool) {
	for i := range n.Still {
		n.Still[i] = yes
	}
}

// Word is what a coordinator says to a node.
type Word struct {
	View      syncer.View
	Blocks    []netip.Addr // that it may take ports from
	Uses      []syncer.Block
	Allocate  bool
	Active    uint16
	Keys      []syncseal.Key
	DigestKey [16]byte
	Flush     bool // what waits in receive queues is dropped: the node is admitted by this word
}

// Take gives a word to every thread of the node, in the order of dpd/node: the sync thread first. Each takes it
// after its next turn. ask: misses are put to the peers.
func (n *Node) Take(w Word, ask bool) {
	n.life, n.view.Ask = w.View.Self, ask
	n.DoSync(func(l *syncloop.Loop) {
		if l.Sync() == nil {
			if err := n.link(l); err != nil {
				panic(err)
			}
		}
		if len(w.Keys) > 0 {
			if err := l.Sync().SetKeys(w.Active, w.Keys...); err != nil {
				panic(err)
			}
		}
		l.SetAddresses(syncloop.Addresses{Self: [2]netip.Addr{sip(n.index)}, Port: syncPort})
		if l.Sync().SetView(l.Now(), &w.View) {
			l.Sync().SetBlocks(w.Uses)
		}
	})
	for i := range n.Workers {
		n.Do(i, func(x *worker.Worker) {
			if w.Flush {
				x.FlushRx()
			}
			if err := x.Table().SetSelf(w.View.Self); err != nil {
				panic(err)
			}
			x.Shard().SetDigestKey(w.DigestKey)
			x.Shard().SetView(x.Now(), &w.View)
			x.Ports().SetBlocks(w.Blocks)
			mark(x)
			v := n.view
			v.Allocate = w.Allocate
			x.UseView(v)
		})
	}
}

// Refuse lets the node open nothing until the next word.
func (n *Node) Refuse() {
	for i := range n.Workers {
		n.Do(i, func(x *worker.Worker) {
			v := n.view
			v.Allocate = false
			x.UseView(v)
		})
	}
}

// mark takes out of the pool what records hold.
func mark(w *worker.Worker) {
	var s flow.Session
	for c := uint32(0); ; {
		c = w.Table().Scan(c, 1<<16, func(h flow.Handle) {
			if w.Table().Load(h, &s); w.Ports().Holds(&s.Reply) {
				w.Ports().Mark(s.Reply)
			}
		})
		if c == 0 {
			return
		}
	}
}

// Sessions visits every record of the node.
func (n *Node) Sessions(visit func(worker int, s *flow.Session)) {
	var s flow.Session
	for i, t := range n.Tables {
		for c := uint32(0); ; {
			c = t.Scan(c, 1<<16, func(h flow.Handle) {
				if t.Load(h, &s); s.Birth != 0 {
					visit(i, &s)
				}
			})
			if c == 0 {
				break
			}
		}
	}
}

// RepairingLife says whether some shard does not know its digests to be equal to those of a member.
func (n *Node) RepairingLife(of flow.Node) bool {
	for _, w := range n.Workers {
		if w.Shard().Repairing(of) {
			return true
		}
	}
	return false
}

// Packets are how many buffers of the node's packet memory are free, and how many there are.
func (n *Node) Packets() (free, all int) { return n.pool.Available(), packets }

// Queued is how many frames wait in receive queues.
func (n *Node) Queued() (sum int) {
	for i := range n.dev.rx {
		sum += int(n.dev.rx[i].tail - n.dev.rx[i].head)
	}
	return sum
}

func (n *Node) clock() (uint32, int64) {
	tick, wall := n.mesh.clock()
	return tick - uint32(n.Stood), wall - n.Stood
}

func (n *Node) turnWorkers() {
	n.fillOutbox()
	for i, w := range n.Workers {
		if !n.Still[i] {
			n.mesh.do(n, false, w.Turn)
			n.run(i)
		}
	}
}

func (n *Node) turnSync() {
	n.fillInbox()
	if i := len(n.Workers); !n.Still[i] {
		n.mesh.do(n, true, n.Loop.Turn)
		n.run(i)
	}
}

func (n *Node) run(thread int) {
	list := n.toDo[thread]
	n.toDo[thread] = nil
	for _, f := range list {
		f()
	}
}
