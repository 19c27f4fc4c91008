package worker

import (
	"slices"
	"sync/atomic"

	"github.com/holdfast-lb/holdfast/dpd/internal/expiry"
	"github.com/holdfast-lb/holdfast/dpd/internal/flow"
	"github.com/holdfast-lb/holdfast/dpd/internal/stat"
	"github.com/holdfast-lb/holdfast/dpd/internal/syncer"
	"github.com/holdfast-lb/holdfast/dpd/internal/syncwire"
)

// heartbeat is what other threads see of a worker's life.
type heartbeat struct {
	tick atomic.Uint32 // of the last turn
	gap  atomic.Uint32 // greatest distance of two turns within the last publication, milliseconds
}

// handed takes packets that other workers received for this one.
func (w *Worker) handed() (busy bool) {
	var h Handed
	for _, r := range w.cfg.Links.HandFrom {
		if r == nil || r.Len() == 0 {
			continue
		}
		w.rx.N = 0
		for w.rx.N < handedPerTurn && r.Take(&h) {
			w.from[w.rx.N] = h.Port
			w.rx.Push(h.Pkt)
		}
		if w.rx.N > 0 {
			busy = true
			w.burst(&w.rx, false)
		}
	}
	return busy
}

// inbox gives the shard what the sync thread received for it, and returns how much.
func (w *Worker) inbox() (n int) {
	in := &w.inbound
	for ; n < inboxPerTurn && w.cfg.Links.Inbox.Take(in); n++ {
		if ahead := w.cfg.Links.Inbox.Ahead(syncer.Foresight); ahead != nil && ahead.Kind == syncer.DeliverMessage {
			w.shard.Foresee(&ahead.Msg)
		}
		w.shard.Deliver(w.wall, in)
		if len(w.shard.Actions()) >= inboxPerTurn {
			w.actions()
		}
	}
	return n
}

// age ends sessions that were idle for too long, and reports whether there were any.
func (w *Worker) age() bool {
	if w.now != w.lastTick {
		w.sweep = min(w.sweep+w.share*int(w.now-w.lastTick), w.share*sweepBehind)
	}
	return w.sweep > 0 && w.expire() > 0
}

// tick does what wants to be done once a millisecond.
func (w *Worker) tick() {
	if w.now == w.lastTick {
		return
	}
	w.lastTick = w.now
	w.shard.Tick(w.wall, w.budget())
	w.host()
	w.resetDue()
	w.missing.tick(w.now)
	if w.wait.n > 0 {
		w.back.N = 0
		w.wait.expire(w.now, &w.back, &w.backFrom)
		w.resume(false)
	}
}

// tell publishes what other threads see of this one.
func (w *Worker) tell() {
	if w.now-w.publish >= publishEvery {
		w.publish = w.now
		w.count[stat.MailboxRejected] = w.rejected.Load()
		w.shared.Publish(w.count[:])
		w.parsed.Publish(w.parse[:])
		w.beat.gap.Store(w.gap)
		w.gap = 0
	}
	w.beat.tick.Store(w.now)
}

// spare gives the shard a turn that found no packet and few messages. So its pace follows what the worker has to spare,
// without a look at the clock: whoever is idle has many such turns in a millisecond, one after the other; what came
// meanwhile waits for one of them, some tens of microseconds, and keeps the worker from the next until it is done with. A
// turn that worked is not an empty one, so an adaptive worker does not sleep over it.
func (w *Worker) spare() bool {
	sends := min(w.room(), spareSends)
	return sends > 0 && w.shard.Busy() && w.shard.Work(w.wall, spareSlots, sends)
}

// room is how many messages of its own accord the shard may make: none while the sync thread is behind, or a bulk would
// push out what sessions have to say.
func (w *Worker) room() int {
	out := w.cfg.Links.Outbox
	return out.Cap()/2 - out.Len() - len(w.shard.Actions())
}

// budget is what the shard may go through in each millisecond, however loaded the worker is.
func (w *Worker) budget() int {
	if w.room() <= 0 {
		return 0
	}
	return shardBudget
}

