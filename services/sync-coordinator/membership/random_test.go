package membership

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// TestInvariantsHoldUnderRandomEvents throws every kind of event at a machine in any order, true and false ones, with
// restarts of the coordinator in between, and checks after each what must never break.
func TestInvariantsHoldUnderRandomEvents(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		m := New(DefaultConfig(), State{}, 0, Secrets{})
		pools := []Pool{
			{Name: "laddr", Kind: PoolLaddr, BlockSize: 1, Prefixes: prefixes("10.0.7.0/29")},
			{Name: "laddr6", Kind: PoolLaddr, BlockSize: 2, Prefixes: prefixes("fd07::/124")},
			{Name: "sip", Kind: PoolSip, Prefixes: prefixes("10.0.9.0/30", "10.0.8.0/31")},
			{Name: "sip6", Kind: PoolSip, Prefixes: prefixes("fd09::/125")},
		}
		if err := m.SetPools(t0, pools); err != nil {
			rt.Fatal(err)
		}
		now := int64(t0)
		var past State
		check := func() {
			o := m.Take()
			if !o.Changed {
				return
			}
			if err := invariants(&past, &o.State); err != nil {
				rt.Fatalf("%v\nbefore %+v\nafter %+v", err, past, o.State)
			}
			past = o.State
		}
		check()
		pick := func() (uint32, uint64) {
			if len(past.Nodes) == 0 {
				return 1, 1
			}
			n := past.Nodes[rapid.IntRange(0, len(past.Nodes)-1).Draw(rt, "node")]
			return n.ID, n.Inc - uint64(rapid.SampledFrom([]int{0, 0, 0, 1}).Draw(rt, "stale"))
		}
		for range rapid.IntRange(1, 80).Draw(rt, "steps") {
			now += int64(rapid.SampledFrom([]int{0, 100, 100, 400, 3000, 11000, 61000}).Draw(rt, "wait"))
			name := fmt.Sprintf("n%d", rapid.IntRange(1, 7).Draw(rt, "name"))
			switch rapid.SampledFrom([]string{"join", "report", "report", "report", "report", "control", "control", "leave", "pools", "drain", "tick", "restart", "rotate", "keys"}).Draw(rt, "event") {
			case "join":
				r := ask(name)
				r.StoredInc, r.IPv6 = rapid.Uint64Range(0, 2*t0).Draw(rt, "stored"), rapid.Bool().Draw(rt, "v6")
				_, _ = m.Join(now, r)
			case "report":
				id, inc := pick()
				m.Report(now, randomReport(rt, &past, id, inc))
			case "control":
				id, inc := pick()
				m.Control(now, id, inc, rapid.Bool().Draw(rt, "up"))
			case "leave":
				id, inc := pick()
				_ = m.Leave(now, id, inc)
			case "pools":
				if err := m.SetPools(now, pools[:rapid.IntRange(0, len(pools)).Draw(rt, "pools")]); err != nil {
					rt.Fatal(err)
				}
			case "drain":
				_ = m.Drain(now, name, rapid.Bool().Draw(rt, "force"), false)
			case "tick":
				m.Tick(now)
			case "restart":
				m = New(DefaultConfig(), past, rapid.Uint64Range(0, past.View+3).Draw(rt, "reported"), Secrets{})
			case "rotate":
				_ = m.RotateKeys(now, [SecretLen]byte{})
			case "keys":
				id, inc := pick()
				m.KeysApplied(now, id, inc, past.Keys.Generation)
			}
			check()
		}
	})
}

func randomReport(rt *rapid.T, s *State, id uint32, inc uint64) Report {
	r := Report{
		Node: id, Inc: inc,
		View:         s.View - min(s.View, uint64(rapid.SampledFrom([]int{0, 0, 0, 1}).Draw(rt, "behind"))),
		DetectorLate: rapid.IntRange(0, 9).Draw(rt, "late") == 0,
		Settled:      rapid.Bool().Draw(rt, "settled"),
	}
	for _, n := range s.Nodes {
		if n.ID == id {
			continue
		}
		r.Peers = append(r.Peers, PeerReport{ID: n.ID, Inc: n.Inc, Suspected: rapid.Bool().Draw(rt, "suspected"),
			Greeted: rapid.IntRange(0, 4).Draw(rt, "greeted") > 0, ClockKnown: rapid.Bool().Draw(rt, "clock"),
			ClockOffset: int64(rapid.IntRange(-900, 900).Draw(rt, "offset"))})
		r.Bulk = append(r.Bulk, BulkReport{ID: n.ID, Inc: n.Inc, Begun: rapid.IntRange(0, 3).Draw(rt, "begun") > 0,
			Ended: rapid.Bool().Draw(rt, "ended"), Expected: 10, Received: uint64(rapid.IntRange(0, 12).Draw(rt, "received"))})
	}
	for _, b := range s.Blocks {
		r.Blocks = append(r.Blocks, BlockReport{ID: b.ID, Records: uint64(rapid.IntRange(0, 1).Draw(rt, "records"))})
		for _, n := range s.Nodes {
			if rapid.IntRange(0, 3).Draw(rt, "relayed") == 0 {
				r.Relayed = append(r.Relayed, RelayedReport{Member: n.ID, Inc: n.Inc, Block: b.ID, Holder: b.Holder, HolderInc: b.HolderInc,
					Fenced: 5000, Age: int64(rapid.SampledFrom([]int{0, 500, 11000}).Draw(rt, "age"))})
			}
		}
		if b.Holder != 0 {
			r.Fenced = append(r.Fenced, FenceReport{ID: b.Holder, Inc: b.HolderInc, Age: int64(rapid.SampledFrom([]int{100, 5000}).Draw(rt, "fence"))})
		}
	}
	return r
}

