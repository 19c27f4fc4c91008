package dpdtest

import (
	"fmt"
	"slices"
	"testing"
)

// station keeps what it gets.
type station struct{ got []string }

func (s *station) Deliver(frame []byte) { s.got = append(s.got, string(frame[14:])) }

func (s *station) take() []string {
	g := s.got
	s.got = nil
	return g
}

func eth(dst, src byte, text string) []byte {
	return append([]byte{2, 0, 0, 0, 0, dst, 2, 0, 0, 0, 0, src, 0, 0}, text...)
}

func TestSwitchFloodsUntilItHasLearned(t *testing.T) {
	s := NewSwitch(1)
	var st [3]station
	var send [3]func([]byte)
	for i := range st {
		_, send[i] = s.Attach(&st[i])
	}
	send[0](eth(1, 0, "flood"))
	send[1](eth(0, 1, "direct"))
	send[0](eth(1, 0, "learned"))
	send[2](append([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 2, 0, 0}, "all"...))
	send[0](eth(0, 0, "self"))
	send[0]([]byte("runt"))
	for i, want := range [][]string{{"direct", "all"}, {"flood", "learned", "all"}, {"flood"}} {
		if got := st[i].take(); !slices.Equal(got, want) {
			t.Errorf("station %d: %q, want %q", i, got, want)
		}
	}
	s.Cut(1, true)
	send[0](eth(1, 0, "cut"))
	send[1](eth(0, 1, "cut"))
	s.Cut(1, false)
	send[0](eth(1, 0, "back"))
	if got := st[1].take(); !slices.Equal(got, []string{"back"}) || len(st[0].take()) != 0 {
		t.Errorf("%q", got)
	}
}

func TestDelayKeepsTheOrderOfAMoment(t *testing.T) {
	s := NewSwitch(1)
	var a, b station
	_, send := s.Attach(&a)
	to, _ := s.Attach(&b)
	s.Impair(to, Impair{DelayMin: 5, DelayMax: 5})
	for i := range 20 {
		send(eth(1, 0, fmt.Sprint(i)))
	}
	s.Advance(4)
	if len(b.take()) != 0 || s.InFlight() != 20 {
		t.Fatal("too early")
	}
	s.Advance(5)
	for i, g := range b.take() {
		if g != fmt.Sprint(i) {
			t.Fatalf("frame %d is %s", i, g)
		}
	}
}

func TestImpairmentsFollowFromTheSeed(t *testing.T) {
	run := func(seed uint64) ([]string, uint64) {
		s := NewSwitch(seed)
		var a, b station
		_, send := s.Attach(&a)
		to, _ := s.Attach(&b)
		s.Impair(to, Impair{Loss: 0.1, Duplicate: 0.1, Reorder: 0.2, HoldMS: 7, DelayMin: 1, DelayMax: 3})
		for i := range 1000 {
			send(eth(1, 0, fmt.Sprint(i)))
			s.Advance(int64(i))
		}
		s.Advance(2000)
		return b.take(), s.Lost()
	}
	one, lost := run(7)
	two, _ := run(7)
	three, _ := run(8)
	if !slices.Equal(one, two) || slices.Equal(one, three) {
		t.Fatal("not by the seed")
	}
	seen := map[string]int{}
	swapped := 0
	for i, g := range one {
		seen[g]++
		if i > 0 && len(g) == len(one[i-1]) && g < one[i-1] {
			swapped++
		}
	}
	missing := 1000 - len(seen)
	if lost < 50 || missing < 40 || len(one)+missing <= 1000 || swapped < 50 {
		t.Fatalf("lost %d, missing %d, arrived %d, out of order %d", lost, missing, len(one), swapped)
	}
}
