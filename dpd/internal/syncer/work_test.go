package syncer_test

import (
	"testing"

	"github.com/holdfast-lb/holdfast/dpd/internal/flow"
	"github.com/holdfast-lb/holdfast/dpd/internal/syncer"
)

// fill puts n sessions of a node into the store.
func (b *bench) fill(n int, owner uint32) {
	b.t.Helper()
	for i := range n {
		s := session(1, 1, uint16(i&0xff), flow.Birth(100+i)<<16, owner, 1, 2)
		s.Orig.Addr[0] = uint64(0x0b000000+i)<<32 | s.Orig.Addr[0]&0xffffffff
		s.Reply.Addr[0] += uint64(i>>8) << 32 // another server
		if _, err := b.store.Insert(&s); err != nil {
			b.t.Fatal(err)
		}
	}
	b.Recount()
}

// work calls Work in one millisecond until there is nothing more to do in it, and returns how many
// actions that made.
func (b *bench) work(slots, sends int) (made int) {
	for {
		did := b.Work(b.now, slots, sends)
		made += len(b.Actions())
		b.Done()
		if !did {
			return made
		}
	}
}

func TestOneTurnsWorkIsBounded(t *testing.T) {
	for _, row := range []struct{ slots, sends, least, most int }{
		{512, 100, 100, 164}, {128, 1000, 1, 128}, {64, 1, 1, 64}, {512, 0, 0, 0}, {0, 512, 0, 0},
	} {
		b := newBench(t, 0)
		b.fill(3000, 1)
		b.StartBulk(b.now, nodeID(2))
		b.Done()
		did := b.Work(b.now, row.slots, row.sends)
		if n := len(b.Actions()); n < row.least || n > row.most || did != (row.least > 0) {
			t.Errorf("%d slots, %d sends: %d actions, worked %v; want %d to %d", row.slots, row.sends, n, did, row.least, row.most)
		}
	}
}

func TestAMillisecondsWorkIsWhatTheMembersCanTake(t *testing.T) {
	const mine = 2048 / 2 // of two members
	b := newBench(t, 0)
	b.fill(3000, 1)
	b.StartBulk(b.now, nodeID(2))
	b.Done()
	sent := 0
	for ms := range 4 {
		b.now++
		n := b.work(512, 128)
		if sent += n; n > mine+64 || ms < 2 && n < mine {
			t.Errorf("millisecond %d: %d actions, want %d, give or take a step", ms, n, mine)
		}
	}
	if want := uint64(3000); b.Count[syncer.BulkSent] != want || sent != 3000+1 { // and the end
		t.Errorf("%d records, %d actions", b.Count[syncer.BulkSent], sent)
	}
}

func TestOrphansAreAdoptedAsFastAsTheyMayBeTold(t *testing.T) {
	const n = 20_000
	b := newBench(t, 0)
	b.fill(n, 3)
	b.SetView(b.now, view(2, 1, 2)) // node 3 is gone
	b.Done()
	began := b.now
	for b.Busy() {
		b.now++
		b.work(512, 128)
	}
	adopted := b.Count[syncer.Adopted]
	if adopted < n/3 || adopted > n*2/3 {
		t.Errorf("%d of %d adopted, want about half: node 2 has the others", adopted, n)
	}
	// Each adoption is told to the members and to those who watch.
	if ms := b.now - began; ms > 1+int64(2*adopted)/2048+5 {
		t.Errorf("%d adoptions took %d ms", adopted, ms)
	}
}

func TestWithoutAJobThereIsNoWork(t *testing.T) {
	b := newBench(t, 0)
	b.fill(100, 1)
	if b.work(512, 128) > 0 || b.Busy() {
		t.Error("it found some")
	}
}
