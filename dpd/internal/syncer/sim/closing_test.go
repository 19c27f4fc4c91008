package sim

import (
	"fmt"

	"github.com/holdfast-lb/holdfast/dpd/internal/flow"
)

// The owner dies right after a step of a close, and peers know of the first step alone. The rest of the close still passes, and
// what is left of the session ends with the timeout of a half-closed one, not with that of an established one.
func init() {
	for _, first := range [...]flow.Direction{in, out} {
		for server := range 2 {
			for steps := range 5 {
				name := fmt.Sprintf("the owner dies after %d steps of a close from side %d, the server's side on node %d", steps, first, server+1)
				scenarios[name] = scenario{
					options{nodes: 3, clients: 1, est: 3600, half: 20, net: net{loss: 0.1, delay: 2}},
					func(w *world) { w.dieInClose(first, server, steps) },
				}
			}
		}
	}
}

func (w *world) dieInClose(first flow.Direction, server, steps int) {
	c := w.client(0, w.nodes[0], w.nodes[server]).quietly()
	w.run(500)
	c.phase = scripted
	todo := []struct {
		d     flow.Direction
		flags uint8
	}{{first, fin}, {first ^ 1, ack}, {first ^ 1, fin}, {first, ack}}
	for i, step := range todo {
		if i == steps {
			w.coord.crash(w.nodes[0])
			c.path = [2]*node{w.nodes[1], w.nodes[2]}
		}
		for try := 0; ; try++ { // an end sends again what is not answered
			c.last = 0
			c.emit(step.d, step.flags, 0)
			switch {
			case i >= steps:
				w.run(50)
			case i == 0 && steps > 1:
				w.run(250) // so that the one word that peers get is sent again if it was lost
			default:
				w.run(2)
			}
			if c.last != 0 || w.broken != "" {
				break
			}
			if try == 10 {
				w.violate("step %d does not pass", i)
			}
			w.run(200)
		}
	}
	if steps == len(todo) {
		w.coord.crash(w.nodes[0])
	}
	w.run(25_000)
	w.noneOf(c)
	c.end("closed")
	w.settle(15_000)
	for _, n := range w.living() {
		n.each(func(x *flow.Session) {
			w.violate("node %d still has %s %s", n.id, short(x.Orig, x.Reply), version(x.Birth, x.Term, x.Owner, x.Ver, x.Flags))
		})
	}
}
