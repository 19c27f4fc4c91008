package node

import (
	"github.com/holdfast-lb/holdfast/dpd/internal/flow"
	"github.com/holdfast-lb/holdfast/dpd/internal/sched"
)

// bind says of a copy of a record whether its service and server are configured here. Records name both by ids that are
// never used again and look them up when it matters, so a service that comes binds its sessions without a pass over them.
func bind(in *sched.Snapshot, s *flow.Session) {
	s.Flags &^= flow.Unbound
	if s.Flags&flow.HardTomb == 0 && (in.Service(s.Service) == nil || in.Server(s.Server) == nil) {
		s.Flags |= flow.Unbound
	}
}

// bound is want of records that bind has seen.
func (n *Node) bound(want func(*flow.Session) bool) func(*flow.Session) bool {
	in := n.scheduleNow()
	return func(s *flow.Session) bool {
		bind(in, s)
		return want(s)
	}
}

func (n *Node) scheduleNow() *sched.Snapshot {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.schedule
}
