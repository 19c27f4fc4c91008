package worker

import (
	"sync/atomic"

	"github.com/holdfast-lb/holdfast/dpd/internal/expiry"
	"github.com/holdfast-lb/holdfast/dpd/internal/flow"
	"github.com/holdfast-lb/holdfast/dpd/internal/stat"
	"github.com/holdfast-lb/holdfast/dpd/internal/syncer"
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

// inbox gives the shard what the sync thread received for it.
func (w *Worker) inbox() (busy bool) {
	in := &w.inbound
	for n := 0; n < inboxPerTurn && w.cfg.Links.Inbox.Take(in); n++ {
		w.shard.Deliver(w.wall, in)
		busy = true
		if len(w.shard.Actions()) >= inboxPerTurn {
			w.actions()
		}
	}
	return busy
}

// chores is the bounded share of everything that is not a packet.
func (w *Worker) chores() (busy bool) {
	n := w.table.Sweep(expiry.Tick(w.now), sweepPerTurn, expirePerTurn, w.due[:])
	for _, h := range w.due[:n] {
		if keep := w.shard.Expired(w.wall, h); keep > 0 {
			w.table.Rearm(h, expiry.Tick(w.now+uint32(keep)))
		}
	}
	if w.now != w.lastTick {
		w.lastTick = w.now
		w.shard.Tick(w.wall, shardBudget)
		w.host()
		if w.wait.n > 0 {
			w.back.N = 0
			w.wait.expire(w.now, &w.back)
			w.resume(false)
		}
	}
	busy = w.actions() || n > 0
	if w.now-w.publish >= publishEvery {
		w.publish = w.now
		w.count[stat.MailboxRejected] = w.rejected.Load()
		w.shared.Publish(w.count[:])
		w.parsed.Publish(w.parse[:])
		w.beat.gap.Store(w.gap)
		w.gap = 0
	}
	w.beat.tick.Store(w.now)
	return busy
}

// actions carries out what the shard asks for: sends go to the sync thread, installs wake waiting packets, the rest
// are events.
func (w *Worker) actions() bool {
	list := w.shard.Actions()
	if len(list) == 0 {
		return false
	}
	lost := false
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
			w.eventOfAction(flow.EventExpired, a, "handshake_not_done")
		case syncer.ActRefuted:
		default:
			if !w.cfg.Links.Outbox.Put(a) {
				w.count[stat.SyncOutFull]++
				lost = true
			}
		}
	}
	w.shard.Done()
	if lost {
		w.shard.Dropped(w.wall)
	}
	w.resume(true) // after Done: what goes on may make the shard act again
	return true
}

// Beat is the tick of the last turn and the greatest gap between two turns of late, both in milliseconds. Any thread.
func (w *Worker) Beat() (tick, gap uint32) { return w.beat.tick.Load(), w.beat.gap.Load() }
