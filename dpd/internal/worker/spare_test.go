package worker_test

import (
	"testing"

	"github.com/holdfast-lb/holdfast/dpd/dpdtest"
	"github.com/holdfast-lb/holdfast/dpd/internal/flow"
	"github.com/holdfast-lb/holdfast/dpd/internal/syncer"
)

// holding is a rig with one worker that holds n sessions of a node.
func holding(t *testing.T, n int, owner flow.Node) *rig {
	r := newRig(t, 1, 0, n+1024)
	s := flow.Session{Owner: owner, Term: 1, Ver: 2, Mode: flow.FullNAT, State: flow.TCPEstablished, Flags: flow.Synced, Timeout: 3600}
	const meta = flow.ProtoTCP<<8 | flow.IPv4
	for i := range uint64(n) {
		s.Birth = flow.Birth(i + 1)
		s.Orig = flow.Key{Addr: [4]uint64{(0x0c000000+i)<<32 | 0xc6336401}, Meta: 2000<<48 | 80<<32 | meta}
		s.Reply = flow.Key{Addr: [4]uint64{(0xac100000+i>>8)<<32 | 0x0a090001}, Meta: 8080<<48 | (5000+i&0xff)<<32 | meta}
		if _, err := r.tables[0].Insert(&s); err != nil {
			t.Fatal(err)
		}
	}
	return r
}

// stock is a rig whose worker holds n sessions of its own and has begun to send them to the peer.
func stock(t *testing.T, n int) *rig {
	r := holding(t, n, rigSelf)
	r.turn(1)
	shard := r.workers[0].Shard()
	for shard.Busy() { // the sweep after the view
		r.turn(1)
	}
	shard.StartBulk(r.workers[0].Now(), rigPeer)
	return r
}

func (r *rig) bulkSent() int { return int(r.workers[0].Shard().Count[syncer.BulkSent]) }

func TestTheShardsPaceFollowsWhatTheWorkerHasToSpare(t *testing.T) {
	const turns = 30 // of a millisecond
	r := stock(t, 12_000)
	pace := func(loaded func(turn int) bool) (inOne, most int) {
		r.tick++
		before := r.bulkSent()
		for i := range turns {
			if loaded(i) {
				r.arrive(0, 0, dpdtest.TCP(mixAddr(i), rigVIP).Eth(rigMAC[0], rigNext).Bytes())
			}
			was := r.bulkSent()
			r.turn(0)
			most = max(most, r.bulkSent()-was)
		}
		return r.bulkSent() - before, most
	}
	idle, most := pace(func(int) bool { return false })
	if idle < 2000 || most > 128+64+64 {
		t.Errorf("idle: %d records in a millisecond, %d in a turn", idle, most)
	}
	full, most := pace(func(int) bool { return true })
	if full < 1 || full > 64 || most > 64 {
		t.Errorf("loaded: %d records in a millisecond, %d in a turn", full, most)
	}
	half, _ := pace(func(i int) bool { return i%4 != 0 })
	if half <= 4*full || half >= idle {
		t.Errorf("loaded three turns of four: %d records in a millisecond; idle %d, loaded %d", half, idle, full)
	}
	again, _ := pace(func(int) bool { return false })
	if again < 2000 {
		t.Errorf("idle again: %d records in a millisecond", again)
	}
}

func TestABulkLeavesHalfOfTheRingToWhatSessionsSay(t *testing.T) {
	r := stock(t, 4000)
	ring := r.outbox[0]
	for range 100 { // nobody takes anything
		r.tick++
		r.workers[0].Turn()
		r.workers[0].Turn()
	}
	if n := ring.Len(); n < ring.Cap()/2-64 || n > ring.Cap()/2+128 {
		t.Errorf("%d of %d places taken", n, ring.Cap())
	}
	before := r.bulkSent()
	r.tick++
	if r.workers[0].Turn(); r.bulkSent() != before {
		t.Error("more was sent")
	}
	for range 100 {
		r.turn(1)
		r.turn(0)
	}
	if got := r.bulkSent(); got != 4000 {
		t.Errorf("%d records once there was room", got)
	}
}

func TestATurnThatWorksIsNotIdle(t *testing.T) {
	r := stock(t, 2000)
	r.turn(1)
	if !r.workers[0].Turn() {
		t.Error("an adaptive worker would sleep over its bulk")
	}
	for range 100 {
		r.turn(1)
		r.turn(0)
	}
	if r.turn(0); r.workers[0].Turn() {
		t.Error("busy although all is sent")
	}
}

func TestAnIdleWorkerAdoptsManyOrphansSoon(t *testing.T) {
	const n, turns = 100_000, 20
	r := holding(t, n, flow.Node{ID: 9, Inc: 1})
	shard := r.workers[0].Shard()
	shard.SetDigestKey([16]byte{1, 8: 2})
	ready := []syncer.Member{{Node: rigSelf, Admitted: true}, {Node: rigPeer, Admitted: true}}
	shard.SetView(r.workers[0].Now(), &syncer.View{Epoch: 2, Self: rigSelf, Members: ready})
	ms := 0
	for ; shard.Busy() && ms < 5000; ms++ {
		for i := range turns {
			r.turn(uint32(1 - min(i, 1)))
		}
	}
	adopted := int(shard.Count[syncer.Adopted])
	if adopted < n/3 || adopted > n*2/3 {
		t.Errorf("%d of %d adopted, want about half: the peer has the others", adopted, n)
	}
	if ms > 2*adopted/2048+n/(turns*512)+5 { // each is told to peers and to those who watch; all are looked at
		t.Errorf("it took %d ms", ms)
	}
}
