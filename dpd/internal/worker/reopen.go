package worker

import (
	"github.com/holdfast-lb/holdfast/dpd/internal/conntrack"
	"github.com/holdfast-lb/holdfast/dpd/internal/flow"
	"github.com/holdfast-lb/holdfast/dpd/internal/packet"
	"github.com/holdfast-lb/holdfast/dpd/internal/sched"
	"github.com/holdfast-lb/holdfast/dpd/internal/stat"
)

// A client that keeps its source port would go to a dead server for as long as it sends. What loses nothing by it begins anew with
// another server: a datagram, and the SYN of a connection that is not established. Servers of weight 0 and draining ones keep theirs.

// begins says whether a client's packet may begin anew what has a session already. While every server that a session may have is up, no
// datagram is asked about: the record's server is a cache line more.
func (w *Worker) begins(info *packet.Info) bool {
	if info.Class != packet.ClassTCP {
		return w.missing.any
	}
	return info.Flags&(conntrack.SYN|conntrack.ACK|conntrack.RST) == conntrack.SYN
}

// reopen gives packet i a new session if the server of its record h is down or not configured and another one takes it. It reports
// whether the packet is dealt with; else the old one serves it.
func (w *Worker) reopen(i int, h flow.Handle) bool {
	if !w.dead(h) {
		return false
	}
	k := &w.key[i]
	tcp := k.Proto() == flow.ProtoTCP
	if tcp && w.table.Flags(h)&flow.Embryonic == 0 || !w.view.Allocate || w.frozen() {
		return false
	}
	svc := w.view.Schedule.Lookup(k)
	if svc == nil {
		return false
	}
	srv, ok := w.sched.Pick(svc)
	if !ok {
		return false
	}
	// What nobody else knows goes at once. A server that is not dead after all can't answer the same SYN then.
	forgotten := w.shard.Abandon(w.wall, h)
	why, ok := w.openAt(i, svc, srv)
	if ok {
		w.count[stat.Reopened]++
		return true
	}
	if forgotten {
		w.refuse(i, why)
	}
	return forgotten
}

// dead says whether the server of record h is down or not configured.
func (w *Worker) dead(h flow.Handle) bool {
	srv := w.view.Schedule.Server(w.table.Server(h))
	return srv == nil || srv.State == sched.Down
}

// goneServers says whether sessions here may have a server that is down or not configured.
type goneServers struct {
	any   bool
	down  bool   // one of the configuration is down
	until uint32 // tick at which sessions of removed ones are over, unless packets of those servers keep them
	held  bool   // until counts
}

// goneFor is for how many milliseconds, at least, sessions of a removed server are looked for.
const goneFor = 3_600_000

// compare notes what a new snapshot takes away.
func (g *goneServers) compare(now uint32, old, s *sched.Snapshot) {
	g.down = false
	for _, svc := range s.Services() {
		for j := range svc.Servers {
			g.down = g.down || svc.Servers[j].State == sched.Down
		}
	}
	longest := uint32(0)
	for _, svc := range old.Services() {
		for j := range svc.Servers {
			if s.Server(svc.Servers[j].ID) == nil {
				for _, seconds := range svc.Timeouts {
					longest = max(longest, seconds)
				}
				g.note(now, longest)
			}
		}
	}
	g.tick(now)
}

// note says that there are sessions of a server that is not configured, which end after so many seconds.
func (g *goneServers) note(now, seconds uint32) {
	until := now + max(goneFor, min(seconds, 1<<20)*1100)
	if !g.held || int32(until-g.until) > 0 {
		g.until = until
	}
	g.held, g.any = true, true
}

// tick forgets removed servers when their time is over. Once a millisecond.
func (g *goneServers) tick(now uint32) {
	if g.held && int32(g.until-now) <= 0 {
		g.held = false
	}
	g.any = g.down || g.held
}
