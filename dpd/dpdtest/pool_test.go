package dpdtest

import (
	"bytes"
	"testing"

	"github.com/holdfast-lb/holdfast/dpd/internal/port"
)

var (
	_ port.Pool = (*Pool)(nil)
	_ port.Port = (*Port)(nil)
)

func panics(f func()) (did bool) {
	defer func() { did = recover() != nil }()
	f()
	return false
}

func TestPoolGivesEachPacketOnce(t *testing.T) {
	p := NewPool(3)
	seen := map[uintptr]bool{}
	var b port.Batch
	for range 3 {
		k, ok := p.Alloc(100)
		if !ok || len(k.Data) != 100 || seen[k.Ref] {
			t.Fatalf("packet %d of %d bytes, %v", k.Ref, len(k.Data), ok)
		}
		seen[k.Ref] = true
		b.Push(k)
	}
	if _, ok := p.Alloc(1); ok {
		t.Fatal("a fourth packet of three")
	}
	p.Free(&b)
	if b.N != 0 || p.Available() != 3 {
		t.Fatalf("batch of %d, %d free", b.N, p.Available())
	}
	CheckLeaks(t, p)
	if _, ok := p.Alloc(Room + 1); ok {
		t.Fatal("a packet that is too large")
	}
}

func TestPoolCatches(t *testing.T) {
	p := NewPool(1)
	k := p.Make([]byte("hello"))
	keep := k
	p.FreeOne(k)
	if bytes.Equal(keep.Data, []byte("hello")) {
		t.Error("a freed packet keeps its content")
	}
	if !panics(func() { p.FreeOne(keep) }) {
		t.Error("a packet is freed twice")
	}
	if !panics(func() { p.Resize(&keep, 1, 0) }) {
		t.Error("a freed packet is resized")
	}
	if !panics(func() { p.FreeOne(port.Packet{Ref: 2}) }) {
		t.Error("a stranger's packet is freed")
	}
	if !panics(func() { p.Make(nil); p.Make(nil) }) {
		t.Error("an empty pool makes a packet")
	}
}

func TestResize(t *testing.T) {
	p := NewPool(1)
	k := p.Make([]byte("payload"))
	for _, c := range []struct {
		head, tail int
		ok         bool
		want       string
	}{
		{2, 0, true, "??payload"},
		{-4, 0, true, "yload"},
		{0, -2, true, "ylo"},
		{2, 0, true, "payl\x00"[:5]},
		{Headroom + 1, 0, false, ""},
		{0, Room + 1, false, ""},
		{-3, -3, false, ""},
	} {
		n := len(k.Data)
		ok := p.Resize(&k, c.head, c.tail)
		if ok != c.ok {
			t.Fatalf("%+v: %v", c, ok)
		}
		if want := n + c.head + c.tail; ok && len(k.Data) != want || !ok && len(k.Data) != n {
			t.Fatalf("%+v: %d bytes", c, len(k.Data))
		}
	}
	if !bytes.HasSuffix(k.Data, []byte("aylo")) {
		t.Fatalf("%q", k.Data)
	}
	p.FreeOne(k)
}

func TestPort(t *testing.T) {
	pool := NewPool(8)
	other := NewPool(8)
	a := NewPort(pool, PortConfig{Name: "a", RxQueues: 2, Depth: 2, Queue: func(f []byte) int { return int(f[13]) }})
	b := NewPort(other, PortConfig{Name: "b"})
	Pair(a, b)
	frame := func(q byte) []byte { return append(make([]byte, 13), q) }
	send := func(f []byte) int {
		var batch port.Batch
		batch.Push(other.Make(f))
		n := b.Tx(0, &batch)
		if batch.N != 0 {
			t.Fatal("the batch is not empty")
		}
		return n
	}
	var got port.Batch
	for _, q := range []byte{0, 1, 1, 1, 7} {
		if send(frame(q)) != 1 {
			t.Fatal("not sent")
		}
	}
	send(make([]byte, 13))
	if s := a.Stats(); s.RxPackets != 3 || s.RxMissed != 2 || s.RxRunt != 1 || b.Stats().TxPackets != 6 {
		t.Fatalf("%+v", s)
	}
	if a.Rx(0, &got) != 1 || !bytes.Equal(got.Pkt[0].Data, frame(0)) {
		t.Fatal("queue 0")
	}
	pool.Free(&got)
	if a.Rx(1, &got) != 2 || a.Rx(1, &port.Batch{}) != 0 {
		t.Fatal("queue 1")
	}
	pool.Free(&got)

	b.Refuse(1)
	if send(frame(0)) != 0 || send(frame(0)) != 1 {
		t.Fatal("a full device")
	}
	b.SetLink(false)
	if b.LinkUp() || send(frame(0)) != 0 {
		t.Fatal("no carrier")
	}
	b.SetLink(true)
	a.SetLink(false)
	if send(frame(0)) != 1 || a.Stats().RxPackets != 4 {
		t.Fatal("delivered without carrier")
	}
	a.SetLink(true)
	pool.Exhaust(true)
	send(frame(0))
	if a.Stats().AllocFails != 1 {
		t.Fatal("an empty pool is not counted")
	}
	a.Drain()
	CheckLeaks(t, pool)
	CheckLeaks(t, other)
}
