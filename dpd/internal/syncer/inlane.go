package syncer

import (
	"slices"

	"github.com/holdfast-lb/holdfast/dpd/internal/syncwire"
)

const (
	gapFirst = 5  // milliseconds until a missing datagram is asked for, since datagrams overtake each other
	gapAgain = 50 // and until it is asked for again
	gapTries = 3
	gapFill  = 30 // milliseconds after the answer to a GAP in which its resends come
	maxHoles = 256
)

// hole is a range of counters that did not come.
type hole struct {
	from, to uint64
	due      int64
	asks     uint8
}

// inLane follows the counters of one lane of a peer's datagrams: which came, which to ask for.
type inLane struct {
	high  uint64
	holes []hole // ascending
	lost  bool   // some were given up since this was last cleared
	// filled is when the peer last said that some need not be waited for: what they spoke of comes soon.
	filled int64
	// told is the last counter, of those that came, of a datagram with messages.
	told uint64
}

// contiguous is the counter up to which all came, were answered, or were given up.
func (l *inLane) contiguous() uint64 {
	if len(l.holes) > 0 {
		return l.holes[0].from - 1
	}
	return l.high
}

// follows says whether all before the datagram of counter c is here, applied, and no message behind it. Digests behind it do no
// harm: a round of them is several datagrams, which overtake each other.
func (l *inLane) follows(now int64, c uint64) bool {
	return l.contiguous() >= c-1 && l.told < c && now-l.filled >= gapFill
}

// open says whether some counters were asked for and what they spoke of may not be here yet. Datagrams that merely overtook
// each other came before they were asked for.
func (l *inLane) open(now int64) bool {
	return l.filled != 0 && now-l.filled < gapFill || slices.ContainsFunc(l.holes, func(h hole) bool { return h.asks > 0 })
}

// got notes a received counter.
func (l *inLane) got(now int64, c uint64) {
	switch {
	case c == l.high+1:
		l.high = c
	case c > l.high:
		l.missing(now, c-1)
		l.high = c
	default:
		l.fill(c, c)
	}
}

// missing notes that counters up to c exist.
func (l *inLane) missing(now int64, c uint64) {
	if c <= l.high {
		return
	}
	if len(l.holes) == maxHoles {
		l.lost = true
		l.holes = append(l.holes[:0], l.holes[1:]...)
	}
	l.holes = append(l.holes, hole{from: l.high + 1, to: c, due: now + gapFirst})
	l.high = c
}

// fill takes counters off the holes.
func (l *inLane) fill(from, to uint64) {
	for i := 0; i < len(l.holes); i++ {
		h := &l.holes[i]
		switch {
		case to < h.from:
			return
		case from > h.to:
		case from <= h.from && to >= h.to:
			l.holes = append(l.holes[:i], l.holes[i+1:]...)
			i--
		case from <= h.from:
			h.from = to + 1
		case to >= h.to:
			h.to = from - 1
		case len(l.holes) == maxHoles:
			l.lost = true
			h.from = to + 1
		default:
			rest := *h
			h.to, rest.from = from-1, to+1
			l.holes = append(l.holes, hole{})
			copy(l.holes[i+2:], l.holes[i+1:])
			l.holes[i+1] = rest
			return
		}
	}
}

// ask puts what is due into g and gives up what was asked for often enough.
func (l *inLane) ask(now int64, g *syncwire.Gap) {
	g.N = 0
	for i := 0; i < len(l.holes); i++ {
		h := &l.holes[i]
		if h.due > now {
			continue
		}
		if h.asks == gapTries {
			l.lost = true
			l.holes = append(l.holes[:i], l.holes[i+1:]...)
			i--
			continue
		}
		if g.N == syncwire.GapMax {
			return
		}
		g.Range[g.N] = syncwire.GapRange{From: h.from, To: h.to}
		g.N++
		h.asks++
		h.due = now + gapAgain
	}
}
