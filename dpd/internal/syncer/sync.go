package syncer

import (
	"errors"
	"net/netip"
	"slices"

	"github.com/holdfast-lb/holdfast/dpd/internal/flow"
	"github.com/holdfast-lb/holdfast/dpd/internal/syncseal"
	"github.com/holdfast-lb/holdfast/dpd/internal/syncwire"
)

// Outlet is where a Sync puts what it makes. Both calls happen inside calls of the Sync, on its thread.
type Outlet interface {
	// Send sends a UDP payload to a node that is or was a member, at its address by the view; that is invalid when none is known
	// in a family that this node has. The bytes are lent.
	Send(to flow.Node, at netip.AddrPort, datagram []byte)
	// Deliver hands d to a shard's ring; false when the ring is full. d is lent.
	Deliver(shard int, d *Delivery) bool
}

// SyncConfig is what a Sync is made of.
type SyncConfig struct {
	Self   flow.Node
	Shards int
	// ShardOf maps buckets to shards, below Shards.
	ShardOf func(flow.Bucket) int
	// MTU is the greatest UDP payload to send or take, from syncwire.MinMTU; 0 means 1400.
	MTU int
	// ConfigDigest tells peers which configuration is in force.
	ConfigDigest uint64
	// Random fills nonces and salts: crypto/rand in production.
	Random func([]byte)
	Off    Rules
}

// fenced is the least incarnation of a node that is heard.
type fenced struct {
	flow.Node
	removed bool   // the one below was removed from the view; no higher one was heard yet
	at      int64  // since when
	owed    []bool // by shard: it does not know yet; nil if every one does
}

// ErrConfig refuses a SyncConfig that can't be used.
var ErrConfig = errors.New("syncer: bad config")

// Sync is the sync thread's machine: the links to all members. It belongs to one thread. Times are unix milliseconds that
// never go back.
type Sync struct {
	cfg     SyncConfig
	out     Outlet
	ring    syncseal.Ring
	decoder *syncwire.Decoder
	epoch   uint64
	born    int64 // when this incarnation began to send
	now     int64
	ahead   int64 // of the wall clock that births are made by, see SetWall
	ticked  int64
	peers   []*peer
	fenced  []fenced // by node id
	remotes []*remote
	sources map[netip.AddrPort]*remote // by where their datagrams come from
	has     [2]bool                    // families of this node's own addresses

	words    []Words     // by shard
	claimed  []flow.Node // by shard: the life whose claims members have
	claims   bool        // this life is not the first one and not every shard said so
	state    uint8
	full     []bool // by shard: its ring had no room when it was last tried, since the last tick
	use      uses
	frozen   int64 // since when this node waits for a sign of life after it stood still; 0: it doesn't
	isFenced bool

	saltEnd uint64 // datagrams of a lane under one salt

	d     Delivery      // scratch
	end   syncseal.Ends // scratch
	Count SyncCounters
}

// NewSync makes a Sync without keys or members; it says nothing before it has both.
func NewSync(now int64, cfg SyncConfig, out Outlet) (*Sync, error) {
	if cfg.MTU == 0 {
		cfg.MTU = 1400
	}
	if cfg.Self.ID == 0 || cfg.Shards < 1 || cfg.ShardOf == nil || cfg.Random == nil || cfg.MTU < syncwire.MinMTU || cfg.MTU > syncwire.MaxDatagram {
		return nil, ErrConfig
	}
	return &Sync{
		cfg: cfg, out: out, decoder: syncwire.NewDecoder(), born: now, now: now, ticked: now,
		words: make([]Words, cfg.Shards), claimed: make([]flow.Node, cfg.Shards), full: make([]bool, cfg.Shards),
		sources: map[netip.AddrPort]*remote{}, has: [2]bool{true, true}, saltEnd: syncseal.MaxCounter,
	}, nil
}

// SetKeys replaces the cluster keys; active is the ID to seal with.
func (y *Sync) SetKeys(active uint16, keys ...syncseal.Key) error {
	for _, p := range y.peers {
		p.hello, p.wait = 0, helloMin
	}
	return y.ring.Set(active, keys...)
}

