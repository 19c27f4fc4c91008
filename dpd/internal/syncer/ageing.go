package syncer

import "github.com/holdfast-lb/holdfast/dpd/internal/syncwire"

const staleAfter = 5_000 // milliseconds on the way

// ageing computes how long the datagrams of one link were on their way. Each carries the sender's
// clock at its making; base is the receiver's clock minus the sender's for a datagram that takes no
// time.
//
//	datagram:  difference = arrival - sent                        base <= difference
//	proof:     it was made after something that I sent at t       base >= difference - (arrival - t) = t - sent
//
// So each datagram may lower the base, and only a proof raises it: the echo of a PROBE or of a
// nonce of mine. Whoever merely delays datagrams raises nothing, for however long: a proof that
// comes 6 s late leaves 6 s of room.
//
//	the sender's clock stood still     differences grow: the next echo of a PROBE raises the base, within 0.2 s
//	the receiver's clock stood still   differences shrink: the first datagram lowers the base
//	the clocks drift apart             the one or the other
//
// What was made before a proof that raised the base is judged by the base from before: it may have
// been made before the stand-still, and be held back since, with the same clock in it as one made
// after.
type ageing struct {
	base   int64
	have   bool
	before int64  // base of datagrams made before from
	from   uint64 // the sender's clock; 0: there was no raise
	raised int64  // when that was
}

const (
	baseStep = 100     // milliseconds by which a proof raises the base for a stand-still; less is drift
	baseKept = 120_000 // for which the base from before counts: twice as long as any tombstone
)

// of is the age of a datagram in milliseconds, 0 for the fastest one; too high by an echo's way and
// 100 ms at most.
func (a *ageing) of(now int64, sent uint64) int64 {
	d := now - int64(sent)
	if !a.have || d < a.base {
		a.base, a.have = d, true
	}
	if sent < a.from {
		return d - min(a.base, a.before)
	}
	return d - a.base
}

// proved takes a datagram that was made after something that this node sent at a time. It reports a
// base that was wrong by more than drift explains.
func (a *ageing) proved(now int64, sent uint64, at int64) bool {
	least := at - int64(sent)
	switch {
	case !a.have:
		a.base, a.have = least, true
		return false
	case least < a.base+baseStep:
		a.base = max(a.base, least)
		return false
	case a.from == 0 || now-a.raised > baseKept:
		a.before = a.base
	default:
		a.before = min(a.before, a.base)
	}
	a.base, a.from, a.raised = least, sent, now
	return true
}

// local is a moment of the sender's clock in this node's milliseconds, and no later than it was.
// What the sender did before a stand-still is longer ago than its clock says.
func (a *ageing) local(moment int64) int64 {
	if a.from > 0 && moment < int64(a.from) {
		return moment + min(a.base, a.before)
	}
	return moment + a.base
}

// proves renews the link's clock base if a PROBE echoes one of mine on this very link.
func (p *peer) proves(w *syncwire.Probe, sent uint64) {
	r := &p.probe
	if w.Lane[syncwire.LaneLive].Salt != p.salt || !r.sent(w.EchoSeq) {
		return
	}
	if p.age.proved(p.y.now, sent, r.at[w.EchoSeq%64]) {
		p.y.Count[SyncRebased]++
	}
}
