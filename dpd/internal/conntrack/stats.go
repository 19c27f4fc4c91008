package conntrack

import "github.com/holdfast-lb/holdfast/dpd/internal/flow"

// Stats are counters since New and, where said, present numbers. The owner of the table reads them.
type Stats struct {
	V4, V6        int    // present records, tombstones included
	Embryonic     int    // present, of these
	Unanswered    int    // not TCP
	SoftTombs     int    // present
	ReplyOnly     int    // present
	Owners        int    // present lives of nodes that own records
	Extras        int    // present
	Bytes         uint64 // mapped
	OrigTaken     uint64 // refused inserts and updates
	ReplyTaken    uint64
	Full          uint64
	IndexFull     uint64 // no room in the index although there was a free record
	Invalid       uint64
	EmbryonicFull uint64 // refused: as many embryonic sessions of the protocol as may be, none of them old enough to go
	Evicted       uint64 // embryonic sessions that made room, or gave their port
	Expired       uint64 // reported by Sweep
	SweepRounds   uint64
	SweepLagMS    uint32 // how late the latest report was
	SweepMaxLagMS uint32
}

// Stats reads the counters.
func (t *Table) Stats() Stats {
	s := t.stats
	s.V4, s.V6 = t.part[0].used, t.part[1].used
	s.Owners = len(t.owners.byID) - 1
	s.Extras = t.extra.used
	s.Bytes = t.arena.size
	s.SweepRounds, s.SweepLagMS, s.SweepMaxLagMS = t.sweep.Rounds, t.sweep.Lag, t.sweep.MaxLag
	return s
}

// count books record r with these flags in (n = 1) or out (n = -1).
func (t *Table) count(r *record, f flow.Flags, n int) {
	if f&(flow.Embryonic|flow.Tomb|flow.ReplyOnly) == 0 {
		return
	}
	if f&flow.Embryonic != 0 {
		t.stats.Embryonic += n
		if r.proto != flow.ProtoTCP {
			t.stats.Unanswered += n
		}
		t.part[r.kind/kindWide].embryonic[protocolOf(r.proto)].live += n
	}
	if f&flow.SoftTomb != 0 {
		t.stats.SoftTombs += n
	}
	if f&flow.ReplyOnly != 0 {
		t.stats.ReplyOnly += n
	}
}
