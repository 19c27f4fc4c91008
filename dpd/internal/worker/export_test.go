package worker

import (
	"github.com/holdfast-lb/holdfast/dpd/internal/conntrack"
	"github.com/holdfast-lb/holdfast/dpd/internal/ring"
	"github.com/holdfast-lb/holdfast/dpd/internal/syncer"
)

// LongWay makes every packet go the long way.
func (w *Worker) LongWay() {
	clear(w.door[:])
	clear(w.gates[:])
}

// Breaks are what Break can take away.
const Breaks = 5

// Break takes something from a worker without which some packets, messages or chores panic; mend gives it back.
func (w *Worker) Break(what int) (mend func()) {
	was := struct {
		cfg   Config
		view  View
		shard *syncer.Shard
		table *conntrack.Table
	}{w.cfg, w.view, w.shard, w.table}
	switch what {
	case 0: // who has no session yet
		w.view.Schedule = nil
		return func() { w.view.Schedule = was.view.Schedule }
	case 1: // who belongs to another worker
		w.cfg.Links.HandTo = make([]*ring.SPSC[Handed], len(was.cfg.Links.HandTo))
		return func() { w.cfg.Links.HandTo = was.cfg.Links.HandTo }
	case 2: // what sessions and peers have to say
		w.shard = nil
		return func() { w.shard = was.shard }
	case 3: // all
		w.table = nil
		return func() { w.table = was.table }
	default: // what the host part gets
		w.cfg.Host, w.cfg.Links.Host = nil, nil
		return func() { w.cfg.Host, w.cfg.Links.Host = was.cfg.Host, was.cfg.Links.Host }
	}
}
