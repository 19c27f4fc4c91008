package membership

import (
	"fmt"
	"strings"
)

// maxMet bounds the conditions that one report counts.
const maxMet = 16

// maxMissing is the length of what is said of a joiner's unmet conditions, in bytes.
const maxMissing = 400

// progress is how far a joiner has come. Each number counts only where it rises above all that it was before in this
// life, and each is bounded, so a joiner that is slow, or that goes forth and back, has a last step too.
type progress struct {
	met     int // ready conditions of its own
	greeted int // members with HELLO_ACK both ways
	begun   int // members with BULK_BEGIN
	ended   int // members with BULK_END
	blocks  int // families in which it holds a block
	percent int // of the stock that was announced, at most 100
	ready   int // 1 once it may allocate
}

// rise lifts p to the greater of each number and says whether one rose.
func (p *progress) rise(q progress) bool {
	before := *p
	p.met, p.greeted, p.begun = max(p.met, q.met), max(p.greeted, q.greeted), max(p.begun, q.begun)
	p.ended, p.blocks = max(p.ended, q.ended), max(p.blocks, q.blocks)
	p.percent, p.ready = max(p.percent, q.percent), max(p.ready, q.ready)
	return *p != before
}

// progressOf reads a joiner's report.
func (m *Machine) progressOf(n *Node, o *observation) (p progress) {
	p.met = min(o.report.Met, maxMet)
	var expected, received uint64
	for x := range m.others(n) {
		if greeted(o.report.Peers, x) {
			p.greeted++
		}
		b := bulkOf(o.report.Bulk, x)
		if !b.Begun {
			continue
		}
		p.begun++
		if b.Ended {
			p.ended++
		}
		expected += min(b.Expected, maxStock)
		received += min(b.Received, b.Expected, maxStock)
	}
	if expected > 0 {
		p.percent = int(received * 100 / expected)
	}
	for _, is6 := range families(n) {
		if m.st.Holds(n.ID, n.Inc, is6) != nil {
			p.blocks++
		}
	}
	if n.Phase == Ready {
		p.ready = 1
	}
	return p
}

// putAside takes joiners out of the view that made no progress for JoinBound. Their peers wait for them until then, and
// no longer. While nobody serves, nobody is kept waiting, and the joiners stay: they are all that there is.
func (m *Machine) putAside(now int64) {
	for i := range m.st.Nodes {
		n := &m.st.Nodes[i]
		if n.Phase != Joining && n.Phase != Ready {
			continue
		}
		o := m.observe(now, n.ID)
		if o.aging || m.speaks(now, n) && o.best.rise(m.progressOf(n, o)) {
			o.stepped = now
		}
		if m.cfg.JoinBound <= 0 || now-o.stepped < m.cfg.JoinBound || !m.othersServe(n) {
			continue
		}
		why := fmt.Sprintf("no progress for %d s: %s", (now-o.stepped)/1000, m.missing(now, n, o))
		m.remove(now, n, CauseAside, false)
		n.Reason = why
	}
}

// Waiting says in words what a joiner lacks, and for how many milliseconds it has made no progress; false when the node
// is no joiner.
func (m *Machine) Waiting(now int64, id uint32) (missing string, idle int64, ok bool) {
	n := m.st.Node(id)
	o := m.obs[id]
	if n == nil || o == nil || n.Phase != Joining && n.Phase != Ready {
		return "", 0, false
	}
	return m.missing(now, n, o), now - o.stepped, true
}

// missing says in words why a joiner is not admitted.
func (m *Machine) missing(now int64, n *Node, o *observation) string {
	switch {
	case o.control != controlUp:
		return "its control connection does not stand"
	case !m.speaks(now, n):
		return "it reports nothing"
	}
	var why []string
	if o.report.View < m.setView {
		why = append(why, fmt.Sprintf("it runs view %d, not %d", o.report.View, m.setView))
	}
	for x := range m.others(n) {
		switch {
		case m.dead(o, x):
		case !greeted(o.report.Peers, x):
			why = append(why, "no HELLO_ACK with "+x.Name)
		case !bulkOf(o.report.Bulk, x).Begun:
			why = append(why, "no BULK_BEGIN of "+x.Name)
		case !bulkOf(o.report.Bulk, x).Ended && n.Phase == Joining:
			why = append(why, "no BULK_END of "+x.Name)
		}
	}
	for _, is6 := range families(n) {
		if m.st.Holds(n.ID, n.Inc, is6) == nil && m.hasBlocks(is6) {
			why = append(why, "no laddr block is left of "+map[bool]string{true: "IPv6", false: "IPv4"}[is6])
		}
	}
	if o.report.Missing != "" {
		why = append(why, o.report.Missing)
	}
	if len(why) == 0 {
		return "nothing that is known here"
	}
	s := strings.Join(why, "; ")
	if len(s) > maxMissing {
		s = strings.ToValidUTF8(s[:maxMissing], "") + " ..."
	}
	return s
}
