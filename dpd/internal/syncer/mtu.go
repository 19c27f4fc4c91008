package syncer

import "github.com/holdfast-lb/holdfast/dpd/internal/syncwire"

// mtuHeaders are the headers of IPv6 and UDP around a datagram. Over IPv4 its packet is 20 bytes below the step.
const mtuHeaders = 48

// mtuSteps are the datagram sizes that are tried: UDP payloads, each as large as an IP packet of that many bytes can carry.
// Whoever configures another size has that one as the last step.
var mtuSteps = [...]int{
	syncwire.MinMTU, 1280 - mtuHeaders, 1400 - mtuHeaders, 1500 - mtuHeaders, 8000 - mtuHeaders, 9000 - mtuHeaders,
}

// mtuFirst is the step to begin with: what every path of IPv6 must carry (RFC 8200, section 5).
const mtuFirst = 1280 - mtuHeaders

// pathMTU finds the greatest datagram that passes to a peer: the size in force grows when a padded PROBE of the next step
// comes back, and shrinks when three of its own size don't.
type pathMTU struct {
	size   int // in force
	most   int // that both sides take
	trial  int // size of the padded PROBE that is out; 0: none
	seq    uint32
	misses int
	grow   bool   // the next trial is of the next step
	back   uint32 // the youngest PROBE that came back, of whatever size
}

func (m *pathMTU) init(most int) {
	m.most = most
	m.size = syncwire.MinMTU
	for _, s := range mtuSteps {
		if s <= min(most, mtuFirst) {
			m.size = s
		}
	}
}

// limit is the peer's own greatest size.
func (m *pathMTU) limit(most int) {
	if most < syncwire.MinMTU {
		return
	}
	m.most = min(m.most, most)
	m.size = min(m.size, m.most)
}

// step is the next size above or below the one in force; that one itself if there is none.
func (m *pathMTU) step(up bool) int {
	best := m.size
	for _, s := range mtuSteps {
		if up && s > m.size {
			return min(s, m.most)
		}
		if !up && s < m.size {
			best = s
		}
	}
	if up {
		return m.most
	}
	return best
}

// probe says to which size PROBE seq shall be padded; 0: not at all. Every eighth is.
func (m *pathMTU) probe(seq uint32) int {
	if seq%8 != 4 {
		return 0
	}
	if m.trial == m.size {
		if m.misses++; m.misses >= 3 {
			m.size, m.misses = m.step(false), 0
		}
	}
	m.grow = !m.grow
	m.trial, m.seq = m.size, seq
	if m.grow {
		m.trial = m.step(true)
	}
	return m.trial
}

// Answered says whether a member has echoed a PROBE that was sent later than that millisecond.
func (y *Sync) Answered(since int64) bool {
	for _, p := range y.peers {
		if r := &p.probe; !p.over && p.mtu.back != 0 && r.seq-p.mtu.back < uint32(len(r.at)) && r.at[p.mtu.back%uint32(len(r.at))] > since {
			return true
		}
	}
	return false
}

// echoed says that a PROBE came back.
func (m *pathMTU) echoed(seq uint32) {
	m.back = max(m.back, seq)
	if m.trial == 0 || seq < m.seq {
		return
	}
	if seq == m.seq {
		if m.trial >= m.size {
			m.misses = 0
		}
		m.size = max(m.size, m.trial)
	}
	if seq == m.seq || m.trial > m.size {
		m.trial = 0
	}
}
