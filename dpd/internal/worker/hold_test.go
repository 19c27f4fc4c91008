package worker

import (
	"testing"
	"time"

	"github.com/holdfast-lb/holdfast/dpd/internal/flow"
	"github.com/holdfast-lb/holdfast/dpd/internal/port"
)

func held(h *hold) (refs []uintptr) {
	for i := range h.n {
		refs = append(refs, h.pkt[i].Ref)
	}
	return refs
}

func TestReleaseGivesThePacketsOfTheKeyInOrder(t *testing.T) {
	var h hold
	a, b := flow.Key{Meta: 1}, flow.Key{Meta: 2}
	for i, k := range []*flow.Key{&a, &b, &a, &b} {
		h.add(port.Packet{Ref: uintptr(i)}, uint8(10+i), k, 100)
	}
	var out port.Batch
	var dev [port.BatchMax]uint8
	h.release(&a, &out, &dev)
	if dev[0] != 10 || dev[1] != 12 || h.dev[0] != 11 || h.dev[1] != 13 {
		t.Errorf("devices %v, of those still held %v", dev[:2], h.dev[:2])
	}
	if out.N != 2 || out.Pkt[0].Ref != 0 || out.Pkt[1].Ref != 2 {
		t.Errorf("released %d: %v", out.N, out.Pkt[:out.N])
	}
	if r := held(&h); len(r) != 2 || r[0] != 1 || r[1] != 3 {
		t.Errorf("still held: %v", r)
	}
}

func TestExpireTakesOnlyWhatIsDueAlsoAcrossTheWrapOfTheTick(t *testing.T) {
	var h hold
	k := flow.Key{Meta: flow.ProtoTCP << 8}
	h.add(port.Packet{Ref: 1}, 0, &k, 0xffff_fff8)
	h.add(port.Packet{Ref: 2}, 0, &k, 4)
	var out port.Batch
	var dev [port.BatchMax]uint8
	early := uint32(0xffff_fff8)
	h.expire(early+holdMS-1, &out, &dev)
	if out.N != 0 {
		t.Fatalf("%d packets gave up too early", out.N)
	}
	var later port.Batch
	start := uint32(0xffff_fff8)
	h.expire(start+holdMS, &later, &dev)
	if later.N != 1 || later.Pkt[0].Ref != 1 || h.n != 1 {
		t.Errorf("gave up %d, still held %d", later.N, h.n)
	}
}

func TestAFullHoldRefusesAndTheCallerKeepsThePacket(t *testing.T) {
	var h hold
	var k flow.Key
	for range HoldMax {
		if !h.add(port.Packet{}, 0, &k, 0) {
			t.Fatal("refused while there was room")
		}
	}
	if h.add(port.Packet{}, 0, &k, 0) || h.n != HoldMax {
		t.Errorf("took packet %d", h.n)
	}
}

func TestAdaptivePollSleepsLongerTheLongerItIsIdleAndNotAfterWork(t *testing.T) {
	i := Idle{Policy: Adaptive}
	for range idleTurns - 1 {
		if d := i.next(false); d != 0 {
			t.Fatalf("slept %v at once", d)
		}
	}
	var last time.Duration
	for range 10 {
		d := i.next(false)
		if d < last || d == 0 || d > sleepMax {
			t.Errorf("slept %v after %v", d, last)
		}
		last = d
	}
	if last != sleepMax {
		t.Errorf("longest sleep is %v, want %v", last, sleepMax)
	}
	if d := i.next(true); d != 0 {
		t.Errorf("slept %v after work", d)
	}
	if d := i.next(false); d != 0 {
		t.Errorf("slept %v at the first empty turn after work", d)
	}
	if d := (&Idle{Policy: Busy}).next(false); d != 0 {
		t.Errorf("busy poll slept %v", d)
	}
}