// invariants compares two states that were written one after the other.
func invariants(a, b *State) error {
	if b.View < a.View || b.Keys.Generation < a.Keys.Generation {
		return fmt.Errorf("view or key generation went back")
	}
	if len(b.Keys.Keys) < 1 || len(b.Keys.Keys) > 2 || !slices.ContainsFunc(b.Keys.Keys, func(k Key) bool { return k.ID == b.Keys.Active }) {
		return fmt.Errorf("keys %d, active %d", len(b.Keys.Keys), b.Keys.Active)
	}
	sips := map[netip.Addr]uint32{}
	names := map[string]bool{}
	marked := 0
	for i := range b.Nodes {
		n := &b.Nodes[i]
		if names[n.Name] {
			return fmt.Errorf("name %s twice", n.Name)
		}
		names[n.Name] = true
		if n.ByMachine {
			marked++
		}
		if n.Member() && n.Fenced >= n.Inc || !n.Member() && n.Fenced < n.Inc {
			return fmt.Errorf("node %d %s: inc %d, fenced %d", n.ID, n.Phase, n.Inc, n.Fenced)
		}
		for _, x := range []netip.Addr{n.Sip4, n.Sip6} {
			if x.IsValid() && sips[x] != 0 {
				return fmt.Errorf("sync address %v at nodes %d and %d", x, sips[x], n.ID)
			}
			if x.IsValid() {
				sips[x] = n.ID
			}
		}
		if (n.Cause == CauseAside) != (n.Reason != "") || n.Cause == CauseAside && (n.Phase != Removed || n.JoinAfter == 0) {
			return fmt.Errorf("node %d %s %q: reason %q, may join after %d", n.ID, n.Phase, n.Cause, n.Reason, n.JoinAfter)
		}
		if o := a.Node(n.ID); o != nil {
			if o.Name != n.Name || n.Inc < o.Inc || n.Fenced < o.Fenced {
				return fmt.Errorf("node %d went back: %+v to %+v", n.ID, o, n)
			}
			if o.Inc == n.Inc && o.Phase == Removed && n.Phase != Removed {
				return fmt.Errorf("node %d: a removed life came back", n.ID)
			}
			if o.Inc == n.Inc && o.Phase == Joining && n.Phase == Admitted {
				return fmt.Errorf("node %d was admitted without being ready", n.ID)
			}
			if o.Phase != Removed && o.Serving() && n.Cause == CauseAside {
				return fmt.Errorf("node %d was put aside while it served", n.ID)
			}
		}
	}
	if marked > max(1, b.Baseline/3) {
		return fmt.Errorf("%d removed by machine of %d", marked, b.Baseline)
	}
	if (marked > 0) != (b.Baseline > 0) {
		return fmt.Errorf("%d removed by machine, baseline %d", marked, b.Baseline)
	}
	type family struct {
		id  uint32
		inc uint64
		is6 bool
	}
	held := map[family]bool{}
	ids := map[uint32]bool{}
	addresses := map[netip.Addr]bool{}
	for i := range b.Blocks {
		x := &b.Blocks[i]
		if ids[x.ID] || x.ID > b.LastBlock || a.LastBlock > b.LastBlock {
			return fmt.Errorf("block id %d", x.ID)
		}
		ids[x.ID] = true
		for _, y := range x.Addresses {
			if addresses[y] {
				return fmt.Errorf("address %v in two blocks", y)
			}
			addresses[y] = true
		}
		if x.Holder != 0 {
			h := family{x.Holder, x.HolderInc, x.Is6()}
			if held[h] {
				return fmt.Errorf("one life holds two blocks of a family: %v", h)
			}
			held[h] = true
		}
		if o := blockOf(a, x.ID); o != nil {
			if x.Epoch < o.Epoch || (o.Holder != x.Holder || o.HolderInc != x.HolderInc) && x.Epoch == o.Epoch {
				return fmt.Errorf("block %d changed hands in epoch %d", x.ID, x.Epoch)
			}
			// A block moves only from nobody or from a life that is over.
			if o.Holder != 0 && (o.Holder != x.Holder || o.HolderInc != x.HolderInc) && !b.holderDead(&Block{Holder: o.Holder, HolderInc: o.HolderInc}) {
				return fmt.Errorf("block %d was taken from a living holder", x.ID)
			}
		}
		if b.MayAllocate(x) {
			if n := b.Node(x.Holder); n.Phase != Ready && n.Phase != Admitted || n.Inc != x.HolderInc {
				return fmt.Errorf("node %d may allocate while %s", n.ID, n.Phase)
			}
		}
	}
	return nil
}

func blockOf(s *State, id uint32) *Block {
	for i := range s.Blocks {
		if s.Blocks[i].ID == id {
			return &s.Blocks[i]
		}
	}
	return nil
}
