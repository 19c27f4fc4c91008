package control

import (
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/holdfast-lb/holdfast/dpd/internal/flow"
	dpdv1 "github.com/holdfast-lb/holdfast/proto/gen/holdfast/dpd/v1"
)

func TestAStatusSaysWhatIsHeldOfBlocksHereAndAtPeers(t *testing.T) {
	got := statusProto(&Status{
		Blocks: []BlockUse{{ID: 1, Records: 2, Tombstones: 3, AgeMS: 4}},
		Relayed: []RelayedUse{{
			Member: flow.Node{ID: 5, Inc: 6}, ID: 7, Holder: flow.Node{ID: 8, Inc: 9}, Records: 10, Tombstones: 11, FencedMS: 12, AgeMS: 13,
		}},
	})
	want := &dpdv1.RelayedBlockUsage{
		Member: &dpdv1.NodeLife{Id: 5, Incarnation: 6}, BlockId: 7, Holder: &dpdv1.NodeLife{Id: 8, Incarnation: 9},
		Records: 10, Tombstones: 11, FencedMs: 12, AgeMs: 13,
	}
	if r := got.GetRelayedBlockUsage(); len(r) != 1 || !proto.Equal(r[0], want) {
		t.Errorf("%v", r)
	}
	if b := got.GetBlockUsage(); len(b) != 1 || !proto.Equal(b[0], &dpdv1.BlockUsage{BlockId: 1, Records: 2, Tombstones: 3, AgeMs: 4}) {
		t.Errorf("a peer's word must not stand among the node's own: %v", b)
	}
}

func TestAViewNamesTheLifeThatABlockWaitsFor(t *testing.T) {
	for _, c := range []struct {
		name           string
		holder, former *dpdv1.NodeLife
		want           Block
	}{
		{"none", nil, nil, Block{}},
		{"a holder alone", &dpdv1.NodeLife{Id: 2, Incarnation: 1}, nil, Block{Holder: flow.Node{ID: 2, Inc: 1}}},
		{"a former holder alone", nil, &dpdv1.NodeLife{Id: 3, Incarnation: 8}, Block{Former: flow.Node{ID: 3, Inc: 8}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			v := goodView()
			v.LaddrBlocks[0].Holder, v.LaddrBlocks[0].FormerHolder = c.holder, c.former
			m, err := ParseMembership(v)
			if err != nil || m.Blocks[0].Holder != c.want.Holder || m.Blocks[0].Former != c.want.Former {
				t.Errorf("%+v, %v", m.Blocks, err)
			}
		})
	}
}
