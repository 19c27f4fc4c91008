package main

import (
	"net"
	"net/netip"
	"slices"
	"testing"

	"github.com/holdfast-lb/holdfast/e2e/lab/topo"
)

var testMembers = []member{
	{name: "lb1", id: 1, inc: 100, sips: sips(0)},
	{name: "lb2", id: 2, inc: 200, sips: sips(1)},
	{name: "lb3", id: 3, inc: 300, sips: sips(2)},
}

func sips(n int) []netip.AddrPort {
	v4, v6 := topo.SipPool4.Addr(), topo.SipPool6.Addr()
	for range n {
		v4, v6 = v4.Next(), v6.Next()
	}
	return []netip.AddrPort{netip.AddrPortFrom(v4, 7946), netip.AddrPortFrom(v6, 7946)}
}

// sync is a datagram of a member in an incarnation, of a length.
func syncDatagram(from int, inc, counter uint64, length int) []byte {
	b := make([]byte, length)
	h := header{sender: testMembers[from].id, inc: inc, salt: 7, counter: counter, keyID: 1}
	h.put(b)
	return b
}

// testBook has heard 40 datagrams of each pair, a greeting among them, in each era.
func testBook() *book {
	b := newBook()
	b.know(slices.Clone(testMembers))
	for _, step := range []uint64{0, 1} { // in the second round lb1 has begun a new life
		for from, m := range testMembers {
			inc := m.inc
			if from == 0 {
				inc += step
			}
			for to := range testMembers {
				if to == from {
					continue
				}
				b.heard(from, to, to%2 == 0, syncDatagram(from, inc, 1, helloLen))
				for n := range 39 {
					b.heard(from, to, to%2 == 0, syncDatagram(from, inc, uint64(n+2), 70+n))
				}
			}
		}
	}
	return b
}

func TestBookTellsErasApart(t *testing.T) {
	b := testBook()
	if got := b.all()[0].inc; got != 101 {
		t.Fatalf("lb1 is in incarnation %d", got)
	}
	count := func(era int, pick func(int, uint64) (record, bool)) (n int) {
		kept := map[string]bool{}
		for i := range uint64(1000) {
			x, ok := pick(era, i)
			if !ok {
				return 0
			}
			h, _ := readHeader(x.payload)
			kept[string(x.payload)+string(rune(x.to))] = true
			now := b.all()
			switch {
			case era == lives && h.inc >= now[x.from].inc,
				era != lives && h.inc != now[x.from].inc,
				era == links && x.to != 0:
				t.Errorf("era %d holds %+v from %d to %d", era, h, x.from, x.to)
			}
		}
		return len(kept)
	}
	// Of lb1's former life: what it sent to both, and what both had sent to it by then: in the
	// first round lb1 spoke first.
	for _, row := range []struct {
		era, all, hellos int
	}{{present, 240, 6}, {lives, 80, 2}, {links, 80, 2}} {
		all, hellos := count(row.era, b.pick), count(row.era, b.greeting)
		if all != row.all || hellos != row.hellos {
			t.Errorf("era %d: %d datagrams, %d greetings", row.era, all, hellos)
		}
	}
	b.heard(1, 0, false, syncDatagram(1, 1, 1, 80)) // an incarnation below the known one: not believed
	b.heard(1, 0, false, syncDatagram(0, 101, 1, 80))
	b.heard(1, 0, false, []byte("noise"))
	if got := count(present, b.pick); got != 240 {
		t.Errorf("the book took what it must not: %d", got)
	}
}

// Every kind makes frames that can be read again, goes to a node, and is a function of the seed.
func TestKinds(t *testing.T) {
	for _, k := range append(slices.Clone(kinds), closedPort) {
		t.Run(k.name, func(t *testing.T) {
			run := func(seed uint64) (frames []string, list []datagram) {
				g := newGenerator(seed, testBook())
				fr := testFramer()
				for range 400 {
					d := g.next(k)
					d.payload = slices.Clone(d.payload)
					list = append(list, d)
					fr.frames(&d, func(b []byte) { frames = append(frames, string(b)) })
				}
				return frames, list
			}
			one, list := run(1)
			again, _ := run(1)
			other, _ := run(2)
			if !slices.Equal(one, again) || slices.Equal(one, other) {
				t.Error("frames are no function of the seed")
			}
			heard := testBook()
			families := map[bool]bool{}
			for _, d := range list {
				families[d.dst.Addr().Is6()] = true
				if d.node < 0 || d.node >= 3 || d.src.Addr().Is6() != d.dst.Addr().Is6() {
					t.Fatalf("%+v", d)
				}
				checkKind(t, k.name, heard, d)
			}
			if len(families) != 2 {
				t.Error("only one family")
			}
			for _, f := range one {
				if len(f) > etherLen+deviceMTU {
					t.Errorf("a frame of %d B", len(f))
				}
			}
		})
	}
}

// checkKind holds what is told of a kind.
func checkKind(t *testing.T, name string, b *book, d datagram) {
	t.Helper()
	h, isSync := readHeader(d.payload)
	from, to := b.owner(d.src), b.owner(d.dst)
	bad := false
	switch name {
	case "salt-zero":
		bad = !isSync || h.salt != 0 || h.counter != 1 || from < 0 || to != d.node ||
			h.inc != b.all()[from].inc || h.sender != b.all()[from].id
	case "salt-random", "inc-other", "random-header", "sizes":
		bad = to != d.node || len(d.payload) >= emptyLen && !isSync
	case "stranger-header", "stranger-replay":
		bad = from >= 0 || to != d.node || !isSync
	case "replay-present", "replay-links":
		bad = !isSync || from < 0 || to != d.node || h.inc != b.all()[from].inc
	case "replay-lives":
		bad = !isSync || from != 0 || h.inc != 100
	case "replay-hellos":
		bad = !isSync || len(d.payload) != helloLen
	case "closed-port":
		bad = d.dst.Port() != 7947 || from < 0 || to >= 0
	case "reflected":
		bad = !isSync || to != d.node
	}
	if bad {
		t.Errorf("%+v: header %+v (%v), from node %d to node %d", d, h, isSync, from, to)
	}
}

func testFramer() *framer {
	return &framer{
		router: []byte{2, 0, 0, 0, 0, 9},
		nodes:  []net.HardwareAddr{{2, 0, 0, 0, 0, 1}, {2, 0, 0, 0, 0, 2}, {2, 0, 0, 0, 0, 3}},
	}
}
