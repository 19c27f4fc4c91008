package syncer

import (
	"net/netip"

	"github.com/holdfast-lb/holdfast/dpd/internal/flow"
	"github.com/holdfast-lb/holdfast/dpd/internal/syncseal"
	"github.com/holdfast-lb/holdfast/dpd/internal/syncwire"
)

const (
	maxRemotes = 4 * MaxMembers
	// openersKept is how many salts that are not believed, of those that opened something, are remembered of a node.
	openersKept = 8
	// openersTried is how many of those that opened nothing so far are kept, for what comes under them next.
	openersTried = 16
	// fencerKeep is for how long, in milliseconds, a salt for FENCED is not replaced.
	fencerKeep = 10_000
)

// remote is what is kept of another node by its id, over all its lives and links: where it is, and what may be spent on
// datagrams that claim to come from it and that no link believes. It outlives the node's place in the view, so that a node
// that was removed can be told so.
//
// To try a salt for the first time costs the derivation of a key, some microseconds. Who sends from the node's address, but
// has no cluster key, can make up salts at any rate. So each try takes a token, and salts with a proof (syncseal.Ring.Salt)
// have tokens of their own: made-up ones have a good proof once in 4096 times, and can't use these up. What comes under a salt
// that was tried before takes no token: its key is derived. So replays don't, and neither do forged datagrams under the salt
// of a HELLO that was seen on the way.
type remote struct {
	id     uint32
	at     [2]netip.AddrPort // IPv4, IPv6
	member bool              // of the view
	next   uint32            // number of the next salt for this node

	vouched tokens // tries of salts with a proof, of the life in the view or a later one
	former  tokens // of earlier lives: all that they are good for is an answer FENCED
	blind   tokens // of salts without a proof
	replies tokens // FENCED
	doubted tokens // the same, to what came under a salt without a proof
	known   [openersKept]*syncseal.Opener
	turn    int // the next of known to be replaced
	tried   [openersTried]*syncseal.Opener
	tries   int // the next of tried to be replaced

	fencers [2]fencer // for what came with a proof, and without one
}

// fencer seals FENCED for one life of a node.
type fencer struct {
	lane  outLane
	inc   uint64 // the incarnation that its salt is for; 0: there is none yet
	since int64
}

func bucket(now, rate, burst int64) tokens {
	return tokens{rate: rate, burst: burst, level: burst * 1000, at: now}
}

func newRemote(y *Sync, id uint32) *remote {
	return &remote{
		id: id, next: y.random32(),
		vouched: bucket(y.now, 2_000, 200), former: bucket(y.now, 100, 20), blind: bucket(y.now, 20, 10), replies: bucket(y.now, 20, 10), doubted: bucket(y.now, 10, 5),
	}
}

func (y *Sync) remote(id uint32) *remote {
	for _, r := range y.remotes {
		if r.id == id {
			return r
		}
	}
	return nil
}

// setRemotes takes the addresses of a view. A node that left keeps its address until another one has it.
func (y *Sync) setRemotes(v *View) {
	for _, r := range y.remotes {
		r.member = false
	}
	y.has = [2]bool{true, true}
	for _, m := range v.Members {
		if m.Node.ID == y.cfg.Self.ID {
			y.has = [2]bool{m.Sync[0].IsValid(), m.Sync[1].IsValid()}
			continue
		}
		r := y.remote(m.Node.ID)
		if r == nil {
			y.forgetRemote()
			r = newRemote(y, m.Node.ID)
			y.remotes = append(y.remotes, r)
		}
		r.at, r.member = m.Sync, true
	}
	clear(y.sources)
	for _, member := range [...]bool{true, false} {
		for _, r := range y.remotes {
			for _, a := range r.at {
				if _, taken := y.sources[a]; a.IsValid() && r.member == member && !taken {
					y.sources[a] = r
				}
			}
		}
	}
}

// forgetRemote makes room for one more.
func (y *Sync) forgetRemote() {
	for i, r := range y.remotes {
		if len(y.remotes) >= maxRemotes && !r.member {
			y.remotes = append(y.remotes[:i], y.remotes[i+1:]...)
			return
		}
	}
}

// to is where datagrams for a node go; the zero value if it has no address that this node can reach.
func (y *Sync) to(r *remote) netip.AddrPort {
	for f := len(r.at) - 1; f >= 0; f-- {
		if a := r.at[f]; y.has[f] && y.sources[a] == r {
			return a
		}
	}
	return netip.AddrPort{}
}