// outbox passes an action to the sync thread. Without room it is counted, and made up for by what its kind allows: the ends of a
// bulk wait, since no digest stands in for them; what tombstones wait for is said anew four times a second; of the rest the
// shard hears that it was lost.
func (w *Worker) outbox(a *syncer.Action) {
	ends := a.Kind == syncer.ActBulkBegin || a.Kind == syncer.ActBulkEnd
	if (!ends || len(w.owed) == 0) && w.cfg.Links.Outbox.Put(a) {
		return
	}
	switch {
	case ends:
		if a.Kind == syncer.ActBulkBegin { // a bulk to the same member that ends no more
			w.owed = slices.DeleteFunc(w.owed, func(o syncer.Action) bool { return o.To == a.To })
		}
		w.owed = append(w.owed, *a) // at most two of each member
	case a.Kind == syncer.ActTombs:
		w.count[stat.SyncOutFull]++
	default:
		w.count[stat.SyncOutFull]++
		w.shard.Dropped(w.wall, a.To)
	}
}

// payOwed passes on what waited for room.
func (w *Worker) payOwed() {
	n := 0
	for n < len(w.owed) && w.cfg.Links.Outbox.Put(&w.owed[n]) {
		n++
	}
	w.owed = append(w.owed[:0], w.owed[n:]...)
}

// sweepShare is how many deadlines of a table are looked at in a millisecond: each of them once a second. More would only take
// time from packets: no timeout is shorter than two seconds.
func sweepShare(capacity int) int { return max(capacity/1000+1, sweepLeast) }

// expire looks at some deadlines and ends sessions. What is left of the share waits for the next turn, so that no turn takes long;
// a busy worker has hundreds of turns in a millisecond.
func (w *Worker) expire() int {
	look := min(w.sweep, sweepPerTurn)
	n := w.table.Sweep(expiry.Tick(w.now), look, expirePerTurn, w.due[:])
	if n < expirePerTurn { // else the turn's sessions were the bound, and the deadlines still have to be looked at
		w.sweep -= look
	}
	for _, h := range w.due[:n] {
		reset := w.wantsReset(h)
		if keep := w.shard.Expired(w.wall, h); keep > 0 {
			w.table.Rearm(h, expiry.Tick(w.now+uint32(keep)))
		} else if reset {
			w.resetLater(h)
		}
	}
	return n
}

// actions carries out what the shard asks for: sends go to the sync thread, installs wake waiting packets, the rest
// are events.
func (w *Worker) actions() bool {
	if len(w.owed) > 0 {
		w.payOwed()
	}
	list := w.shard.Actions()
	if len(list) == 0 {
		return false
	}
	w.acting = true
	for i := range list {
		a := &list[i]
		switch a.Kind {
		case syncer.ActInstalled:
			w.awake(flow.Key(a.Msg.Rec.Orig))
			w.awake(flow.Key(a.Msg.Rec.Reply))
		case syncer.ActMissed:
			w.awake(flow.Key(a.Msg.Rec.Orig))
		case syncer.ActTakenOver, syncer.ActAdopted, syncer.ActReborn:
			w.count[stat.Takeovers]++
			w.eventOfAction(flow.EventTakenOver, a, "")
		case syncer.ActAged:
			w.eventOfAction(flow.EventExpired, a, "")
		case syncer.ActClosed:
			w.eventOfAction(flow.EventClosed, a, "closed")
		case syncer.ActRemoved:
			w.eventOfAction(flow.EventExpired, a, notAgreed(&a.Msg.Rec))
		case syncer.ActRefuted:
		default:
			w.outbox(a)
		}
	}
	w.shard.Done()
	w.acting = false
	w.resume(true) // after Done: what goes on may make the shard act again
	return true
}

// notAgreed is why a session ended that its server never agreed to.
func notAgreed(r *syncwire.Record) string {
	if k := flow.Key(r.Orig); k.Proto() != flow.ProtoTCP {
		return "not_answered"
	}
	return "handshake_not_done"
}

// Beat is the tick of the last turn and the greatest gap between two turns of late, both in milliseconds. Any thread.
func (w *Worker) Beat() (tick, gap uint32) { return w.beat.tick.Load(), w.beat.gap.Load() }
