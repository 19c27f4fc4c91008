package syncer

// receipt is what is known of a member's reception of this shard's messages: a cumulative word, which runs at any rate.
type receipt struct {
	confirmed uint64 // it has every message up to that number, repetitions apart
	lost      uint64 // of messages up to that number nothing is known
	healed    uint64 // digests showed that it has what messages up to that number said
	water     uint64 // it has every message up to that number, or its repetition; never falls
	last      uint64 // number of the last message to it alone
	// Messages that were lost and sent again, with rising to and from: whoever came before with a greater from
	// waits no longer than a later one.
	moves ring[move]
}

// move is a message that was lost and sent again.
type move struct{ from, to uint64 }

const maxMoves = 1 << 12

func (m *receipt) moved(from, to uint64) {
	if m.moves.n >= maxMoves {
		m.lostAll(to)
		return
	}
	for m.moves.n > 0 && m.moves.back().from >= from {
		m.moves.drop()
	}
	m.moves.push(move{from, to})
}

// confirm notes that every message up to seq has come, repetitions apart.
func (m *receipt) confirm(seq uint64) {
	m.confirmed = max(m.confirmed, seq)
	for m.moves.n > 0 && m.moves.front().to <= m.confirmed {
		m.moves.pop()
	}
	m.rise()
}

// lostAll gives up confirmation of everything up to seq: only digests show now what the member has of it.
func (m *receipt) lostAll(seq uint64) {
	m.lost = max(m.lost, seq)
	m.moves.clear()
}

// heal notes that digests were equal about everything that messages up to seq said.
func (m *receipt) heal(seq uint64) {
	m.healed = max(m.healed, seq)
	m.rise()
}

func (m *receipt) rise() {
	w := m.healed
	if m.lost <= m.healed {
		c := m.confirmed
		if m.moves.n > 0 {
			c = min(c, m.moves.front().from-1)
		}
		w = max(w, c)
	}
	m.water = max(m.water, w)
}

// has says whether the member is known to have received message seq or its repetition.
func (m *receipt) has(seq uint64) bool { return seq != 0 && seq <= m.water }