// SetView takes a view: links to nodes that are gone end, links to new ones begin. A lower epoch is refused with false.
func (y *Sync) SetView(now int64, v *View) bool {
	y.time(now)
	if v.Epoch < y.epoch && !y.off(AnyView) {
		y.Count[SyncViewOld]++
		return false
	}
	y.epoch = v.Epoch
	if v.Self != y.cfg.Self {
		y.claims = v.Self.ID == y.cfg.Self.ID
		y.cfg.Self, y.born, y.peers, y.isFenced = v.Self, y.now, nil, false
		y.use.tell = nil // counted by the former life
		for _, r := range y.remotes {
			r.fencers[0].inc, r.fencers[1].inc = 0, 0
		}
	}
	y.setRemotes(v)
	old := y.peers
	for _, p := range old {
		// Who left the view is over, save under a static list, where silence alone removes and a HELLO brings back.
		if i := slices.IndexFunc(v.Members, func(m Member) bool { return m.Node.ID == p.node.ID }); i < 0 && v.Epoch > 0 {
			y.fenceBelow(flow.Node{ID: p.node.ID, Inc: p.node.Inc + 1}, true)
		}
	}
	y.peers = make([]*peer, 0, len(v.Members))
	for _, m := range v.Members {
		if m.Node.ID == y.cfg.Self.ID || len(y.peers) == MaxMembers || y.below(m.Node) {
			continue
		}
		p := find(old, m.Node.ID)
		if p == nil || p.node != m.Node {
			p = newPeer(y, m.Node)
		}
		y.peers = append(y.peers, p)
	}
	return true
}

func find(peers []*peer, id uint32) *peer {
	for _, p := range peers {
		if p.node.ID == id {
			return p
		}
	}
	return nil
}

// below says whether a higher incarnation of the same node was heard.
func (y *Sync) below(n flow.Node) bool {
	for _, f := range y.fenced {
		if f.ID == n.ID {
			return n.Inc < f.Inc
		}
	}
	return false
}

// fence ends all incarnations of a node below n.Inc, which was heard.
func (y *Sync) fence(n flow.Node) {
	if y.fenceBelow(n, false) {
		y.tellFence(n)
	}
}

func (y *Sync) fenceBelow(n flow.Node, removed bool) bool {
	if y.off(NoFence) {
		return false
	}
	for i := range y.fenced {
		f := &y.fenced[i]
		if f.ID != n.ID {
			continue
		}
		if f.Inc > n.Inc || f.Inc == n.Inc && (removed || !f.removed) {
			return false
		}
		at := y.now
		if f.Inc == n.Inc {
			at = f.at
		}
		*f = fenced{Node: n, removed: removed, at: at}
		return true
	}
	if len(y.fenced) == 4*MaxMembers {
		y.fenced = slices.Delete(y.fenced, 0, 1)
	}
	y.fenced = append(y.fenced, fenced{Node: n, removed: removed, at: y.now})
	return true
}

func (y *Sync) tellFence(n flow.Node) {
	y.Count[SyncFenced]++
	if p := find(y.peers, n.ID); p != nil && p.node.Inc < n.Inc {
		p.over = true
	}
	for i := range y.fenced {
		if f := &y.fenced[i]; f.ID == n.ID {
			f.owed = slices.Repeat([]bool{true}, y.cfg.Shards)
		}
	}
	y.tellFences()
}

// tellFences says to each shard which nodes came back, if it does not know yet.
func (y *Sync) tellFences() {
	for i := range y.fenced {
		f := &y.fenced[i]
		if f.owed == nil {
			continue
		}
		for shard, owed := range f.owed {
			f.owed[shard] = owed && (y.full[shard] || !y.deliver(shard, &Delivery{Kind: DeliverFenced, From: f.Node}))
		}
		if !slices.Contains(f.owed, true) {
			f.owed = nil
		}
	}
}

// deliver hands a delivery to a shard; false if its ring is full. What is lost by that is for the caller to make up for.
func (y *Sync) deliver(shard int, d *Delivery) bool {
	ok := y.out.Deliver(shard, d)
	if y.full[shard] = !ok; !ok {
		y.Count[SyncRingFull]++
	}
	return ok
}

