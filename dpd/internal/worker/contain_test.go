package worker_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/holdfast-lb/holdfast/dpd/dpdtest"
	"github.com/holdfast-lb/holdfast/dpd/internal/contain"
	"github.com/holdfast-lb/holdfast/dpd/internal/port"
	"github.com/holdfast-lb/holdfast/dpd/internal/stat"
	"github.com/holdfast-lb/holdfast/dpd/internal/worker"
)

// touchyPool panics instead of some of what it is asked for.
type touchyPool struct {
	*dpdtest.Pool
	panics func() bool
}

func (p *touchyPool) Alloc(n int) (port.Packet, bool) {
	if p.panics() {
		panic("injected")
	}
	return p.Pool.Alloc(n)
}

func (p *touchyPool) Resize(k *port.Packet, head, tail int) bool {
	if p.panics() {
		panic("injected")
	}
	return p.Pool.Resize(k, head, tail)
}

// TestPanicsAreContainedAndEveryPacketIsGivenBackOnce breaks one thing after the other while a mix of all kinds of packets goes
// through the workers, in every stage of a burst and every step of a turn.
func TestPanicsAreContainedAndEveryPacketIsGivenBackOnce(t *testing.T) {
	for _, row := range []struct {
		workers int
		tag     uint16
	}{{1, 0}, {1, 7}, {2, 7}, {3, 0}} {
		for what := range worker.Breaks + 1 {
			for _, long := range []bool{false, true} {
				t.Run(fmt.Sprintf("workers=%d,tag=%d,break=%d,long=%v", row.workers, row.tag, what, long), func(t *testing.T) {
					rnd := rand.New(rand.NewPCG(uint64(what), 3))
					broken, from := false, uint32(0)
					pool := &touchyPool{panics: func() bool { return broken && what == worker.Breaks && rnd.IntN(3) == 0 }}
					r := newRigOn(t, row.workers, row.tag, 300, func(p *dpdtest.Pool) port.Pool { pool.Pool = p; return pool })
					places := map[string]bool{}
					r.caught = func(p contain.Panic) {
						places[p.Place] = true
						if strings.HasPrefix(fmt.Sprint(p.Value), "dpdtest") {
							t.Errorf("%v\n%s", p.Value, p.Stack)
						}
					}
					mend := make([]func(), row.workers)
					r.before = func(w int) {
						if mend[w] != nil {
							mend[w]()
							mend[w] = nil
						}
						if broken = r.tick > from && rnd.IntN(3) == 0; broken && what < worker.Breaks {
							mend[w] = r.workers[w].Break(what)
						}
					}
					for _, w := range r.workers {
						if long {
							w.LongWay()
						}
					}
					from = r.tick + 40
					drive(r, 9, 40, false, false)
					r.before = func(w int) {
						if broken = false; mend[w] != nil {
							mend[w]()
							mend[w] = nil
						}
					}
					for range 3 {
						r.turn(100)
					}
					dpdtest.CheckLeaks(t, r.pool)
					panics, hits := uint64(0), uint64(0)
					for w := range r.workers {
						c := r.counts(w)
						panics, hits = panics+c[stat.Panics], hits+c[stat.Hits]
					}
					// There is no other worker, or nothing to make room for.
					none := what == 1 && row.workers == 1 || what == worker.Breaks && row.tag == 0
					if !none && (panics == 0 || len(places) == 0) {
						t.Errorf("%d panics in %d places", panics, len(places))
					}
					if hits < 100 {
						t.Errorf("%d packets of known sessions went through", hits)
					}
				})
			}
		}
	}
}

func TestARequestThatPanicsSaysSoAndTheWorkerGoesOn(t *testing.T) {
	r := newRig(t, 1, 0, 100)
	var got []contain.Panic
	r.caught = func(p contain.Panic) { got = append(got, p) }
	for i := range 3 {
		done := make(chan error, 1)
		go func() { done <- r.workers[0].Do(context.Background(), func(*worker.Worker) { panic("injected") }) }()
		for waiting := true; waiting; {
			select {
			case err := <-done:
				if waiting = false; !errors.Is(err, worker.ErrPanicked) {
					t.Fatalf("request %d: %v", i, err)
				}
			default:
				r.turn(0)
			}
		}
	}
	if c := r.counts(0); c[stat.Panics] != 3 || len(got) != 1 || got[0].Value != "injected" {
		t.Errorf("%d counted, reported %+v", c[stat.Panics], got)
	}
}
