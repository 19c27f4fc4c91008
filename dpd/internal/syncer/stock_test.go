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
		{"records that the receiver refused", func(s *stock) { s.begun(&begin); s.ended(&end) }, 3},
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
