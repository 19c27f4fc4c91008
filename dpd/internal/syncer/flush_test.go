package syncer_test

import (
	"testing"

	"github.com/holdfast-lb/holdfast/dpd/internal/flow"
	"github.com/holdfast-lb/holdfast/dpd/internal/syncer"
	"github.com/holdfast-lb/holdfast/dpd/internal/syncwire"
)

func TestABulksDatagramIsFilledForAMillisecond(t *testing.T) {
	p := newPair(t)
	count := func() (n int) {
		for _, d := range p.e[0].take() {
			if lane(d.b) == syncwire.LaneBulk {
				n++
			}
		}
		return n
	}
	queue := func(i int, l syncwire.Lane) {
		s := session(i, 2, uint16(i), flow.Birth(i+1)<<16, 1, 1, 2)
		p.e[0].Queue(p.now, 0, &syncer.Action{
			Kind: syncer.ActSend, To: 2, Lane: l, Seq: uint64(i), Msg: syncwire.Message{Kind: syncwire.KindSession, Rec: record(s)},
		})
	}
	p.now++
	for i := range 5 { // turns
		queue(i+1, syncwire.LaneBulk)
		p.e[0].Flush(p.now)
	}
	if n := count(); n != 0 {
		t.Errorf("%d datagrams in the millisecond in which they began", n)
	}
	p.now++
	p.e[0].Flush(p.now)
	if n := count(); n != 1 {
		t.Errorf("%d datagrams a millisecond later", n)
	}
	queue(9, syncwire.LaneLive)
	p.e[0].Flush(p.now)
	if n := len(p.e[0].take()); n != 1 {
		t.Errorf("%d datagrams of the live lane, which waits for nothing", n)
	}
	for i := range 250 {
		queue(i, syncwire.LaneBulk)
	}
	if n := count(); n < 3 {
		t.Errorf("%d full datagrams", n)
	}
}
