package worker

import (
	"testing"

	"github.com/holdfast-lb/holdfast/dpd/internal/conntrack"
	"github.com/holdfast-lb/holdfast/dpd/internal/flow"
	"github.com/holdfast-lb/holdfast/dpd/internal/localport"
	"github.com/holdfast-lb/holdfast/dpd/internal/ring"
	"github.com/holdfast-lb/holdfast/dpd/internal/stat"
	"github.com/holdfast-lb/holdfast/dpd/internal/syncer"
	"github.com/holdfast-lb/holdfast/dpd/internal/syncwire"
)

// outboxWorker has a ring of one action towards the sync thread, two members, and no repair.
func outboxWorker(t *testing.T) *Worker {
	table, err := conntrack.New(conntrack.Config{CapacityV4: 64, CapacityV6: 64})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := table.Close(); err != nil {
			t.Error(err)
		}
	})
	node := func(id uint32) flow.Node { return flow.Node{ID: id, Inc: 1} }
	w := &Worker{wall: 1_000, table: table, cfg: Config{Links: Links{Outbox: ring.New[syncer.Action](1)}}}
	w.shard = syncer.New(syncer.Config{Self: node(1), Owns: func(b flow.Bucket) bool { return b == 0 }}, table, localport.New(0))
	w.shard.SetView(1, &syncer.View{Epoch: 1, Self: node(1), Members: []syncer.Member{{Node: node(1)}, {Node: node(2)}, {Node: node(3)}}})
	w.shard.Tick(1_000, 0)
	for _, a := range w.shard.Actions() { // members have nothing either, and say so
		if a.Kind != syncer.ActDigest {
			continue
		}
		reply := syncwire.DigestReply{Round: a.Digest.Round, Bucket: a.Digest.Bucket}
		for i := range 4 {
			reply.SetLeaf(i, syncwire.LeafWhole)
		}
		for id := range uint32(2) {
			w.shard.DigestReply(1_000, node(2+id), &reply)
			w.shard.Digest(1_000, node(2+id), &syncwire.DigestSums{Bucket: a.Digest.Bucket, Of: syncwire.DigestOwn}, true, 1)
		}
	}
	w.shard.Done()
	for id := range uint32(2) {
		if w.shard.Repairing(node(2 + id)) {
			t.Fatal("a repair at the beginning")
		}
	}
	w.outbox(&syncer.Action{Kind: syncer.ActDigest})
	return w
}

func (w *Worker) repairing() (which [2]bool) {
	for i := range which {
		which[i] = w.shard.Repairing(flow.Node{ID: uint32(2 + i), Inc: 1})
	}
	return which
}

func TestWhatAFullOutboxLosesIsMadeUpForByItsKind(t *testing.T) {
	for _, row := range []struct {
		name string
		a    syncer.Action
		want [2]bool // repairs with the members
	}{
		{"a message to all", syncer.Action{Kind: syncer.ActSend}, [2]bool{true, true}},
		{"a message to one", syncer.Action{Kind: syncer.ActSend, To: 3}, [2]bool{false, true}},
		{"a digest to one", syncer.Action{Kind: syncer.ActDigest, To: 2}, [2]bool{true, false}},
		{"what tombstones wait for", syncer.Action{Kind: syncer.ActTombs}, [2]bool{}},
	} {
		t.Run(row.name, func(t *testing.T) {
			w := outboxWorker(t)
			w.outbox(&row.a)
			if got := w.repairing(); got != row.want || w.count[stat.SyncOutFull] != 1 {
				t.Errorf("repairs %v, want %v; %d counted", got, row.want, w.count[stat.SyncOutFull])
			}
		})
	}
}

func TestTheEndsOfEachBulkWaitForRoomHoweverOftenItBegins(t *testing.T) {
	w := outboxWorker(t)
	for n := range uint64(1_000) {
		for to := range uint32(2) {
			w.outbox(&syncer.Action{Kind: syncer.ActBulkBegin, To: 2 + to, Records: n})
			w.outbox(&syncer.Action{Kind: syncer.ActBulkEnd, To: 2 + to, Records: n})
		}
	}
	if w.count[stat.SyncOutFull] != 0 || w.repairing() != [2]bool{} {
		t.Errorf("%d are lost", w.count[stat.SyncOutFull])
	}
	var a syncer.Action
	w.cfg.Links.Outbox.Take(&a)
	for i, want := range []syncer.ActionKind{syncer.ActBulkBegin, syncer.ActBulkEnd, syncer.ActBulkBegin, syncer.ActBulkEnd} {
		w.payOwed()
		if !w.cfg.Links.Outbox.Take(&a) || a.Kind != want || a.To != uint32(2+i/2) || a.Records != 999 {
			t.Errorf("number %d is %+v", i, a)
		}
	}
	if w.payOwed(); w.cfg.Links.Outbox.Len() != 0 {
		t.Error("there is more")
	}
}
