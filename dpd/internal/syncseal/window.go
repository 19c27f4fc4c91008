package syncseal

// WindowLen is how far below the highest counter a datagram may still arrive.
const WindowLen = 8192

const (
	wordBits = 64
	// words of the ring: more than a window needs, so that the word which a new counter enters is never one still in use.
	words = 2 * WindowLen / wordBits
)

// Window remembers which counters of one stream were seen: the highest, and a bit for each of the WindowLen up to it.
// The zero value has seen none. Counters begin at 1.
//
//	… too old | top-8191 … seen or not … top | new …
type Window struct {
	seen [words]uint64
	top  uint64
}

// Accept notes a counter whose tag was good; it says Opened, Replayed or TooOld.
func (w *Window) Accept(c uint64) Verdict {
	if c == 0 || w.top >= WindowLen && c <= w.top-WindowLen {
		return TooOld
	}
	word, bit := c/wordBits, uint64(1)<<(c%wordBits)
	if c > w.top {
		// Words between the old top's and the new one's are left from an earlier round.
		from := w.top / wordBits
		for i := from + 1; i <= word && i <= from+words; i++ {
			w.seen[i%words] = 0
		}
		w.top = c
	} else if w.seen[word%words]&bit != 0 {
		return Replayed
	}
	w.seen[word%words] |= bit
	return Opened
}
