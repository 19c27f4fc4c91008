package syncloop

import (
	"testing"

	"github.com/holdfast-lb/holdfast/dpd/dpdtest"
	"github.com/holdfast-lb/holdfast/dpd/internal/port"
	"github.com/holdfast-lb/holdfast/dpd/internal/ring"
	"github.com/holdfast-lb/holdfast/dpd/internal/stat"
	"github.com/holdfast-lb/holdfast/dpd/internal/syncer"
)

func TestDatagramsWaitForWorkersThatHaveNoRoomButNotForLong(t *testing.T) {
	pool := dpdtest.NewPool(128)
	soft := ring.New[port.Packet](64)
	inbox := []*ring.SPSC[syncer.Delivery]{ring.New[syncer.Delivery](2048), ring.New[syncer.Delivery](2048)}
	now := uint32(1)
	l := New(Config{
		Pool: pool, Soft: []*ring.SPSC[port.Packet]{soft}, Inbox: inbox, Clock: func() (uint32, int64) { return now, int64(now) },
	})
	arrive := func(n int) {
		for range n {
			p := pool.Make(make([]byte, 60))
			soft.Put(&p)
		}
	}
	opened := func() uint64 { l.Turn(); return l.count[stat.SyncNotUDP] } // what they are counted as
	arrive(20)
	if n := opened(); n != 20 {
		t.Errorf("%d opened, want all: there is room for four at a time, and nobody fills it", n)
	}
	for inbox[1].Put(&syncer.Delivery{}) {
		continue
	}
	arrive(8)
	for range 3 {
		if n := opened(); n > 24 {
			t.Errorf("%d opened although a worker has no room", n)
		}
	}
	now++
	before := opened()
	var d syncer.Delivery
	for range mostMessages {
		inbox[1].Take(&d)
	}
	if n := opened(); n != 28 {
		t.Errorf("%d opened, %d of them before there was room again; want all", n, before)
	}
	for inbox[1].Put(&syncer.Delivery{}) {
		continue
	}
	arrive(8)
	before = opened()
	now += roomWait
	if n := opened(); n != 36 || before > 32 {
		t.Errorf("%d opened at once and %d after the wait for a worker that stands still", before, n)
	}
	arrive(8)
	if n := opened(); n != 44 {
		t.Errorf("%d opened: who was waited for once stands still yet", n)
	}
	dpdtest.CheckLeaks(t, pool)
	for inbox[0].Take(&d) || inbox[1].Take(&d) {
		continue
	}
	for inbox[1].Put(&syncer.Delivery{}) {
		continue
	}
	l.room = room{}
	arrive(3)
	l.Turn()
	l.Empty()
	dpdtest.CheckLeaks(t, pool)
}
