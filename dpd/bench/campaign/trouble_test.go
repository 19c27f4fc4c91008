package campaign

// trouble begins what goes wrong in a run.
func (w *world) trouble() {
	o := &w.opt
	w.each(o.kills, func() {
		if n := w.victim(); n != nil {
			w.total.kills++
			n.kill()
			w.after(300+w.below(8_000), func() { n.start() })
		}
	})
	w.each(o.stops, func() {
		if n := w.victim(); n != nil {
			w.total.stops++
			n.pause(50+w.below(6_000), w.chance(0.2))
		}
	})
	w.each(o.threads, func() {
		if n := w.any(); n != nil && !n.stopped {
			w.total.threads++
			thread, ms, life := int(w.below(int64(w.opt.workers+1))), 50+w.below(3_000), n.mesh
			w.logf("node %d: thread %d stands still for %d ms", n.i, thread, ms)
			life.Still[thread] = true
			w.after(ms, func() { life.Still[thread] = n.stopped && n.mesh == life })
		}
	})
	w.each(o.cuts, func() {
		a, b := int(w.below(int64(o.nodes))), int(w.below(int64(o.nodes)))
		if a != b {
			w.total.cuts++
			ms := 100 + w.below(8_000)
			w.logf("cut from %d to %d for %d ms", a, b, ms)
			w.cut[[2]int{a, b}] = true
			w.after(ms, func() { delete(w.cut, [2]int{a, b}) })
		}
	})
	w.each(o.moves, func() {
		for _, c := range w.open {
			if w.chance(0.3) {
				w.total.moves++
				c.reroute(true)
			}
		}
	})
	w.each(o.keys, func() { w.total.keys++; w.coord.rotate() })
	w.each(o.clocks, func() {
		if n := w.any(); n != nil {
			w.total.clocks++
			n.shift += w.below(7_200_000) - 3_600_000
			w.logf("node %d: realtime is now %d ms off", n.i, n.shift)
			w.after(2_000+w.below(6_000), func() { n.shift = 0 })
		}
	})
	w.each(o.control, func() {
		if n := w.any(); n != nil {
			n.loseControl(500 + w.below(6_000))
		}
	})
	w.each(o.full, func() {
		if n := w.any(); n != nil {
			life, ms := n.mesh, 20+w.below(1_000)
			in := w.chance(0.5)
			w.logf("node %d: ring full (to the worker %v) for %d ms", n.i, in, ms)
			life.RefuseInbox, life.RefuseOutbox = in, !in
			w.after(ms, func() { life.RefuseInbox, life.RefuseOutbox = false, false })
		}
	})
}

// victim is a node whose death or silence leaves others: one at a time.
func (w *world) victim() *node {
	if !w.healthy() {
		return nil
	}
	return w.nodes[w.below(int64(len(w.nodes)))]
}

// any is a node that runs.
func (w *world) any() *node {
	n := w.nodes[w.below(int64(len(w.nodes)))]
	if n.mesh == nil {
		return nil
	}
	return n
}

// calm ends all trouble.
func (w *world) calm() {
	w.logf("peace")
	w.peace = true
	clear(w.cut)
	for _, n := range w.nodes {
		n.sick, n.shift = false, 0
		if n.mesh != nil {
			n.mesh.RefuseInbox, n.mesh.RefuseOutbox = false, false
		}
	}
}
