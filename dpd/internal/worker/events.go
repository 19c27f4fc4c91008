package worker

import (
	"github.com/holdfast-lb/holdfast/dpd/internal/flow"
	"github.com/holdfast-lb/holdfast/dpd/internal/stat"
	"github.com/holdfast-lb/holdfast/dpd/internal/syncer"
)

// emit puts an event into the ring towards the bus; without room it is counted and the publisher tells of the loss.
func (w *Worker) emit(e flow.Event) {
	if w.cfg.Links.Events == nil {
		return
	}
	e.Wall, e.Worker = uint64(w.wall+w.ahead), uint8(w.cfg.Index)
	if !w.cfg.Links.Events.Put(&e) {
		w.count[stat.EventLost]++
	}
}

// eventOf tells of a record as it is now.
func (w *Worker) eventOf(k flow.EventKind, h flow.Handle, reason string) {
	if w.cfg.Links.Events == nil {
		return
	}
	w.evt = flow.Event{Kind: k, Reason: reason}
	w.table.Load(h, &w.evt.Session)
	w.emit(w.evt)
}

// eventOfAction tells of the record that the shard's action names.
func (w *Worker) eventOfAction(k flow.EventKind, a *syncer.Action, reason string) {
	if w.cfg.Links.Events == nil {
		return
	}
	w.evt = flow.Event{Kind: k, Reason: reason, Session: syncer.SessionOf(&a.Msg.Rec)}
	w.emit(w.evt)
}

// counted puts a session of this node, or one from a peer that a packet used here, on its server's count; Uncounted takes
// it off.
func (w *Worker) counted(h flow.Handle) {
	if srv := w.view.Schedule.Server(w.table.Server(h)); srv != nil && w.table.SetCounted(h) {
		w.sched.Opened(srv)
	}
}

// Uncounted takes a session off its server's count. It is the OnUncount of this worker's table.
func (w *Worker) Uncounted(server uint32) { w.sched.Closed(server) }

// Connections is how many sessions count on a server here; 0 for servers that are not configured. For requests.
func (w *Worker) Connections(server uint32) uint32 {
	if srv := w.view.Schedule.Server(server); srv != nil {
		return w.sched.Connections(srv)
	}
	return 0
}