// salt is a new salt for datagrams to a life of the node. None is used twice in this node's life.
func (r *remote) salt(y *Sync, n flow.Node) uint32 {
	for {
		s := y.ring.Salt(y.ends(n), r.next)
		if r.next++; s != 0 {
			return s
		}
	}
}

// vouchedSalt gives the link another salt if the present one has no proof under a key in force and the peer does not believe it: it
// was chosen before there was a key, or the keys have changed since.
func (p *peer) vouchedSalt() {
	y := p.y
	if _, keyed := y.ring.Active(); keyed && !p.proven && !y.ring.Vouches(y.ends(p.node), p.salt) {
		p.newSalt()
	}
}

// ends are this life and one of another node, in the direction to that one.
func (y *Sync) ends(n flow.Node) *syncseal.Ends {
	y.end = syncseal.Ends{SenderInc: y.cfg.Self.Inc, ReceiverInc: n.Inc, Sender: y.cfg.Self.ID, Receiver: n.ID}
	return &y.end
}

// open opens a datagram whose salt no link believes; nil if it can't be opened, or must not be tried. former says that it is of
// an earlier life than the one in the view. Nothing but a limit changes unless it was opened.
func (r *remote) open(y *Sync, former bool, h *syncwire.Header, b []byte) (*syncseal.Opener, []byte) {
	link := syncseal.Link{Inc: h.Inc, Sender: h.Sender, Receiver: y.cfg.Self.ID, Salt: h.Salt, Lane: h.Lane}
	o := underLink(r.known[:], link)
	known := o != nil
	if !known {
		o = underLink(r.tried[:], link)
	}
	if o == nil {
		if !y.ring.Has(h.KeyID) {
			y.Count[SyncVerdict+SyncCounter(syncseal.UnknownKey)]++
			return nil, nil
		}
		if !r.mayTry(y, former, h) {
			y.Count[SyncLimited]++
			return nil, nil
		}
		o = syncseal.NewOpener(&y.ring, link)
		r.tried[r.tries] = o
		r.tries = (r.tries + 1) % openersTried
	}
	tlvs, v := o.Open(h, b)
	y.Count[SyncVerdict+SyncCounter(v)]++
	if v != syncseal.Opened {
		return nil, nil
	}
	if !known {
		r.known[r.turn] = o
		r.turn = (r.turn + 1) % openersKept
	}
	return o, tlvs
}

// underLink is the opener of a link among some; nil if there is none.
func underLink(among []*syncseal.Opener, l syncseal.Link) *syncseal.Opener {
	for _, o := range among {
		if o != nil && o.Link() == l {
			return o
		}
	}
	return nil
}

// vouches says whether a salt of what a life of another node sends has a proof: it was chosen for this life of this node, by who
// held a cluster key.
func (y *Sync) vouches(n flow.Node, salt uint32) bool {
	y.end = syncseal.Ends{SenderInc: n.Inc, ReceiverInc: y.cfg.Self.Inc, Sender: n.ID, Receiver: y.cfg.Self.ID}
	return y.ring.Vouches(&y.end, salt)
}

func (r *remote) mayTry(y *Sync, former bool, h *syncwire.Header) bool {
	switch {
	case !y.vouches(flow.Node{Inc: h.Inc, ID: h.Sender}, h.Salt):
		return r.blind.take(y.now)
	case former:
		return r.former.take(y.now)
	}
	return r.vouched.take(y.now)
}

// sayFenced tells a life of the node that it is over. There is no link with it, so that goes under a salt of its own, which is not
// replaced for another life for a while. Replays of former lives have another one, so that they don't keep it from a zombie.
func (r *remote) sayFenced(y *Sync, n flow.Node, proven bool, w *syncwire.Fenced) {
	f := &r.fencers[b2i(!proven)]
	if f.inc == 0 || f.lane.sealer.Sent() >= y.saltEnd || f.inc != n.Inc && y.now-f.since >= fencerKeep {
		f.lane = newOutLane(&y.ring, syncseal.Link{Inc: y.cfg.Self.Inc, Sender: y.cfg.Self.ID, Receiver: n.ID, Salt: r.salt(y, n)}, false)
		f.inc, f.since = n.Inc, y.now
	}
	l := &f.lane
	l.begin(syncwire.LaneControl, syncwire.MinMTU, y.epoch, y.sent())
	l.builder.Fenced(w)
	if b := l.seal(); b != nil {
		y.Count[SyncSent]++
		y.Count[SyncBytes] += uint64(len(b))
		y.out.Send(n, y.to(r), b)
	}
}
