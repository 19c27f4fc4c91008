package campaign

import "slices"

// carry takes a sync datagram on its way.
func (w *world) carry(from, to int, f []byte) bool {
	if w.cut[[2]int{from, to}] {
		return true
	}
	w.travel(&w.opt.net, f, func(b []byte) { w.mesh.Datagram(to, b) })
	return true
}

// travel brings a copy of a packet to its receiver: later, twice, or never.
func (w *world) travel(n *lossy, f []byte, arrive func([]byte)) {
	times := 1
	if !w.peace {
		switch {
		case w.chance(n.loss):
			return
		case w.chance(n.dup):
			times = 2
		}
	}
	b := slices.Clone(f)
	for range times {
		ms := 1 + w.below(2)
		if !w.peace && w.chance(n.late) {
			ms += w.below(n.most)
		}
		w.after(ms, func() { arrive(b) })
	}
}
