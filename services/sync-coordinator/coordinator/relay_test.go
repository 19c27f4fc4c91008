package coordinator

import (
	"testing"

	"google.golang.org/protobuf/proto"

	dpdv1 "github.com/holdfast-lb/holdfast/proto/gen/holdfast/dpd/v1"
	syncv1 "github.com/holdfast-lb/holdfast/proto/gen/holdfast/sync/v1"
)

func TestABlockReturnsByTheWordOfAPeerWhenAMemberIsNotReached(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.start("one")
	p := w.cluster(c, "lb-a", "lb-b", "lb-c")
	dead := p[2].life()
	block := func(p *plane) *dpdv1.LaddrBlock {
		for _, b := range p.applied().GetLaddrBlocks() {
			if proto.Equal(b.GetHolder(), dead) || proto.Equal(b.GetFormerHolder(), dead) {
				return b
			}
		}
		return nil
	}
	id := block(p[0]).GetId()
	p[2].kill()
	w.until("both survivors are told which life the block waits for", func() bool {
		return proto.Equal(block(p[0]).GetFormerHolder(), dead) && proto.Equal(block(p[1]).GetFormerHolder(), dead)
	})
	if b := block(p[0]); b.GetHolder() != nil || b.GetAllocatable() {
		t.Errorf("%v", b)
	}
	p[1].edit(func() { p[1].hung = true })
	node := func(name string) *syncv1.Node {
		n, err := c.GetNode(t.Context(), &syncv1.GetNodeRequest{Name: "nodes/" + name})
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	w.until("the coordinator has lost the one that hangs", func() bool { return !node("lb-b").GetControlAlive() })
	word := &dpdv1.RelayedBlockUsage{Member: p[1].life(), BlockId: id, Holder: dead, FencedMs: 6000}
	say := func(u *dpdv1.RelayedBlockUsage) {
		p[0].edit(func() {
			for _, f := range p[0].st.GetFenced() {
				f.AgeMs = 6000
			}
			p[0].st.RelayedBlockUsage = []*dpdv1.RelayedBlockUsage{u}
		})
	}
	for _, row := range []struct {
		name string
		spy  func(*dpdv1.RelayedBlockUsage)
	}{
		{"it holds a tombstone", func(u *dpdv1.RelayedBlockUsage) { u.Tombstones = 1 }},
		{"its word is stale", func(u *dpdv1.RelayedBlockUsage) { u.AgeMs = 10_001 }},
		{"its word is older than can be told", func(u *dpdv1.RelayedBlockUsage) { u.AgeMs = 1 << 63 }},
		{"its word names no member", func(u *dpdv1.RelayedBlockUsage) { u.Member = nil }},
		{"its word names no holder", func(u *dpdv1.RelayedBlockUsage) { u.Holder = nil }},
	} {
		u := proto.CloneOf(word)
		row.spy(u)
		say(u)
		w.until("the coordinator has heard that "+row.name, func() bool {
			r := node("lb-a").GetSync().GetRelayedBlockUsage()
			return len(r) == 1 && proto.Equal(r[0], u)
		})
		if !proto.Equal(block(p[0]).GetFormerHolder(), dead) {
			t.Fatalf("%s: the block is free: %v", row.name, block(p[0]))
		}
	}
	say(word)
	w.until("the block is free", func() bool { return block(p[0]) == nil })
	if n := node("lb-b"); n.GetState() != syncv1.NodeState_NODE_STATE_ADMITTED || n.GetControlAlive() {
		t.Errorf("the member that is not reached: %v", n)
	}
}

func TestAStatusThatIsTooLargeIsRefused(t *testing.T) {
	for _, c := range []struct {
		name string
		many int
		ok   bool
	}{{"as many relayed words as are taken", maxRelayed, true}, {"one more", maxRelayed + 1, false}} {
		t.Run(c.name, func(t *testing.T) {
			r, err := reportOf(&dpdv1.SyncStatus{RelayedBlockUsage: make([]*dpdv1.RelayedBlockUsage, c.many)})
			if (err == nil) != c.ok || c.ok && len(r.Relayed) != c.many {
				t.Errorf("%d, %v", len(r.Relayed), err)
			}
		})
	}
}

func TestReportOfKeepsWhatAMemberSaysOfBlocks(t *testing.T) {
	r, err := reportOf(&dpdv1.SyncStatus{
		BlockUsage: []*dpdv1.BlockUsage{{BlockId: 1, Records: 2, Tombstones: 3, AgeMs: 4}},
		RelayedBlockUsage: []*dpdv1.RelayedBlockUsage{{
			Member: life(5, 6), BlockId: 7, Holder: life(8, 9), Records: 10, Tombstones: 11, FencedMs: 12, AgeMs: 13,
		}},
	})
	if err != nil || len(r.Blocks) != 1 || len(r.Relayed) != 1 {
		t.Fatalf("%+v, %v", r, err)
	}
	if b := r.Blocks[0]; b.ID != 1 || b.Records != 2 || b.Tombstones != 3 || b.Age != 4 {
		t.Errorf("%+v", b)
	}
	if x := r.Relayed[0]; x.Member != 5 || x.Inc != 6 || x.Block != 7 || x.Holder != 8 || x.HolderInc != 9 || x.Records != 10 ||
		x.Tombstones != 11 || x.Fenced != 12 || x.Age != 13 {
		t.Errorf("%+v", x)
	}
}
