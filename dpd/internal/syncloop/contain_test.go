package syncloop

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"

	"github.com/holdfast-lb/holdfast/dpd/dpdtest"
	"github.com/holdfast-lb/holdfast/dpd/internal/contain"
	"github.com/holdfast-lb/holdfast/dpd/internal/flow"
	"github.com/holdfast-lb/holdfast/dpd/internal/neigh"
	"github.com/holdfast-lb/holdfast/dpd/internal/port"
	"github.com/holdfast-lb/holdfast/dpd/internal/ring"
	"github.com/holdfast-lb/holdfast/dpd/internal/stat"
	"github.com/holdfast-lb/holdfast/dpd/internal/syncer"
	"github.com/holdfast-lb/holdfast/dpd/internal/syncseal"
	"github.com/holdfast-lb/holdfast/dpd/internal/syncwire"
	"github.com/holdfast-lb/holdfast/dpd/internal/worker"
)

// touchyPool panics instead of giving some of the packets that it is asked for.
type touchyPool struct {
	*dpdtest.Pool
	panics bool
}

func (p *touchyPool) Alloc(n int) (port.Packet, bool) {
	if p.panics {
		panic("injected")
	}
	return p.Pool.Alloc(n)
}

// twin is two sync threads that are joined by their rings to the host part: whom a frame is for is not asked.
type twin struct {
	t     *testing.T
	now   int64
	pool  *touchyPool
	l     [2]*Loop
	host  [2]*ring.SPSC[worker.Handed]
	soft  [2]*ring.SPSC[port.Packet]
	inbox [2]*ring.SPSC[syncer.Delivery]
	rnd   *rand.Rand
	spoil bool // randomness panics
	heard map[string]int
}

func twinSip(i int) netip.Addr { return netip.AddrFrom4([4]byte{10, 0, 0, byte(1 + i)}) }

func newTwin(t *testing.T) *twin {
	w := &twin{t: t, now: 1_000, pool: &touchyPool{Pool: dpdtest.NewPool(4096)}, rnd: rand.New(rand.NewPCG(1, 2)), heard: map[string]int{}}
	v := syncer.View{Epoch: 1}
	for i := range w.l {
		v.Members = append(v.Members, syncer.Member{
			Node: flow.Node{ID: uint32(1 + i), Inc: 1}, Sync: [2]netip.AddrPort{netip.AddrPortFrom(twinSip(i), 7946)},
		})
	}
	for i := range w.l {
		w.host[i], w.soft[i], w.inbox[i] = ring.New[worker.Handed](1024), ring.New[port.Packet](1024), ring.New[syncer.Delivery](4096)
		l := New(Config{
			Pool: w.pool, Routes: &neigh.Publisher{}, Soft: []*ring.SPSC[port.Packet]{w.soft[i]}, Host: w.host[i],
			Inbox: []*ring.SPSC[syncer.Delivery]{w.inbox[i]}, Outbox: []*ring.SPSC[syncer.Action]{ring.New[syncer.Action](64)},
			Clock: func() (uint32, int64) { return uint32(w.now), w.now },
			Panicked: func(p contain.Panic) {
				w.heard[p.Place]++
				if strings.HasPrefix(fmt.Sprint(p.Value), "dpdtest") {
					t.Errorf("%v\n%s", p.Value, p.Stack)
				}
			},
		})
		y, err := syncer.NewSync(w.now, syncer.SyncConfig{
			Self: v.Members[i].Node, Shards: 1, ShardOf: func(flow.Bucket) int { return 0 },
			Random: func(b []byte) {
				if w.spoil {
					panic("injected")
				}
				for k := range b {
					b[k] = byte(w.rnd.Uint32())
				}
			},
		}, l)
		if err != nil {
			t.Fatal(err)
		}
		if err := y.SetKeys(1, syncseal.Key{ID: 1, Secret: [32]byte{1}}); err != nil {
			t.Fatal(err)
		}
		l.SetSync(y)
		l.SetAddresses(Addresses{Self: [2]netip.Addr{twinSip(i)}, Port: 7946})
		view := v
		view.Self = v.Members[i].Node
		y.SetView(w.now, &view)
		w.l[i] = l
	}
	return w
}

// run lets so many milliseconds pass; before comes before each turn.
func (w *twin) run(ms int64, before func(i int)) {
	for end := w.now + ms; w.now < end; {
		w.now++
		for i, l := range w.l {
			before(i)
			l.Turn()
			var h worker.Handed
			for w.host[i].Take(&h) {
				if !w.soft[1-i].Put(&h.Pkt) {
					w.pool.FreeOne(h.Pkt)
				}
			}
			var d syncer.Delivery
			for w.inbox[i].Take(&d) {
				continue
			}
		}
	}
}

func (w *twin) linked() bool {
	return w.l[0].sync.Status(w.now, nil)[0].Linked && w.l[1].sync.Status(w.now, nil)[0].Linked
}

