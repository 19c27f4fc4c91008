package sched

import (
	"math/rand/v2"
	"net/netip"
	"testing"

	"github.com/holdfast-lb/holdfast/dpd/internal/flow"
)

// randomConfig draws services and servers from few ids, so that they come, go, change and move.
func randomConfig(rnd *rand.Rand) *Config {
	c := &Config{}
	ids := rnd.Perm(60) // of servers: each in one service at most
	for _, id := range rnd.Perm(8)[:rnd.IntN(9)] {
		s := ServiceConfig{
			ID: uint32(id + 1), VIP: netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 51, 100, byte(id + 1)}), 80),
			Proto: flow.ProtoTCP, Mode: flow.FullNAT, Algorithm: RR + Algorithm(rnd.IntN(3)),
		}
		for range rnd.IntN(6) {
			n := ids[0]
			ids = ids[1:]
			s.Servers = append(s.Servers, ServerConfig{
				ID: uint32(n + 1), Addr: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(n + 1)}), 80),
				Weight: rnd.Uint32N(4), State: Up + ServerState(rnd.IntN(3)), MaxConnections: []uint32{0, 0, 3, 20}[rnd.IntN(4)],
			})
		}
		c.Services = append(c.Services, s)
	}
	return c
}

// Whatever snapshots follow each other: only servers that take flows are picked, one is picked if there is one, and
// connections are counted by server id for as long as the id stays.
func TestAgreesWithTheModelOverManySnapshots(t *testing.T) {
	for seed := range uint64(20) {
		rnd := rand.New(rand.NewPCG(seed, 7))
		st := NewState(0, 1)
		model := map[uint32]uint32{} // connections by server id
		var snap *Snapshot
		for range 30 {
			c := randomConfig(rnd)
			next, err := Compile(c, snap)
			if err != nil {
				t.Fatal(err)
			}
			snap = next
			st.Use(snap)
			for id := range model {
				if snap.Server(id) == nil {
					delete(model, id)
				}
			}
			for range 200 {
				if len(snap.Services()) == 0 {
					break
				}
				svc := snap.Services()[rnd.IntN(len(snap.Services()))]
				room := false
				for i := range svc.Servers {
					r := &svc.Servers[i]
					room = room || r.Takes() && (r.MaxConnections == 0 || model[r.ID] < r.MaxConnections)
				}
				r, ok := st.Pick(svc)
				if ok != room {
					t.Fatalf("seed %d: picked %v, room %v", seed, ok, room)
				}
				if ok {
					if snap.Server(r.ID) != r || !r.Takes() || r.MaxConnections > 0 && model[r.ID] >= r.MaxConnections {
						t.Fatalf("seed %d: picked %+v with %d connections", seed, r, model[r.ID])
					}
					st.Opened(r)
					model[r.ID]++
				}
				if id := 1 + rnd.Uint32N(60); rnd.IntN(2) == 0 {
					st.Closed(id)
					if model[id] > 0 {
						model[id]--
					}
				}
			}
			for i := range c.Services {
				for _, s := range c.Services[i].Servers {
					if got := st.Connections(snap.Server(s.ID)); got != model[s.ID] {
						t.Fatalf("seed %d: server %d has %d connections, model %d", seed, s.ID, got, model[s.ID])
					}
				}
			}
		}
	}
}
