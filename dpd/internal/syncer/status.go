package syncer

import "github.com/holdfast-lb/holdfast/dpd/internal/flow"

// PeerStatus is what is known of a link, for the control plane. Times are milliseconds.
type PeerStatus struct {
	Node         flow.Node
	Linked       bool // both sides believe each other's salt
	Suspected    bool
	Desync       bool // something was lost without repair and not yet made known
	State        uint8
	MTU          int
	ProbeAge     int64 // since an authentic datagram was received
	Unheard      int64 // for how long nothing sent to it has arrived, as its PROBEs show; 0: it arrives, or it is not heard
	Timed        bool  // RTT and Offset were measured
	RTT          int64
	Offset       int64 // the peer's wall clock minus ours
	Lag          int64 // from a record's change here to the peer's word that it has it, smoothed; 0: not known
	Sent         uint64
	Received     uint64
	Gaps         uint64
	Refused      uint64 // datagrams: not authentic, replayed, too old, malformed
	RecordsSent  uint64
	RecordsGot   uint64
	ConfigDigest uint64

	BulkBegun, BulkEnded       bool // to this node
	BulkExpected, BulkReceived uint64
	BulkSending                bool // from this node
}

// Status appends the status of every link to list.
func (y *Sync) Status(now int64, list []PeerStatus) []PeerStatus {
	y.time(now)
	for _, p := range y.peers {
		s := p.stat
		s.Node, s.Linked, s.Suspected, s.Desync, s.MTU = p.node, p.theirs != 0 && p.proven && !p.over, p.suspected, p.lossy != 0, p.mtu.size
		s.ProbeAge = y.now - p.heard
		if !s.Linked || s.Suspected {
			s.Unheard = 0
		}
		s.BulkBegun, s.BulkEnded = p.stock.isBegun, p.stock.isEnded
		s.BulkExpected, s.BulkReceived = p.stock.expected, p.here()
		s.BulkSending = p.stock.sayBegin && p.stock.sayEnd == 0
		list = append(list, s)
	}
	return list
}

// readyShare is how much of the announced stock, in percent, must be here before a node may be admitted.
const readyShare = 70

// announceWithin is how long, in milliseconds, a joining node waits for a member to announce its stock.
const announceWithin = 10_000

// Ready says whether a joining node has enough: every link stands, every member announced its stock, 70 % of the sum is here, and
// if the node was another life before, members have what it claimed of that. A member that announced nothing for 10 s is left out; its status shows that. Complete says that every
// one of them sent all of it. With no other member both are true.
func (y *Sync) Ready() (ready, complete bool) {
	var expected, received uint64
	complete = true
	for _, p := range y.peers {
		switch {
		case p.over:
			continue
		case p.theirs == 0 || !p.proven || !p.stock.isBegun:
			// Silence proves nothing at first: the routes to a new node's sync address are just being learned.
			if y.now-p.born < announceWithin {
				return false, false
			}
			complete = false
			continue
		case p.suspected && !p.whole() && y.now-p.heard >= announceWithin:
			complete = false // it died over its bulk, and the view keeps it all the same
			continue
		}
		expected += p.stock.expected
		received += p.here()
		complete = complete && p.whole()
	}
	return received*100 >= expected*readyShare && !y.claims, complete
}