func TestASyncThreadSurvivesPanicsAndLinksAllTheSame(t *testing.T) {
	for name, breaks := range map[string]func(w *twin, i int) (mend func()){
		"a datagram that asks for what is not there": func(w *twin, _ int) func() { w.spoil = true; return func() { w.spoil = false } },
		"a word to a worker": func(w *twin, i int) func() {
			w.l[i].cfg.Inbox[0] = nil
			return func() { w.l[i].cfg.Inbox[0] = w.inbox[i] }
		},
		"a packet to send": func(w *twin, _ int) func() { w.pool.panics = true; return func() { w.pool.panics = false } },
		"the next hop of a peer": func(w *twin, i int) func() {
			r := w.l[i].cfg.Routes
			w.l[i].cfg.Routes = nil
			return func() { w.l[i].cfg.Routes = r }
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newTwin(t)
			var mend func()
			calm := func(int) {
				if mend != nil {
					mend()
					mend = nil
				}
			}
			w.run(2_000, func(i int) {
				if calm(i); w.rnd.IntN(3) > 0 {
					mend = breaks(w, i)
				}
			})
			w.run(1_500, calm)
			if !w.linked() {
				t.Error("not linked once nothing panics")
			}
			if p := w.l[0].count[stat.Panics] + w.l[1].count[stat.Panics]; p == 0 || len(w.heard) == 0 || uint64(len(w.heard)) > p {
				t.Errorf("%d panics, reported by place %v", p, w.heard)
			}
			for i, l := range w.l {
				for w.soft[i].Len() > 0 {
					l.Turn()
				}
				l.Empty()
				var h worker.Handed
				for w.host[i].Take(&h) {
					w.pool.FreeOne(h.Pkt)
				}
			}
			dpdtest.CheckLeaks(t, w.pool.Pool)
		})
	}
}

// One datagram that panics costs itself alone: those behind it in the batch are handled.
func TestADatagramThatPanicsCostsItselfAlone(t *testing.T) {
	w := newTwin(t)
	w.run(1_000, func(int) {})
	l, from := w.l[0], w.l[1].sync
	k, err := flow.MakeKey(flow.ProtoTCP, netip.MustParseAddrPort("192.0.2.1:1000"), netip.MustParseAddrPort("198.51.100.1:80"))
	if err != nil {
		t.Fatal(err)
	}
	const questions = 20
	for i := range uint64(questions) {
		m := syncwire.Message{Kind: syncwire.KindQuery, ID: i, Rec: syncwire.Record{Orig: syncwire.Key(k)}}
		from.Queue(w.now, 0, &syncer.Action{Kind: syncer.ActSend, Lane: syncwire.LaneLive, Seq: i + 1, Msg: m})
		from.Flush(w.now)
		var h worker.Handed
		if !w.host[1].Take(&h) {
			t.Fatal("nothing was sent")
		}
		again := w.pool.Make(h.Pkt.Data)
		w.soft[0].Put(&h.Pkt)
		w.soft[0].Put(&again) // a replay: refused, behind one that panics
	}
	before := l.count
	replayed := syncer.SyncVerdict + syncer.SyncCounter(syncseal.Replayed)
	refused := l.sync.Count[replayed]
	l.cfg.Inbox[0] = nil
	l.room.left = 1 << 20
	l.Turn()
	l.cfg.Inbox[0] = w.inbox[0]
	for _, c := range []struct {
		c    stat.Counter
		want uint64
	}{{stat.SyncRx, 2 * questions}, {stat.DropPanic, questions}} {
		if n := l.count[c.c] - before[c.c]; n != c.want {
			t.Errorf("%s rose by %d, want %d", c.c, n, c.want)
		}
	}
	if n := l.sync.Count[replayed] - refused; n != questions || l.count[stat.Panics]-before[stat.Panics] < questions {
		t.Errorf("%d refused as replays, %d panics", n, l.count[stat.Panics]-before[stat.Panics])
	}
	// What was lost is known to both.
	if !l.sync.Status(w.now, nil)[0].Desync {
		t.Error("nobody knows that something was lost")
	}
	var h worker.Handed
	for i := range w.host {
		for w.host[i].Take(&h) {
			w.pool.FreeOne(h.Pkt)
		}
	}
	dpdtest.CheckLeaks(t, w.pool.Pool)
}

func TestAFunctionThatPanicsSaysSoAndTheLoopGoesOn(t *testing.T) {
	w := newTwin(t)
	done := make(chan error, 1)
	go func() { done <- w.l[0].Do(context.Background(), func(*Loop) { panic("injected") }) }()
	for {
		w.run(1, func(int) {})
		select {
		case err := <-done:
			if !errors.Is(err, ErrPanicked) || w.l[0].count[stat.Panics] != 1 {
				t.Errorf("%v, %d counted", err, w.l[0].count[stat.Panics])
			}
			return
		default:
		}
	}
}
