package syncer

import (
	"testing"

	"github.com/holdfast-lb/holdfast/dpd/internal/syncwire"
)

// A node whose BULK_BEGIN was lost, or came behind the records, counted from after them: nothing seemed to have arrived of
// a bulk that was over, and it was never admitted.
func TestRecordsThatCameBeforeTheBeginningOfTheirBulkCount(t *testing.T) {
	begin, end := syncwire.Bulk{Snapshot: 1, Records: 2}, syncwire.Bulk{Snapshot: 1, Records: 2, Tombstones: 1}
	for _, row := range []struct {
		name string
		run  func(s *stock)
		want uint64
	}{
		{"begin, records, end", func(s *stock) { s.begun(&begin); s.in += 3; s.ended(&end) }, 3},
		{"records, begin, end", func(s *stock) { s.in += 3; s.begun(&begin); s.ended(&end) }, 3},
		{"records, end, no begin", func(s *stock) { s.in += 3; s.ended(&end) }, 3},
		{"half of the records so far", func(s *stock) { s.in++; s.begun(&begin) }, 1},
		{"what an earlier bulk brought does not count", func(s *stock) {
			s.begun(&begin)
			s.in += 3
			s.ended(&end)
			s.begun(&syncwire.Bulk{Snapshot: 2, Records: 5})
			s.in++
		}, 1},
		{"an end alone, while nobody knows what was lost", func(s *stock) { s.begun(&begin); s.ended(&end) }, 0},
		{"an end and a PROBE that shows no hole", func(s *stock) { s.begun(&begin); s.ended(&end); s.surveyed = true }, 3},
	} {
		t.Run(row.name, func(t *testing.T) {
			p := &peer{}
			row.run(&p.stock)
			if got := p.here(); got != row.want {
				t.Errorf("%d of %d are here, want %d", got, p.stock.expected, row.want)
			}
		})
	}
}

func TestAHoleOfTheBulkLaneIsMissingStock(t *testing.T) {
	p := &peer{}
	p.stock.begun(&syncwire.Bulk{Snapshot: 1, Records: 3})
	p.stock.ended(&syncwire.Bulk{Snapshot: 1, Records: 3})
	p.in[syncwire.LaneBulk].missing(0, 2)
	p.stock.surveyed = true
	if p.whole() || p.here() != 0 {
		t.Errorf("whole %v with two datagrams missing, %d records here", p.whole(), p.here())
	}
	p.in[syncwire.LaneBulk].fill(1, 2)
	if !p.whole() || p.here() != 3 {
		t.Errorf("whole %v with none missing, %d records here", p.whole(), p.here())
	}
}
