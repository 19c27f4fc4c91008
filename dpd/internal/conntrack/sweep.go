package conntrack

import (
	"github.com/holdfast-lb/holdfast/dpd/internal/expiry"
	"github.com/holdfast-lb/holdfast/dpd/internal/flow"
)

// Sweep looks at up to maxEntries deadlines, where the last call left off, and writes up to maxDue handles of records whose
// time is over to due; it returns how many. Records that saw packets since are armed anew and cost one look. What is
// reported stays in the table: the caller removes it, makes it a tombstone, or says by Rearm when to ask again;
// else it is reported again in the next round.
func (t *Table) Sweep(now expiry.Tick, maxEntries, maxDue int, due []flow.Handle) int {
	t.now = now
	n := 0
	maxDue = min(maxDue, len(due))
	for n < maxDue {
		i := t.sweep.Next(t.deadline, now, &maxEntries)
		if i < 0 {
			break
		}
		h := flow.Handle(i)
		r := t.at(h)
		if now.Since(r.seen) > expiry.Horizon {
			r.seen = now.Sub(expiry.Horizon) // before the tick wraps past it
		}
		end := expiry.Tick(t.deadline[h])
		if r.flags&flow.Tomb == 0 {
			if at := t.due(h); now.Before(at) {
				t.deadline[h] = expiry.Stored(at)
				continue
			}
		}
		t.sweep.Late(now, end)
		t.deadline[h] = expiry.Stored(now) // not so far behind that it wraps, if the caller lets it be
		t.stats.Expired++
		due[n] = h
		n++
	}
	return n
}

// Rearm keeps h from being reported before at. A packet doesn't bring it nearer; a change of state does.
func (t *Table) Rearm(h flow.Handle, at expiry.Tick) {
	if t.Live(h) {
		t.deadline[h] = expiry.Stored(at)
	}
}

// Scan calls visit for the records among the next n handles from cursor on and returns the cursor to go on with; 0 starts,
// and 0 comes back at the end. A record that is there during the whole of a scan is visited once; visit may
// insert, update and remove.
func (t *Table) Scan(cursor uint32, n int, visit func(flow.Handle)) uint32 {
	cursor = max(cursor, 1)
	for ; n > 0; n-- {
		if cursor >= t.part[0].fresh && cursor < t.first6 {
			cursor = t.first6
		}
		if cursor >= t.part[1].fresh {
			return 0
		}
		h := flow.Handle(cursor)
		cursor++
		if t.deadline[h] != 0 {
			visit(h)
		}
	}
	if cursor >= t.part[0].fresh && cursor < t.first6 {
		cursor = t.first6
	}
	if cursor >= t.part[1].fresh {
		return 0
	}
	return cursor
}
