package syncer

import (
	"github.com/holdfast-lb/holdfast/dpd/internal/flow"
	"github.com/holdfast-lb/holdfast/dpd/internal/syncwire"
)

// StartBulk begins to send a member the stock: what this node owns and every orphan, tombstones too.
func (s *Shard) StartBulk(now int64, n flow.Node) {
	s.time(now)
	m := s.member(n)
	if m == nil {
		s.Count[NotMember]++
		return
	}
	m.bulk.start()
	m.bulking, m.sent, m.sum, m.tombs = true, 0, 0, 0
	a := s.emit(ActBulkBegin)
	a.To, a.Records = n.ID, s.sums.own.n
}

func (s *Shard) bulk(m *member, n int) {
	if !m.bulking {
		return
	}
	m.bulk.step(s.store, n, func(h flow.Handle) {
		x := &s.cur
		s.store.Load(h, x)
		if x.Birth == 0 || !announced(x) || x.Owner != s.self && (!s.orphan(x) || s.off(BulkOwnOnly)) {
			return
		}
		s.Count[BulkSent]++
		a := s.send(m.node.ID, syncwire.LaneBulk, kindOf(x), h, x)
		if live(x) {
			m.sent++
			m.sum += bulkSum(&a.Msg.Rec)
		} else {
			m.tombs++
		}
	})
	if !m.bulk.running {
		m.bulking = false
		s.mend(m)
		a := s.emit(ActBulkEnd)
		a.To, a.Records, a.Tombstones, a.Sum = m.node.ID, m.sent, m.tombs, m.sum
	}
}

// Tick does what time asks for. budget bounds how many slots of the store are visited for adoption, lists and bulk, so
// that the packets of the worker don't wait; 0 does none of these, which is how a full ring pushes back.
func (s *Shard) Tick(now int64, budget int) {
	s.time(now)
	s.repeatHints()
	s.askAgain()
	s.collect()
	s.digestRounds()
	if budget > 0 {
		s.jobs(budget)
	}
}

// jobs goes on with adoption, bulks and lists, which share a budget of slots.
func (s *Shard) jobs(budget int) {
	jobs := 1
	for _, m := range s.members {
		if m.bulking {
			jobs++
		}
		if m.repair.list.running || m.repair.wants {
			jobs++
		}
	}
	n := max(budget/jobs, 1)
	s.sweepOrphans(n)
	for _, m := range s.members {
		s.bulk(m, n)
		s.list(m, n)
	}
}

// Busy says whether ticks with a budget have work to do now.
func (s *Shard) Busy() bool {
	if s.sweep.running || s.retry != 0 && s.now >= s.retry {
		return true
	}
	for _, m := range s.members {
		if m.bulking || m.repair.list.running || m.repair.wants {
			return true
		}
	}
	return false
}

// Repairing says whether something is in doubt between this node and a member, or differs.
func (s *Shard) Repairing(n flow.Node) bool {
	m := s.member(n)
	return m != nil && m.repair.open()
}