// time takes the time of a call. Whoever stood still notices with the first one, before it judges by what waited meanwhile.
func (y *Sync) time(now int64) {
	y.now = max(y.now, now)
	late := y.now - y.ticked
	if late <= stallJudge {
		return
	}
	y.ticked = y.now
	for _, p := range y.peers {
		p.heard += late // who was late itself does not judge others
		p.probe.void = p.probe.seq
	}
	if late > stallFreeze {
		y.frozen = y.now
	}
}

// sent is the clock that datagrams carry.
func (y *Sync) sent() uint64 { return uint64(y.now - y.born) }

// Queue takes an action that a shard made for the sync thread. Others than those are ignored.
func (y *Sync) Queue(now int64, shard int, a *Action) {
	y.time(now)
	switch a.Kind {
	case ActSend:
		for _, p := range y.peers {
			if a.To == AllNodes || a.To == p.node.ID {
				p.queue(shard, a)
			}
		}
	case ActDigest:
		for _, p := range y.peers {
			if a.To == AllNodes || a.To == p.node.ID {
				p.queueDigest(&a.Digest)
			}
		}
	case ActDigestReply:
		if p := find(y.peers, a.To); p != nil && !p.over {
			p.control(func(b *syncwire.Builder) syncwire.Outcome { return b.DigestReply(&a.Reply) })
		}
	case ActBulkBegin, ActBulkEnd:
		if p := find(y.peers, a.To); p != nil {
			p.shardBulk(shard, a)
		}
	case ActTombs:
		y.words[shard], y.claimed[shard] = Words{a.ClosedAt, a.AgedAt, a.FloorAt}, a.Claimed
		y.claims = y.claims && slices.ContainsFunc(y.claimed, func(n flow.Node) bool { return n != y.cfg.Self })
	}
}

// Flush sends what is queued. It ends each turn of the sync thread. A bulk's datagram that is not full waits for the next
// millisecond: the thread turns far faster than a worker makes records, and would send a few at a time.
func (y *Sync) Flush(now int64) {
	y.time(now)
	for _, p := range y.peers {
		for l := range p.out {
			if lane := syncwire.Lane(l); lane != syncwire.LaneBulk || p.out[l].began != y.sent() {
				p.flush(lane)
			}
		}
	}
}

// Tick does what time asks for; it wants to be called each 5 ms or so.
func (y *Sync) Tick(now int64) {
	y.time(now)
	y.ticked = y.now
	if y.frozen != 0 && y.now-y.frozen > thawAlone {
		y.frozen = 0
	}
	clear(y.full)
	y.tellFences()
	for _, p := range y.peers {
		p.tick()
	}
	y.tellUses()
	y.Flush(now)
}

const (
	stallJudge  = 50    // milliseconds
	stallFreeze = 1_000 // a longer stand-still may have made this node a zombie
	thawAlone   = 1_000
)

// Frozen says that this node stood still and has not been answered since, so it must not allocate.
func (y *Sync) Frozen() bool { return y.frozen != 0 }

// Stall says that this node may have stood still although its clock did not show it.
func (y *Sync) Stall(now int64) {
	y.time(now)
	y.frozen = y.now
}

// SetWall sets how far the wall clock of this node is ahead of the times that it is given: what peers are told of it, and what
// theirs are compared with.
func (y *Sync) SetWall(ahead int64) {
	for _, p := range y.peers {
		p.stat.Offset -= ahead - y.ahead
	}
	y.ahead = ahead
}

// Fenced says that a member told this incarnation that it is over.
func (y *Sync) Fenced() bool { return y.isFenced }

// SetState sets the syncwire.ProbeState bits that peers are told, ProbeDesync apart.
func (y *Sync) SetState(bits uint8) { y.state = bits &^ syncwire.ProbeDesync }

func (y *Sync) shardOf(b uint8) int { return y.cfg.ShardOf(flow.Bucket(b)) }

func (y *Sync) off(r Rules) bool { return y.cfg.Off&r != 0 }

// Recovered says that a call of the machine panicked and that its thread goes on: what was being said or heard is lost, nobody knows
// of what link.
func (y *Sync) Recovered(now int64) {
	y.time(now)
	for _, p := range y.peers {
		for l := range p.out {
			p.out[l].open, p.out[l].summed = false, false
		}
		p.desync()
	}
}
