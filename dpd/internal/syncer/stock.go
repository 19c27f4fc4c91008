package syncer

import "github.com/holdfast-lb/holdfast/dpd/internal/syncwire"

// stock is the bulk of one link in both directions.
type stock struct {
	// outgoing: what the shards announced and finished
	snapshot   uint64
	begin, end []bool
	nBegin     int
	nEnd       int
	announced  uint64
	records    uint64
	tombs      uint64
	sum        uint64
	sayBegin   bool
	sayEnd     int // how often still
	// incoming
	got                  uint64 // snapshot
	isBegun, isEnded     bool
	expected, in, before uint64
	mark                 uint64 // in at the last end
	// The sums of the records that came: all, until the last bulk was compared, and the one that its end said, 0 if it said none.
	sumIn, sumBefore, sumSaid uint64
	compared                  bool
	// surveyed: a PROBE came after the end, so that what was sent and did not come shows as holes of the lane.
	surveyed bool
}

const endRepeats = 20 // with each PROBE: at 30 % loss one in 10^10 is never heard

func (s *stock) init(shards int) { s.begin, s.end = make([]bool, shards), make([]bool, shards) }

// shardBulk notes that a shard began or finished its part of the bulk to this peer.
func (p *peer) shardBulk(shard int, a *Action) {
	s := &p.stock
	if a.Kind == ActBulkBegin {
		if s.begin[shard] || s.nBegin == 0 { // a bulk starts, maybe before the last one was through
			s.snapshot++
			clear(s.begin)
			clear(s.end)
			s.nBegin, s.nEnd, s.announced, s.records, s.tombs, s.sum, s.sayBegin, s.sayEnd = 0, 0, 0, 0, 0, 0, false, 0
		}
		s.begin[shard] = true
		s.nBegin++
		s.announced += a.Records
		if s.nBegin == len(s.begin) {
			s.sayBegin = true
			s.repeat(p)
		}
		return
	}
	if !s.begin[shard] || s.end[shard] {
		return
	}
	s.end[shard] = true
	s.nEnd++
	s.records += a.Records
	s.tombs += a.Tombstones
	s.sum += a.Sum
	if s.nEnd == len(s.end) {
		p.flush(syncwire.LaneBulk)
		s.sayEnd = endRepeats
		s.nBegin = 0
		s.repeat(p)
	}
}

// repeat says BULK_BEGIN until the end, then BULK_END for a while: neither is confirmed.
func (s *stock) repeat(p *peer) {
	switch {
	case s.sayEnd > 0:
		if s.sayEnd--; s.sayEnd == 0 {
			s.sayBegin = false
		}
		b := syncwire.Bulk{Snapshot: s.snapshot, Records: s.records, Tombstones: s.tombs, Digest: s.sum, Orphans: true}
		p.control(func(w *syncwire.Builder) syncwire.Outcome { return w.Bulk(&b, true) })
	case s.sayBegin:
		b := syncwire.Bulk{Snapshot: s.snapshot, Records: s.announced, Orphans: true}
		p.control(func(w *syncwire.Builder) syncwire.Outcome { return w.Bulk(&b, false) })
	}
}

// stockMost bounds the stock that a member may announce, so that sums over members and percentages of them don't overflow.
const stockMost = 1 << 40

func (s *stock) begun(b *syncwire.Bulk) {
	if b.Snapshot <= s.got {
		return
	}
	s.got, s.isBegun, s.isEnded, s.surveyed = b.Snapshot, true, false, false
	s.expected = min(b.Records, stockMost)
	// Not s.in: BULK_BEGIN travels apart from the records and may come after some of them, or never.
	s.before = s.mark
}

func (s *stock) ended(b *syncwire.Bulk) {
	if b.Snapshot < s.got || b.Snapshot == s.got && s.isEnded {
		return
	}
	if b.Snapshot > s.got {
		s.begun(b)
	}
	s.isEnded, s.mark = true, s.in
	s.sumSaid, s.compared = b.Digest, false
	s.expected = min(b.Records, stockMost) + min(b.Tombstones, stockMost)
}

// here is how much of the announced stock has arrived. Once all that was sent is here the count says so, whatever became of
// single records on arrival.
func (p *peer) here() uint64 {
	s := &p.stock
	if p.whole() {
		return s.expected
	}
	return min(s.in-s.before, s.expected)
}

// whole says that the bulk ended and nothing of it is missing. The end alone proves nothing: what came before the link was
// believed was dropped, and until a PROBE names how far the lane goes nobody misses it.
func (p *peer) whole() bool {
	return p.stock.isEnded && p.stock.surveyed && len(p.in[syncwire.LaneBulk].holes) == 0
}

// compare looks, once all of a bulk is here or given up, whether what came is what was sent. What was lost on the way and sent again
// came by another lane, so it counts as a difference too; a repair finds that there is none.
func (p *peer) compare() {
	s := &p.stock
	if s.compared || !p.whole() {
		return
	}
	s.compared = true
	got := s.sumIn - s.sumBefore
	s.sumBefore = s.sumIn
	if s.sumSaid != 0 && got != s.sumSaid {
		p.y.Count[SyncBulkDiffers]++
		p.lostHere()
	}
}
