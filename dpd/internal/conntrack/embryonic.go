package conntrack

import (
	"github.com/holdfast-lb/holdfast/dpd/internal/expiry"
	"github.com/holdfast-lb/holdfast/dpd/internal/flow"
)

// An embryonic session is one that its server has not agreed to: TCP before the end of the handshake, or UDP without an
// answer. Everybody can make them, with sources that don't exist, so they may have a part of the table alone, and the oldest
// ones make room for others:
//
//	the table is full            the oldest one of either protocol goes
//	too many of its protocol     the oldest one of its protocol goes
//	no port for the server       the worker offers sessions that hold one, see GiveUp
//
// A flood of them so shortens how long a handshake may take, evenly for all: to the size of the list divided by the rate of
// the flood. The newest must not go first: each handshake would have to end before the next SYN of the flood. None goes
// before embryonicLeast, or a flood that fills the list faster than that would let nobody in; what comes then is refused,
// and its sender repeats it.
const (
	// embryonicLeast is how many milliseconds an embryonic session lives at least.
	embryonicLeast = 100
	// evictLooks bounds the sessions looked at to make room for one.
	evictLooks = 64
	// What share of a part embryonic TCP sessions, and UDP sessions without an answer, may have.
	embryonicTCP = 4 // one of 4
	embryonicUDP = 8
	// embryonicAny is what they may have of a small table.
	embryonicAny = 4096
)

// Indexes of part.embryonic.
const (
	listTCP = iota
	listUDP
	protocols
)

func protocolOf(proto uint8) int {
	if proto == flow.ProtoTCP {
		return listTCP
	}
	return listUDP
}

// embryonicMost is how many embryonic sessions of a protocol a part may have.
func embryonicMost(protocol, capacity int) int {
	share := capacity / embryonicTCP
	if protocol == listUDP {
		share = capacity / embryonicUDP
	}
	return max(share, min(capacity, embryonicAny))
}

// embryo is an embryonic session, or was one: sessions leave the list when it comes to them. 12 bytes.
type embryo struct {
	h     flow.Handle
	birth uint32 // the low half: tells a session from the one that had its handle before
	at    expiry.Tick
}

// embryos are the embryonic sessions of one protocol in a part, the oldest first.
//
// Invariant: each embryonic session is listed, once, unless the list was full when a record became embryonic again.
type embryos struct {
	ring []embryo // room for twice as many as there may be, so that it rarely is full of what is over
	head int
	n    int
	live int // sessions that are embryonic now
	most int
}

func (l *embryos) push(e embryo) {
	at := l.head + l.n
	if at >= len(l.ring) {
		at -= len(l.ring)
	}
	l.ring[at] = e
	l.n++
}

func (l *embryos) pop() embryo {
	e := l.ring[l.head]
	if l.head++; l.head == len(l.ring) {
		l.head = 0
	}
	l.n--
	return e
}

// isEmbryonic says whether what e lists is still so.
func (t *Table) isEmbryonic(e embryo) bool {
	return t.Live(e.h) && t.at(e.h).flags&flow.Embryonic != 0 && uint32(t.cold[e.h].birth) == e.birth
}

// listEmbryonic puts h, which became embryonic just now, at the end of its list.
func (t *Table) listEmbryonic(h flow.Handle) {
	l := &t.partOf(h).embryonic[protocolOf(t.at(h).proto)]
	t.tidy(l, 2) // one more than is added: what is over leaves sooner than the list grows
	if l.n == len(l.ring) {
		// Half of it is over, but not at the front. Those in front take their turn again.
		for range evictLooks {
			e := l.pop()
			if !t.isEmbryonic(e) {
				break
			}
			l.push(e)
		}
		if l.n == len(l.ring) {
			l.pop() // it ends by its own timeout
		}
	}
	l.push(embryo{h: h, birth: uint32(t.cold[h].birth), at: t.now})
}

// tidy takes up to n sessions from the front that are embryonic no more.
func (t *Table) tidy(l *embryos, n int) {
	for ; n > 0 && l.n > 0 && !t.isEmbryonic(l.ring[l.head]); n-- {
		l.pop()
	}
}

// oldest finds what is to go first of a list; at most looks sessions are looked at. A UDP session that was used since it was
// listed is listed anew: one whose server never answers is used all the same.
func (t *Table) oldest(l *embryos, looks int) (embryo, bool) {
	for ; looks > 0 && l.n > 0; looks-- {
		e := l.ring[l.head]
		if !t.isEmbryonic(e) {
			l.pop()
			continue
		}
		r := t.at(e.h)
		if r.proto == flow.ProtoTCP || r.seen.Since(e.at) < embryonicLeast {
			return e, true
		}
		l.pop()
		e.at = r.seen
		l.push(e)
	}
	return embryo{}, false
}

// embryonicRoom says whether one more embryonic session may come, and makes the oldest of the same protocol go for it.
func (t *Table) embryonicRoom(six bool, proto uint8) bool {
	p := &t.part[0]
	if six {
		p = &t.part[1]
	}
	l := &p.embryonic[protocolOf(proto)]
	if l.live < l.most {
		return true
	}
	e, ok := t.oldest(l, evictLooks)
	return ok && t.evictOld(e)
}

// evict removes the oldest embryonic session of part p.
func (t *Table) evict(p *part) bool {
	e, ok := t.oldest(&p.embryonic[listTCP], evictLooks)
	if u, found := t.oldest(&p.embryonic[listUDP], evictLooks); found && (!ok || u.at.Before(e.at)) {
		e, ok = u, true
	}
	return ok && t.evictOld(e)
}

func (t *Table) evictOld(e embryo) bool {
	if t.now.Since(e.at) < embryonicLeast {
		return false
	}
	t.evictOne(e.h)
	return true
}

// GiveUp evicts the session with this reply tuple, if it is embryonic and no packet came for embryonicLeast, so that another
// one may have its port. It says whether it did.
func (t *Table) GiveUp(reply *flow.Key) bool {
	h, d, ok := t.Find(reply)
	if !ok || d != flow.Out {
		return false
	}
	if r := t.at(h); r.flags&flow.Embryonic == 0 || t.now.Since(r.seen) < embryonicLeast {
		return false
	}
	t.evictOne(h)
	return true
}
