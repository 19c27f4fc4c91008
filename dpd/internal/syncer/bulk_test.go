package syncer_test

import (
	"testing"

	"github.com/holdfast-lb/holdfast/dpd/internal/flow"
	"github.com/holdfast-lb/holdfast/dpd/internal/syncer"
	"github.com/holdfast-lb/holdfast/dpd/internal/syncwire"
)

// bulk has the shard send its stock and returns what it says and sends, for node 2.
func (b *bench) bulk() (acts []syncer.Action) {
	b.Done()
	b.StartBulk(b.now, nodeID(3))
	b.Tick(b.now, 1000)
	for _, a := range b.Actions() {
		if a.Kind == syncer.ActBulkBegin || a.Kind == syncer.ActBulkEnd || a.Lane == syncwire.LaneBulk {
			a.To = 2
			acts = append(acts, a)
		}
	}
	b.Done()
	return acts
}

func TestABulkIsComparedWithWhatItsEndSays(t *testing.T) {
	type acts []syncer.Action
	for name, c := range map[string]struct {
		spoil   func(a acts) acts
		lose    int // datagrams of the bulk lane
		differs uint64
	}{
		"all came":                               {nil, 0, 0},
		"one was dropped before it was numbered": {func(a acts) acts { return append(a[:3:3], a[4:]...) }, 0, 1},
		"one came in another version":            {func(a acts) acts { a[3].Msg.Rec.Ver++; return a }, 0, 1},
		"one came of another owner":              {func(a acts) acts { a[3].Msg.Rec.OwnerID = 9; return a }, 0, 1},
		"one came of another client":             {func(a acts) acts { a[3].Msg.Rec.Orig.Addr[0] ^= 1 << 40; return a }, 0, 1},
		"one came of another birth":              {func(a acts) acts { a[3].Msg.Rec.Birth++; return a }, 0, 1},
		"two came in each other's place":         {func(a acts) acts { a[3], a[4] = a[4], a[3]; return a }, 0, 0},
		"its end says nothing":                   {func(a acts) acts { a[len(a)-1].Sum = 0; return append(a[:3:3], a[4:]...) }, 0, 0},
		"a datagram was lost":                    {nil, 1, 1},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, 0)
			for i := range 40 {
				s := session(i+1, 1, uint16(5+i), flow.Birth(100+i)<<16, []uint32{1, 1, 7}[i%3], 1, 2) // 7 is in no view
				s.Flags = []flow.Flags{0, 0, 0, 0, flow.SoftTomb, flow.SoftTomb}[i%6]
				if _, err := b.store.Insert(&s); err != nil {
					t.Fatal(err)
				}
			}
			b.Recount()
			p := newPair(t)
			p.lose = func(i int, d []byte) bool {
				if i == 0 && lane(d) == syncwire.LaneBulk && c.lose > 0 {
					c.lose--
					return true
				}
				return false
			}
			send := func(a acts) (differs uint64, told int) {
				p.e[1].got = nil
				before := p.e[1].Count[syncer.SyncBulkDiffers]
				for i := range a {
					p.e[0].Queue(p.now, 0, &a[i])
					if a[i].Kind != syncer.ActSend { // the other shard has nothing
						p.e[0].Queue(p.now, 1, &syncer.Action{Kind: a[i].Kind, To: 2})
					}
				}
				p.e[0].Flush(p.now)
				p.run(600)
				if !p.status(1).BulkEnded {
					t.Error("the bulk did not end")
				}
				return p.e[1].Count[syncer.SyncBulkDiffers] - before, len(p.e[1].deliveries(syncer.DeliverDesync))
			}
			a := acts(b.bulk())
			if c.spoil != nil {
				a = c.spoil(a)
			}
			if n, told := send(a); n != c.differs || told != 2*int(c.differs) {
				t.Errorf("counted %d, %d shards were told to repair; want %d and both", n, told, c.differs)
			}
			if n, told := send(b.bulk()); n != 0 || told != 0 {
				t.Errorf("of the next bulk, which was whole: counted %d, %d shards were told", n, told)
			}
		})
	}
}

// 70 % of such a number is 0 in 64 bits.
func TestAnAnnouncedStockThatOverflowsIsNotHere(t *testing.T) {
	p := newPair(t)
	for i := range 2 {
		p.e[0].Queue(p.now, i, &syncer.Action{Kind: syncer.ActBulkBegin, To: 2, Records: 1 << 62})
	}
	p.run(200)
	if ready, _ := p.e[1].Ready(); ready || !p.status(1).BulkBegun {
		t.Errorf("ready %v, %+v", ready, p.status(1))
	}
}
