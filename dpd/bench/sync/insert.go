package main

import (
	"fmt"
	"math/rand/v2"
	"slices"

	"github.com/holdfast-lb/holdfast/dpd/internal/conntrack"
	"github.com/holdfast-lb/holdfast/dpd/internal/flow"
	"github.com/holdfast-lb/holdfast/dpd/internal/localport"
	"github.com/holdfast-lb/holdfast/dpd/internal/syncer"
	"github.com/holdfast-lb/holdfast/dpd/internal/syncseal"
	"github.com/holdfast-lb/holdfast/dpd/internal/syncwire"
)

// stock is how many sessions an insert measurement brings to an empty node: more than any cache holds.
const stock = 1 << 20

// measureInsert measures the whole of P10: open, decode, and the shard's merge into the session table, in random order,
// on one thread. The control merges records that are decoded already, so the difference is what the wire costs.
func measureInsert(rep *report, family uint8, mtu, pairs int) error {
	w, err := workOf(stockMessages(family), mtu)
	if err != nil {
		return err
	}
	wire := func(n *receiver) (int, error) { return w.deliver(n.take) }
	memory := func(n *receiver) (int, error) {
		n.take(w.messages)
		return len(w.messages), nil
	}
	var ours, control, ratios []float64
	for i := range pairs {
		order := []func(*receiver) (int, error){wire, memory}
		if i%2 == 1 {
			slices.Reverse(order)
		}
		var v [2]float64
		for j, f := range order {
			if v[j], err = insertOnce(f); err != nil {
				return err
			}
		}
		if i%2 == 1 {
			v[0], v[1] = v[1], v[0]
		}
		ours, control, ratios = append(ours, v[0]), append(control, v[1]), append(ratios, v[0]/v[1])
	}
	goal := 12.0
	holds := median(ours) >= goal && pairs >= 7
	rep.add(result{
		ID: "P10", Metric: fmt.Sprintf("sync open, decode and insert, IPv%d, MTU %d, %d Ki sessions", family, mtu, stock>>10), Unit: "Msessions/s",
		Ours: median(ours), Baseline: median(control), Ratio: median(ratios), Spread: [2]float64{slices.Min(ratios), slices.Max(ratios)},
		Goal: &goal, Holds: &holds, Note: "baseline: insert of decoded records",
	})
	return nil
}

// receiver is an empty node's shard over a table of its own.
type receiver struct {
	shard *syncer.Shard
	table *conntrack.Table
}

// take receives messages as a worker does that takes them from its ring.
func (n *receiver) take(messages []syncwire.Message) {
	for i := range messages {
		if ahead := i + syncer.Foresight; ahead < len(messages) {
			n.shard.Foresee(&messages[ahead])
		}
		n.shard.Receive(1_795_003_700_000, sender, &messages[i])
		n.shard.Done()
	}
}

var (
	sender = flow.Node{ID: 1, Inc: 10}
	self   = flow.Node{ID: 2, Inc: 1}
)

// insertOnce brings the stock to a fresh table; making the table is not measured.
func insertOnce(f func(*receiver) (int, error)) (float64, error) {
	t, err := conntrack.New(conntrack.Config{CapacityV4: stock + 1024, CapacityV6: stock + 1024})
	if err != nil {
		return 0, err
	}
	defer t.Close()
	n := &receiver{table: t, shard: syncer.New(syncer.Config{Self: self, Owns: func(flow.Bucket) bool { return true }}, t, localport.New(0))}
	n.shard.SetView(1_795_003_700_000, &syncer.View{Epoch: 1, Self: self, Members: []syncer.Member{{Node: sender, Admitted: true}, {Node: self}}})
	n.shard.Done()
	start, err := threadTime()
	if err != nil {
		return 0, err
	}
	sent, err := f(n)
	if err != nil {
		return 0, err
	}
	end, err := threadTime()
	if err != nil {
		return 0, err
	}
	if t.Len() != sent {
		return 0, fmt.Errorf("%d sessions sent, %d in the table; counts %v; table %+v", sent, t.Len(), n.shard.Count, t.Stats())
	}
	return float64(sent) / (end - start).Seconds() / 1e6, nil
}

// stockMessages are sessions with tuples of their own each, in random order.
func stockMessages(family uint8) []syncwire.Message {
	out := make([]syncwire.Message, 0, stock)
	for len(out) < stock {
		out = append(out, messages(family, usual)...)
	}
	for n := range out {
		r := &out[n].Rec
		port := uint64(1024 + n>>8)
		r.Orig.Meta = r.Orig.Meta&^(0xffff<<48) | uint64(n&0xffff)<<48
		r.Reply.Meta = r.Reply.Meta&^(0xffff<<32) | port<<32
		server, local := uint64(n&63), uint64(n>>6&3)
		if family == flow.IPv4 {
			r.Orig.Addr[0] = (0xc0000000+uint64(n>>16))<<32 | r.Orig.Addr[0]&0xffffffff
			r.Reply.Addr[0] = (0x0a000000+server)<<32 | 0x0a010000 + local
		} else {
			r.Orig.Addr[1] = uint64(n)
			r.Reply.Addr[1], r.Reply.Addr[3] = server, local
		}
		r.Bucket, r.Ver = uint8(port), r.Ver+1
	}
	rnd := rand.New(rand.NewPCG(2, uint64(family)))
	rnd.Shuffle(len(out), func(i, j int) { out[i], out[j] = out[j], out[i] })
	return out
}

// deliver opens and decodes every datagram and passes its messages on.
func (w *work) deliver(take func([]syncwire.Message)) (int, error) {
	o := syncseal.NewOpener(&w.ring, w.link)
	n := 0
	var h syncwire.Header
	for _, p := range w.sealed {
		q := w.buf[:copy(w.buf, p)]
		if why := h.Read(q); why != syncwire.OK {
			return 0, fmt.Errorf("header: %v", why)
		}
		tlvs, v := o.Open(&h, q)
		if v != syncseal.Opened {
			return 0, fmt.Errorf("open: %v", v)
		}
		f, why := w.decoder.Decode(&h, tlvs)
		if why != syncwire.OK {
			return 0, fmt.Errorf("decode: %v", why)
		}
		take(f.Messages)
		n += len(f.Messages)
	}
	return n, nil
}
