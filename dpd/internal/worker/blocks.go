package worker

import (
	"context"
	"net/netip"

	"github.com/holdfast-lb/holdfast/dpd/internal/conntrack"
	"github.com/holdfast-lb/holdfast/dpd/internal/flow"
	"github.com/holdfast-lb/holdfast/dpd/internal/localport"
	"github.com/holdfast-lb/holdfast/dpd/internal/sched"
	"github.com/holdfast-lb/holdfast/dpd/internal/syncer"
)

// SetBlocks replaces the local addresses that this worker takes ports from. Sessions that hold ports of an address which
// is new here are found first, so that no port is given twice. Any thread but the worker's; until it returns, the
// caller lets this worker open nothing on new addresses.
func (w *Worker) SetBlocks(ctx context.Context, addrs []netip.Addr) error {
	if err := w.Do(ctx, func(w *Worker) {
		w.view.Allocate = false
		w.ports.SetBlocks(addrs)
	}); err != nil {
		return err
	}
	var cursor uint32
	for {
		if err := w.Do(ctx, func(w *Worker) {
			var s flow.Session
			cursor = w.table.Scan(cursor, scanPerRequest, func(h flow.Handle) {
				if w.table.Load(h, &s); w.ports.Holds(&s.Reply) {
					w.ports.Mark(s.Reply)
				}
			})
		}); err != nil {
			return err
		}
		if cursor == 0 {
			return nil
		}
	}
}

// SetView replaces what the worker knows of the configuration.
func (w *Worker) SetView(ctx context.Context, v View) error {
	return w.Do(ctx, func(w *Worker) { w.UseView(v) })
}

// UseView is SetView for requests.
func (w *Worker) UseView(v View) {
	if v.Schedule != w.view.Schedule {
		w.useSchedule(v.Schedule)
	}
	w.view = v
}

// SetRx replaces the receive queues of device dev. For requests, after the former user of a queue gave it up.
func (w *Worker) SetRx(dev int, queues []int) { w.cfg.Queues[dev].Rx = queues }

// Shard is the worker's part of the sync protocol, for requests.
func (w *Worker) Shard() *syncer.Shard { return w.shard }

// Now is the time of the turn in unix milliseconds, for requests.
func (w *Worker) Now() int64 { return w.wall }

// Tick is the tick of the turn, for requests.
func (w *Worker) Tick() uint32 { return w.now }

// Ports is the worker's pool of local ports, for requests.
func (w *Worker) Ports() *localport.Pool { return w.ports }

// Table is the worker's session table, for requests.
func (w *Worker) Table() *conntrack.Table { return w.table }

// useSchedule takes up a snapshot. Timeouts that a service overrides are told to the table, which keeps those of services
// that are gone for the sessions that outlive them.
func (w *Worker) useSchedule(s *sched.Snapshot) {
	w.missing.compare(w.now, w.view.Schedule, s)
	w.sched.Use(s)
	for _, svc := range s.Services() {
		t := conntrack.Timeouts(svc.Timeouts)
		if t == (conntrack.Timeouts{}) {
			w.table.SetServiceTimeouts(svc.ID, nil)
			continue
		}
		w.table.SetServiceTimeouts(svc.ID, &t)
	}
}

// SetClock replaces the clock of a worker that does not run yet.
func (w *Worker) SetClock(clock func() (tick uint32, wall int64)) {
	w.cfg.Clock = clock
	w.now, w.wall = clock()
	w.lastTick = w.now
}
