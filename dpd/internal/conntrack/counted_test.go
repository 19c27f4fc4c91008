package conntrack

import (
	"slices"
	"testing"

	"github.com/holdfast-lb/holdfast/dpd/internal/flow"
)

func TestASessionCountsOnItsServerUntilItEndsHoweverThatComesAbout(t *testing.T) {
	end := func(f flow.Flags) func(*Table, flow.Handle, *flow.Session) {
		return func(tab *Table, h flow.Handle, s *flow.Session) {
			s.Flags |= f
			if err := tab.Update(h, s); err != nil {
				panic(err)
			}
		}
	}
	for _, row := range []struct {
		name string
		do   func(*Table, flow.Handle, *flow.Session)
		want []uint32
	}{
		{"still there", func(*Table, flow.Handle, *flow.Session) {}, nil},
		{"another version", end(0), nil},
		{"reply-only", end(flow.ReplyOnly), nil},
		{"aged", end(flow.SoftTomb), []uint32{9}},
		{"removed", func(tab *Table, h flow.Handle, _ *flow.Session) { tab.Remove(h) }, []uint32{9}},
		{"aged, then removed", func(tab *Table, h flow.Handle, s *flow.Session) {
			end(flow.SoftTomb)(tab, h, s)
			tab.Remove(h)
		}, []uint32{9}},
		{"aged, revived and counted again, removed", func(tab *Table, h flow.Handle, s *flow.Session) {
			end(flow.SoftTomb)(tab, h, s)
			s.Flags &^= flow.SoftTomb
			end(0)(tab, h, s)
			if !tab.SetCounted(h) || tab.SetCounted(h) {
				panic("counted once is once")
			}
			tab.Remove(h)
		}, []uint32{9, 9}},
		{"moved to another server", func(tab *Table, h flow.Handle, s *flow.Session) {
			s.Server = 10
			end(0)(tab, h, s)
		}, []uint32{9}},
	} {
		t.Run(row.name, func(t *testing.T) {
			var got []uint32
			tab := newTable(t, Config{CapacityV4: 4, CapacityV6: 4, OnUncount: func(s uint32) { got = append(got, s) }})
			s := *tcp4(t)
			s.Server = 9
			h, err := tab.Insert(&s)
			if err != nil {
				t.Fatal(err)
			}
			if !tab.SetCounted(h) || tab.SetCounted(h) {
				t.Error("counted once is once")
			}
			row.do(tab, h, &s)
			if !slices.Equal(got, row.want) {
				t.Errorf("told %v, want %v", got, row.want)
			}
		})
	}
	if newTable(t, Config{CapacityV4: 4}).SetCounted(3) {
		t.Error("no record counts")
	}
}
