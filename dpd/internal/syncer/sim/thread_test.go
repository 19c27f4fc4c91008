package sim

// stall lets threads stand still for a while, one now and then, until the time of trouble is over. Their rings fill.
func (w *world) stall(until int64) {
	if w.now >= until {
		return
	}
	w.after(100+w.rng.Int64N(1_500), func() { w.stall(until) })
	l := w.living()
	if len(l) == 0 {
		return
	}
	n := l[w.rng.IntN(len(l))]
	ms, life := 5+w.rng.Int64N(150), n.life
	on := func(stuck *bool) {
		if *stuck {
			return
		}
		*stuck = true
		w.after(ms, func() {
			if *stuck = false; n.life == life && !n.paused {
				n.watch(n.drain)
			}
		})
	}
	if i := w.rng.IntN(len(n.shards) + 1); i < len(n.shards) {
		on(&n.shards[i].stuck)
	} else {
		on(&n.stuck)
	}
}

// rotate lets new keys follow the old ones: each node gets the new one, then seals with it, then forgets the old one. The next step
// comes when all have taken the last.
func (w *world) rotate(until int64) {
	if w.now >= until {
		return
	}
	w.after(300+w.rng.Int64N(2_000), func() { w.rotate(until) })
	for _, n := range w.living() {
		if n.keys != w.coord.keys {
			return
		}
	}
	w.coord.keys++
	w.total.keys++
	for _, n := range w.living() {
		n.newKeys(w.rng.Int64N(300))
	}
}

// newKeys brings a node the keys in force, if it runs by then, or else when it does.
func (n *node) newKeys(ms int64) {
	life := n.life
	n.w.after(ms, func() {
		switch {
		case n.life != life:
		case n.paused:
			n.newKeys(100)
		default:
			n.setKeys(n.w.coord.keys)
		}
	})
}
