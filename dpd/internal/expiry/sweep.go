package expiry

// Jitter spreads timeouts so that sessions which began together don't end together: it lengthens ms by up to one
// sixteenth, by an amount that depends on salt alone. It never shortens.
func Jitter(ms, salt uint32) uint32 {
	ms = min(ms, Horizon-Horizon/16)
	return ms + uint32(uint64(ms/16)*uint64(salt*0x9e3779b1)>>32)
}

// Sweeper walks a dense array of deadlines in bounded steps, round and round. An entry of 0 is unused. The zero value
// starts at the front.
type Sweeper struct {
	next int
	// Lag is how late, in milliseconds, the latest entry was reported; MaxLag the greatest Lag so far.
	Lag, MaxLag uint32
	// Rounds counts complete passes over the array.
	Rounds uint64
}

// Next yields the index of the next entry whose deadline is not after now, looking at no more than *budget entries,
// which it lowers by those it looked at; -1 when the budget is used up.
func (s *Sweeper) Next(deadlines []uint32, now Tick, budget *int) int {
	for *budget > 0 {
		if s.next >= len(deadlines) {
			s.next = 0
			s.Rounds++
			if len(deadlines) == 0 {
				*budget = 0
				return -1
			}
		}
		end := min(s.next+*budget, len(deadlines))
		for i, d := range deadlines[s.next:end] {
			if d != 0 && int32(d-uint32(now)) <= 0 {
				at := s.next + i
				*budget -= i + 1
				s.next = at + 1
				return at
			}
		}
		*budget -= end - s.next
		s.next = end
	}
	return -1
}

// Late records that an entry due at deadline was reported at now.
func (s *Sweeper) Late(now, deadline Tick) {
	s.Lag = now.Since(deadline)
	s.MaxLag = max(s.MaxLag, s.Lag)
}

// Stored is a tick as it stands in a deadline array, where 0 means unused: tick 0 is kept one millisecond later.
func Stored(t Tick) uint32 {
	if t == 0 {
		return 1
	}
	return uint32(t)
}
